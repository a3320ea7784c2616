//! Whether everything is there and right.
//!
//! One listing of the chunks comes first, then the indexes, each of whose chunks is looked up in what
//! was listed; then, where that is asked for, the chunks are read in the order of their digests, and
//! the blobs in that of theirs. What is missed is looked for once more before it is reported: others
//! may have written or removed it meanwhile.

mod blobs;
mod data;
mod finding;
mod indexes;
mod inventory;
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

pub(crate) use self::data::{Examined, examine};
pub use self::finding::{Finding, Problem};
pub(crate) use self::indexes::{Indexed, read_index};
pub use self::options::{Checkpoint, VerifyLevel, VerifyOptions};

const LIST: &str = "list the store";

/// With so many objects in a row that the store does not give, it is the store that fails.
const UNREADABLE_IN_A_ROW: u32 = 100;

/// What a verification tells while it goes on.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Verified {
    /// Something is wrong.
    Finding(Finding),
    /// The work up to here is done, and what it found was told: a later verification can go on from
    /// here ([`VerifyOptions::resume`]).
    UpTo(Checkpoint),
}

/// What a verification has seen, in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct VerifyReport {
    /// Indexes that were read.
    pub blobs: u64,
    /// Chunk objects that are there.
    pub chunks: u64,
    /// Of those the ones that no index lists.
    pub unlisted_chunks: u64,
    /// Chunks that were read.
    pub chunks_read: u64,
    /// Their uncompressed bytes.
    pub bytes_read: u64,
    /// Blobs of several chunks that were read as a whole.
    pub blobs_read: u64,
    /// Findings that are damage ([`Finding::is_damage`]).
    pub damaged: u64,
    /// Other findings: strays, leftovers, empty chunk objects that no index lists.
    pub harmless: u64,
}

impl VerifyReport {
    /// Whether no damage was found.
    pub fn is_good(&self) -> bool {
        self.damaged == 0
    }
}

impl ObjectStoreBlobService {
    /// Verifies the store; hands every finding to `each` as soon as it is certain.
    ///
    /// At the level of indexes it takes one listing of the chunks, one of the indexes, and a request
    /// for each index. Further levels read every chunk once, and every blob of several chunks. All of
    /// it goes through the limits of the service ([`Builder::requests`](crate::Builder::requests),
    /// [`Builder::memory`](crate::Builder::memory)). Besides, it takes 54 bytes of memory for each
    /// chunk in the store and 32 for each blob (64 at the level of blobs); and about 150 for each
    /// chunk that is missing.
    ///
    /// Others may write to the store, and remove from it, meanwhile.
    ///
    /// Cancel safe: it changes nothing.
    ///
    /// # Errors
    /// What is wrong with single objects is a finding. An error is what keeps the verification from
    /// going on: the store cannot be listed, or does not give a hundred objects in a row
    /// (`Unavailable`, `PermissionDenied`).
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
    /// The chunks that indexes list and that were not in the listing.
    missing: HashMap<Digest, Missing>,
    /// The sizes of chunks of which an index states another.
    wrong_sizes: HashMap<Digest, u64>,
    /// The blobs whose indexes were found to state wrong sizes.
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

    /// Whether what is in an object is to be read.
    fn selects(&self, digest: &Digest, modified: SystemTime) -> bool {
        let VerifyOptions { level, sample, since, .. } = self.options;
        *level > VerifyLevel::Index
            && sample.is_none_or(|sample| sample.covers(digest))
            && since.is_none_or(|since| modified >= since)
    }

    fn found(&mut self, finding: Finding) {
        match finding.is_damage() {
            true => self.report.damaged += 1,
            false => self.report.harmless += 1,
        }
        (self.each)(Verified::Finding(finding));
    }

    /// Takes note of whether the store gave an object; an error where it fails altogether.
    fn given(&mut self, failure: Option<&Error>) -> Result<()> {
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

/// An error and what it was caused by, on one line.
fn told(error: &Error) -> String {
    let mut text = error.to_string();
    if let Some((_, said)) = text.split_once(": ") {
        text = said.to_owned();
    }
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
