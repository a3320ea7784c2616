//! `cargo xtask mutants`: changes our own code in one place at a time, and looks whether a test
//! notices.
//!
//! cargo-mutants makes the mutants and runs the tests. castore-core and castore-proto are mutated
//! everywhere; of castore-objstore's reading, writing, verify, repair and gc a sample of a seed is
//! taken. A mutant that the first tests do not notice is tried with the next ones, which take
//! longer. One that no test notices is a failure. Mutants that change nothing stand in
//! `.cargo/mutants.toml`, each with its reason, and are left out.
//!
//! All of this happens in a copy of the sources, which stays with what was compiled: so the next
//! run compiles only what has changed since.

mod copy;
mod options;

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use self::options::{Options, Part};
use crate::cargo::cargo_here;

/// The names of mutants are those of this version.
const VERSION: &str = "27.1.0";

/// A test counts as hanging after so many times the time that it takes without a mutation: other
/// work on the machine may slow it down.
const TIMEOUT: [&str; 4] = ["--timeout-multiplier", "10", "--minimum-test-timeout", "60"];

/// Code that is mutated, and the tests that have to notice.
struct Target {
    part: Part,
    packages: &'static [&'static str],
    /// The files, as globs; none means all files.
    files: &'static [&'static str],
    /// Whether a sample is taken.
    is_sampled: bool,
    /// Arguments for cargo that say which tests are run; the quick ones first.
    passes: &'static [&'static [&'static str]],
}

const TARGETS: [Target; 2] = [
    Target {
        part: Part::Core,
        packages: &["castore-core", "castore-proto"],
        files: &[],
        is_sampled: false,
        passes: &[
            // The tests of the crate itself.
            &["--lib", "--tests"],
            // The suite on the reference implementation, and what reads stored indexes.
            &[
                "--package=castore-testsuite",
                "--package=castore-proto",
                "--test=reference",
                "--test=golden",
                "--test=malformed",
                "--test=properties",
            ],
        ],
    },
    Target {
        part: Part::Objstore,
        packages: &["castore-objstore"],
        files: &["read", "write", "store", "maintain/verify", "maintain/repair", "maintain/gc"],
        is_sampled: true,
        passes: &[&["--lib"], &["--test=objstore"]],
    },
];

