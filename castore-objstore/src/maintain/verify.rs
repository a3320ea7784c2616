//! Verifies that every index and every chunk of a store is present and right.
//!
//! A verification lists the chunks, then reads the indexes and looks up their chunks in the
//! listing. At the deeper levels it then reads the chunks in the order of their digests, and the
//! blobs in the order of theirs. Others write, remove and collect garbage meanwhile: so a missing
//! or wrong object is looked at once more right before it is reported. An unreadable object is read
//! again at the end of its phase; if that fails too, its state is unknown.

mod blobs;
mod data;
mod finding;
mod groups;
mod indexes;
mod inventory;
mod missing;
mod options;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use castore_core::{Digest, Error, Result};
use futures_util::TryStreamExt;

use self::indexes::Missing;
use self::inventory::Inventory;
use super::observer::{Observer, Phase};

use crate::error::is_corrupt;
use crate::exec::in_order::InOrder;
use crate::service::ObjectStoreBlobService;
use crate::store::Store;
use crate::store::layout::Kind;

pub(crate) use self::blobs::{Whole, read_whole};
pub(crate) use self::data::{Examined, examine};
pub use self::finding::{Finding, Problem};
pub(crate) use self::groups::WrongGroups;
pub(crate) use self::indexes::{Indexed, lacks_group_hashes, read_index, read_listed_index};
pub(crate) use self::missing::look_again;
pub use self::options::{Checkpoint, VerifyLevel, VerifyOptions};
pub use super::sample::Sample;

const LIST: &str = "list the store";

/// Give up after this many consecutive unreadable objects: the store itself is failing.
const UNREADABLE_IN_A_ROW: u32 = 100;

/// An event of a verification under way.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Verified {
    /// A finding: something is wrong.
    Finding(Finding),
    /// The work up to here is done, and its findings were reported. A later verification can go on
    /// from here ([`VerifyOptions::resume`]).
    UpTo(Checkpoint),
}

/// The results of a verification, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Indexes that were read.
    pub blobs: u64,
    /// Chunk objects in the store.
    pub chunks: u64,
    /// Chunk objects that no index lists.
    pub unlisted_chunks: u64,
    /// Chunks that were read.
    pub chunks_read: u64,
    /// The uncompressed size of the chunks that were read, in bytes.
    pub bytes_read: u64,
    /// Blobs of several chunks that were read as a whole.
    pub blobs_read: u64,
    /// Indexes of blobs of more than 256 KiB that have no group hashes, so that a range of such a
    /// blob is verified by its chunks alone. They are no damage, and a repair can add the hashes
    /// ([`RepairOptions::add_group_hashes`](crate::repair::RepairOptions::add_group_hashes)).
    pub without_group_hashes: u64,
    /// Objects in the quarantine, moved there by earlier repairs.
    pub quarantined: u64,
    /// Findings that are damage ([`Finding::is_damage`]).
    pub damaged: u64,
    /// Findings of objects that could not be read ([`Finding::is_unknown`]): their state is
    /// unknown.
    pub unknown: u64,
    /// Other findings: strays, leftovers, empty chunk objects that no index lists, blobs in the
    /// quarantine.
    pub harmless: u64,
}

impl VerifyReport {
    /// Whether every object that was to be read could be read and is right.
    pub fn is_good(&self) -> bool {
        self.damaged == 0 && self.unknown == 0
    }
}

impl ObjectStoreBlobService {
    /// Verifies the store, and hands every finding to `each` as soon as it is certain.
    ///
    /// At the level of indexes, a verification takes one listing each of the chunks, the indexes
    /// and the quarantine, and a request for each index. Further levels read every chunk once, and
    /// every blob of several chunks. All requests obey the limits of the service
    /// ([`Builder::requests`](crate::Builder::requests),
    /// [`Builder::memory`](crate::Builder::memory)). In addition, a verification takes 54 bytes of
    /// memory for each chunk in the store, 32 for each blob (64 at the level of blobs), and about
    /// 150 for each missing chunk.
    ///
    /// Others may write to the store and remove from it meanwhile.
    ///
    /// Cancel safe: a verification changes nothing.
    ///
    /// # Errors
    /// Problems of single objects are findings, and so is an object that the store fails to return
    /// ([`Finding::is_unknown`]). The verification ends with an error if the store cannot be
    /// listed, or fails to return a hundred objects in a row (`Unavailable`, `PermissionDenied`).
    pub async fn verify(
        &self,
        options: &VerifyOptions,
        observer: &dyn Observer,
        each: impl FnMut(Verified) + Send,
    ) -> Result<VerifyReport> {
        let mut run = Run {
            shared: Arc::clone(&self.shared),
            options,
            observer,
            each,
            report: VerifyReport::default(),
            inventory: Inventory::new(),
            missing: HashMap::new(),
            wrong_sizes: HashMap::new(),
            wrong_blobs: HashSet::new(),
            to_read: Vec::new(),
            unreadable_in_a_row: 0,
        };
        run.list_chunks().await?;
        run.look_for_leftovers().await?;
        run.read_indexes().await?;
        run.confirm_missing().await?;
        run.look_into_quarantine().await?;
        let before_blobs = options.resume.is_none_or(|checkpoint| !checkpoint.is_of_blobs());
        if before_blobs {
            run.read_chunks().await?;
            run.blame_for_sizes().await?;
        }
        if options.level == VerifyLevel::Blob {
            run.read_blobs().await?;
        }
        Ok(run.report)
    }
}

