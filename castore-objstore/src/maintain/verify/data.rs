//! Every chunk decompresses to what its digest says.

use std::sync::Arc;

use castore_core::{Digest, Error, MAX_CHUNK_SIZE, Result};
use futures_util::stream;

use super::indexes::is_listed;
use super::inventory::Chunk;
use super::{
    Checkpoint, Finding, InOrder, Phase, Problem, Run, Verified, VerifyLevel, is_corrupt, told,
};
use crate::store::Store;
use crate::store::chunk::READ_CHUNK as CHUNK;
use crate::store::codec::{DecodeError, max_stored_size};

/// What a chunk has turned out to be.
#[derive(Debug)]
pub(crate) enum Examined {
    /// Its size in bytes.
    Good(u64),
    Absent,
    Bad {
        problem: Problem,
        detail: String,
        /// What the store said, where it does not give it.
        error: Option<Error>,
    },
}

impl Examined {
    fn unreadable(error: Error) -> Examined {
        let problem = Problem::UnreadableChunk;
        Examined::Bad { problem, detail: told(&error), error: Some(error) }
    }
}

/// Reads a chunk and looks whether it is right.
pub(crate) async fn examine(shared: &Arc<Store>, digest: &Digest) -> Examined {
    let (this, digest) = (Arc::clone(shared), *digest);
    let examine = async move { Ok(examine_here(&this, &digest).await) };
    shared.requests.begin(CHUNK, examine).await.unwrap_or_else(Examined::unreadable)
}

async fn examine_here(shared: &Store, digest: &Digest) -> Examined {
    let bad =
        |problem, detail: &str| Examined::Bad { problem, detail: detail.to_owned(), error: None };
    // What an index states may be wrong: so only the largest there may be is a limit.
    let max_size = max_stored_size(MAX_CHUNK_SIZE);
    let object = match shared.fetch_chunk_object(digest, max_size).await {
        Ok(Some(object)) => object,
        Ok(None) => return Examined::Absent,
        Err(error) if is_corrupt(&error) => return bad(Problem::CorruptChunk, &told(&error)),
        Err(error) => return Examined::unreadable(error),
    };
    let stored = object.size();
    match shared.try_decode(*digest, None, object).await {
        Ok(Ok(chunk)) if stored > max_stored_size(chunk.len() as u64) => {
            let detail = format!("it takes up {stored} bytes, more than {} may", chunk.len());
            bad(Problem::CorruptChunk, &detail)
        }
        Ok(Ok(chunk)) => Examined::Good(chunk.len() as u64),
        Ok(Err(_)) if stored == 0 => bad(Problem::EmptyChunk, ""),
        Ok(Err(DecodeError::CutShort(_))) => bad(Problem::TruncatedChunk, ""),
        Ok(Err(error)) => bad(Problem::CorruptChunk, &error.to_string()),
        Err(error) => Examined::unreadable(error),
    }
}

impl<E: FnMut(Verified) + Send> Run<'_, E> {
    /// Reads the chunks in the order of their digests; at the level of indexes only those in which the
    /// listing or the indexes have shown that something is wrong.
    pub(super) async fn read_chunks(&mut self) -> Result<()> {
        let shared = Arc::clone(&self.shared);
        let after = self.options.resume.map(|checkpoint| checkpoint.after);
        let total = self.inventory.after(after).filter(|chunk| is_to_be_read(chunk)).count();
        let mut phase = Phase::new(self.observer, "read the chunks", Some(total as u64));
        // Taken out, so that what is found can be noted meanwhile.
        let inventory = std::mem::replace(&mut self.inventory, super::Inventory::new());
        let chunks = inventory.after(after).filter(|chunk| is_to_be_read(chunk)).map(|chunk| {
            let (blobs, count) = inventory.blobs_of(chunk);
            Ok(((*chunk, blobs, count), u64::from(chunk.stored)))
        });
        let mut bad = Vec::new();
        let read = |(chunk, blobs, count): (Chunk, Vec<Digest>, u64)| {
            let shared = &shared;
            async move {
                let mut examined = examine(shared, &chunk.digest).await;
                if matches!(examined, Examined::Absent) {
                    // It was removed since; that is fine unless somebody relies on it.
                    examined = match is_listed(shared, &blobs).await {
                        Ok(false) => Examined::Absent,
                        Ok(true) => Examined::Bad {
                            problem: Problem::MissingChunk,
                            detail: String::new(),
                            error: None,
                        },
                        Err(error) => Examined::unreadable(error),
                    };
                }
                (chunk, blobs, count, examined)
            }
        };
        let window = InOrder::of(&shared.limits);
        let result = window
            .in_order(stream::iter(chunks), read, |(chunk, blobs, count, examined)| {
                phase.step();
                self.report.chunks_read += 1;
                let key = || shared.layout.chunk(&chunk.digest);
                let mut failure = None;
                match examined {
                    Examined::Absent => {}
                    Examined::Good(size) => {
                        self.report.bytes_read += size;
                        let stated = chunk.stated();
                        if chunk.is_in_conflict() || stated.is_some_and(|stated| stated != size) {
                            self.wrong_sizes.insert(chunk.digest, size);
                        }
                    }
                    Examined::Bad { problem, detail, error } => {
                        let finding = Finding::new(problem, key(), detail);
                        let finding = finding.of(chunk.digest).affecting(blobs, count);
                        bad.push(chunk.digest);
                        self.found(match &error {
                            Some(error) => finding.because(error.clone()),
                            None => finding,
                        });
                        failure = error;
                    }
                }
                self.given(failure.as_ref())?;
                // Which indexes state wrong sizes is found out in the end: until then nothing after
                // the first of them is done with.
                if self.options.level > VerifyLevel::Index && self.wrong_sizes.is_empty() {
                    (self.each)(Verified::UpTo(Checkpoint::of_chunks(chunk.digest)));
                }
                Ok(())
            })
            .await;
        self.inventory = inventory;
        for digest in &bad {
            self.inventory.set_bad(digest);
        }
        result
    }
}

fn is_to_be_read(chunk: &Chunk) -> bool {
    let size = chunk.stated().unwrap_or(MAX_CHUNK_SIZE);
    let is_suspect = chunk.stored == 0 || u64::from(chunk.stored) > max_stored_size(size);
    chunk.is_selected() || is_suspect || chunk.is_in_conflict()
}
