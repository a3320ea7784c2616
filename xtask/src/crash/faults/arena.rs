//! A store under the shim: processes that work on it, power cuts, and checks for losses.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::super::check::losses;
use super::super::files::{self, Blob, Random};
use super::disk::{Aftermath, Disk, Model, set_modified};
use super::journal;
use super::plan::Plan;

/// A process that takes longer hangs: the store is small, but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

/// The fields of `struct control` in `shim.c`: their offsets in bytes.
mod field {
    pub(super) const LENGTH: u64 = 8;
    pub(super) const FIRED: u64 = 24;
    pub(super) const WALL: u64 = 32;
    pub(super) const MONOTONIC: u64 = 40;
    pub(super) const IGNORE: u64 = 48;
    pub(super) const SIZE: usize = 56;
}

/// The settings that all schedules share.
pub(super) struct Setting {
    pub(super) castore: PathBuf,
    pub(super) shim: PathBuf,
    pub(super) directory: PathBuf,
    pub(super) blobs: Vec<Blob>,
}

/// The filesystem that the store appears to be on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filesystem {
    /// The magic number that `statfs` returns.
    pub(super) magic: u32,
    pub(super) syncfs_works: bool,
    pub(super) model: Model,
}

pub(super) const EXT4: Filesystem =
    Filesystem { magic: 0xEF53, syncfs_works: true, model: Model::Ordered };
pub(super) const XFS: Filesystem =
    Filesystem { magic: 0x5846_5342, syncfs_works: true, model: Model::Ordered };
/// On FUSE, `syncfs` does nothing, and names are durable once their directory was flushed.
pub(super) const FUSE: Filesystem =
    Filesystem { magic: 0x6573_5546, syncfs_works: false, model: Model::Loose };

pub(super) struct Arena<'a> {
    pub(super) setting: &'a Setting,
    /// The schedule's own directory, with the store `store` and the mirror `source`.
    directory: PathBuf,
    filesystem: Filesystem,
    pub(super) random: Random,
    control: File,
    /// The store at the start of the journal, and by how much it was aged at which offset since
    /// then.
    base: Disk,
    aged: Vec<(u64, Duration)>,
    /// The blobs that must be present, according to the commands so far.
    pub(super) acknowledged: BTreeSet<String>,
    /// All events, one line each.
    pub(super) log: Vec<String>,
    pub(super) losses: Vec<String>,
    /// The number of calls with a fault before the start of the journal.
    fired: u64,
    processes: usize,
}

/// The error of a schedule with a loss; the arena describes it.
#[derive(Debug)]
pub(super) struct Lost;

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("something was lost")
    }
}

impl std::error::Error for Lost {}

/// A process under the shim.
pub(super) struct Process {
    child: Child,
    name: String,
    output: PathBuf,
    begun: Instant,
    fails: bool,
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process has ended, unless the schedule ended first.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The end of a process.
pub(super) struct End {
    pub(super) status: ExitStatus,
    /// The first word of each whole line that was printed.
    pub(super) digests: Vec<String>,
    pub(super) complaints: String,
}

impl<'a> Arena<'a> {
    pub(super) fn new(
        setting: &'a Setting,
        name: &str,
        filesystem: Filesystem,
        random: Random,
    ) -> Result<Arena<'a>> {
        let directory = setting.directory.join(name);
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let control = directory.join("control");
        fs::write(&control, [0; field::SIZE])?;
        fs::write(directory.join("journal"), "")?;
        Ok(Arena {
            setting,
            control: File::options().read(true).write(true).open(control)?,
            directory,
            filesystem,
            random,
            base: Disk::default(),
            aged: Vec::new(),
            acknowledged: BTreeSet::new(),
            log: vec![format!("on {filesystem:?}")],
            losses: Vec::new(),
            fired: 0,
            processes: 0,
        })
    }

    pub(super) fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    pub(super) fn note(&mut self, line: String) {
        self.log.push(line);
    }

    /// Ends the schedule: after a loss, further failures say nothing new.
    pub(super) fn lose<T>(&mut self, line: String) -> Result<T> {
        self.losses.push(line);
        Err(Lost.into())
    }

    /// The number of calls with a fault so far.
    pub(super) fn fired(&self) -> Result<u64> {
        Ok(self.fired + self.field(field::FIRED)?)
    }

    /// Starts a new journal: the present contents of the store are durable.
    pub(super) fn settle(&mut self) -> Result<()> {
        self.fired = self.fired()?;
        let ignore = self.field(field::IGNORE)?;
        self.control.write_all_at(&[0; field::SIZE], 0)?;
        self.control.write_all_at(&ignore.to_le_bytes(), field::IGNORE)?;
        File::create(self.directory.join("journal"))?;
        self.base = Disk::snapshot(&self.store())?;
        self.aged.clear();
        Ok(())
    }

