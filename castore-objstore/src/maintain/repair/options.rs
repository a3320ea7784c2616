//! The options and the results of a repair.

use std::path::PathBuf;
use std::sync::Arc;

use castore_core::{BlobService, Error};

use crate::maintain::verify::{VerifyLevel, VerifyReport};

/// Options of a repair.
#[derive(Debug, Clone)]
#[must_use = "options do nothing by themselves"]
pub struct RepairOptions {
    pub(super) level: VerifyLevel,
    pub(super) dry_run: bool,
    pub(super) add_group_hashes: bool,
    pub(super) services: Vec<Arc<dyn BlobService>>,
    pub(super) files: Vec<PathBuf>,
}

impl Default for RepairOptions {
    fn default() -> RepairOptions {
        RepairOptions {
            level: VerifyLevel::Data,
            dry_run: false,
            add_group_hashes: false,
            services: Vec::new(),
            files: Vec::new(),
        }
    }
}

impl RepairOptions {
    /// How closely the repair verifies the store first; by default every chunk is read.
    pub fn level(mut self, level: VerifyLevel) -> RepairOptions {
        self.level = level;
        self
    }

    /// Does everything except writing and deleting: finds out what can be repaired, and changes
    /// nothing.
    pub fn dry_run(mut self, dry_run: bool) -> RepairOptions {
        self.dry_run = dry_run;
        self
    }

    /// Also writes every index of a blob of more than 256 KiB that has no
    /// [group hashes](castore_core::groups) again with them, after the whole blob was read and has
    /// its digest; not by default. A dry run counts these indexes and reads no blob.
    ///
    /// A blob that proves to be wrong is repaired like one that the verification has found. If a
    /// blob cannot be read or its index not written, that is a finding
    /// ([`Problem::NoGroupHashes`](crate::verify::Problem::NoGroupHashes)).
    pub fn add_group_hashes(mut self, add_group_hashes: bool) -> RepairOptions {
        self.add_group_hashes = add_group_hashes;
        self
    }

    /// Adds a service as a source of good chunks and blobs. The service may cut blobs at other
    /// places.
    pub fn from_service(mut self, service: Arc<dyn BlobService>) -> RepairOptions {
        self.services.push(service);
        self
    }

    /// Adds a file as a source: a file that was stored, or one that has parts in common with it.
    /// The file is read once from start to end, and again wherever it has needed chunks.
    pub fn from_file(mut self, path: impl Into<PathBuf>) -> RepairOptions {
        self.files.push(path.into());
        self
    }
}

/// The outcome of a finding.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum RepairOutcome {
    /// The object is right again.
    Repaired,
    /// No source has the object. The bad object was moved to this key, so that the next writer
    /// stores it again.
    Quarantined(String),
    /// No source has the object, and nothing can be moved: the object is certainly missing, or the
    /// index stays because one of its chunks is lost.
    Lost,
    /// The leftover was removed.
    Removed,
    /// The object is right by now, or gone, or others are at work on it.
    Changed,
    /// The object does no harm and stays; or the finding is a blob in the quarantine that no source
    /// has.
    Left,
    /// The object could not be repaired, because the store failed.
    Failed(Error),
    /// The object stays unchanged: the store fails to return it, or a source that may have it could
    /// not be asked. Another repair is safe once they respond.
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

/// The results of a repair, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RepairReport {
    /// The report of the verification at the start. A blob that proves to be wrong when group
    /// hashes are added counts as damaged, too.
    pub verified: VerifyReport,
    /// Chunks and indexes that were repaired.
    pub repaired: u64,
    /// Objects that were moved to the quarantine.
    pub quarantined: u64,
    /// Chunks and indexes that are missing and that no source has.
    pub lost: u64,
    /// Leftovers of crashes that were removed.
    pub removed: u64,
    /// Findings that could not be repaired because the store failed.
    pub failed: u64,
    /// Findings that could not be looked at again, or that a source which could not be asked may
    /// have.
    pub not_known: u64,
    /// Indexes that were written again with group hashes.
    pub group_hashes_added: u64,
    /// Findings that are not repaired, and that keep a blob from being read. Objects in an unknown
    /// state do not count.
    pub unrepaired: u64,
}
