//! Copying one blob.

use std::sync::Arc;

use castore_core::{BlobIndex, ChunkMeta, Digest, ErrorKind, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use super::target::{Target, missing};
use super::{CopiedBlob, CopyOutcome};
use crate::error::corrupt;
use crate::exec::clock::Moment;
use crate::exec::limits::{Limits, driven};
use crate::read;
use crate::store::Store;
use crate::store::chunk::CHUNK;
use crate::store::index::Listed;

const OPERATION: &str = "copy blob";

/// How many chunks of one blob are under way at once; memory and requests are limited besides.
const CHUNKS_AT_ONCE: usize = 128;

/// How often a blob is gone through once more because that took too long (docs/gc.md).
const ROUNDS: usize = 2;

/// The two stores of a copy.
pub(super) struct Copying {
    pub(super) source: Arc<Store>,
    pub(super) target: Arc<Target>,
    /// Whether blobs are read from the target before their indexes are written there.
    pub(super) verify: bool,
}

/// A chunk that is at the target.
struct Done {
    /// Uncompressed, in bytes.
    size: u64,
    /// The compressed bytes, where it was not there before.
    stored: Option<u64>,
    /// When it was there.
    seen: Moment,
}

impl Copying {
    /// Copies one blob; `step` is called for each chunk that is done with.
    pub(super) async fn blob(
        &self,
        digest: Digest,
        step: &(impl Fn() + Sync),
    ) -> Result<CopyOutcome> {
        if self.target.has_blob(&digest).await? {
            let target = Arc::clone(&self.target.shared);
            // Another process may have written it, and not flushed it yet.
            driven(OPERATION, async move { target.flush().await }).await?;
            return Ok(CopyOutcome::AlreadyThere);
        }
        let mut total = CopiedBlob::default();
        for round in 0.. {
            let mut copied = CopiedBlob::default();
            // An empty blob needs no chunk, whenever it was looked for.
            let mut seen = Moment::now();
            let Some(index) = self.chunks(digest, &mut copied, &mut seen, step).await? else {
                return Ok(CopyOutcome::Absent);
            };
            total.size = index.size();
            total.chunks_new += copied.chunks_new;
            total.bytes_stored += copied.bytes_stored;
            if round == 0 {
                total.chunks_reused = copied.chunks_reused;
            }
            let index = Arc::new(index);
            if self.verify {
                self.verify(&index).await?;
            }
            let target = Arc::clone(&self.target.shared);
            // A chunk that was found hours ago may not be there any more, and can be copied again.
            if seen.elapsed() <= target.recheck_after || round == ROUNDS {
                // As new: an index that is there is not this one.
                let commit = async move { target.commit(&index, None, true, Some(seen)).await };
                driven(OPERATION, commit).await?;
                break;
            }
        }
        Ok(CopyOutcome::Copied(total))
    }

    /// Reads the blob from the target.
    async fn verify(&self, index: &Arc<BlobIndex>) -> Result<()> {
        let reader = read::reader_of(&self.target.shared, Arc::clone(index));
        let mut pieces = reader.read_range(0..reader.size());
        while let Some(piece) = pieces.next().await {
            piece.map_err(|error| match error.kind() {
                ErrorKind::Corrupt => {
                    let message = "its chunks at the target are not the blob";
                    corrupt("verify the copy of blob", index.digest(), message).with_source(error)
                }
                _ => error,
            })?;
        }
        Ok(())
    }

    /// Copies the chunks of a blob, and returns its index; `seen` becomes when the first of them was
    /// seen at the target.
    async fn chunks(
        &self,
        digest: Digest,
        copied: &mut CopiedBlob,
        seen: &mut Moment,
        step: &(impl Fn() + Sync),
    ) -> Result<Option<BlobIndex>> {
        // It is always present.
        if digest == Digest::EMPTY {
            return Ok(Some(BlobIndex::empty()));
        }
        match self.source.fetch_index(&digest).await? {
            Listed::Chunks(index) => {
                self.chunks_of(&index, copied, seen, step).await?;
                return Ok(Some(index));
            }
            Listed::OneChunk => {}
            // A chunk without an index is no blob.
            Listed::Absent => return Ok(None),
        }
        let (source, target) = (Arc::clone(&self.source), Arc::clone(&self.target));
        let copy = copy_chunk(source, target, digest, None);
        let copy = self.source.requests.begin(OPERATION, copy);
        let done = copy.await?.ok_or_else(|| missing(digest))?;
        copied.count(&done, seen);
        step();
        BlobIndex::new(digest, [ChunkMeta { digest, size: done.size }])
            .map(Some)
            .map_err(|error| corrupt(OPERATION, digest, "it is no chunk").with_source(error))
    }

    /// Sees to it that every chunk of `index` is at the target.
    async fn chunks_of(
        &self,
        index: &BlobIndex,
        copied: &mut CopiedBlob,
        seen: &mut Moment,
        step: &(impl Fn() + Sync),
    ) -> Result<()> {
        let mut running = FuturesUnordered::new();
        let mut chunks = index.iter();
        loop {
            let next = if running.len() < CHUNKS_AT_ONCE { chunks.next() } else { None };
            if let Some(ChunkMeta { digest, size }) = next {
                if let Some(known) = self.target.shared.known.seen(&digest) {
                    copied.count(&Done { size, stored: None, seen: known }, seen);
                    self.target.shared.requests.counters.chunks_reused.add(1);
                    step();
                    continue;
                }
                let (source, target) = (Arc::clone(&self.source), Arc::clone(&self.target));
                running.push(self.source.requests.begin(OPERATION, async move {
                    let done = copy_chunk(source, target, digest, Some(size)).await?;
                    done.ok_or_else(|| missing(digest))
                }));
            } else {
                let Some(done) = running.next().await else { return Ok(()) };
                copied.count(&done?, seen);
                step();
            }
        }
    }
}

impl CopiedBlob {
    /// Counts a chunk that is at the target, and remembers in `seen` when the first of them was there.
    fn count(&mut self, chunk: &Done, seen: &mut Moment) {
        *seen = seen.earlier(chunk.seen);
        match chunk.stored {
            Some(bytes) => {
                self.chunks_new += 1;
                self.bytes_stored += bytes;
            }
            None => self.chunks_reused += 1,
        }
    }
}

/// Copies a chunk, unless it is there; returns `None` where the source does not have it either. Needs
/// a task of its own. Where the size is not known, the chunk is fetched in any case.
async fn copy_chunk(
    source: Arc<Store>,
    target: Arc<Target>,
    digest: Digest,
    size: Option<u64>,
) -> Result<Option<Done>> {
    let Store { known, requests, layout, .. } = &*target.shared;
    let reused = |size, seen| {
        requests.counters.chunks_reused.add(1);
        Ok(Some(Done { size, stored: None, seen }))
    };
    let mut there = target.has_chunk(digest).await?;
    if let (Some(seen), Some(size)) = (there, size) {
        return reused(size, seen);
    }
    // Of one that does not say, what is likely.
    let bytes = size.map_or(source.params.max_size(), |size| size as usize);
    let _memory = Limits::writing_of_both(&source.limits, &target.shared.limits, bytes).await;
    // Only now, as writers do: whoever has the turn must not wait for memory.
    let _turn = known.turn(digest).await;
    there = known.seen(&digest).or(there);
    if let (Some(seen), Some(size)) = (there, size) {
        return reused(size, seen);
    }
    let fetched = source.fetch_stored(digest, size).await?;
    let Some((stored, size)) = fetched else { return Ok(None) };
    if let Some(seen) = there {
        return reused(size, seen);
    }
    let stored_size = stored.len() as u64;
    let seen = Moment::now();
    requests.put(CHUNK, digest, layout.chunk(&digest), stored).await?;
    known.insert(digest, seen);
    requests.counters.chunks_new.add(1);
    requests.counters.bytes_new.add(size);
    requests.counters.bytes_stored.add(stored_size);
    Ok(Some(Done { size, stored: Some(stored_size), seen }))
}