    /// Stops recording flushes in the journal, as if the disk lied.
    pub(super) fn ignore_flushes(&self) -> Result<()> {
        Ok(self.control.write_all_at(&1_u64.to_le_bytes(), field::IGNORE)?)
    }

    fn field(&self, field: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, field)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Starts castore with these arguments, on the store, under the shim.
    pub(super) fn start(&mut self, arguments: &[String], plan: &Plan) -> Result<Process> {
        self.processes += 1;
        let name = arguments.join(" ");
        let plan_lines = plan.lines();
        let faults = plan_lines.trim_end().replace('\n', "; ");
        self.note(format!("process {}: {name}  [{faults}]", self.processes));
        let output = self.directory.join(format!("output-{}", self.processes));
        let Filesystem { magic, syncfs_works, .. } = self.filesystem;
        let mut lines = format!("root {}\n", self.store().display());
        lines += &format!("statfs {magic} {}\n{plan_lines}", u8::from(syncfs_works));
        if plan.mirror {
            lines += &format!("mirror {}\n", self.setting.directory.join("source").display());
        }
        let child = Command::new(&self.setting.castore)
            .args(["-o", "chunk-size=4KiB", "-q"])
            .args(arguments)
            .current_dir(&self.setting.directory)
            .env("CASTORE_STORE", self.store())
            .env("LD_PRELOAD", &self.setting.shim)
            .env("CASTORE_FAULTS", &self.directory)
            .env("CASTORE_FAULTS_PLAN", lines)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(File::create(output.with_extension("err"))?)
            .spawn()
            .with_context(|| format!("cannot run {}", self.setting.castore.display()))?;
        let begun = Instant::now();
        Ok(Process { child, name, output, begun, fails: plan.fails() })
    }

    /// Waits until the process has stopped itself; returns false if it ended instead.
    pub(super) fn wait_for_stop(&mut self, process: &mut Process) -> Result<bool> {
        while process.begun.elapsed() < PATIENCE {
            if process.child.try_wait()?.is_some() {
                return Ok(false);
            }
            let stat = fs::read_to_string(format!("/proc/{}/stat", process.child.id()))?;
            let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
            if state == Some('T') {
                self.note(format!("stopped: {}", process.name));
                return Ok(true);
            }
            sleep(Duration::from_millis(1));
        }
        Ok(false)
    }

    /// Resumes a stopped process. `clocks` says by how much its clocks advance: not at all if they
    /// stood still, or by the whole pause.
    pub(super) fn go_on(&mut self, process: &Process, clocks: Duration) -> Result<()> {
        self.note(format!("goes on, with its clocks {clocks:?} on: {}", process.name));
        for field in [field::WALL, field::MONOTONIC] {
            self.control.write_all_at(&(clocks.as_nanos() as u64).to_le_bytes(), field)?;
        }
        let status = Command::new("kill").args(["-CONT", &process.child.id().to_string()]).status();
        ensure!(status?.success(), "kill -CONT fails");
        Ok(())
    }

    /// Waits for the end, and checks that a process may end this way.
    pub(super) fn end(&mut self, mut process: Process) -> Result<End> {
        let status = loop {
            if let Some(status) = process.child.try_wait()? {
                break status;
            }
            if process.begun.elapsed() > PATIENCE {
                return self.lose(format!("HANGS: {}", process.name));
            }
            sleep(Duration::from_millis(1));
        };
        for field in [field::WALL, field::MONOTONIC] {
            self.control.write_all_at(&[0; 8], field)?;
        }
        let printed = fs::read(&process.output)?;
        let printed = String::from_utf8_lossy(&printed);
        let complaints = fs::read(process.output.with_extension("err"))?;
        let complaints = String::from_utf8_lossy(&complaints).trim().to_owned();
        let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
        let first = |line: &str| line.split(' ').next().unwrap_or_default().to_owned();
        let digests: Vec<String> = whole.lines().map(first).collect();
        self.note(format!("  {status}, {} lines; {complaints}", digests.len()));
        let code = status.code();
        let panicked = code == Some(101) || complaints.contains("panicked");
        if panicked || status.signal().is_some_and(|signal| signal != 9) || code == Some(99) {
            return self.lose(format!("ENDS BADLY: {}: {status}: {complaints}", process.name));
        }
        // Absent blobs that were removed before are no error.
        let is_there = |digest: &String| complaints.contains(digest.as_str());
        if process.fails && code == Some(4) && self.acknowledged.iter().any(is_there) {
            return self.lose(format!("an error is called ABSENT: {}: {complaints}", process.name));
        }
        Ok(End { status, digests, complaints })
    }

