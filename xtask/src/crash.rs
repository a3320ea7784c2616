//! `cargo xtask crash`: kills castore at random instants, and looks whether anything was lost.
//!
//! Each operation runs over a store that is made from files of a fixed seed, and is killed (SIGKILL)
//! at an instant of the same seed. Then every blob whose line was printed before has to read back,
//! byte for byte; and the same command, run to its end, has to finish the work. In the end a chunk is
//! taken away by hand, which has to be noticed: otherwise all of this would prove nothing.

mod check;
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

/// How often an operation may be started for each kill that is to hit it: it may end before.
const STARTS_PER_KILL: usize = 20;

/// Something that changes a store, and tells of each blob that is safe from then on by a line that
/// starts with its digest.
struct Operation {
    name: &'static str,
    /// The arguments of a run that works on the store `store`, from the directory `place`.
    arguments: fn(place: &Place) -> Vec<String>,
}

/// What is killed. An operation that takes something away keeps what is acknowledged by others: it
/// takes another one before it, to fill the store.
const OPERATIONS: [Operation; 2] = [
    Operation {
        name: "put",
        arguments: |place| {
            let files = place.blobs.iter().map(|blob| blob.name.clone());
            ["put".to_owned()].into_iter().chain(files).collect()
        },
    },
    Operation {
        name: "copy",
        arguments: |_| {
            ["-s", "source", "copy", "--all", "--to", "store"].map(str::to_owned).to_vec()
        },
    },
];

/// Kills each operation, `kills` times together.
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

/// A directory with files, with a store `source` of them, and with the store that is tried.
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

/// A run that was started.
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

    /// Kills the operation `kills` times; returns how often something was lost.
    fn torture(&self, operation: &Operation, kills: usize) -> Result<usize> {
        let name = operation.name;
        let mut random = Random::new(&format!("castore crash {name}"));
        let arguments = (operation.arguments)(self);
        let store = self.directory.join("store");
        let begin_anew = || match fs::remove_dir_all(&store) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        begin_anew()?;
        let run = self.start(&arguments)?;
        let begun = run.begun;
        run.end()?;
        let longest = begun.elapsed();
        begin_anew()?;

        let (mut hits, mut starts, mut finished, mut lost) = (0, 0, 0, 0);
        let (mut acknowledged, mut checked) = (BTreeSet::new(), 0);
        let mut in_the_middle = 0;
        while hits < kills {
            starts += 1;
            ensure!(starts <= STARTS_PER_KILL * kills.max(10), "{name} ends before it is killed");
            let mut run = self.start(&arguments)?;
            sleep(longest.mul_f64(random.fraction()));
            let was_hit = run.kill()?;
            let lines = run.lines()?;
            acknowledged.extend(lines);
            if was_hit {
                hits += 1;
                in_the_middle += usize::from(!acknowledged.is_empty());
                checked += acknowledged.len();
                lost += self.check(name, &format!("kill {hits}"), &acknowledged)?;
            }
            // Now and then a store is killed several times before somebody finishes the work.
            if !was_hit || random.fraction() < 0.5 {
                if was_hit {
                    acknowledged.extend(self.start(&arguments)?.end()?);
                }
                finished += 1;
                let all: BTreeSet<String> =
                    self.blobs.iter().map(|blob| blob.digest.clone()).collect();
                if acknowledged != all {
                    println!("{name}: it ended well, and told of {} blobs", acknowledged.len());
                    lost += 1;
                }
                lost += self.check(name, "the end", &all)?;
                acknowledged.clear();
                begin_anew()?;
            }
        }
        println!(
            "{name}: {hits} kills hit it while it ran ({starts} runs of up to {:.2} s), \
             {in_the_middle} of them after it had told of blobs; {checked} blobs it had told of were \
             read back, and {finished} times all {} after it was finished: {lost} losses",
            longest.as_secs_f64(),
            self.blobs.len(),
        );
        self.start(&arguments)?.end()?;
        self.notices_a_loss(name)?;
        begin_anew()?;
        Ok(lost)
    }

    /// Reads back what was told to be safe; returns 1 where that fails, and says what.
    fn check(&self, name: &str, when: &str, acknowledged: &BTreeSet<String>) -> Result<usize> {
        let found = losses(&self.blobs, acknowledged, |digest| self.read(digest))?;
        for loss in &found {
            println!("{name}, {when}: {loss}");
        }
        Ok(usize::from(!found.is_empty()))
    }

    /// Takes a chunk away from the whole store that is there: that has to be seen.
    fn notices_a_loss(&self, name: &str) -> Result<()> {
        let all: BTreeSet<String> = self.blobs.iter().map(|blob| blob.digest.clone()).collect();
        ensure!(losses(&self.blobs, &all, |digest| self.read(digest))?.is_empty(), "{name} lost");
        let chunk = first_file(&self.directory.join("store/chunks"))?;
        fs::remove_file(chunk.context("there is no chunk")?)?;
        let found = losses(&self.blobs, &all, |digest| self.read(digest))?;
        ensure!(!found.is_empty(), "a chunk was taken away, and the check notices nothing");
        println!(
            "{name}: without one chunk the check finds {} blobs lost, as it should",
            found.len()
        );
        Ok(())
    }

    /// The blob, as castore reads it; or what it says instead.
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
    /// Kills it, without notice; returns whether it was still running.
    fn kill(&mut self) -> Result<bool> {
        if let Some(status) = self.child.try_wait()? {
            ensure!(status.success(), "it ended with {status} before it was killed");
            return Ok(false);
        }
        self.child.kill()?;
        let status = self.child.wait()?;
        // It may have ended between the look and the kill.
        Ok(!status.success())
    }

    /// Waits for its end, which has to be a good one; returns what it told of.
    fn end(mut self) -> Result<Vec<String>> {
        // A few lines, which no pipe is too small for.
        let status = self.child.wait()?;
        if !status.success() {
            bail!("castore ended with {status}");
        }
        self.lines()
    }

    /// The digests in the whole lines that it had printed.
    fn lines(&mut self) -> Result<Vec<String>> {
        let mut text = String::new();
        self.child.stdout.take().context("it has no output")?.read_to_string(&mut text)?;
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        Ok(whole.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect())
    }
}

fn first_file(directory: &Path) -> Result<Option<PathBuf>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory)? {
        paths.push(entry?.path());
    }
    paths.sort();
    for path in paths {
        if path.is_file() {
            return Ok(Some(path));
        }
        if let Some(found) = first_file(&path)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}
