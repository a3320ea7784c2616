//! Measures other programs, and castore's command line, from outside on the same files.

mod plan;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::children;
use crate::corpus::Corpus;
use crate::job::{Job, Outcome, PeerJob};
use crate::results::{Measurement, Run};
use crate::runner::{Runner, measure as measure_once};
use crate::table::{Columns, number, optional};
use plan::{Plan, Program};

/// The operations that each program is measured in, in this order.
const STEPS: [&str; 3] = ["put_new", "put_again", "read"];

/// The name in the column of the store.
const STORE: &str = "program";

pub(crate) const PEERS: Columns = Columns::new(
    &[("program", 24), ("corpus", 9)],
    &[
        ("new MB/s", 8),
        ("again", 6),
        ("read", 6),
        ("new CPU s/GB", 12),
        ("again", 6),
        ("read", 6),
        ("peak MB", 7),
        ("stored MB", 9),
        ("castore/it new", 14),
        ("again", 6),
        ("read", 6),
    ],
);

/// Finds the program of that name on the PATH.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let name = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let directories = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&directories).map(|path| path.join(&name)).find(|path| path.is_file())
}

/// Measures castore's command line, and all programs that are installed.
pub(crate) fn measure(runner: &mut Runner<'_>) -> Result<()> {
    let wanted = |runner: &Runner<'_>, who: &str, corpus: &str| {
        let options = runner.options;
        STEPS.iter().any(|step| options.wants(&[who, STORE, step, corpus]))
    };
    let mut programs = Vec::new();
    for program in Program::ALL {
        match program.find() {
            Some(_) => programs.push(program),
            None if program.is_castore() => programs.push(program),
            None => runner.note(format!("{} is not on the PATH", program.name())),
        }
    }
    let corpora = [Corpus::Libraries, Corpus::Sources];
    programs.retain(|program| {
        corpora.iter().any(|corpus| wanted(runner, program.name(), corpus.name()))
    });
    if programs.is_empty() {
        return Ok(());
    }
    let castore = build()?;
    println!("\n{}", PEERS.line(&PEERS.names()));
    for corpus in corpora {
        let Some(made) = runner.corpus(corpus)? else { continue };
        let mut programs = programs.clone();
        programs.retain(|program| wanted(runner, program.name(), corpus.name()));
        let first = runner.run.measurements.len();
        for program in &programs {
            runner.run.measurements.extend(STEPS.map(|step| Measurement {
                who: program.name().to_owned(),
                scenario: step.to_owned(),
                store: STORE.to_owned(),
                corpus: corpus.name().to_owned(),
                outcomes: Vec::new(),
            }));
        }
        let digest = digest(&made.path)?;
        for _ in 0..runner.options.repeat() {
            for (number, program) in programs.iter().enumerate() {
                let path =
                    if program.is_castore() { Some(castore.clone()) } else { program.find() };
                let path = path.context("the program was there")?;
                let directory = runner.directory()?;
                let plan = program.plan(&path, &directory, &made.path, &digest);
                let outcomes = steps(&plan, &directory, made.size, &digest)?;
                runner.remove(&directory)?;
                for (step, outcome) in outcomes.into_iter().enumerate() {
                    let measurement = first + STEPS.len() * number + step;
                    runner.run.measurements[measurement].outcomes.push(outcome);
                }
            }
        }
        for program in &programs {
            let Some(row) = row(&runner.run, program.name(), corpus.name()) else { continue };
            println!("{}", PEERS.line(&row));
            for step in STEPS {
                let found = find(&runner.run, program.name(), step, corpus.name());
                if let Some(wrong) = found.and_then(Measurement::wrong) {
                    println!("  WRONG: {step}: {wrong}");
                }
            }
        }
    }
    for program in programs {
        runner.note(format!("{}: {}", program.name(), program.remark()));
    }
    Ok(())
}

/// Makes a repository, and runs the three steps. A failed step is a wrong answer.
fn steps(plan: &Plan, directory: &Path, bytes: u64, digest: &str) -> Result<Vec<Outcome>> {
    let work = directory.join("out");
    fs::create_dir_all(&work)?;
    let job = |arguments: &[String]| {
        Job::Peer(PeerJob {
            arguments: arguments.to_vec(),
            environment: plan.environment.clone(),
            directory: work.clone(),
            bytes,
            repository: plan.repository.clone(),
        })
    };
    for arguments in &plan.prepare {
        let outcome = measure_once(&job(arguments));
        children::check_interrupted()?;
        if outcome.wrong.is_some() {
            return Ok(vec![outcome; STEPS.len()]);
        }
    }
    let mut outcomes = Vec::new();
    for arguments in [&plan.put, &plan.again, &plan.read] {
        outcomes.push(measure_once(&job(arguments)));
        children::check_interrupted()?;
    }
    let read = &mut outcomes[2];
    if read.wrong.is_none() {
        read.wrong = match self::digest(&plan.restored) {
            Ok(found) if found == digest => None,
            Ok(_) => Some("other bytes came back".to_owned()),
            Err(error) => Some(format!("{error:#}")),
        };
    }
    Ok(outcomes)
}