    /// Everything that the last process printed.
    pub(super) fn last_output(&self) -> Result<Vec<u8>> {
        Ok(fs::read(self.directory.join(format!("output-{}", self.processes)))?)
    }

    /// Makes every file of the store older, as if time had passed for all others.
    pub(super) fn age(&mut self, by: Duration) -> Result<()> {
        self.note(format!("{} hours pass", by.as_secs() / 3600));
        for path in files::sizes(&self.store())?.into_keys() {
            let time = fs::metadata(&path)?.modified()?;
            set_modified(&path, time - by)?;
        }
        self.aged.push((self.field(field::LENGTH)?, by));
        Ok(())
    }

    /// Cuts the power: checks several stores that may be left, and goes on with the last.
    pub(super) fn cut(&mut self) -> Result<()> {
        let length = self.field(field::LENGTH)?;
        let records = journal::read(&self.directory.join("journal"), length)?;
        let last =
            [Aftermath::NamesOnly, Aftermath::Nothing, Aftermath::Some][self.random.below(3)];
        for aftermath in [Aftermath::NamesOnly, Aftermath::Some, last] {
            let model = self.filesystem.model;
            let random = &mut self.random;
            let disk = self.base.after_cut(&records, &self.aged, model, aftermath, random);
            disk.write(&self.store())?;
            self.note(format!("POWER CUT after {} events, {aftermath:?}", records.len()));
            self.check(&format!("after a power cut ({aftermath:?})"))?;
        }
        self.settle()
    }

    /// Reads back everything that was acknowledged. Other blobs may be absent, but not wrong.
    pub(super) fn check(&mut self, when: &str) -> Result<()> {
        let read = |digest: &str| self.read(digest);
        let found = losses(&self.setting.blobs, &self.acknowledged, read)?;
        match found.first() {
            Some(loss) => self.lose(format!("LOST {when}: {} blobs, such as: {loss}", found.len())),
            None => Ok(()),
        }
    }

    /// The blobs that can be read.
    pub(super) fn readable(&self) -> Result<BTreeSet<String>> {
        let mut readable = BTreeSet::new();
        for blob in &self.setting.blobs {
            if self.read(&blob.digest)?.is_ok_and(|data| data == blob.data) {
                readable.insert(blob.digest.clone());
            }
        }
        Ok(readable)
    }

    /// Reads all other blobs: a read that succeeds must return the right bytes.
    pub(super) fn check_others(&mut self) -> Result<()> {
        for blob in &self.setting.blobs {
            if !self.acknowledged.contains(&blob.digest)
                && self.read(&blob.digest)?.is_ok_and(|data| data != blob.data)
            {
                return self.lose(format!("WRONG BYTES of {}", blob.digest));
            }
        }
        Ok(())
    }

    /// The blob as castore reads it without faults, or castore's message.
    fn read(&self, digest: &str) -> Result<Result<Vec<u8>, String>> {
        let output = self.plain(&["cat", digest]).output()?;
        Ok(match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        })
    }

    /// Fails if a verification finds damage to acknowledged blobs.
    pub(super) fn verify(&mut self) -> Result<()> {
        let output = self.plain(&["--json", "verify", "--level", "blob"]).output()?;
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        for line in printed.lines().filter(|line| line.contains("\"damage\":true")) {
            if self.acknowledged.iter().any(|digest| line.contains(digest.as_str())) {
                return self.lose(format!("DAMAGED: {line}"));
            }
        }
        // Without an acknowledged blob there may be no store, and other objects may be damaged.
        let is_fine = match output.status.code() {
            Some(0 | 3) => true,
            code => self.acknowledged.is_empty() && code == Some(10),
        };
        if !is_fine {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return self.lose(format!("verify ends with {}: {said}", output.status));
        }
        Ok(())
    }

    fn plain(&self, arguments: &[&str]) -> Command {
        plain(&self.setting.castore, &self.setting.directory, &self.store(), arguments)
    }
}

/// Runs castore without the shim, on a store.
pub(super) fn plain(castore: &Path, place: &Path, store: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(castore);
    command.args(["-o", "chunk-size=4KiB", "-q"]).args(arguments).current_dir(place);
    command.env("CASTORE_STORE", store).stdin(Stdio::null());
    command
}

impl Drop for Arena<'_> {
    fn drop(&mut self) {
        if self.losses.is_empty() {
            let _ = fs::remove_dir_all(&self.directory);
        }
    }
}
