//! Repairs bad objects from this store, from other stores or from files, and moves those that it
//! cannot repair to the quarantine.
//!
//! A verification finds the bad objects. Chunks come first: each is fetched, verified, and stored
//! again. Then indexes are written again, each after the whole blob has proved right. Only bad
//! objects are written.
//!
//! Findings may be hours old when their turn comes: so each object is looked at again right before
//! it is changed. An object that cannot be read, or that an unreachable source may have, is not
//! known to be lost, and stays. Every step can be repeated, and nothing is deleted that was not
//! copied before: so a repair may end at any instant, and the next one finishes the work.

mod blobs;
mod chunks;
mod files;
mod group_hashes;
mod indexes;
mod options;
mod own;
mod regions;
mod source;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, stream};

use self::chunks::Repaired;
pub use self::options::{RepairOptions, RepairOutcome, RepairReport};
use self::source::{Places, Sources};
use super::observer::{Observer, Phase};
use super::verify::{Finding, Problem, Verified, VerifyOptions};

use crate::exec::context::run_blocking;
use crate::exec::in_order::InOrder;
use crate::service::ObjectStoreBlobService;
use crate::store::Store;

const OPERATION: &str = "repair the store";

/// How many chunks are repaired at once.
const AT_ONCE: usize = 16;

impl ObjectStoreBlobService {
    /// Verifies the store and repairs the problems. Calls `each` with the outcome of every finding.
    ///
    /// A chunk is taken from a good object in this store's trash or quarantine; or from the
    /// sources, by its own digest or out of a blob that lists it. A malformed or wrong index is
    /// rebuilt from a source that has the blob, or from the store's own chunks if they form the
    /// blob. Everything is verified before it is written. A blob whose index an earlier repair has
    /// moved to the quarantine is restored in the same way.
    ///
    /// A bad chunk that no source has is moved to the quarantine, `quarantine/` under the base
    /// path, and so is a bad index. The index of a blob of several chunks stays if one of them is
    /// lost, so that a later repair can finish. Each object is looked at again right before it is
    /// moved. An object that cannot be read, or that a failing source may have, stays
    /// ([`RepairOutcome::NotKnown`]). Leftovers of crashes that are older than an hour are removed;
    /// strays stay.
    ///
    /// With [`RepairOptions::add_group_hashes`], the indexes that have no group hashes get them,
    /// each after the whole blob was read.
    ///
    /// Takes as much memory as [`verify`](ObjectStoreBlobService::verify), and about 500 bytes for
    /// each finding.
    ///
    /// Others may write to the store meanwhile, except for writers that replace bad chunks
    /// ([`Builder::check_reused`](crate::Builder::check_reused)) and other repairs: if one of these
    /// replaced a chunk in the very moment in which the repair moves it to the quarantine, the new
    /// chunk would be lost.
    ///
    /// Cancel safe: repaired objects stay repaired, and another repair does the rest.
    ///
    /// # Errors
    /// The errors of [`verify`](ObjectStoreBlobService::verify); `InvalidInput` for a file that
    /// cannot be read, and if group hashes are to be added by a service that writes none
    /// ([`Builder::group_hashes`](crate::Builder::group_hashes)). If a source fails, the objects
    /// that it may have end as [`RepairOutcome::NotKnown`].
    pub async fn repair(
        &self,
        options: &RepairOptions,
        observer: &dyn Observer,
        mut each: impl FnMut(&Finding, &RepairOutcome) + Send,
    ) -> Result<RepairReport> {
        if options.add_group_hashes && !self.shared.group_hashes {
            return Err(group_hashes::refused());
        }
        let mut bad = Bad::default();
        let verify = VerifyOptions::default().level(options.level);
        let verified = self
            .verify(&verify, observer, |event| {
                if let Verified::Finding(finding) = event {
                    bad.add(finding);
                }
            })
            .await?;
        let mut repair = Repair {
            shared: Arc::clone(&self.shared),
            options,
            observer,
            report: RepairReport { verified, ..RepairReport::default() },
            sources: Sources::default(),
        };
        repair.look_for_sources(&bad).await?;
        let reported: HashSet<Digest> = bad.chunks.keys().copied().collect();
        repair.repair_chunks(&mut bad, &mut each).await?;
        repair.add_group_hashes(&mut bad, &reported, &mut each).await?;
        repair.repair_indexes(bad.indexes, &mut each).await?;
        repair.remove_leftovers(bad.others, &mut each).await?;
        Ok(repair.report)
    }
}

/// The findings, by the way they are repaired.
#[derive(Default)]
struct Bad {
    chunks: BTreeMap<Digest, Finding>,
    indexes: BTreeMap<Digest, Finding>,
    others: Vec<Finding>,
}

impl Bad {
    fn add(&mut self, finding: Finding) {
        match finding.digest {
            Some(digest) if finding.problem.is_of_index() => {
                self.indexes.insert(digest, finding);
            }
            Some(digest) => {
                self.chunks.insert(digest, finding);
            }
            None => self.others.push(finding),
        }
    }
}

struct Repair<'a> {
    shared: Arc<Store>,
    options: &'a RepairOptions,
    observer: &'a dyn Observer,
    report: RepairReport,
    sources: Sources,
}