/// A verification under way.
struct Run<'a, E> {
    shared: Arc<Store>,
    options: &'a VerifyOptions,
    observer: &'a dyn Observer,
    each: E,
    report: VerifyReport,
    inventory: Inventory,
    /// The chunks that an index lists but the listing lacked.
    missing: HashMap<Digest, Missing>,
    /// The real sizes of chunks for which an index states another size.
    wrong_sizes: HashMap<Digest, u64>,
    /// The blobs whose indexes state wrong sizes.
    wrong_blobs: HashSet<Digest>,
    /// The blobs to read as a whole.
    to_read: Vec<Digest>,
    unreadable_in_a_row: u32,
}

impl<E: FnMut(Verified) + Send> Run<'_, E> {
    async fn list_chunks(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut objects = shared.objects(LIST, &shared.layout.part("chunks"));
        let mut phase = Phase::new(self.observer, "list the chunks", None);
        while let Some(object) = objects.try_next().await? {
            match object.digest {
                Some(digest) => {
                    let selected = self.selects(&digest, object.modified);
                    self.inventory.add(digest, object.size, selected);
                }
                None => self.found(Finding::new(Problem::Stray, object.key, "")),
            }
            phase.step();
        }
        self.inventory.seal();
        self.report.chunks = self.inventory.len();
        Ok(())
    }

    async fn look_for_leftovers(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        for leftover in shared.leftovers(LIST).await? {
            let detail = format!("{} bytes", leftover.size);
            self.found(Finding::new(Problem::Leftover, shared.leftover_key(&leftover), detail));
        }
        Ok(())
    }

    /// Counts the objects in the quarantine, and finds the blobs that are only there.
    async fn look_into_quarantine(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let quarantined = shared.quarantined(LIST).await?;
        self.report.quarantined = quarantined.objects;
        for (blob, key) in quarantined.blobs {
            if !shared.is_in_place(LIST, Kind::Blob, &blob).await? {
                let finding = Finding::new(Problem::QuarantinedBlob, key, "");
                self.found(finding.of(blob).affecting(vec![blob], 1));
            }
        }
        Ok(())
    }

    /// Whether the options select the contents of an object for reading.
    fn selects(&self, digest: &Digest, modified: SystemTime) -> bool {
        let VerifyOptions { level, sample, since, .. } = self.options;
        *level > VerifyLevel::Index
            && sample.is_none_or(|sample| sample.covers(digest))
            && since.is_none_or(|since| modified >= since)
    }

    fn found(&mut self, finding: Finding) {
        let count = match (finding.is_unknown(), finding.is_damage()) {
            (true, _) => &mut self.report.unknown,
            (_, true) => &mut self.report.damaged,
            _ => &mut self.report.harmless,
        };
        *count += 1;
        (self.each)(Verified::Finding(finding));
    }

    /// Notes whether the store returned an object. Fails if the store failed too often in a row.
    fn note_result(&mut self, failure: Option<&Error>) -> Result<()> {
        let Some(error) = failure else {
            self.unreadable_in_a_row = 0;
            return Ok(());
        };
        self.unreadable_in_a_row += 1;
        match self.unreadable_in_a_row {
            0..UNREADABLE_IN_A_ROW => Ok(()),
            _ => Err(error.clone()),
        }
    }
}

/// An error and its causes, on one line.
pub(crate) fn one_line(error: &Error) -> String {
    let mut text = error.message().to_owned();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        source = error.source();
    }
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
