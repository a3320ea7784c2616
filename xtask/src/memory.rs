//! `cargo xtask memory`: measures the peak memory of putting and reading a large blob.

use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use anyhow::{Context as _, Result, bail, ensure};

use crate::castore;

/// The memory limit for putting and for reading a blob of any size, in bytes: 128 MiB.
const LIMIT: u64 = 128 << 20;

const DEFAULT_GIB: u64 = 4;

/// Puts a blob of this many GiB of random bytes into a fresh local store, reads it back, and
/// compares.
pub(crate) fn run(root: &Path, gib: Option<&str>) -> Result<ExitCode> {
    let gib = match gib {
        Some(gib) => gib.parse().context("the size is a whole number of GiB")?,
        None => DEFAULT_GIB,
    };
    ensure!(cfg!(target_os = "linux"), "peak memory is read from /proc, which only Linux has");
    let castore = castore::build(root)?;
    let store = Store(root.join("target/memory-store"));
    let _ = fs::remove_dir_all(&store.0);

    let mut put = store.start(&castore, &["put", "-"], Stdio::piped())?;
    let mut input = put.stdin.take().context("put has no input")?;
    let mut random = blake3::Hasher::new().update(b"castore memory").finalize_xof();
    let mut written = blake3::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut peak = 0;
    for _ in 0..gib << 10 {
        random.fill(&mut buffer);
        written.update(&buffer);
        input.write_all(&buffer).context("put stopped reading")?;
        peak = peak.max(peak_memory(&put));
    }
    drop(input);
    let output = finish(put, &mut peak, |_| ())?;
    let digest = output.split_whitespace().next().context("put printed nothing")?.to_owned();
    ensure!(digest == written.finalize().to_hex().as_str(), "put printed another digest: {digest}");
    let mut good = report(&format!("put {gib} GiB"), peak);

    let cat = store.start(&castore, &["cat", &digest], Stdio::null())?;
    let mut peak = 0;
    let mut read = blake3::Hasher::new();
    finish(cat, &mut peak, |bytes| {
        read.update(bytes);
    })?;
    ensure!(read.finalize().to_hex().as_str() == digest, "cat gave other bytes");
    good &= report(&format!("cat {gib} GiB"), peak);
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A store that is removed at the end, even after a failure.
struct Store(PathBuf);

impl Store {
    fn start(&self, castore: &Path, arguments: &[&str], stdin: Stdio) -> Result<Child> {
        let mut command = Command::new(castore);
        command.arg("-s").arg(&self.0).args(arguments).stdin(stdin).stdout(Stdio::piped());
        command.spawn().with_context(|| format!("cannot run {}", castore.display()))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Reads the output of `child` to its end. Each piece goes to `each`, and the first 64 KiB are
/// returned as text.
fn finish(mut child: Child, peak: &mut u64, mut each: impl FnMut(&[u8])) -> Result<String> {
    let mut output = child.stdout.take().context("it has no output")?;
    let mut buffer = vec![0; 64 << 10];
    let mut head = Vec::new();
    loop {
        *peak = (*peak).max(peak_memory(&child));
        let count = output.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        each(&buffer[..count]);
        head.extend_from_slice(&buffer[..count.min(buffer.len() - head.len())]);
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("castore ended with {status}");
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

/// The peak of resident memory of `child` so far, in bytes; 0 once the child is gone.
fn peak_memory(child: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
    let kib = status.lines().find_map(|line| {
        line.strip_prefix("VmHWM:")?.split_whitespace().next()?.parse::<u64>().ok()
    });
    kib.unwrap_or(0) << 10
}

fn report(what: &str, peak: u64) -> bool {
    let good = (1..=LIMIT).contains(&peak);
    let verdict = if good { "ok" } else { "TOO MUCH" };
    println!("{what}: peak memory {} MiB of {} MiB: {verdict}", peak >> 20, LIMIT >> 20);
    good
}
