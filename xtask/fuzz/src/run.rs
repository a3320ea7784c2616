//! Runs: a parent that watches, and children that check one input after another.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{env, process};

use anyhow::{Context as _, Result, bail};
use castore_fuzz::{CANARY, TARGETS, Target, input};

/// The first argument of a child.
pub(crate) const CHILD: &str = "--child";

/// Targets that run at once.
const AT_ONCE: usize = 2;

/// A child may take so much longer than its time: one input of `cut` takes a second without
/// optimisation.
const SPARE: Duration = Duration::from_secs(30);

/// The memory that a child may take for its data, in bytes. A service works with 64 MiB, and its
/// threads have stacks; a length that an input claims and nothing bounds is more.
#[cfg(unix)]
const MEMORY: u64 = 1 << 30;

/// Longer seeds are left out: mutations of short ones reach the same code, and more of them.
const LONGEST_SEED: u64 = 40_000;

/// Checks one input, with as much memory as a child has.
pub(crate) fn one(target: &str, file: &str) -> Result<ExitCode> {
    limit_memory()?;
    let bytes = fs::read(file).with_context(|| format!("cannot read {file}"))?;
    (find(target)?.check)(&bytes);
    eprintln!("{target}: {file} passes");
    Ok(ExitCode::SUCCESS)
}

/// Runs the targets that the arguments name.
pub(crate) fn all(arguments: &[&str]) -> Result<ExitCode> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let (mut seconds, mut seed) = (60, now.as_nanos() as u64 >> 10);
    let mut targets = Vec::new();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let mut number = || -> Result<u64> {
            let value = arguments.next().with_context(|| format!("{argument} takes a number"))?;
            value.parse().with_context(|| format!("{argument}: {value:?} is not a number"))
        };
        match *argument {
            "--seconds" => seconds = number()?,
            "--seed" => seed = number()?,
            name => targets.push(find(name)?),
        }
    }
    if targets.is_empty() {
        targets = TARGETS.iter().collect();
    }
    eprintln!("seed {seed}");
    let mut waiting = VecDeque::from(targets);
    let mut running: Vec<Running> = Vec::new();
    let mut failed = false;
    while !waiting.is_empty() || !running.is_empty() {
        while running.len() < AT_ONCE
            && let Some(target) = waiting.pop_front()
        {
            running.push(Running::start(target, seed, seconds)?);
        }
        sleep(Duration::from_millis(50));
        let mut still = Vec::new();
        for mut run in running {
            match run.ended()? {
                Some(passed) => failed |= !passed,
                None => still.push(run),
            }
        }
        running = still;
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// A target under way.
struct Running {
    target: &'static Target,
    seed: u64,
    child: Child,
    /// The file in which the child notes the number of its input.
    note: PathBuf,
    deadline: Instant,
}

impl Running {
    fn start(target: &'static Target, seed: u64, seconds: u64) -> Result<Running> {
        let note = directory()?.join(format!("{}-{}.number", target.name, process::id()));
        let child = Command::new(env::current_exe()?)
            .args([CHILD, target.name, &seed.to_string(), &seconds.to_string()])
            .arg(&note)
            .spawn()
            .context("cannot start a child")?;
        let deadline = Instant::now() + Duration::from_secs(seconds) + SPARE;
        Ok(Running { target, seed, child, note, deadline })
    }

    /// Whether the target has passed; `None` while it runs.
    fn ended(&mut self) -> Result<Option<bool>> {
        let end = match self.child.try_wait()? {
            Some(status) if status.success() => {
                fs::remove_file(&self.note).ok();
                return Ok(Some(true));
            }
            Some(status) => status.to_string(),
            None if Instant::now() < self.deadline => return Ok(None),
            None => {
                self.child.kill()?;
                self.child.wait()?;
                "one input took too long".to_owned()
            }
        };
        let name = self.target.name;
        let note = fs::read_to_string(&self.note).unwrap_or_default();
        let number: u64 = note.trim().parse().with_context(|| format!("{name}: {end}"))?;
        fs::remove_file(&self.note).ok();
        let bytes = input::input(self.seed, number, &seeds(self.target)?, self.target.longest);
        let file = directory()?.join(format!("{name}-{}-{number}.input", self.seed));
        fs::write(&file, &bytes)?;
        let file = file.display();
        eprintln!("{name}: FAILED ({end}) with input {number}, which is in {file}");
        eprintln!("{name}: again: cargo xtask fuzz {name} --input {file}");
        Ok(Some(false))
    }
}

/// A child: checks inputs until its time is over.
pub(crate) fn child(target: &str, seed: &str, seconds: &str, note: &str) -> Result<ExitCode> {
    let target = find(target)?;
    let (seed, seconds): (u64, u64) = (seed.parse()?, seconds.parse()?);
    limit_memory()?;
    let seeds = seeds(target)?;
    let mut note = File::create(note)?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut number = 0;
    while Instant::now() < end {
        note.seek(SeekFrom::Start(0))?;
        writeln!(note, "{number}")?;
        (target.check)(&input::input(seed, number, &seeds, target.longest));
        number += 1;
    }
    eprintln!("{}: {number} inputs in {seconds} s, none failed", target.name);
    Ok(ExitCode::SUCCESS)
}

/// An allocation beyond the limit fails, and ends the child.
fn limit_memory() -> Result<()> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, Rlimit, setrlimit};
        let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
        setrlimit(Resource::Data, limit)?;
    }
    Ok(())
}

/// The real inputs of a target, in the order of their names.
fn seeds(target: &Target) -> Result<Vec<Vec<u8>>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut files = Vec::new();
    for directory in target.seeds {
        collect(&root.join(directory), &mut files)?;
    }
    files.sort();
    files.iter().map(|file| Ok(fs::read(file)?)).collect()
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        if entry.file_type()?.is_dir() {
            collect(&entry.path(), files)?;
        } else if !hidden && entry.metadata()?.len() <= LONGEST_SEED {
            files.push(entry.path());
        }
    }
    Ok(())
}

/// The directory of reported inputs: `fuzz` beside the directory of the program.
fn directory() -> Result<PathBuf> {
    let program = env::current_exe()?;
    let target = program.ancestors().nth(2).context("the program has no directory")?;
    let directory = target.join("fuzz");
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

fn find(name: &str) -> Result<&'static Target> {
    match TARGETS.iter().chain([&CANARY]).find(|target| target.name == name) {
        Some(target) => Ok(target),
        None => bail!("there is no target {name:?}; --help lists them"),
    }
}
