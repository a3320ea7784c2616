//! Copies one blob.
//!
//! The chunks of the blob are fetched, stored and digested in a pipeline: several chunks are under
//! way, and the digest of the whole blob is computed in their order. A blob that holds memory for a
//! chunk never waits for memory for a further chunk: so blobs that are copied at once never wait
//! for each other's memory.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::groups::GroupHashes;
use castore_core::{BlobIndex, BlobMismatch, ChunkMeta, Digest, Error, ErrorKind, Result};
use futures_util::StreamExt;
use futures_util::future::join;
use tokio::sync::mpsc;

use super::target::{Target, missing};
use super::{CopiedBlob, CopyOutcome};
use crate::error::{corrupt, task_error};
use crate::exec::clock::Moment;
use crate::exec::context::inline;
use crate::exec::hasher::BlobHasher;
use crate::exec::limits::{Limits, Permit};
use crate::exec::task::Task;
use crate::read;
use crate::store::Store;
use crate::store::chunk::{Probe, Stored};
use crate::store::index::Listed;
use crate::store::layout::Kind;

const OPERATION: &str = "copy blob";

/// How many chunks of one blob are under way at once. The limits of memory and requests apply in
/// addition.
pub(super) const CHUNKS_AT_ONCE: usize = 128;

/// How often the chunks of a blob are looked at again because copying took too long (docs/gc.md).
const ROUNDS: usize = 2;

/// The two stores of a copy.
pub(super) struct Copying {
    pub(super) source: Arc<Store>,
    pub(super) target: Arc<Target>,
    /// Whether blobs are read from the target before their indexes are written there.
    pub(super) verify: bool,
    /// Whether an index of the source is passed on without computing the digest of its blob.
    pub(super) trust_indexes: bool,
}

type Steps = mpsc::UnboundedSender<()>;

/// Shares of both stores' memory.
type Memory = [Permit; 2];

/// A chunk that was read from the source.
struct Read {
    object: Bytes,
    chunk: Bytes,
    memory: Memory,
}

/// A chunk in the pipeline.
struct Entry {
    digest: Digest,
    work: Work,
}

enum Work {
    /// The chunk is being copied, or only read.
    Copy(Task<(Stored, Option<Bytes>)>, Memory),
    /// The target has the chunk, and no more work is needed.
    There(Moment),
    /// The chunk is the same as the one before.
    Repeated,
}

/// The totals for the chunks of a blob.
struct Sums {
    copied: CopiedBlob,
    /// When the first of the chunks was seen at the target.
    seen: Moment,
    /// The group hashes of the blob, if all of it was read.
    groups: Option<GroupHashes>,
}

impl Copying {
    /// Copies one blob; calls `step` for each chunk that is done.
    ///
    /// All of the work is a task of its own, which holds and waits for shares of limits. `step` is
    /// called from this future, because it may be called only while this future is polled.
    pub(super) async fn blob(
        self: &Arc<Self>,
        digest: Digest,
        step: &(impl Fn() + Sync),
    ) -> Result<CopyOutcome> {
        let (steps, mut done) = mpsc::unbounded_channel();
        let this = Arc::clone(self);
        let copy = inline(async move { this.copy_blob(digest, &steps).await });
        let mut copy = Task::spawn(OPERATION, copy).about(digest);
        let outcome = loop {
            tokio::select! {
                Some(()) = done.recv() => step(),
                outcome = &mut copy => break outcome,
            }
        };
        while done.try_recv().is_ok() {
            step();
        }
        outcome
    }

