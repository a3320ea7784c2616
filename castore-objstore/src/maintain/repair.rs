//! What is wrong is made right again, from other stores or from files; what cannot be is moved aside.
//!
//! A verification says what is bad. Chunks come first: each is fetched from the sources, verified, and
//! stored again. Then indexes are written again, each after the whole blob has proved right. Only what
//! is bad is written. Every step can be done twice, and nothing is deleted that was not copied before:
//! so a repair may end at any instant, and the next one finishes the work.

mod blobs;
mod files;
mod options;
mod source;

use std::collections::BTreeMap;
use std::sync::Arc;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::{StreamExt, stream};

pub use self::options::{Outcome, RepairOptions, RepairReport};
use self::source::{Places, Sources};
use super::observer::{Observer, Phase};
use super::verify::{
    Examined, Finding, Indexed, Problem, Verified, VerifyOptions, examine, read_index,
};
use crate::store::quarantine::Moved;

use crate::exec::in_order::InOrder;
use crate::exec::limits::off_thread;
use crate::service::ObjectStoreBlobService;
use crate::store::Store;

const OPERATION: &str = "repair the store";

/// How many chunks are repaired at once.
const AT_ONCE: usize = 16;

impl ObjectStoreBlobService {
    /// Verifies the store, and repairs what is wrong with it. Tells `each` what became of everything
    /// that was found.
    ///
    /// A chunk is taken from the sources by its own digest, or out of a blob that lists it. An index
    /// that is malformed or wrong is made anew from a source that has the blob, or, where it only
    /// states wrong sizes, from the chunks. What is written is verified first. A bad chunk that no
    /// source has is moved to the quarantine, `quarantine/` under the base path, and so is a bad index;
    /// the index of a blob of several chunks of which one is lost stays, so that a later repair can
    /// finish. Leftovers of crashes that are older than an hour are removed; strays stay.
    ///
    /// Takes memory as [`verify`](ObjectStoreBlobService::verify) does, and about 500 bytes for each
    /// finding.
    ///
    /// Others may write to the store meanwhile. Only writers that replace bad chunks
    /// ([`Builder::check_reused`](crate::Builder::check_reused)), and other repairs, should wait: one
    /// that replaces a chunk in the very moment in which that is moved aside would lose it.
    ///
    /// Cancel safe: what is done is done, and another repair does the rest.
    ///
    /// # Errors
    /// Those of [`verify`](ObjectStoreBlobService::verify); `InvalidInput` for a file that cannot be
    /// read. A source that fails is a source that does not have it.
    pub async fn repair(
        &self,
        options: &RepairOptions,
        observer: &dyn Observer,
        mut each: impl FnMut(&Finding, &Outcome) + Send,
    ) -> Result<RepairReport> {
        let mut bad = Bad::default();
        let verify = VerifyOptions::new(options.level);
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
        repair.repair_chunks(&mut bad, &mut each).await?;
        repair.repair_indexes(bad.indexes, &mut each).await?;
        repair.remove_leftovers(bad.others, &mut each).await?;
        Ok(repair.report)
    }
}