/// In a child: runs the program, and reports its use of resources.
pub(crate) fn run(job: &PeerJob) -> Result<Outcome> {
    crate::store::flush(&job.directory);
    let (program, arguments) = job.arguments.split_first().context("there is no program")?;
    let log = job.directory.join("log");
    let output = fs::File::create(&log)?;
    let mut command = Command::new(program);
    command.args(arguments).envs(job.environment.iter().cloned()).current_dir(&job.directory);
    command.stdin(std::process::Stdio::null()).stdout(output.try_clone()?).stderr(output);

    let before = crate::usage::cpu_seconds_of_children();
    let start = std::time::Instant::now();
    children::start_own(&mut command)?;
    let is_success = children::wait_for_own()?;
    let wall_seconds = start.elapsed().as_secs_f64();

    let log = fs::read_to_string(&log).unwrap_or_default();
    let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default();
    Ok(Outcome {
        wall_seconds,
        cpu_seconds: crate::usage::cpu_seconds_of_children()
            .zip(before)
            .map(|(now, then)| now - then),
        peak_bytes: crate::usage::peak_of_children(),
        bytes: job.bytes,
        operations: 1,
        stored_bytes: Some(size(&job.repository)?),
        wrong: (!is_success).then(|| format!("{program} failed: {last}")),
        ..Outcome::default()
    })
}

/// The total size in bytes of all files below `path`.
fn size(path: &Path) -> Result<u64> {
    let mut sum = 0;
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            let entry = entry?;
            sum += match entry.file_type()?.is_dir() {
                true => size(&entry.path())?,
                false => entry.metadata()?.len(),
            };
        }
    }
    Ok(sum)
}

fn digest(path: &Path) -> Result<String> {
    let mut hasher = blake3::Hasher::new();
    let file = fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    hasher.update_reader(file)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// Builds castore's command line from the current sources.
fn build() -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let own = std::env::current_exe()?;
    let target = own.parent().and_then(Path::parent).context("this program is not in target")?;
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.toml");
    let status = Command::new(cargo)
        .args(["build", "--release", "--quiet", "--package", "castore-cli", "--manifest-path"])
        .arg(manifest)
        .arg("--target-dir")
        .arg(target)
        .status()
        .context("cannot run cargo")?;
    children::check_interrupted()?;
    ensure!(status.success(), "castore does not build");
    Ok(target.join("release").join(format!("castore{}", std::env::consts::EXE_SUFFIX)))
}

fn find<'a>(run: &'a Run, who: &str, step: &str, corpus: &str) -> Option<&'a Measurement> {
    let is_it = |found: &&Measurement| {
        found.who == who && found.case() == [step, STORE, corpus] && !found.outcomes.is_empty()
    };
    run.measurements.iter().find(is_it)
}

/// The cells of a program, if it was measured.
fn row(run: &Run, who: &str, corpus: &str) -> Option<Vec<String>> {
    let steps: Vec<&Measurement> =
        STEPS.iter().map(|step| find(run, who, step, corpus)).collect::<Option<_>>()?;
    let peak = steps.iter().filter_map(|step| step.peak_mb()).reduce(f64::max);
    let mut cells = vec![who.to_owned(), corpus.to_owned()];
    let speed = |found: &Measurement| match found.wrong() {
        None => found.mb_per_second(),
        Some(_) => f64::NAN,
    };
    cells.extend(steps.iter().map(|step| number(speed(step))));
    cells.extend(steps.iter().map(|step| optional(step.cpu_per_gb())));
    cells.push(peak.map_or("-".to_owned(), |peak| format!("{peak:.0}")));
    cells.push(optional(steps[0].stored_mb()));
    let ratio = |step: &&Measurement| {
        let castore = find(run, Program::Castore.name(), &step.scenario, corpus)?;
        Some(speed(castore) / speed(step))
    };
    cells.extend(steps.iter().map(|step| optional(ratio(step))));
    Some(cells)
}

/// The rows of all programs.
pub(crate) fn rows(run: &Run) -> Vec<Vec<String>> {
    let measured = run.measurements.iter().filter(|found| found.case()[..2] == ["put_new", STORE]);
    measured.filter_map(|found| row(run, &found.who, &found.corpus)).collect()
}

/// Whether the measurement was made from outside.
pub(crate) fn is_peer(measurement: &Measurement) -> bool {
    measurement.store == STORE
}
