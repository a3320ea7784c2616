//! `cargo xtask crash --faults`: runs random schedules of commands under faults, and checks that
//! nothing is lost.
//!
//! A preload shim (`shim.c`) stands between castore and the store. Schedules have fixed seeds. Each
//! has an initial store, commands that run alone or concurrently, and faults: calls that fail, once
//! or lastingly, or are torn or slow; kills; pauses of days; wall clocks that jump; and power cuts,
//! after which the store is rebuilt from the journal of the shim as a filesystem could have left it
//! (`disk.rs`). After each command everything that was acknowledged must read back, and the same
//! command without faults must finish. Threads run freely, so a seed gives the same schedule and
//! faults, and mostly the same result.

mod arena;
mod disk;
mod journal;
mod plan;
mod schedule;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use self::arena::Setting;
use self::schedule::Outcome;
use super::files;
use crate::castore;

const SHIM: &str = include_str!("shim.c");

const DEFAULT_SCHEDULES: u64 = 500;

/// The number of concurrent schedules. A schedule mostly waits for processes to start and end.
const AT_ONCE: u64 = 2;

/// The arguments of the command.
struct Arguments {
    schedules: u64,
    /// The seed of the first schedule.
    seed: u64,
    castore: Option<PathBuf>,
}

fn parse(arguments: &[&str]) -> Result<Arguments> {
    let mut parsed = Arguments { schedules: DEFAULT_SCHEDULES, seed: 0, castore: None };
    let mut rest = arguments;
    loop {
        rest = match rest {
            [] => return Ok(parsed),
            ["--seed", seed, rest @ ..] => {
                parsed.seed = seed.parse().context("the seed is a whole number")?;
                rest
            }
            ["--castore", path, rest @ ..] => {
                parsed.castore = Some(fs::canonicalize(path).context("there is no such program")?);
                rest
            }
            [schedules, rest @ ..] => {
                parsed.schedules = schedules.parse().context("N, --seed N or --castore PATH")?;
                rest
            }
        };
    }
}

/// Runs `N` schedules, from `--seed` on, with the program `--castore` or a release build.
pub(super) fn run(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let arguments = parse(arguments)?;
    let begun = Instant::now();
    let castore = match arguments.castore {
        Some(castore) => castore,
        None => castore::build(root)?,
    };
    let directory = root.join("target/faults");
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory)?;
    let shim = compile(&directory)?;
    let setting = Setting { castore, shim, directory, blobs: files::small_blobs() };
    schedule::prepare(&setting)?;
    ensure!(
        schedule::notices_a_lie(&setting)?,
        "a disk that drops what was flushed was used, and nothing was found LOST"
    );
    println!("a disk that lies about flushes: what it loses is found LOST, as it should");

    let next = AtomicU64::new(arguments.seed);
    let end = arguments.seed + arguments.schedules;
    let outcomes = Mutex::new(Vec::new());
    let worker = |number: u64| -> Result<()> {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return Ok(());
            }
            let outcome = schedule::run(&setting, seed, &format!("{number}-{seed}"))
                .with_context(|| format!("schedule {seed}"))?;
            if !outcome.losses.is_empty() {
                report(seed, &outcome);
            }
            outcomes.lock().expect("no worker panics").push(outcome);
        }
    };
    let results = std::thread::scope(|scope| {
        let workers: Vec<_> =
            (0..AT_ONCE).map(|number| scope.spawn(move || worker(number))).collect();
        workers.into_iter().map(|worker| worker.join()).collect::<Vec<_>>()
    });
    for result in results {
        match result {
            Ok(result) => result?,
            Err(_) => bail!("a worker panicked"),
        }
    }
    let outcomes = outcomes.into_inner().expect("no worker panics");
    Ok(summary(&outcomes, begun))
}

/// Compiles the shim into the directory.
fn compile(directory: &Path) -> Result<PathBuf> {
    let [source, shim] = ["shim.c", "shim.so"].map(|name| directory.join(name));
    fs::write(&source, SHIM)?;
    let status = Command::new("cc")
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&shim, &source])
        .arg("-ldl")
        .status()
        .context("cannot run the C compiler cc")?;
    ensure!(status.success(), "the shim does not compile");
    Ok(shim)
}

