//! Repairs one chunk that a verification has found to be bad.

use std::sync::Arc;

use castore_core::{Digest, Error, ErrorKind, Result};

use super::source::Sources;
use super::{OPERATION, own};
use crate::maintain::repair::RepairOutcome;
use crate::maintain::verify::{
    Examined, Finding, Indexed, Problem, examine, look_again, read_index,
};
use crate::store::Store;
use crate::store::quarantine::Moved;

/// The result of repairing a chunk.
pub(super) enum Repaired {
    Outcome(RepairOutcome),
    /// The chunk is a blob whose index has no entry, and so may be several chunks.
    IndexInstead,
}

pub(super) async fn repair(
    shared: &Arc<Store>,
    sources: &Sources,
    finding: &Finding,
    dry_run: bool,
) -> Repaired {
    let Some(digest) = finding.digest else { return Repaired::Outcome(RepairOutcome::Left) };
    let repaired = repair_chunk(shared, sources, digest, finding, dry_run).await;
    repaired.unwrap_or_else(|error| Repaired::Outcome(RepairOutcome::Failed(error)))
}

/// An error means that writing to the store failed.
async fn repair_chunk(
    shared: &Arc<Store>,
    sources: &Sources,
    digest: Digest,
    finding: &Finding,
    dry_run: bool,
) -> Result<Repaired> {
    if let Examined::Good(_) = examine(shared, &digest).await {
        return Ok(Repaired::Outcome(RepairOutcome::Changed));
    }
    let (mut good, mut not_known) = match own::chunk(shared, &digest).await {
        Ok(good) => (good, None),
        Err(error) => (None, Some(error)),
    };
    if good.is_none() {
        if finding.problem == Problem::MissingChunk
            && finding.blobs.contains(&digest)
            && let Indexed::OneChunk = read_index(shared, &digest).await
        {
            return Ok(Repaired::IndexInstead);
        }
        match sources.chunk(shared, &digest).await {
            Ok(found) => good = found,
            Err(error) => not_known = Some(error),
        }
    }
    if let Some(chunk) = good {
        if !dry_run {
            shared.upload_chunk(digest, chunk).await?;
            if !matches!(examine(shared, &digest).await, Examined::Good(_)) {
                let message = "the chunk was stored again and does not come back";
                let error = Error::new(ErrorKind::Unavailable, OPERATION, message);
                return Err(error.with_digest(digest));
            }
        }
        return Ok(Repaired::Outcome(RepairOutcome::Repaired));
    }
    if let Some(error) = not_known {
        return Ok(Repaired::Outcome(RepairOutcome::NotKnown(error)));
    }
    let outcome = give_up(shared, digest, finding, dry_run).await;
    Ok(Repaired::Outcome(outcome.unwrap_or_else(RepairOutcome::NotKnown)))
}

/// Gives up a chunk of which no good copy was found a moment ago: moves a bad object to the
/// quarantine.
async fn give_up(
    shared: &Arc<Store>,
    digest: Digest,
    finding: &Finding,
    dry_run: bool,
) -> Result<RepairOutcome> {
    match examine(shared, &digest).await {
        Examined::Good(_) => return Ok(RepairOutcome::Changed),
        Examined::Bad { error: Some(error), .. } => return Err(error),
        Examined::Absent => {
            let (blobs, count) = (&finding.blobs, finding.blob_count);
            if look_again(shared, &digest, blobs, count).await?.is_none() {
                return Ok(RepairOutcome::Changed);
            }
            shared.presence.forget(&digest);
            if !dry_run {
                move_index_of_one(shared, digest).await?;
            }
            return Ok(RepairOutcome::Lost);
        }
        Examined::Bad { error: None, .. } => {}
    }
    let path = shared.layout.chunk(&digest);
    if dry_run {
        return Ok(RepairOutcome::Quarantined(shared.layout.quarantined(&path).to_string()));
    }
    let is_bad = || async {
        match examine(shared, &digest).await {
            Examined::Bad { error: Some(error), .. } => Err(error),
            Examined::Bad { error: None, .. } => Ok(true),
            Examined::Good(_) | Examined::Absent => Ok(false),
        }
    };
    Ok(match shared.quarantine(digest, &path, is_bad).await? {
        Moved::To(key) => {
            move_index_of_one(shared, digest).await?;
            RepairOutcome::Quarantined(key.to_string())
        }
        Moved::Changed => RepairOutcome::Changed,
    })
}

/// Moves the index of a blob to the quarantine if the blob is the one chunk `digest`, which is
/// lost: a writer may take such an index for a sign that the chunk is present, and would not store
/// it again.
async fn move_index_of_one(shared: &Arc<Store>, digest: Digest) -> Result<()> {
    let is_of_one = || async {
        match read_index(shared, &digest).await {
            Indexed::OneChunk => Ok(true),
            Indexed::Chunks(index) => Ok(index.len() == 1),
            Indexed::Unreadable(error) => Err(error),
            Indexed::Absent | Indexed::Malformed(_) => Ok(false),
        }
    };
    if !is_of_one().await? {
        return Ok(());
    }
    let is_lost = || async {
        Ok(is_of_one().await? && look_again(shared, &digest, &[digest], 1).await?.is_some())
    };
    shared.quarantine(digest, &shared.layout.blob(&digest), is_lost).await?;
    Ok(())
}
