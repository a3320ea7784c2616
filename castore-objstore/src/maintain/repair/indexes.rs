//! Repairs one index that a verification has found to be bad.

use std::sync::Arc;

use castore_core::{Digest, Error, Result};

use super::own;
use super::source::Sources;
use crate::maintain::repair::RepairOutcome;
use crate::maintain::verify::{
    Examined, Finding, Indexed, Problem, Whole, WrongGroups, look_again, read_index,
    read_listed_index, read_whole,
};
use crate::store::Store;
use crate::store::quarantine::Moved;

/// The state of an index right before it is repaired.
enum Now {
    /// The index is good, or gone.
    Changed,
    /// The index is malformed, or lists the wrong chunks or sizes; with the wrong groups of the
    /// blob if they are known.
    Wrong(Indexed, Option<Box<WrongGroups>>),
    /// The index or one of its chunks is missing: nothing can be moved.
    Lost,
}

pub(super) async fn repair(
    shared: &Arc<Store>,
    sources: &Sources,
    blob: Digest,
    finding: &Finding,
    dry_run: bool,
) -> RepairOutcome {
    let now = match look(shared, blob, finding).await {
        Ok(Now::Changed) => return RepairOutcome::Changed,
        now => now,
    };
    // In this case the index is fine, and only the chunk is missing.
    let is_of_one_chunk = finding.problem == Problem::MissingChunk;
    match restore(shared, sources, &blob, &now, is_of_one_chunk, dry_run).await {
        Ok(true) => return RepairOutcome::Repaired,
        Ok(false) => {}
        Err(outcome) => return outcome,
    }
    let index = match now {
        Err(error) => return RepairOutcome::NotKnown(error),
        // The blob was already lost when an earlier repair moved its index.
        Ok(_) if finding.problem == Problem::QuarantinedBlob => return RepairOutcome::Left,
        Ok(Now::Lost) => return RepairOutcome::Lost,
        Ok(Now::Changed) => return RepairOutcome::Changed,
        Ok(Now::Wrong(index, _)) => index,
    };
    let path = shared.layout.blob(&blob);
    if dry_run {
        return RepairOutcome::Quarantined(shared.layout.quarantined(&path).to_string());
    }
    // `look` has just compared the chunks of this index with the blob's digest: so the index only
    // has to be unchanged.
    let is_bad = || async {
        match (&index, read_index(shared, &blob).await) {
            (_, Indexed::Malformed(_)) => Ok(true),
            (Indexed::Chunks(before), Indexed::Chunks(now)) => Ok(*before == now),
            (_, Indexed::Unreadable(error)) => Err(error),
            _ => Ok(false),
        }
    };
    match shared.quarantine(blob, &path, is_bad).await {
        Ok(Moved::To(key)) => RepairOutcome::Quarantined(key.to_string()),
        Ok(Moved::Changed) => RepairOutcome::Changed,
        Err(error) => RepairOutcome::NotKnown(error),
    }
}

/// Looks at the index again, and at its chunks if they decide whether the index is wrong. An error
/// means that the state of the index is unknown.
async fn look(shared: &Arc<Store>, blob: Digest, finding: &Finding) -> Result<Now> {
    let index = match read_listed_index(shared, &blob).await {
        Indexed::Unreadable(error) => return Err(error),
        Indexed::Absent if finding.problem == Problem::QuarantinedBlob => return Ok(Now::Lost),
        Indexed::Absent => return Ok(Now::Changed),
        malformed @ Indexed::Malformed(_) => return Ok(Now::Wrong(malformed, None)),
        Indexed::OneChunk => {
            // The index has no entry: the chunk is missing, or the blob is not that chunk.
            let missing = look_again(shared, &blob, &[blob], 1).await?.is_some();
            return Ok(if missing { Now::Lost } else { Now::Changed });
        }
        Indexed::Chunks(index) => index,
    };
    if !matches!(finding.problem, Problem::WrongSize | Problem::WrongDigest) {
        return Ok(Now::Changed);
    }
    match read_whole(shared, index.clone()).await {
        Whole::Good => Ok(Now::Changed),
        Whole::WrongDigest(_, groups) => Ok(Now::Wrong(Indexed::Chunks(index), groups)),
        Whole::WrongSize(_) => Ok(Now::Wrong(Indexed::Chunks(index), None)),
        Whole::BadChunk(_, Examined::Bad { error: Some(error), .. }) | Whole::Unreadable(error) => {
            Err(error)
        }
        Whole::BadChunk(..) => Ok(Now::Lost),
    }
}

/// Writes the index again, from the store's own chunks or from a source. Returns whether it did.
/// The error is the outcome of the failed repair.
async fn restore(
    shared: &Arc<Store>,
    sources: &Sources,
    blob: &Digest,
    now: &Result<Now>,
    is_of_one_chunk: bool,
    dry_run: bool,
) -> std::result::Result<bool, RepairOutcome> {
    let mut not_known: Option<Error> = None;
    // The chunks of an index with wrong groups were just read: they are not the blob.
    let in_place = matches!(now, Ok(Now::Wrong(_, None)));
    match own::index(shared, blob, in_place, dry_run).await {
        Ok(true) => return Ok(true),
        Ok(false) => {}
        Err(error) => not_known = Some(error),
    }
    if let Ok(Now::Wrong(_, Some(wrong))) = now {
        // If a source does not fit, the whole blob is restored below.
        if sources.restore_regions(shared, wrong, dry_run).await {
            return Ok(true);
        }
    }
    match sources.restore(shared, blob, dry_run).await {
        Ok(true) => return Ok(true),
        Ok(false) => {}
        Err(error) => not_known = Some(error),
    }
    if is_of_one_chunk {
        match sources.chunk(shared, blob).await {
            Ok(Some(_)) if dry_run => return Ok(true),
            Ok(Some(chunk)) => {
                let stored = shared.upload_chunk(*blob, chunk).await;
                return stored.map(|_| true).map_err(RepairOutcome::Failed);
            }
            Ok(None) => {}
            Err(error) => not_known = Some(error),
        }
    }
    match not_known {
        Some(error) => Err(RepairOutcome::NotKnown(error)),
        None => Ok(false),
    }
}
