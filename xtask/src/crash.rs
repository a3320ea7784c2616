//! `cargo xtask crash`: kills castore at random instants, and checks that nothing was lost.
//!
//! Each operation runs over a store made from files with a fixed seed, and is killed (SIGKILL) at
//! an instant from the same seed. After that, every blob that was safe before, and every one whose
//! line was printed, must read back, byte for byte. The same command, run to its end, must finish
//! the work, so that a verification finds nothing. At the end the test removes a chunk by hand, and
//! the checks must notice: otherwise they would prove nothing.
//!
//! `--faults` runs random schedules under errors, torn writes, power cuts and pauses: `faults.rs`.

mod check;
mod damage;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod faults;
mod files;

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread::sleep;
use std::time::Instant;

use anyhow::{Context as _, Result, bail, ensure};

use self::check::losses;
use self::files::{Blob, Random};
use crate::castore;

const DEFAULT_KILLS: usize = 100;

/// The most starts of an operation for each kill that hits it: the operation may end first.
const STARTS_PER_KILL: usize = 20;

/// Sets aside and removes. No other writer runs, so the collector needs no grace period.
const COLLECT: &str = "gc --run --grace 0 --max-fraction 1";

/// An operation that changes a store.
struct Operation {
    name: &'static str,
    /// Makes the initial store, if any. Blobs that can be read from it are safe.
    begin: fn(place: &Place) -> Result<()>,
    /// The arguments of a run that works on the store `store`, from the directory `place`.
    arguments: fn(place: &Place) -> Vec<String>,
    /// Whether the operation prints a line, starting with the digest, for each blob that is now
    /// safe.
    tells: bool,
    /// The number of runs until everything is done.
    runs: usize,
    /// Whether the store then has the blob with this number.
    has: fn(number: usize) -> bool,
}

/// The operations to kill.
const OPERATIONS: [Operation; 5] = [
    Operation {
        name: "put",
        begin: |_| Ok(()),
        arguments: |place| {
            let files = place.blobs.iter().map(|blob| blob.name.clone());
            ["put".to_owned()].into_iter().chain(files).collect()
        },
        tells: true,
        runs: 1,
        has: |_| true,
    },
    Operation {
        name: "copy",
        begin: |_| Ok(()),
        arguments: |_| words("-s source copy --all --to store"),
        tells: true,
        runs: 1,
        has: |_| true,
    },
    // The first run sets aside, and the second removes.
    Operation {
        name: "gc",
        begin: |place| place.remove_some(),
        arguments: |_| words(COLLECT),
        tells: false,
        runs: 2,
        has: is_kept,
    },
    // An index lists chunks that are set aside, as if a writer had found them before.
    Operation {
        name: "gc, putting back",
        begin: |place| {
            place.remove_some()?;
            place.start(&words(COLLECT))?.end()?;
            for (number, blob) in place.blobs.iter().enumerate() {
                if !is_kept(number) && is_listed_again(number) {
                    place.list_again(blob)?;
                }
            }
            Ok(())
        },
        arguments: |_| words(COLLECT),
        tells: false,
        runs: 2,
        has: |number| is_kept(number) || is_listed_again(number),
    },
    Operation {
        name: "repair",
        begin: |place| {
            files::copy(&place.directory.join("source"), &place.store())?;
            damage::damage(&place.store(), &mut Random::new("castore crash damage"))
        },
        arguments: |_| words("repair --from source"),
        tells: false,
        runs: 1,
        has: |_| true,
    },
];

/// Two thirds, some of each kind.
fn is_kept(number: usize) -> bool {
    !number.is_multiple_of(3)
}

fn is_listed_again(number: usize) -> bool {
    number.is_multiple_of(2)
}

fn words(arguments: &str) -> Vec<String> {
    arguments.split(' ').map(str::to_owned).collect()
}

/// Runs random schedules of operations under faults.
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(crate) fn run_faults(root: &Path, arguments: &[&str]) -> Result<ExitCode> {
    faults::run(root, arguments)
}

/// The shim traps Linux's system calls, and reads the registers of one processor.
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(crate) fn run_faults(_: &Path, _: &[&str]) -> Result<ExitCode> {
    bail!("faults are injected on Linux on x86_64 only")
}