fn report(seed: u64, outcome: &Outcome) {
    let mut text = format!("schedule {seed} ({}):\n", outcome.kind);
    for line in &outcome.log {
        text += &format!("    {line}\n");
    }
    for loss in &outcome.losses {
        text += &format!("  {loss}\n");
    }
    text += &format!("  again: cargo xtask crash --faults 1 --seed {seed}");
    println!("{text}");
}

fn summary(outcomes: &[Outcome], begun: Instant) -> ExitCode {
    let mut kinds: BTreeMap<&str, [usize; 4]> = BTreeMap::new();
    for outcome in outcomes {
        let counts = kinds.entry(outcome.kind).or_default();
        counts[0] += 1;
        counts[1] += usize::from(outcome.fired > 0);
        counts[2] += outcome.acknowledged;
        counts[3] += usize::from(!outcome.losses.is_empty());
    }
    for (kind, [schedules, hit, acknowledged, lost]) in &kinds {
        println!(
            "{kind}: {schedules} schedules, {hit} with a fault that hit; {acknowledged} blobs \
             acknowledged; {lost} losses"
        );
    }
    let lost: usize = kinds.values().map(|counts| counts[3]).sum();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{} schedules in {seconds:.0} s: {lost} with losses", outcomes.len());
    if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::journal::{self, Event};
    use super::plan::{Action, Plan, Rule, calls};
    use super::*;

    /// Runs a shell script under the shim, in a directory whose `store` is the store. Returns the
    /// directory, the exit code, and the journal.
    fn shell(name: &str, script: &str, plan: &Plan) -> (PathBuf, Option<i32>, Vec<Event>) {
        let directory = std::env::temp_dir().join(format!("castore-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(directory.join("store")).unwrap();
        let shim = compile(&directory).unwrap();
        fs::write(directory.join("control"), [0; 56]).unwrap();
        fs::write(directory.join("journal"), "").unwrap();
        let plan = format!("root {}\n{}", directory.join("store").display(), plan.lines());
        let output = Command::new("/bin/sh")
            .args(["-c", script])
            .current_dir(&directory)
            .env("LD_PRELOAD", shim)
            .env("CASTORE_FAULTS", &directory)
            .env("CASTORE_FAULTS_PLAN", plan)
            .output()
            .unwrap();
        let control = fs::read(directory.join("control")).unwrap();
        let length = u64::from_le_bytes(control[8..16].try_into().unwrap());
        let records = journal::read(&directory.join("journal"), length).unwrap();
        let events = records.into_iter().map(|record| record.event).collect();
        (directory, output.status.code(), events)
    }

    #[test]
    fn the_shim_journals_what_a_program_writes() {
        let script = "echo one > store/file; echo two >> store/file; echo else > outside";
        let (directory, code, events) = shell("journals", script, &Plan::default());
        assert_eq!(code, Some(0));
        let [Event::Create { path, inode }, first, second] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!(path, "file");
        let write =
            |offset, bytes: &[u8]| Event::Write { inode: *inode, offset, bytes: bytes.into() };
        assert_eq!((first, second), (&write(0, b"one\n"), &write(4, b"two\n")));
        assert_eq!(fs::read(directory.join("store/file")).unwrap(), b"one\ntwo\n");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_shim_fails_the_call_that_the_plan_says() {
        let rule = Rule::exactly(calls::WRITE, 2, Action::Fail(28));
        let script = "echo one > store/a || exit 7; echo two > store/b || exit 8";
        let (directory, code, _) = shell("fails", script, &Plan::of(rule));
        assert_eq!(code, Some(8));
        assert_eq!(fs::read(directory.join("store/a")).unwrap(), b"one\n");
        assert_eq!(fs::read(directory.join("store/b")).unwrap(), b"");
        fs::remove_dir_all(directory).unwrap();
    }

    #[test]
    fn the_shim_cuts_the_power_before_the_call_that_the_plan_says() {
        let rule = Rule::exactly(calls::CREATE, 2, Action::Cut);
        let script = "echo one > store/a; echo two > store/b";
        let (directory, code, events) = shell("cuts", script, &Plan::of(rule));
        assert_eq!(code, None);
        assert_eq!(events.len(), 2, "{events:?}");
        assert!(!directory.join("store/b").exists());
        fs::remove_dir_all(directory).unwrap();
    }
}
