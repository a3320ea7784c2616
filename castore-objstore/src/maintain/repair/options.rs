//! What a repair is to do, and what it has done.

use std::path::PathBuf;
use std::sync::Arc;

use castore_core::{BlobService, Error};

use crate::maintain::verify::{VerifyLevel, VerifyReport};

/// How a store is to be repaired.
#[derive(Debug, Clone)]
#[must_use = "options do nothing by themselves"]
pub struct RepairOptions {
    pub(super) level: VerifyLevel,
    pub(super) dry_run: bool,
    pub(super) services: Vec<Arc<dyn BlobService>>,
    pub(super) files: Vec<PathBuf>,
}

impl Default for RepairOptions {
    fn default() -> RepairOptions {
        RepairOptions {
            level: VerifyLevel::Data,
            dry_run: false,
            services: Vec::new(),
            files: Vec::new(),
        }
    }
}

impl RepairOptions {
    /// How closely the store is verified before; by default every chunk is read.
    pub fn level(mut self, level: VerifyLevel) -> RepairOptions {
        self.level = level;
        self
    }

    /// Does everything but write and delete: what can be repaired is found out, and nothing changes.
    pub fn dry_run(mut self, dry_run: bool) -> RepairOptions {
        self.dry_run = dry_run;
        self
    }

    /// Fetches what is bad from this service, too; it need not cut blobs at the same places.
    pub fn from_service(mut self, service: Arc<dyn BlobService>) -> RepairOptions {
        self.services.push(service);
        self
    }

    /// Takes what is bad from this file, too: one that was stored, or one that has parts in common with
    /// it. It is read once from its start to its end, and once more where it has what is needed.
    pub fn from_file(mut self, path: impl Into<PathBuf>) -> RepairOptions {
        self.files.push(path.into());
        self
    }
}

/// What became of a finding.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// It is right again.
    Repaired,
    /// No source has it; the bad object was moved to this key, so that the next writer stores it again.
    Quarantined(String),
    /// No source has it, and there is nothing to move: the object certainly is not there, or the index
    /// stays because one of its chunks is lost.
    Lost,
    /// It was removed: nobody needs it.
    Removed,
    /// It is right by now, or gone, or others are at work on it.
    Changed,
    /// It does no harm and stays; or it is a blob in the quarantine that no source has.
    Left,
    /// It could not be repaired, as the store failed.
    Failed(Error),
    /// It stays as it is: the store does not give it, or a source could not be asked that may have it.
    /// Repairing again when they do is safe.
    NotKnown(Error),
}

impl RepairOutcome {
    /// A short name, such as `repaired`.
    pub fn name(&self) -> &'static str {
        match self {
            RepairOutcome::Repaired => "repaired",
            RepairOutcome::Quarantined(_) => "quarantined",
            RepairOutcome::Lost => "lost",
            RepairOutcome::Removed => "removed",
            RepairOutcome::Changed => "changed",
            RepairOutcome::Left => "left",
            RepairOutcome::Failed(_) => "failed",
            RepairOutcome::NotKnown(_) => "not-known",
        }
    }
}

/// What a repair has done, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// What the verification before has seen.
    pub verified: VerifyReport,
    /// Chunks and indexes that are right again.
    pub repaired: u64,
    /// Objects that were moved aside.
    pub quarantined: u64,
    /// Chunks and indexes that are missing, and that no source has.
    pub lost: u64,
    /// Leftovers of crashes that were removed.
    pub removed: u64,
    /// Findings that the store kept from being repaired.
    pub failed: u64,
    /// Findings that could not be looked at again, or that a source may have which could not be asked.
    pub not_known: u64,
    /// Findings that are not repaired, and that keep a blob from being read. What is not known does not
    /// count.
    pub unrepaired: u64,
}