/// Kills each operation, `kills` times in total.
pub(crate) fn run(root: &Path, kills: Option<&str>) -> Result<ExitCode> {
    let kills = match kills {
        Some(kills) => kills.parse().context("the number of kills is a whole number")?,
        None => DEFAULT_KILLS,
    };
    let castore = castore::build(root)?;
    let place = Place::new(root.join("target/crash"), castore)?;
    let mut lost = 0;
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let share = (kills + OPERATIONS.len() - 1 - number) / OPERATIONS.len();
        lost += place.torture(operation, share)?;
    }
    match lost {
        0 => Ok(ExitCode::SUCCESS),
        lost => {
            println!("{lost} times something was LOST");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// A directory with files, a store `source` of them, and the store under test.
struct Place {
    directory: PathBuf,
    castore: PathBuf,
    blobs: Vec<Blob>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A started run.
struct Run {
    child: Child,
    begun: Instant,
}

impl Place {
    fn new(directory: PathBuf, castore: PathBuf) -> Result<Place> {
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        let place = Place { directory, castore, blobs: files::blobs() };
        for blob in &place.blobs {
            fs::write(place.directory.join(&blob.name), &blob.data)?;
        }
        let mut arguments = vec!["-s".to_owned(), "source".to_owned()];
        arguments.extend((OPERATIONS[0].arguments)(&place));
        place.start(&arguments)?.end()?;
        Ok(place)
    }

    /// Kills the operation `kills` times. Returns the number of losses.
    fn torture(&self, operation: &Operation, kills: usize) -> Result<usize> {
        let name = operation.name;
        let mut random = Random::new(&format!("castore crash {name}"));
        let arguments = (operation.arguments)(self);
        let all = self.all(operation);
        self.begin_anew(operation)?;
        let safe = self.readable(&all)?;
        let run = self.start(&arguments)?;
        let begun = run.begun;
        run.end()?;
        let longest = begun.elapsed();
        self.begin_anew(operation)?;

        let (mut hits, mut starts, mut finished, mut lost) = (0, 0, 0, 0);
        let (mut acknowledged, mut checked) = (safe.clone(), 0);
        let mut in_the_middle = 0;
        while hits < kills {
            starts += 1;
            ensure!(starts <= STARTS_PER_KILL * kills.max(10), "{name} ends before it is killed");
            let before = files::sizes(&self.store())?;
            let mut run = self.start(&arguments)?;
            sleep(longest.mul_f64(random.fraction()));
            let was_hit = run.kill()?;
            if operation.tells {
                acknowledged.extend(run.lines()?);
            }
            if was_hit {
                hits += 1;
                in_the_middle += usize::from(files::sizes(&self.store())? != before);
                checked += acknowledged.len();
                lost += self.check(name, &format!("kill {hits}"), &acknowledged)?;
            }
            // Sometimes a store is killed several times before the work is finished.
            if !was_hit || random.fraction() < 0.5 {
                let told = self.finish(operation)?;
                finished += 1;
                if operation.tells {
                    acknowledged.extend(told);
                    if acknowledged != all {
                        println!("{name}: it ended well, and told of {} blobs", acknowledged.len());
                        lost += 1;
                    }
                }
                lost += self.check(name, "the end", &all)? + self.verify(name)?;
                acknowledged = safe.clone();
                self.begin_anew(operation)?;
            }
        }
        println!(
            "{name}: {hits} kills hit it while it ran ({starts} runs of up to {:.2} s), \
             {in_the_middle} of them after it had changed the store; {checked} blobs that were safe \
             were read back, and {finished} times all {} after it was finished: {lost} losses",
            longest.as_secs_f64(),
            all.len(),
        );
        self.finish(operation)?;
        self.notices_a_loss(name, &all)?;
        Ok(lost)
    }

    fn store(&self) -> PathBuf {
        self.directory.join("store")
    }

    /// The digests of the blobs in the store at the end.
    fn all(&self, operation: &Operation) -> BTreeSet<String> {
        let blobs = self.blobs.iter().enumerate().filter(|(number, _)| (operation.has)(*number));
        blobs.map(|(_, blob)| blob.digest.clone()).collect()
    }

    /// Makes a store of all blobs, and removes some of them again.
    fn remove_some(&self) -> Result<()> {
        files::copy(&self.directory.join("source"), &self.store())?;
        let removed = self.blobs.iter().enumerate().filter(|(number, _)| !is_kept(*number));
        let removed = removed.map(|(_, blob)| blob.digest.clone());
        let arguments: Vec<String> = ["rm".to_owned()].into_iter().chain(removed).collect();
        self.start(&arguments)?.end().map(drop)
    }

    /// Writes the index of a removed blob again.
    fn list_again(&self, blob: &Blob) -> Result<()> {
        let index = Path::new("blobs/b3").join(&blob.digest[..4]).join(&blob.digest);
        let [from, to] = [self.directory.join("source").join(&index), self.store().join(index)];
        fs::copy(&from, &to).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    }

    fn begin_anew(&self, operation: &Operation) -> Result<()> {
        match fs::remove_dir_all(self.store()) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => {}
        }
        (operation.begin)(self)
    }

    /// The blobs among `digests` that can be read from the store, if there is one.
    fn readable(&self, digests: &BTreeSet<String>) -> Result<BTreeSet<String>> {
        let mut readable = BTreeSet::new();
        if self.store().exists() {
            for digest in digests {
                let alone = BTreeSet::from([digest.clone()]);
                if losses(&self.blobs, &alone, |digest| self.read(digest))?.is_empty() {
                    readable.extend(alone);
                }
            }
        }
        Ok(readable)
    }

    /// Runs the operation to its end, as often as needed. Returns the digests it printed.
    fn finish(&self, operation: &Operation) -> Result<Vec<String>> {
        let mut told = Vec::new();
        for _ in 0..operation.runs {
            told.extend(self.start(&(operation.arguments)(self))?.end()?);
        }
        Ok(told)
    }

    /// Returns 1 and prints the findings if a verification finds damage, or chunks that no blob
    /// lists.
    fn verify(&self, name: &str) -> Result<usize> {
        let output = self.command(&words("--json verify --level data")).output()?;
        let said = String::from_utf8_lossy(&output.stdout);
        let unlisted = said.split_once("\"unlisted_chunks\":").map(|(_, said)| said);
        let unlisted = unlisted.and_then(|said| said.split([',', '}']).next());
        let is_good = output.status.success() && unlisted == Some("0");
        if !is_good {
            println!("{name}, the end: the verification ends with {}\n{said}", output.status);
        }
        Ok(usize::from(!is_good))
    }

    /// Reads back the acknowledged blobs. Returns 1 and prints the losses if that fails.
    fn check(&self, name: &str, when: &str, acknowledged: &BTreeSet<String>) -> Result<usize> {
        let found = losses(&self.blobs, acknowledged, |digest| self.read(digest))?;
        for loss in &found {
            println!("{name}, {when}: {loss}");
        }
        Ok(usize::from(!found.is_empty()))
    }

    /// Removes a chunk from the undamaged store, and checks that the loss is noticed.
    fn notices_a_loss(&self, name: &str, all: &BTreeSet<String>) -> Result<()> {
        ensure!(losses(&self.blobs, all, |digest| self.read(digest))?.is_empty(), "{name} lost");
        let chunks = files::sizes(&self.store().join("chunks"))?;
        fs::remove_file(chunks.first_key_value().context("there is no chunk")?.0)?;
        let found = losses(&self.blobs, all, |digest| self.read(digest))?;
        ensure!(!found.is_empty(), "a chunk was taken away, and the check notices nothing");
        println!(
            "{name}: without one chunk the check finds {} blobs lost, as it should",
            found.len()
        );
        Ok(())
    }

    /// The blob as castore reads it, or castore's message.
    fn read(&self, digest: &str) -> Result<Result<Vec<u8>, String>> {
        let output = self.command(&["cat".to_owned(), digest.to_owned()]).output()?;
        Ok(match output.status.success() {
            true => Ok(output.stdout),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        })
    }

    fn command(&self, arguments: &[String]) -> Command {
        let mut command = Command::new(&self.castore);
        command.arg("-q").args(arguments).current_dir(&self.directory).stdin(Stdio::null());
        command.env("CASTORE_STORE", "store");
        command
    }

    fn start(&self, arguments: &[String]) -> Result<Run> {
        let child = self.command(arguments).stdout(Stdio::piped()).spawn();
        let child = child.with_context(|| format!("cannot run {}", self.castore.display()))?;
        Ok(Run { child, begun: Instant::now() })
    }
}

impl Run {
    /// Kills the run without notice. Returns whether it was still running.
    fn kill(&mut self) -> Result<bool> {
        if let Some(status) = self.child.try_wait()? {
            ensure!(status.success(), "it ended with {status} before it was killed");
            return Ok(false);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        // The run may have ended between the look and the kill.
        Ok(!status.success())
    }

    /// Waits for the end, which must be a success. Returns the printed digests.
    fn end(mut self) -> Result<Vec<String>> {
        // The few lines fit into the buffer of any pipe.
        let status = self.child.wait()?;
        if !status.success() {
            bail!("castore ended with {status}");
        }
        self.lines()
    }

    /// The digests in the whole lines printed so far.
    fn lines(&mut self) -> Result<Vec<String>> {
        let mut text = String::new();
        self.child.stdout.take().context("it has no output")?.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }
}
