//! `cargo xtask test`: every test of every crate, those in the documentation and of the examples
//! included, on a real MinIO if one can be had.
//!
//! cargo compiles everything first, while MinIO is built. The suites then run one
//! after the other, or side by side on many processors: each call of cargo finds its programs
//! compiled, and lets go of the lock before they run.

mod minio;

use std::collections::VecDeque;
use std::io::Write;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::cargo::cargo;
use crate::suites::{self, TEST};

/// A crate of its own, as those who depend on ours have: it is no member of the workspace.
const BACKEND: &str = "examples/custom-backend";

/// The processors for each suite that runs at once. The slow suites compute on every processor: two
/// of them on two processors take as long as one after the other, and cases reach their time
/// limits.
const PROCESSORS_FOR_A_SUITE: usize = 2;

/// Runs the tests. `extra` goes to `cargo test` unchanged, and then only the workspace is tested.
pub(crate) fn run(root: &Path, extra: &[&str]) -> Result<ExitCode> {
    if !extra.is_empty() {
        let minio = minio::find();
        let mut command = with_minio(cargo(root), minio.as_deref());
        let status = command.args(TEST).args(extra).status().context("cannot run cargo")?;
        return Ok(code(status.success()));
    }
    let target = suites::target_directory(root)?;
    let (minio, compiled) = thread::scope(|scope| {
        let minio = scope.spawn(minio::find);
        let compiled = compile(root, &target);
        (minio.join(), compiled)
    });
    let Ok(minio) = minio else { bail!("looking for MinIO panicked") };
    compiled?;

    let mut steps: VecDeque<Step> = VecDeque::new();
    for suite in suites::all(root)? {
        let mut command = with_minio(cargo(root), minio.as_deref());
        command.args(TEST).args(suite.arguments);
        steps.push_back(Step { name: suite.name, command });
    }
    let mut command = backend(root, &target);
    command.args(["test", "--locked"]);
    steps.push_back(Step { name: BACKEND.to_owned(), command });
    let programs = target.join("debug").join("examples");
    for example in suites::examples(root)? {
        let name = format!("example {example}");
        steps.push_back(Step { name, command: Command::new(programs.join(example)) });
    }
    Ok(code(run_all(steps)))
}

fn compile(root: &Path, target: &Path) -> Result<()> {
    for (mut command, arguments) in
        [(cargo(root), &TEST[..]), (backend(root, target), &["test", "--locked"])]
    {
        eprintln!("cargo {} --no-run", arguments.join(" "));
        let status =
            command.args(arguments).arg("--no-run").status().context("cannot run cargo")?;
        if !status.success() {
            bail!("the tests do not compile");
        }
    }
    Ok(())
}

/// cargo in the directory of the backend, with the output directory of the workspace: dependencies
/// with the same features are compiled already.
fn backend(root: &Path, target: &Path) -> Command {
    let mut command = cargo(&root.join(BACKEND));
    command.env("CARGO_TARGET_DIR", target);
    command
}

/// A suite, or a program of the examples.
struct Step {
    name: String,
    command: Command,
}

/// Runs the steps, a few at a time; whether all have passed. The output of each comes when it ends.
fn run_all(steps: VecDeque<Step>) -> bool {
    let count = steps.len();
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let at_once = (processors / PROCESSORS_FOR_A_SUITE).max(1);
    let (steps, results) = (Mutex::new(steps), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..at_once.min(count) {
            scope.spawn(|| {
                loop {
                    let next = steps.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some(step) = next else { return };
                    let result = step.run();
                    results.lock().unwrap_or_else(PoisonError::into_inner).push(result);
                }
            });
        }
    });
    let results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    eprintln!("\nsuites:");
    for (name, time, passed) in &results {
        let passed = if *passed { "passed" } else { "FAILED" };
        eprintln!("  {passed} {:4} s  {name}", time.as_secs());
    }
    results.len() == count && results.iter().all(|(_, _, passed)| *passed)
}

impl Step {
    fn run(mut self) -> (String, Duration, bool) {
        let name = self.name;
        eprintln!("started: {name}");
        let begin = Instant::now();
        let output = self.command.stdin(Stdio::null()).output();
        let time = begin.elapsed();
        let passed = match output {
            Ok(output) => {
                // One suite at a time, each as one text.
                let mut screen = std::io::stderr().lock();
                let written = writeln!(screen, "\n==== {name}")
                    .and_then(|()| screen.write_all(&output.stderr))
                    .and_then(|()| screen.write_all(&output.stdout));
                output.status.success() && written.is_ok()
            }
            Err(error) => {
                eprintln!("{name}: cannot be run: {error}");
                false
            }
        };
        (name, time, passed)
    }
}

fn with_minio(mut command: Command, minio: Option<&Path>) -> Command {
    if let Some(minio) = minio {
        command.env(minio::VARIABLE, minio);
    }
    command
}

fn code(passed: bool) -> ExitCode {
    if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
