//! The record file that lets an interrupted verification resume.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use castore_objstore::verify::{Checkpoint, Finding, Problem};
use serde_json::{Value, json};

use crate::failure::{Failure, Result, USAGE};
use crate::names::shown;
use crate::time;

/// The interval between writes of the file.
const INTERVAL: Duration = Duration::from_secs(1);

/// The progress of a verification, in a file that is written every second and on drop.
pub(super) struct Record {
    path: PathBuf,
    /// The description of the verification.
    plan: Value,
    /// Seconds since 1970.
    begun: u64,
    checkpoint: Option<Checkpoint>,
    /// The findings up to the checkpoint: of earlier runs, and of this one.
    before: Found,
    found: Found,
    /// The findings since the checkpoint.
    pending: Found,
    written: Option<Instant>,
    finished: bool,
}

/// Counts of findings that a run resumed from the checkpoint does not make again.
#[derive(Clone, Copy, Default)]
pub(super) struct Found {
    /// Objects that are damaged.
    pub(super) damaged: u64,
    /// Objects that could not be read, so that their state is not known.
    pub(super) unknown: u64,
}

impl Found {
    fn add(&mut self, other: Found) {
        self.damaged += other.damaged;
        self.unknown += other.unknown;
    }
}

impl Record {
    /// Reads the file, if it exists. The file must belong to a verification of `plan`.
    pub(super) fn open(path: &Path, plan: &Value) -> Result<Record> {
        let mut record = Record {
            path: path.to_owned(),
            plan: plan.clone(),
            begun: seconds(SystemTime::now()),
            checkpoint: None,
            before: Found::default(),
            found: Found::default(),
            pending: Found::default(),
            written: None,
            finished: false,
        };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A file that cannot be written must fail now, and not after hours.
                record.write().map_err(|error| Failure::from(error).about(shown(path)))?;
                record.written = None;
                return Ok(record);
            }
            Err(error) => return Err(Failure::from(error).about(shown(path))),
        };
        let wrong = |what: &str| {
            let message = format!("{} {what}; use another file, or remove it", shown(path));
            Failure::new(USAGE, message)
        };
        let Ok(value) = serde_json::from_str::<Value>(&text) else {
            return Err(wrong("is not the record of a verification"));
        };
        let (Some(begun), Some(damaged)) = (value["begun"].as_u64(), value["damaged"].as_u64())
        else {
            return Err(wrong("is not the record of a verification"));
        };
        if value["verify"] != *plan {
            return Err(wrong("is of another store or of other options"));
        }
        record.checkpoint = match &value["up_to"] {
            Value::Null => None,
            Value::String(text) => Some(text.parse()?),
            _ => return Err(wrong("is not the record of a verification")),
        };
        record.begun = begun;
        record.before = Found { damaged, unknown: value["unknown"].as_u64().unwrap_or(0) };
        Ok(record)
    }

    /// The start of the first run: times relative to now are relative to that.
    pub(super) fn begun(&self) -> SystemTime {
        let begun = UNIX_EPOCH.checked_add(Duration::from_secs(self.begun));
        begun.unwrap_or_else(SystemTime::now)
    }

    /// The part of a sample to read, if the options do not say.
    pub(super) fn part(&self) -> Option<u64> {
        self.plan["part"].as_u64().or(Some(time::today(self.begun())))
    }

    pub(super) fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint
    }

    /// The findings of earlier runs that this one will not make again.
    pub(super) fn before(&self) -> Found {
        self.before
    }

    pub(super) fn found(&mut self, finding: &Finding) {
        // Each run reads all indexes, and repeats the findings about them and the sizes in them. An
        // unreadable index may be readable in a later run, but that run does not read again the
        // chunks and blobs that were skipped because of it.
        let again = matches!(
            finding.problem,
            Problem::MissingChunk | Problem::WrongSize | Problem::MalformedIndex
        );
        if !again {
            self.pending.damaged += u64::from(finding.is_damage());
            self.pending.unknown += u64::from(finding.is_unknown());
        }
    }

    pub(super) fn up_to(&mut self, checkpoint: Checkpoint) {
        self.checkpoint = Some(checkpoint);
        self.found.add(std::mem::take(&mut self.pending));
        if self.written.is_none_or(|written| written.elapsed() >= INTERVAL) {
            // The next write follows in a second. A run that resumes from an older record repeats
            // work.
            let _ = self.write();
        }
    }

    /// Removes the file: nothing is left to resume.
    pub(super) fn finish(mut self) -> Result<()> {
        self.finished = true;
        match std::fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Failure::from(error).about(shown(&self.path)))
            }
            _ => Ok(()),
        }
    }

    /// Replaces the file atomically.
    fn write(&mut self) -> io::Result<()> {
        let mut found = self.before;
        found.add(self.found);
        let record = json!({
            "verify": self.plan,
            "begun": self.begun,
            "up_to": self.checkpoint.map(|checkpoint| checkpoint.to_string()),
            "damaged": found.damaged,
            "unknown": found.unknown,
        });
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let mut file = tempfile::Builder::new().prefix(".castore-").tempfile_in(directory)?;
        writeln!(file, "{record}")?;
        file.persist(&self.path).map_err(|error| error.error)?;
        self.written = Some(Instant::now());
        Ok(())
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        if !self.finished && self.checkpoint.is_some() {
            let _ = self.write();
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