impl Repair<'_> {
    async fn look_for_sources(&mut self, bad: &Bad) -> Result<()> {
        let none_is_bad = bad.chunks.is_empty() && bad.indexes.is_empty();
        // A blob may prove to be wrong when its group hashes are computed.
        if none_is_bad && !self.options.add_group_hashes {
            return Ok(());
        }
        self.sources.services.clone_from(&self.options.services);
        if !self.options.files.is_empty() {
            let mut phase =
                Phase::new(self.observer, "read the files", Some(self.options.files.len() as u64));
            for file in &self.options.files {
                self.sources.files.add(&self.shared, file, &bad.chunks).await?;
                phase.step();
            }
        }
        // Indexes tell where chunks lie in blobs. Only bad chunks need these places, and only other
        // stores and files use them.
        if !bad.chunks.is_empty() && !self.sources.is_empty() {
            self.sources.places = Places::of(&self.shared, self.observer, &bad.chunks).await?;
        }
        Ok(())
    }

    async fn repair_chunks(
        &mut self,
        bad: &mut Bad,
        each: &mut impl FnMut(&Finding, &RepairOutcome),
    ) -> Result<()> {
        let chunks = std::mem::take(&mut bad.chunks);
        let total = Some(chunks.len() as u64);
        let mut phase = Phase::new(self.observer, "repair the chunks", total);
        let shared = Arc::clone(&self.shared);
        let dry_run = self.options.dry_run;
        let sources = std::mem::take(&mut self.sources);
        let repair = |finding: Finding| {
            let (shared, sources) = (&shared, &sources);
            async move {
                let outcome = chunks::repair(shared, sources, &finding, dry_run).await;
                (finding, outcome)
            }
        };
        // `AT_ONCE` bounds the memory for chunks in transit, so items declare no size.
        let items = stream::iter(chunks.into_values()).map(|finding| Ok((finding, 0)));
        let result = InOrder::of(&shared.limits)
            .limited_to(AT_ONCE)
            .in_order(items, repair, |(finding, outcome)| {
                phase.step();
                match outcome {
                    Repaired::Outcome(outcome) => self.done(&finding, &outcome, each),
                    Repaired::IndexInstead => {
                        // A blob has one finding at most: this blob has no other.
                        let blob = finding.digest;
                        bad.indexes.extend(blob.map(|blob| (blob, finding)));
                    }
                }
                Ok(())
            })
            .await;
        self.sources = sources;
        result?;
        if dry_run { Ok(()) } else { shared.flush().await }
    }

    async fn repair_indexes(
        &mut self,
        indexes: BTreeMap<Digest, Finding>,
        each: &mut impl FnMut(&Finding, &RepairOutcome),
    ) -> Result<()> {
        let total = Some(indexes.len() as u64);
        let mut phase = Phase::new(self.observer, "repair the indexes", total);
        for (blob, finding) in indexes {
            let (shared, dry_run) = (&self.shared, self.options.dry_run);
            let outcome = indexes::repair(shared, &self.sources, blob, &finding, dry_run).await;
            self.done(&finding, &outcome, each);
            phase.step();
        }
        Ok(())
    }

    async fn remove_leftovers(
        &mut self,
        others: Vec<Finding>,
        each: &mut impl FnMut(&Finding, &RepairOutcome),
    ) -> Result<()> {
        let dry_run = self.options.dry_run;
        for finding in others {
            let outcome = match (finding.problem, &self.shared.directory) {
                (Problem::Leftover, Some(root)) => {
                    let path = root.join(&finding.key);
                    let removed = run_blocking(OPERATION, move || match dry_run {
                        true => Ok(()),
                        false => std::fs::remove_file(path),
                    });
                    match removed.await? {
                        Ok(()) => RepairOutcome::Removed,
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                            RepairOutcome::Changed
                        }
                        Err(error) => {
                            let message = format!("{} cannot be removed", finding.key);
                            let failed = Error::new(ErrorKind::Other, OPERATION, message);
                            RepairOutcome::Failed(failed.with_source(error))
                        }
                    }
                }
                _ => RepairOutcome::Left,
            };
            self.done(&finding, &outcome, each);
        }
        Ok(())
    }

    fn done(
        &mut self,
        finding: &Finding,
        outcome: &RepairOutcome,
        each: &mut impl FnMut(&Finding, &RepairOutcome),
    ) {
        let count = match outcome {
            RepairOutcome::Repaired => Some(&mut self.report.repaired),
            RepairOutcome::Quarantined(_) => Some(&mut self.report.quarantined),
            RepairOutcome::Lost => Some(&mut self.report.lost),
            RepairOutcome::Removed => Some(&mut self.report.removed),
            RepairOutcome::Failed(_) => Some(&mut self.report.failed),
            RepairOutcome::NotKnown(_) => Some(&mut self.report.not_known),
            RepairOutcome::Changed | RepairOutcome::Left => None,
        };
        if let Some(count) = count {
            *count += 1;
        }
        let is_unrepaired = matches!(outcome, RepairOutcome::Quarantined(_) | RepairOutcome::Lost)
            || finding.is_damage() && matches!(outcome, RepairOutcome::Failed(_));
        self.report.unrepaired += u64::from(is_unrepaired && finding.blob_count > 0);
        each(finding, outcome);
    }
}