    async fn copy_blob(&self, digest: Digest, steps: &Steps) -> Result<CopyOutcome> {
        let mut total = CopiedBlob::default();
        let mut known = None;
        for round in 0.. {
            let of_source = async {
                match digest {
                    // The empty blob is always present.
                    Digest::EMPTY => Ok(Listed::Chunks(BlobIndex::empty())),
                    _ => self.source.get_index(&digest).await,
                }
            };
            let (listed, at_target) = join(of_source, self.target.index(&digest)).await;
            let (listed, at_target) = (listed?, at_target?);
            let (index, read) = match listed {
                Listed::Absent => {
                    self.source.confirm_absent(OPERATION, Kind::Blob, &digest).await?;
                    return Ok(CopyOutcome::Absent);
                }
                Listed::Chunks(index) => (index, None),
                Listed::OneChunk => match self.read_sole_chunk(digest).await {
                    Ok((index, read)) => (index, Some(read)),
                    Err(error) => return self.absent_or(digest, error).await,
                },
            };
            let target = &self.target.shared;
            let at_target = at_target.filter(|at_target| at_target.lists_same(&index));
            let seen = Moment::now();
            if round == 0 && at_target.is_some() && self.target.has_chunks_of(&index).await? {
                let has_groups = at_target.is_some_and(|index| index.groups().is_some());
                if target.group_hashes && index.groups().is_some() && !has_groups {
                    target.write_index(&index, Some(seen)).await?;
                } else {
                    // Another process may have written the blob without flushing it yet.
                    target.flush().await?;
                }
                if self.verify {
                    self.verify(&Arc::new(index)).await?;
                }
                return Ok(CopyOutcome::AlreadyThere);
            }
            let check = !self.trust_indexes && round == 0;
            let Sums { copied, seen, groups } = match self.chunks(&index, read, check, steps).await
            {
                Ok(sums) => sums,
                Err(error) => return self.absent_or(digest, error).await,
            };
            known =
                groups.or(known).or_else(|| at_target.and_then(|index| index.groups().cloned()));
            let index = match known.clone() {
                Some(groups) => index.with_groups(groups).map_err(|error| {
                    corrupt(OPERATION, digest, "its chunks contradict it").with_source(error)
                })?,
                None => index,
            };
            let index = Arc::new(index);
            total.size = index.size();
            total.chunks_new += copied.chunks_new;
            total.bytes_stored += copied.bytes_stored;
            if round == 0 {
                total.chunks_reused = copied.chunks_reused;
            }
            if self.verify {
                self.verify(&index).await?;
            }
            // A chunk that was found hours ago may be gone by now, and can be copied again.
            if seen.elapsed() <= target.recheck_after || round == ROUNDS {
                target.write_index(&index, Some(seen)).await?;
                break;
            }
        }
        Ok(CopyOutcome::Copied(total))
    }