/// The findings, by what is done about them.
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
        if bad.chunks.is_empty() && bad.indexes.is_empty() {
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
        if !bad.chunks.is_empty() && !self.sources.is_empty() {
            self.sources.places = Places::of(&self.shared, self.observer, &bad.chunks).await?;
        }
        Ok(())
    }

    async fn repair_chunks(
        &mut self,
        bad: &mut Bad,
        each: &mut impl FnMut(&Finding, &Outcome),
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
                let outcome = repair_chunk(shared, sources, &finding, dry_run).await;
                (finding, outcome)
            }
        };
        // What a chunk takes while it is on its way is bounded by how many there are.
        let items = stream::iter(chunks.into_values()).map(|finding| Ok((finding, 0)));
        let result = InOrder::of(&shared.limits)
            .few(AT_ONCE)
            .in_order(items, repair, |(finding, outcome)| {
                phase.step();
                match outcome {
                    Repaired::Outcome(outcome) => self.done(&finding, &outcome, each),
                    Repaired::IndexInstead => {
                        // There is one finding for a blob: this one has no other.
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
        each: &mut impl FnMut(&Finding, &Outcome),
    ) -> Result<()> {
        let total = Some(indexes.len() as u64);
        let mut phase = Phase::new(self.observer, "repair the indexes", total);
        for (blob, finding) in indexes {
            let outcome = self.repair_index(blob, &finding).await;
            self.done(&finding, &outcome.unwrap_or_else(Outcome::Failed), each);
            phase.step();
        }
        Ok(())
    }

    async fn repair_index(&self, blob: Digest, finding: &Finding) -> Result<Outcome> {
        let (shared, dry_run) = (&self.shared, self.options.dry_run);
        let index = read_index(shared, &blob).await;
        match (&index, finding.problem) {
            (Indexed::Absent, _) => return Ok(Outcome::Changed),
            // Somebody has written it again.
            (Indexed::OneChunk | Indexed::Chunks(_), Problem::MalformedIndex) => {
                return Ok(Outcome::Changed);
            }
            _ => {}
        }
        if let Indexed::Chunks(index) = &index
            && finding.problem == Problem::WrongSize
            && blobs::from_own_chunks(shared, index, dry_run).await?
        {
            return Ok(Outcome::Repaired);
        }
        if self.sources.restore(shared, &blob, dry_run).await? {
            return Ok(Outcome::Repaired);
        }
        if finding.problem == Problem::MissingChunk
            && let Some(chunk) = self.sources.chunk(shared, &blob).await
        {
            if !dry_run {
                shared.upload_chunk(blob, chunk).await?;
            }
            return Ok(Outcome::Repaired);
        }
        match finding.problem {
            // The store does not give it, and so it cannot be copied; or there is nothing in it, and
            // what is missing is the chunk.
            Problem::UnreadableIndex | Problem::MissingChunk => return Ok(Outcome::Lost),
            _ => {}
        }
        let path = shared.layout.blob(&blob);
        if dry_run {
            return Ok(Outcome::Quarantined(shared.layout.quarantined(&path).to_string()));
        }
        let is_bad = || async {
            match (&index, read_index(shared, &blob).await) {
                (_, Indexed::Malformed(_)) => true,
                (Indexed::Chunks(before), Indexed::Chunks(now)) => *before == now,
                _ => false,
            }
        };
        Ok(match shared.quarantine(blob, &path, is_bad).await? {
            Moved::To(aside) => Outcome::Quarantined(aside.to_string()),
            Moved::Changed => Outcome::Changed,
        })
    }

    async fn remove_leftovers(
        &mut self,
        others: Vec<Finding>,
        each: &mut impl FnMut(&Finding, &Outcome),
    ) -> Result<()> {
        let dry_run = self.options.dry_run;
        for finding in others {
            let outcome = match (finding.problem, &self.shared.directory) {
                (Problem::Leftover, Some(root)) => {
                    let path = root.join(&finding.key);
                    let removed = off_thread(OPERATION, move || match dry_run {
                        true => Ok(()),
                        false => std::fs::remove_file(path),
                    });
                    match removed.await? {
                        Ok(()) => Outcome::Removed,
                        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                            Outcome::Changed
                        }
                        Err(error) => {
                            let message = format!("{} cannot be removed", finding.key);
                            let failed = Error::new(ErrorKind::Other, OPERATION, message);
                            Outcome::Failed(failed.with_source(error))
                        }
                    }
                }
                _ => Outcome::Left,
            };
            self.done(&finding, &outcome, each);
        }
        Ok(())
    }

    fn done(
        &mut self,
        finding: &Finding,
        outcome: &Outcome,
        each: &mut impl FnMut(&Finding, &Outcome),
    ) {
        let count = match outcome {
            Outcome::Repaired => Some(&mut self.report.repaired),
            Outcome::Quarantined(_) => Some(&mut self.report.quarantined),
            Outcome::Lost => Some(&mut self.report.lost),
            Outcome::Removed => Some(&mut self.report.removed),
            Outcome::Failed(_) => Some(&mut self.report.failed),
            Outcome::Changed | Outcome::Left => None,
        };
        if let Some(count) = count {
            *count += 1;
        }
        let is_unrepaired =
            matches!(outcome, Outcome::Quarantined(_) | Outcome::Lost | Outcome::Failed(_));
        self.report.unrepaired += u64::from(is_unrepaired && finding.blob_count > 0);
        each(finding, outcome);
    }
}

/// What became of a chunk.
enum Repaired {
    Outcome(Outcome),
    /// It is a blob whose index has no entry, and so may be several chunks.
    IndexInstead,
}

async fn repair_chunk(
    shared: &Arc<Store>,
    sources: &Sources,
    finding: &Finding,
    dry_run: bool,
) -> Repaired {
    let Some(digest) = finding.digest else { return Repaired::Outcome(Outcome::Left) };
    if finding.problem == Problem::MissingChunk
        && finding.blobs.contains(&digest)
        && let Indexed::OneChunk = read_index(shared, &digest).await
    {
        return Repaired::IndexInstead;
    }
    let outcome = async {
        if let Some(chunk) = sources.chunk(shared, &digest).await {
            if !dry_run {
                shared.upload_chunk(digest, chunk).await?;
                if !matches!(examine(shared, &digest).await, Examined::Good(_)) {
                    let message = "what was stored again does not come back";
                    let error = Error::new(ErrorKind::Unavailable, OPERATION, message);
                    return Err(error.with_digest(digest));
                }
            }
            return Ok(Outcome::Repaired);
        }
        match finding.problem {
            Problem::MissingChunk => {
                shared.known.forget(&digest);
                if !dry_run {
                    move_index_of_one(shared, digest).await?;
                }
                return Ok(Outcome::Lost);
            }
            // It cannot be copied.
            Problem::UnreadableChunk => return Ok(Outcome::Lost),
            _ => {}
        }
        let path = shared.layout.chunk(&digest);
        if dry_run {
            return Ok(Outcome::Quarantined(shared.layout.quarantined(&path).to_string()));
        }
        let is_bad = || async {
            matches!(examine(shared, &digest).await, Examined::Bad { problem, .. } if problem != Problem::UnreadableChunk)
        };
        Ok(match shared.quarantine(digest, &path, is_bad).await? {
            Moved::To(aside) => {
                move_index_of_one(shared, digest).await?;
                Outcome::Quarantined(aside.to_string())
            }
            Moved::Changed => Outcome::Changed,
        })
    };
    Repaired::Outcome(outcome.await.unwrap_or_else(Outcome::Failed))
}

/// Moves the index of a blob aside that is the one chunk `digest`, which is lost: a writer takes such
/// an index for a sign that the chunk is there, and would not store it again.
async fn move_index_of_one(shared: &Arc<Store>, digest: Digest) -> Result<()> {
    let is_of_one = || async {
        match read_index(shared, &digest).await {
            Indexed::OneChunk => true,
            Indexed::Chunks(index) => index.len() == 1,
            _ => false,
        }
    };
    if is_of_one().await {
        shared.quarantine(digest, &shared.layout.blob(&digest), is_of_one).await?;
    }
    Ok(())
}
