//! Adds group hashes to the indexes that have none.

use std::collections::HashSet;
use std::sync::Arc;

use castore_core::{BlobIndex, Digest, Error, ErrorKind, Result};
use futures_util::{TryStreamExt, future, stream};

use super::{Bad, InOrder, OPERATION, Phase, Repair, RepairOutcome};
use crate::error::corrupt;
use crate::exec::clock::Moment;
use crate::maintain::verify::{
    Finding, Indexed, Problem, lacks_group_hashes, one_line, read_index, read_listed_index,
};
use crate::read::hash_whole;
use crate::store::Store;

/// How many blobs are read at once.
const AT_ONCE: usize = 16;

/// The memory for a blob that is being hashed, in bytes, if the blob is not smaller: the parts that
/// are hashed, and one that is gathered.
const MEMORY: u64 = 6 * 1024 * 1024;

/// The result for one blob.
enum Added {
    Written,
    /// The index is another one by now, or gone.
    Changed,
    /// The blob cannot be read.
    Unread(Error),
    /// The index cannot be written.
    Unwritten(Error),
}

impl Repair<'_> {
    /// Writes every index without group hashes again with them. `reported` are the chunks that were
    /// found to be bad. A blob that proves to be wrong becomes a finding in `bad`.
    pub(super) async fn add_group_hashes(
        &mut self,
        bad: &mut Bad,
        reported: &HashSet<Digest>,
        each: &mut impl FnMut(&Finding, &RepairOutcome),
    ) -> Result<()> {
        if !self.options.add_group_hashes || self.report.verified.without_group_hashes == 0 {
            return Ok(());
        }
        let shared = Arc::clone(&self.shared);
        let mut lacking = self.lacking_group_hashes().await?;
        lacking.retain(|(blob, _)| !bad.indexes.contains_key(blob));
        if self.options.dry_run {
            self.report.group_hashes_added = lacking.len() as u64;
            return Ok(());
        }
        let total = Some(lacking.len() as u64);
        let mut phase = Phase::new(self.observer, "add group hashes", total);
        let items = stream::iter(lacking.into_iter().map(Ok));
        let add = |blob: Digest| {
            let shared = &shared;
            async move { (blob, add(shared, &blob).await) }
        };
        InOrder::of(&shared.limits)
            .limited_to(AT_ONCE)
            .in_order(items, add, |(blob, added)| {
                phase.step();
                let (error, failed): (_, fn(Error) -> RepairOutcome) = match added {
                    Added::Written => {
                        self.report.group_hashes_added += 1;
                        return Ok(());
                    }
                    Added::Changed => return Ok(()),
                    Added::Unread(error) => (error, RepairOutcome::NotKnown),
                    Added::Unwritten(error) => (error, RepairOutcome::Failed),
                };
                let finding = |problem| {
                    let key = shared.layout.blob(&blob);
                    Finding::new(problem, key, one_line(&error)).of(blob)
                };
                if error.is_blob_mismatch() {
                    self.report.verified.damaged += 1;
                    let finding = finding(Problem::WrongDigest).affecting(vec![blob], 1);
                    bad.indexes.insert(blob, finding);
                } else if error.digest().is_none_or(|chunk| !reported.contains(&chunk)) {
                    let finding = finding(Problem::NoGroupHashes).because(error.clone());
                    self.done(&finding, &failed(error), each);
                }
                Ok(())
            })
            .await
    }

    /// The blobs whose indexes have no group hashes, and the memory that each takes.
    async fn lacking_group_hashes(&self) -> Result<Vec<(Digest, u64)>> {
        let shared = &self.shared;
        let mut phase = Phase::new(self.observer, "look for indexes without group hashes", None);
        let objects = shared.objects(OPERATION, shared.layout.blobs()).try_filter_map(|object| {
            let size = object.size.saturating_mul(2);
            future::ready(Ok(object.digest.map(|digest| (digest, size))))
        });
        let read = |blob: Digest| async move {
            match read_listed_index(shared, &blob).await {
                Indexed::Chunks(index) if lacks_group_hashes(&index) => Some((blob, index.size())),
                // The verification has told which indexes cannot be read.
                _ => None,
            }
        };
        let mut lacking = Vec::new();
        InOrder::of(&shared.limits)
            .in_order(objects, read, |found| {
                phase.step();
                lacking.extend(found.map(|(blob, size)| (blob, size.min(MEMORY))));
                Ok(())
            })
            .await?;
        Ok(lacking)
    }
}

/// Writes the index of a blob with group hashes, after the whole blob was read and has its digest.
async fn add(shared: &Arc<Store>, blob: &Digest) -> Added {
    let seen = Moment::now();
    let index = match read_index(shared, blob).await {
        Indexed::Chunks(index) if lacks_group_hashes(&index) => Arc::new(index),
        Indexed::Unreadable(error) => return Added::Unread(error),
        _ => return Added::Changed,
    };
    let full = match with_group_hashes(shared, &index).await {
        Ok(full) => full,
        Err(error) => return Added::Unread(error),
    };
    // Others may have removed or replaced the index while the blob was read.
    match read_index(shared, blob).await {
        Indexed::Chunks(now) if now == *index => {}
        Indexed::Unreadable(error) => return Added::Unread(error),
        _ => return Added::Changed,
    }
    match shared.write_index(&full, Some(seen)).await {
        Ok(()) => Added::Written,
        Err(error) => Added::Unwritten(error),
    }
}

async fn with_group_hashes(shared: &Arc<Store>, index: &Arc<BlobIndex>) -> Result<BlobIndex> {
    let hashed = hash_whole(shared, Arc::clone(index)).await?;
    let full = hashed.groups.and_then(|groups| BlobIndex::clone(index).with_groups(groups).ok());
    full.ok_or_else(|| corrupt(OPERATION, index.digest(), "its index states another size"))
}

/// The error if group hashes are to be added by a service that writes none.
pub(super) fn refused() -> Error {
    let message = "this service writes indexes without group hashes, and so cannot add them";
    Error::new(ErrorKind::InvalidInput, OPERATION, message)
}