    /// Returns `error`, unless the blob was removed from the source meanwhile.
    async fn absent_or(&self, digest: Digest, error: Error) -> Result<CopyOutcome> {
        if error.kind() == ErrorKind::Corrupt
            && let Ok(Listed::Absent) = self.source.get_index(&digest).await
        {
            return Ok(CopyOutcome::Absent);
        }
        Err(error)
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

    /// Reads the only chunk of a blob whose index does not state its size.
    async fn read_sole_chunk(&self, digest: Digest) -> Result<(BlobIndex, Read)> {
        let mut memory = self.memory(self.source.params.max_size()).await;
        let fetched = self.source.get_compressed(digest, None).await?;
        let (object, chunk) = fetched.ok_or_else(|| missing(digest))?;
        memory.iter_mut().for_each(|permit| permit.shrink(chunk.len()));
        let index = BlobIndex::new(digest, [ChunkMeta { digest, size: chunk.len() as u64 }]);
        let index = index
            .map_err(|error| corrupt(OPERATION, digest, "it is no chunk").with_source(error))?;
        Ok((index, Read { object, chunk, memory }))
    }

    async fn memory(&self, bytes: usize) -> Memory {
        Limits::writing_of_both(&self.source.limits, &self.target.shared.limits, bytes).await
    }

    /// Copies every chunk of `index` to the target; the first chunk may have been `read` before.
    /// With `check`, reads all chunks and verifies the digest of the whole blob.
    async fn chunks(
        &self,
        index: &BlobIndex,
        mut read: Option<Read>,
        check: bool,
        steps: &Steps,
    ) -> Result<Sums> {
        // Without chunks nothing can be outdated: an empty blob starts with the present time.
        let mut sums = Sums { copied: CopiedBlob::default(), seen: Moment::now(), groups: None };
        let mut whole = BlobHasher::default();
        let mut pipeline: VecDeque<Entry> = VecDeque::new();
        let mut chunks = index.iter().peekable();
        let mut added = None;
        let mut last = (Bytes::new(), sums.seen);
        loop {
            while pipeline.len() < CHUNKS_AT_ONCE
                && let Some(chunk) = chunks.peek().copied()
            {
                let repeated = added == Some(chunk.digest);
                let holds_memory =
                    pipeline.iter().any(|entry| matches!(entry.work, Work::Copy(..)));
                let work = match self.target.probe(&chunk.digest) {
                    _ if repeated => Work::Repeated,
                    Probe::Seen(seen) if !check => Work::There(seen),
                    probe => match self.copy(chunk, &mut read, check, probe, holds_memory).await {
                        Some(work) => work,
                        None => break,
                    },
                };
                added = Some(chunk.digest);
                chunks.next();
                pipeline.push_back(Entry { digest: chunk.digest, work });
            }
            let Some(Entry { digest, work }) = pipeline.pop_front() else { break };
            let mut memory = None;
            let stored = match work {
                Work::Copy(copy, held) => {
                    let (stored, chunk) = copy.about(digest).await?;
                    memory = Some(held);
                    last = (chunk.unwrap_or_default(), stored.seen);
                    stored
                }
                Work::There(seen) => {
                    self.target.shared.requests.counters.chunks_reused.add(1);
                    last = (Bytes::new(), seen);
                    Stored { new: None, seen }
                }
                Work::Repeated => {
                    self.target.shared.requests.counters.chunks_reused.add(1);
                    Stored { new: None, seen: last.1 }
                }
            };
            if check {
                let updated = whole.update(vec![last.0.clone()], ()).await;
                updated.map_err(|error| task_error(OPERATION, error))?;
            }
            drop(memory);
            sums.count(stored);
            // The receiver ends before this task only if the copy was abandoned.
            let _ = steps.send(());
        }
        if check {
            let hashed = whole.finish().await.map_err(|error| task_error(OPERATION, error))?;
            if hashed.digest != index.digest() {
                let mismatch = BlobMismatch::Whole { found: hashed.digest };
                return Err(Error::blob_mismatch(OPERATION, index.digest(), mismatch));
            }
            sums.groups = hashed.groups;
        }
        Ok(sums)
    }

    /// Starts to copy a chunk. Returns `None` if no memory is free now and the blob already
    /// `holds_memory`: then the blob must not wait for more.
    async fn copy(
        &self,
        ChunkMeta { digest, size }: ChunkMeta,
        read: &mut Option<Read>,
        check: bool,
        probe: Probe,
        holds_memory: bool,
    ) -> Option<Work> {
        let (fetched, memory) = match read.take() {
            Some(Read { object, chunk, memory }) => (Some((object, chunk)), memory),
            None if holds_memory => {
                let (source, target) = (&self.source.limits, &self.target.shared.limits);
                (None, Limits::try_writing_of_both(source, target, size as usize)?)
            }
            None => (None, self.memory(size as usize).await),
        };
        let (source, target) = (Arc::clone(&self.source), Arc::clone(&self.target.shared));
        let copy = async move {
            let fetch = async {
                match fetched {
                    Some(fetched) => Ok(fetched),
                    None => {
                        let fetched = source.get_compressed(digest, Some(size)).await?;
                        fetched.ok_or_else(|| missing(digest))
                    }
                }
            };
            if !check {
                let object = async { fetch.await.map(|(object, _)| (object, None)) };
                return Ok((target.store_object(digest, size, probe, object).await?, None));
            }
            let (object, chunk) = fetch.await?;
            let object = async { Ok((object, None)) };
            let stored = target.store_object(digest, size, probe, object).await?;
            Ok((stored, Some(chunk)))
        };
        Some(Work::Copy(self.source.requests.spawn_unit(OPERATION, copy), memory))
    }
}

impl Sums {
    fn count(&mut self, chunk: Stored) {
        self.seen = self.seen.earlier(chunk.seen);
        match chunk.new {
            Some(bytes) => {
                self.copied.chunks_new += 1;
                self.copied.bytes_stored += bytes;
            }
            None => self.copied.chunks_reused += 1,
        }
    }
}