/// Mutates what the arguments name, or everything.
pub(crate) fn run(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    let options = Options::parse(arguments)?;
    let begun = Instant::now();
    let directory = root.join("target/mutants");
    let mutants = Mutants {
        program: program(root)?,
        tree: directory.join("tree"),
        target: directory.join("target"),
        output: directory.join("output"),
    };
    copy::refresh(root, &mutants.tree)?;
    let mut results = Results::default();
    for target in
        TARGETS.iter().filter(|target| options.part.is_none_or(|part| part == target.part))
    {
        mutants.test(target, &options, &mut results)?;
    }
    println!("{} ({:.0} minutes)", results.summary(), begun.elapsed().as_secs_f64() / 60.0);
    Ok(if results.missed().is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// cargo-mutants of our version, installed if need be.
fn program(root: &Path) -> Result<PathBuf> {
    let name = format!("cargo-mutants{}", env::consts::EXE_SUFFIX);
    let tools = root.join("target/tools");
    let installed = tools.join("bin").join(&name);
    for program in [PathBuf::from(&name), installed.clone()] {
        let output = Command::new(&program).args(["mutants", "--version"]).output();
        let version = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        if version.is_ok_and(|version| version.split_whitespace().any(|word| word == VERSION)) {
            return Ok(program);
        }
    }
    eprintln!("installing cargo-mutants {VERSION} into {}: some minutes", tools.display());
    let status = cargo_here()
        .args(["install", "--locked", "--version", VERSION, "cargo-mutants", "--root"])
        .arg(&tools)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "cargo-mutants was not installed");
    Ok(installed)
}

/// Whether cargo-nextest is there.
fn has_nextest() -> bool {
    let output = cargo_here().args(["nextest", "--version"]).output();
    output.is_ok_and(|output| output.status.success())
}

/// cargo-mutants, and the directories that it works in.
struct Mutants {
    program: PathBuf,
    /// The copy of the sources.
    tree: PathBuf,
    /// All that is compiled.
    target: PathBuf,
    output: PathBuf,
}

impl Mutants {
    /// Tries the mutants of `target`, with one pass of tests after the other.
    fn test(&self, target: &Target, options: &Options, results: &mut Results) -> Result<()> {
        let mut names = self.list(target)?;
        if target.is_sampled {
            names = sample(names, options.sample, options.seed);
        }
        for (pass, tests) in target.passes.iter().enumerate() {
            if !names.is_empty() {
                println!("{} mutants, and {}", names.len(), tests.join(" "));
                results.add(self.run(target, &names, tests)?, pass > 0);
                names = results.missed_of(&names);
            }
        }
        Ok(())
    }

    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["mutants", "--colors", "never", "--dir"]).arg(&self.tree);
        for package in target.packages {
            command.args(["--package", package]);
        }
        for file in target.files {
            let [package] = target.packages else { continue };
            // The module's own file, and those below it.
            for glob in [format!("{package}/src/{file}.rs"), format!("{package}/src/{file}/**")] {
                command.args(["--file", &glob]);
            }
        }
        command.env("CARGO_TARGET_DIR", &self.target);
        command
    }

    /// The names of all mutants.
    fn list(&self, target: &Target) -> Result<Vec<String>> {
        let output = self.command(target).arg("--list").output();
        let output = output.context("cannot run cargo-mutants")?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.lines().map(str::to_owned).collect())
    }

    /// Runs the tests on each of the mutants; says how each of them ended.
    fn run(
        &self,
        target: &Target,
        names: &[String],
        tests: &[&str],
    ) -> Result<BTreeMap<String, Outcome>> {
        let mut command = self.command(target);
        command.args(["--in-place", "--output"]).arg(&self.output).args(TIMEOUT);
        if has_nextest() {
            // The first test that fails ends the run: half of the time.
            command.args(["--test-tool", "nextest"]);
        }
        for argument in tests {
            command.arg(format!("--cargo-arg={argument}"));
        }
        for name in names {
            command.arg(format!("--re=^{}$", escaped(name)));
        }
        command.env("CARGO_INCREMENTAL", "1").env("CARGO_PROFILE_DEV_DEBUG", "0");
        // The model of the collector tries 20,000 schedules otherwise.
        command.env("CASTORE_GC_SCHEDULES", "500");
        let status = command.status().context("cannot run cargo-mutants")?;
        // All were noticed; some were missed; some took too long.
        ensure!(matches!(status.code(), Some(0 | 2 | 3)), "cargo-mutants ended with {status}");
        let mut outcomes = BTreeMap::new();
        for (file, outcome) in [
            ("caught", Outcome::Noticed),
            ("timeout", Outcome::Noticed),
            ("missed", Outcome::Missed),
            ("unviable", Outcome::Unviable),
        ] {
            let path = self.output.join(format!("mutants.out/{file}.txt"));
            let names = match fs::read_to_string(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
                names => names.with_context(|| format!("cannot read {}", path.display()))?,
            };
            outcomes.extend(names.lines().map(|name| (name.to_owned(), outcome)));
        }
        // cargo-mutants also tries fields that are left out, whatever the names are.
        outcomes.retain(|name, _| names.contains(name));
        if let Some(name) = names.iter().find(|name| !outcomes.contains_key(*name)) {
            bail!("cargo-mutants did not try {name}");
        }
        Ok(outcomes)
    }
}

