//! Verifies that every blob has its digest.

use std::sync::Arc;

use castore_core::{BlobIndex, Digest, Error, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::groups::{self, WrongGroups};
use super::indexes::said_of_size;
use super::{
    Checkpoint, Examined, Finding, InOrder, Indexed, Phase, Problem, Run, Verified, examine,
    look_again, one_line, read_index,
};
use crate::read::{BLOB, reader_of};
use crate::store::Store;
use crate::store::layout::Kind;

/// How many blobs are read at once: each keeps many requests and processors busy.
const AT_ONCE: usize = 4;

/// The state of a blob.
pub(crate) enum Whole {
    Good,
    /// The chunks are those of another blob; with the wrong groups if they are known.
    WrongDigest(Error, Option<Box<WrongGroups>>),
    /// A chunk has another size than the index states.
    WrongSize(String),
    /// This bad chunk keeps the blob from being read.
    BadChunk(Digest, Examined),
    /// The index or the chunks of the blob cannot be read.
    Unreadable(Error),
}

impl Whole {
    /// The error because of which the state of the blob is unknown, if any.
    fn not_known(&self) -> Option<&Error> {
        match self {
            Whole::Unreadable(error)
            | Whole::BadChunk(_, Examined::Bad { error: Some(error), .. }) => Some(error),
            _ => None,
        }
    }
}

impl<E: FnMut(Verified) + Send> Run<'_, E> {
    pub(super) async fn read_blobs(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let mut blobs = std::mem::take(&mut self.to_read);
        blobs.sort_unstable();
        let resumed = self.options.resume.filter(Checkpoint::is_of_blobs);
        blobs.retain(|blob| resumed.is_none_or(|checkpoint| *blob > checkpoint.after));
        let mut phase = Phase::new(self.observer, "read the blobs", Some(blobs.len() as u64));
        let read = |blob: Digest| {
            let shared = &shared;
            async move { (blob, read_blob(shared, &blob).await) }
        };
        let items = stream::iter(blobs).map(|blob| Ok((blob, 0)));
        let mut unread = Vec::new();
        let mut last = None;
        let result = InOrder::of(&shared.limits)
            .limited_to(AT_ONCE)
            .in_order(items, read, |(blob, whole)| {
                phase.step();
                self.report.blobs_read += 1;
                last = Some(blob);
                if let Some(error) = whole.not_known().cloned() {
                    unread.push((blob, whole));
                    return self.note_result(Some(&error));
                }
                self.take_blob(blob, whole);
                self.note_result(None)?;
                // Unread blobs are read again at the end: until then the work after the first of
                // them is not done.
                if unread.is_empty() {
                    (self.each)(Verified::UpTo(Checkpoint::of_blobs(blob)));
                }
                Ok(())
            })
            .await;
        let any_unread = !unread.is_empty();
        for (blob, mut whole) in unread {
            if result.is_ok() {
                whole = read_blob(&shared, &blob).await;
            }
            self.take_blob(blob, whole);
        }
        if let Some(last) = last.filter(|_| any_unread && result.is_ok()) {
            (self.each)(Verified::UpTo(Checkpoint::of_blobs(last)));
        }
        result
    }

    /// Reports the problem of a blob, unless it was reported already.
    fn take_blob(&mut self, blob: Digest, whole: Whole) {
        let index = self.shared.layout.blob(&blob);
        let finding = match whole {
            Whole::Good => None,
            Whole::WrongDigest(error, groups) => {
                let detail = groups.map_or_else(|| one_line(&error), |groups| groups.to_string());
                Some(Finding::new(Problem::WrongDigest, index, detail).of(blob))
            }
            Whole::WrongSize(_) if self.wrong_blobs.contains(&blob) => None,
            Whole::WrongSize(detail) => {
                Some(Finding::new(Problem::WrongSize, index, detail).of(blob))
            }
            Whole::BadChunk(chunk, examined) => self.blame_chunk(chunk, examined),
            Whole::Unreadable(error) => {
                let finding = Finding::new(Problem::UnreadableIndex, index, one_line(&error));
                Some(finding.of(blob).because(error))
            }
        };
        if let Some(finding) = finding {
            self.found(finding.affecting(vec![blob], 1));
        }
    }

    /// The finding for a chunk that keeps a blob from being read, unless it was reported already.
    fn blame_chunk(&mut self, chunk: Digest, examined: Examined) -> Option<Finding> {
        let known = self.inventory.get(&chunk).is_some_and(super::inventory::Chunk::is_bad);
        if known || self.is_reported_missing(&chunk) {
            return None;
        }
        self.inventory.set_bad(&chunk);
        let key = self.shared.layout.chunk(&chunk);
        let finding = match examined {
            Examined::Good(_) | Examined::Absent => return None,
            Examined::Bad { problem, detail, error: None } => Finding::new(problem, key, detail),
            Examined::Bad { problem, detail, error: Some(error) } => {
                Finding::new(problem, key, detail).because(error)
            }
        };
        Some(finding.of(chunk))
    }
}

async fn read_blob(shared: &Arc<Store>, blob: &Digest) -> Whole {
    match read_index(shared, blob).await {
        Indexed::Chunks(index) => read_whole(shared, index).await,
        Indexed::Unreadable(error) => Whole::Unreadable(error),
        // The blob was removed, or a writer is replacing its index, which was good before.
        Indexed::Absent | Indexed::OneChunk | Indexed::Malformed(_) => Whole::Good,
    }
}

/// Reads a blob from its first byte to its last.
pub(crate) async fn read_whole(shared: &Arc<Store>, index: BlobIndex) -> Whole {
    let (blob, size) = (index.digest(), index.size());
    let index = Arc::new(index);
    let reader = reader_of(shared, Arc::clone(&index));
    let mut again = true;
    loop {
        let mut bytes = reader.read_range(0..size);
        let error = loop {
            match bytes.try_next().await {
                Ok(Some(_)) => {}
                Ok(None) => return Whole::Good,
                Err(error) => break error,
            }
        };
        if error.is_blob_mismatch() {
            return Whole::WrongDigest(error, groups::find(shared, &index).await);
        }
        let Some(chunk) = error.digest().filter(|digest| *digest != blob) else {
            return Whole::Unreadable(error);
        };
        match examine(shared, &chunk).await {
            Examined::Good(size) => {
                let wrong =
                    index.iter().find(|listed| listed.digest == chunk && listed.size != size);
                if let Some(listed) = wrong {
                    return Whole::WrongSize(said_of_size(listed, size));
                }
            }
            Examined::Absent => match look_again(shared, &chunk, &[blob], 1).await {
                // The chunk is back, or aside; or the blob was removed.
                Ok(None) => {}
                Ok(Some(detail)) => {
                    let problem = Problem::MissingChunk;
                    return Whole::BadChunk(chunk, Examined::Bad { problem, detail, error: None });
                }
                Err(error) => return Whole::BadChunk(chunk, Examined::unreadable(error)),
            },
            bad @ Examined::Bad { .. } => return Whole::BadChunk(chunk, bad),
        }
        // The chunk is good by now: another writer may have replaced it.
        if !std::mem::take(&mut again) {
            return match shared.is_in_place(BLOB, Kind::Blob, &blob).await {
                Ok(false) => Whole::Good,
                _ => Whole::Unreadable(error),
            };
        }
    }
}
