//! Every blob has its digest.

use std::sync::Arc;

use castore_core::{BlobIndex, Digest, Error, Result};
use futures_util::{StreamExt, TryStreamExt, stream};

use super::indexes::said_of_size;
use super::{
    Checkpoint, Examined, Finding, InOrder, Indexed, Phase, Problem, Run, Verified, examine,
    is_corrupt, read_index, told,
};
use crate::read::{BLOB, reader_of};
use crate::store::Store;

/// How many blobs are read at once: each keeps many requests and processors busy.
const AT_ONCE: usize = 4;

/// What a blob has turned out to be.
enum Whole {
    Good,
    WrongDigest(Error),
    /// A chunk has another size than the index states.
    WrongSize(String),
    /// This chunk keeps it from being read.
    BadChunk(Digest, Examined),
    Unreadable(Error),
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
            async move {
                let whole = match read_index(shared, &blob).await {
                    Indexed::Chunks(index) => read_whole(shared, index).await,
                    // It was removed; or it is bad now, and was good a while ago.
                    _ => Whole::Good,
                };
                (blob, whole)
            }
        };
        let items = stream::iter(blobs).map(|blob| Ok((blob, 0)));
        InOrder::of(&shared.limits)
            .few(AT_ONCE)
            .in_order(items, read, |(blob, whole)| {
                phase.step();
                self.report.blobs_read += 1;
                let index = || shared.layout.blob(&blob);
                let mut failure = None;
                let finding = match whole {
                    Whole::Good => None,
                    Whole::WrongDigest(error) => {
                        Some(Finding::new(Problem::WrongDigest, index(), told(&error)).of(blob))
                    }
                    Whole::WrongSize(_) if self.wrong_blobs.contains(&blob) => None,
                    Whole::WrongSize(detail) => {
                        Some(Finding::new(Problem::WrongSize, index(), detail).of(blob))
                    }
                    Whole::BadChunk(chunk, examined) => self.blame_chunk(chunk, examined),
                    Whole::Unreadable(error) => {
                        failure = Some(error.clone());
                        let finding = Finding::new(Problem::UnreadableIndex, index(), told(&error));
                        Some(finding.of(blob).because(error))
                    }
                };
                if let Some(finding) = finding {
                    self.found(finding.affecting(vec![blob], 1));
                }
                self.given(failure.as_ref())?;
                (self.each)(Verified::UpTo(Checkpoint::of_blobs(blob)));
                Ok(())
            })
            .await
    }

    /// The finding that is a chunk which keeps a blob from being read, unless it was reported already.
    fn blame_chunk(&mut self, chunk: Digest, examined: Examined) -> Option<Finding> {
        let known = self.inventory.get(&chunk).is_some_and(super::inventory::Chunk::is_bad);
        if known || self.is_reported_missing(&chunk) {
            return None;
        }
        self.inventory.set_bad(&chunk);
        let key = self.shared.layout.chunk(&chunk);
        let finding = match examined {
            Examined::Good(_) => return None,
            Examined::Absent => Finding::new(Problem::MissingChunk, key, ""),
            Examined::Bad { problem, detail, error: None } => Finding::new(problem, key, detail),
            Examined::Bad { problem, detail, error: Some(error) } => {
                Finding::new(problem, key, detail).because(error)
            }
        };
        Some(finding.of(chunk))
    }
}

/// Reads a blob from its first byte to its last.
async fn read_whole(shared: &Arc<Store>, index: BlobIndex) -> Whole {
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
        if error.operation() == BLOB && is_corrupt(&error) {
            return Whole::WrongDigest(error);
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
            examined => return Whole::BadChunk(chunk, examined),
        }
        // It is right by now, and may have been replaced.
        if !std::mem::take(&mut again) {
            return Whole::Unreadable(error);
        }
    }
}
