//! Verifies that every chunk decompresses to data with its digest.

use std::sync::Arc;

use castore_core::{Digest, Error, MAX_CHUNK_SIZE, Result};
use futures_util::stream;

use super::inventory::Chunk;
use super::{
    Checkpoint, Finding, InOrder, Phase, Problem, Run, Verified, VerifyLevel, is_corrupt,
    look_again, one_line,
};
use crate::store::Store;
use crate::store::chunk::READ_CHUNK as CHUNK;
use crate::store::codec::{DecodeError, max_stored_size};

/// The state of a chunk.
#[derive(Debug)]
pub(crate) enum Examined {
    /// The chunk is good and has this size in bytes.
    Good(u64),
    Absent,
    Bad {
        problem: Problem,
        detail: String,
        /// The error of the store, if the store fails to return the chunk.
        error: Option<Error>,
    },
}

impl Examined {
    pub(super) fn unreadable(error: Error) -> Examined {
        let problem = Problem::UnreadableChunk;
        Examined::Bad { problem, detail: one_line(&error), error: Some(error) }
    }
}

/// Reads a chunk and checks whether it is right.
pub(crate) async fn examine(shared: &Arc<Store>, digest: &Digest) -> Examined {
    let (this, digest) = (Arc::clone(shared), *digest);
    let examine = async move { Ok(examine_here(&this, &digest).await) };
    shared.requests.spawn_unit(CHUNK, examine).await.unwrap_or_else(Examined::unreadable)
}

/// Examines a chunk. A chunk counts as damaged only if the store returns all of its object.
async fn examine_here(shared: &Store, digest: &Digest) -> Examined {
    match read_chunk(shared, digest).await {
        bad @ Examined::Bad { error: None, .. } => {
            let (path, most) = (shared.layout.chunk(digest), max_stored_size(MAX_CHUNK_SIZE));
            match shared.confirm_given(CHUNK, *digest, path, most).await {
                Ok(()) => bad,
                Err(error) => Examined::unreadable(error),
            }
        }
        examined => examined,
    }
}

async fn read_chunk(shared: &Store, digest: &Digest) -> Examined {
    let bad =
        |problem, detail: &str| Examined::Bad { problem, detail: detail.to_owned(), error: None };
    // The size that an index states may be wrong: so only the size of the largest chunk limits the
    // read.
    let max_size = max_stored_size(MAX_CHUNK_SIZE);
    let object = match shared.get_in_place(digest, max_size).await {
        Ok(Some(object)) => object,
        Ok(None) => return Examined::Absent,
        Err(error) if is_corrupt(&error) => return bad(Problem::CorruptChunk, &one_line(&error)),
        Err(error) => return Examined::unreadable(error),
    };
    let stored = object.size();
    match shared.try_decode(*digest, None, object).await {
        Ok(Ok(chunk)) => Examined::Good(chunk.len() as u64),
        Ok(Err(_)) if stored == 0 => bad(Problem::EmptyChunk, ""),
        Ok(Err(DecodeError::CutShort(_))) => bad(Problem::TruncatedChunk, ""),
        Ok(Err(error)) => bad(Problem::CorruptChunk, &error.to_string()),
        Err(error) => Examined::unreadable(error),
    }
}