/// `count` of the names, or all of them; the same ones for the same seed.
fn sample(mut names: Vec<String>, count: usize, seed: u64) -> Vec<String> {
    names.sort_by_cached_key(|name| *blake3::hash(format!("{seed} {name}").as_bytes()).as_bytes());
    names.truncate(count);
    names
}

/// A regular expression that matches `text` alone.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for character in text.chars() {
        // (`\<` and `\>` are the ends of a word.)
        if character.is_ascii_punctuation() && !"<>_".contains(character) {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

/// The end of a mutant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// A test failed, or did not end.
    Noticed,
    Missed,
    /// The mutant does not compile.
    Unviable,
}

/// The outcomes of all mutants, by their names.
#[derive(Default)]
struct Results(BTreeMap<String, Outcome>);

impl Results {
    /// Takes the outcomes of a pass; one that `is_repeated` is for mutants that the last pass has
    /// missed.
    fn add(&mut self, outcomes: BTreeMap<String, Outcome>, is_repeated: bool) {
        for (name, outcome) in outcomes {
            // A mutant that has compiled is viable: only tests that use it differently do not
            // compile.
            let outcome = match outcome {
                Outcome::Unviable if is_repeated => Outcome::Noticed,
                outcome => outcome,
            };
            self.0.insert(name, outcome);
        }
    }

    fn missed(&self) -> Vec<&String> {
        let missed = self.0.iter().filter(|(_, outcome)| **outcome == Outcome::Missed);
        missed.map(|(name, _)| name).collect()
    }

    fn missed_of(&self, names: &[String]) -> Vec<String> {
        names.iter().filter(|name| self.0.get(*name) == Some(&Outcome::Missed)).cloned().collect()
    }

    /// The numbers of each crate, in one line.
    fn summary(&self) -> String {
        let mut crates: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
        for (name, outcome) in &self.0 {
            let numbers = crates.entry(name.split('/').next().unwrap_or_default()).or_default();
            match outcome {
                Outcome::Noticed => numbers[0] += 1,
                Outcome::Missed => numbers[1] += 1,
                Outcome::Unviable => {}
            }
        }
        let line = |(name, [noticed, missed]): (&str, [usize; 2])| {
            format!("{name}: {} viable, {noticed} noticed, {missed} missed", noticed + missed)
        };
        crates.into_iter().map(line).collect::<Vec<_>>().join("; ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|number| format!("a/src/lib.rs:{number}:1: replace + with -")).collect()
    }

    #[test]
    fn a_sample_is_that_of_its_seed() {
        let sampled = sample(names(100), 10, 1);
        assert_eq!(sampled.len(), 10);
        assert_eq!(sampled, sample(names(100), 10, 1));
        assert_ne!(sampled, sample(names(100), 10, 2));
        assert_eq!(sample(names(3), 10, 1).len(), 3);
    }

    #[test]
    fn a_mutant_that_no_pass_notices_is_missed() {
        let [a, b, c, d] =
            ["a/src/a.rs", "a/src/b.rs", "b/src/c.rs", "b/src/d.rs"].map(str::to_owned);
        let mut results = Results::default();
        let first = [
            (a.clone(), Outcome::Noticed),
            (b.clone(), Outcome::Missed),
            (c.clone(), Outcome::Missed),
            (d.clone(), Outcome::Unviable),
        ];
        results.add(first.into(), false);
        let missed = results.missed_of(&[a, b.clone(), c.clone(), d]);
        assert_eq!(missed, [b.clone(), c.clone()]);
        results.add([(b, Outcome::Noticed), (c.clone(), Outcome::Missed)].into(), true);
        assert_eq!(results.missed(), [&c]);
        assert_eq!(
            results.summary(),
            "a: 2 viable, 2 noticed, 0 missed; b: 1 viable, 0 noticed, 1 missed"
        );
    }

    #[test]
    fn a_name_is_matched_as_it_is() {
        assert_eq!(escaped("a.rs: Vec<u8>"), r"a\.rs\: Vec<u8>");
    }
}