impl<E: FnMut(Verified) + Send> Run<'_, E> {
    /// Reads the chunks in the order of their digests. At the level of indexes, reads only the
    /// chunks that the listing or the indexes have shown to be suspect.
    pub(super) async fn read_chunks(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let after = self.options.resume.map(|checkpoint| checkpoint.after);
        let total = self.inventory.after(after).filter(|chunk| is_to_be_read(chunk)).count();
        let mut phase = Phase::new(self.observer, "read the chunks", Some(total as u64));
        // Taken out of `self`, so that the callback can report findings meanwhile.
        let inventory = std::mem::replace(&mut self.inventory, super::Inventory::new());
        let chunks = inventory.after(after).filter(|chunk| is_to_be_read(chunk)).map(|chunk| {
            let (blobs, count) = inventory.blobs_of(chunk);
            let listed: Chunks = (*chunk, blobs, count);
            Ok((listed, u64::from(chunk.stored)))
        });
        let mut bad = Vec::new();
        let read = |listed: Chunks| {
            let shared = &shared;
            async move {
                let examined = examine_listed(shared, &listed).await;
                (listed, examined)
            }
        };
        let mut unread: Vec<(Chunks, Error)> = Vec::new();
        let mut last = None;
        let result = InOrder::of(&shared.limits)
            .in_order(stream::iter(chunks), read, |(listed, examined)| {
                phase.step();
                self.report.chunks_read += 1;
                let digest = listed.0.digest;
                if let Examined::Bad { error: Some(error), .. } = examined {
                    unread.push((listed, error.clone()));
                    return self.note_result(Some(&error));
                }
                bad.extend(self.take_chunk(listed, examined));
                self.note_result(None)?;
                last = Some(digest);
                // Blaming indexes for wrong sizes, and reading unreadable objects again, come at
                // the end: until then the work after the first such chunk is not done.
                if unread.is_empty() {
                    self.done_up_to(digest);
                }
                Ok(())
            })
            .await;
        let any_unread = !unread.is_empty();
        for (listed, error) in unread {
            // Read the object again: an outage may be over by now. Skip this if the store fails
            // altogether.
            let examined = match result {
                Ok(()) => examine_listed(&shared, &listed).await,
                Err(_) => Examined::unreadable(error),
            };
            last = last.max(Some(listed.0.digest));
            bad.extend(self.take_chunk(listed, examined));
        }
        if let Some(last) = last.filter(|_| any_unread && result.is_ok()) {
            self.done_up_to(last);
        }
        self.inventory = inventory;
        for digest in &bad {
            self.inventory.set_bad(digest);
        }
        result
    }

    fn done_up_to(&mut self, chunk: Digest) {
        if self.options.level > VerifyLevel::Index && self.wrong_sizes.is_empty() {
            (self.each)(Verified::UpTo(Checkpoint::of_chunks(chunk)));
        }
    }

    /// Notes the state of a chunk; returns its digest if the chunk is not good.
    fn take_chunk(&mut self, listed: Chunks, examined: Examined) -> Option<Digest> {
        let (chunk, blobs, count) = listed;
        match examined {
            Examined::Absent => None,
            Examined::Good(size) => {
                self.report.bytes_read += size;
                let stated = chunk.stated();
                if chunk.is_in_conflict() || stated.is_some_and(|stated| stated != size) {
                    self.wrong_sizes.insert(chunk.digest, size);
                }
                None
            }
            Examined::Bad { problem, detail, error } => {
                let key = self.shared.layout.chunk(&chunk.digest);
                let finding = Finding::new(problem, key, detail);
                let finding = finding.of(chunk.digest).affecting(blobs, count);
                self.found(match error {
                    Some(error) => finding.because(error),
                    None => finding,
                });
                Some(chunk.digest)
            }
        }
    }
}

/// A chunk, some of the blobs that list it, and the number of all of them.
type Chunks = (Chunk, Vec<Digest>, u64);

/// Examines a chunk, and examines a bad one once more: others may have moved or replaced it
/// meanwhile. Returns `Absent` if the chunk is absent from its place without being missing.
async fn examine_listed(shared: &Arc<Store>, (chunk, blobs, count): &Chunks) -> Examined {
    match examine(shared, &chunk.digest).await {
        good @ Examined::Good(_) => return good,
        Examined::Absent => match look_again(shared, &chunk.digest, blobs, *count).await {
            Ok(None) => {}
            Ok(Some(detail)) => {
                return Examined::Bad { problem: Problem::MissingChunk, detail, error: None };
            }
            Err(error) => return Examined::unreadable(error),
        },
        unreadable @ Examined::Bad { error: Some(_), .. } => return unreadable,
        Examined::Bad { error: None, .. } => {}
    }
    examine(shared, &chunk.digest).await
}

fn is_to_be_read(chunk: &Chunk) -> bool {
    let size = chunk.stated().unwrap_or(MAX_CHUNK_SIZE);
    let is_suspect = chunk.stored == 0 || u64::from(chunk.stored) > max_stored_size(size);
    chunk.is_selected() || is_suspect || chunk.is_in_conflict()
}
