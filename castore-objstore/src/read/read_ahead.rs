//! The chunks of a range, fetched ahead of the reader and handed out in order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use castore_core::{BlobIndex, BlobMismatch, BlobSource, Digest, Error, Result};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::time::Instant;

use super::cursor::Cursor;
use super::prover::{Proof, Prover};
use crate::error::task_error;
use crate::exec::hasher::BlobHasher;
use crate::exec::limits::Permit;
use crate::exec::reading::{Ahead, IDLE_AFTER};
use crate::exec::task::Task;
use crate::store::chunk::READ_CHUNK as CHUNK;
use crate::store::pages::{Index, PlacedChunk};
use crate::store::{Store, Verify};

/// The operation named by a mismatch: each chunk is valid, but they belong to another blob.
pub(crate) const BLOB: &str = "read blob";

/// How many bytes of chunks are fetched at once at the beginning of a read, either from the start
/// of a blob or of a range.
///
/// A reader that stops after a few bytes has not fetched much more than it needs. A reader that
/// continues is at full speed after a few round trips.
const FIRST_WINDOW: u64 = 4 * 1024 * 1024;

/// The window grows by this many times the size of each chunk that arrives: to four times as many
/// bytes with each round trip.
const GROWTH: u64 = 3;

/// A chunk counts as at least this many bytes in the window and in the memory for reading: the
/// memory of a task besides its chunk.
const MIN_COST: u64 = 4 * 1024;

/// The window has room for at least this many chunks, or for as many as the limit on requests, if
/// that is more. The number is bounded because an index may list chunks of one byte each.
const MIN_CHUNKS: usize = 8;

/// A read of at least so many bytes from its start on is long: its groups alone prove it.
const LONG: u64 = 4 * 1024 * 1024;

pub(super) struct Source {
    pub(super) shared: Arc<Store>,
    pub(super) index: Index,
    /// The bytes of a blob of one chunk.
    pub(super) only: Option<Bytes>,
    /// Whether the caller proves that the chunks are those of the blob, and this source does not.
    pub(super) caller_proves: bool,
}

impl Source {
    /// The bytes of a range. Reading ahead starts with `window` bytes. If `window` is 0, the bytes
    /// up to `wanted` are fetched first, and reading ahead starts once the reader has taken them.
    fn read(
        &self,
        range: Range<u64>,
        wanted: u64,
        window: u64,
    ) -> BoxStream<'static, Result<Bytes>> {
        if let Some(only) = &self.only {
            let bytes = only.slice(range.start as usize..range.end as usize);
            return stream::iter((!bytes.is_empty()).then_some(Ok(bytes))).boxed();
        }
        if range.is_empty() {
            return stream::empty().boxed();
        }
        let limits = &self.shared.limits;
        let whole = range == (0..self.index.size());
        let queue = limits.reading().register(Queue::default());
        let proof = match self.shared.verify {
            _ if self.caller_proves => Proof::Chunks,
            Verify::Chunks => Proof::Chunks,
            Verify::Groups if window > 0 && range.end - range.start >= LONG => Proof::GroupsAlone,
            Verify::Groups => Proof::Groups,
        };
        let prover = Prover::new(&self.shared, &self.index, &range, proof);
        let hashes_whole = whole && !self.caller_proves && prover.proof() == Proof::Chunks;
        let window = Window {
            cursor: Cursor::new(Arc::clone(&self.shared), self.index.clone()),
            index: self.index.clone(),
            queue: Arc::clone(&queue),
            taken: range.start,
            range,
            wanted,
            needed: prover.needed_for(wanted),
            located: false,
            max_bytes: window,
            max_chunks: limits.requests_at_once().max(MIN_CHUNKS),
            whole: hashes_whole.then(BlobHasher::default),
            prover,
            shared: Arc::clone(&self.shared),
        };
        let chunks = stream::unfold(Some(window), |window| async {
            let mut window = window?;
            match window.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(window))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        });
        let mut chunks = chunks.boxed();
        stream::poll_fn(move |context| {
            lock(&queue).last_polled = Instant::now();
            chunks.poll_next_unpin(context)
        })
        .boxed()
    }
}

impl BlobSource for Source {
    fn size(&self) -> u64 {
        self.index.size()
    }

    fn digest(&self) -> Digest {
        self.index.digest()
    }

    fn index(&self) -> Option<BlobIndex> {
        match &self.index {
            Index::Whole(index) => Some(BlobIndex::clone(&index.listed)),
            Index::Paged(_) => None,
        }
    }

    /// By the group hashes, or else by the digest; or the caller verifies the whole.
    fn verifies_whole(&self) -> bool {
        true
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let wanted = range.start;
        self.read(range, wanted, FIRST_WINDOW)
    }

    fn read_on(&self, start: u64, wanted: u64) -> BoxStream<'static, Result<Bytes>> {
        let size = self.index.size();
        self.read(start..size, start.saturating_add(wanted).min(size), 0)
    }
}

/// The chunks of a range, in order, some of them in flight.
struct Window {
    shared: Arc<Store>,
    index: Index,
    cursor: Cursor,
    queue: Arc<Mutex<Queue>>,
    range: Range<u64>,
    /// The reader has received the bytes up to here, or is about to.
    taken: u64,
    /// The reader wants the bytes up to here now. Reading ahead continues once it has taken them.
    wanted: u64,
    /// The end of the bytes that are fetched for these.
    needed: u64,
    /// Whether the first chunk of the range was found.
    located: bool,
    max_bytes: u64,
    max_chunks: usize,
    prover: Prover,
    /// The hash of all bytes, if nothing else proves the whole.
    whole: Option<BlobHasher>,
}

/// The chunks that are in flight, or that wait for the reader.
struct Queue {
    chunks: VecDeque<Fetching>,
    /// The sum of the costs of the chunks, in bytes.
    bytes: u64,
    /// The position in the index of the next chunk to request.
    next: usize,
    last_polled: Instant,
}

struct Fetching {
    number: usize,
    chunk: PlacedChunk,
    cost: u64,
    task: Task<Bytes>,
    arrived: Arc<AtomicBool>,
    /// `None` for the chunk that the reader needs now: that one is fetched even if no memory is
    /// left.
    _permit: Option<Permit>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { chunks: VecDeque::new(), bytes: 0, next: 0, last_polled: Instant::now() }
    }
}

impl Queue {
    fn push(&mut self, fetching: Fetching) {
        self.bytes += fetching.cost;
        self.next = fetching.number + 1;
        self.chunks.push_back(fetching);
    }

    fn pop(&mut self) -> Option<Fetching> {
        let first = self.chunks.pop_front()?;
        self.bytes -= first.cost;
        Some(first)
    }
}

impl Ahead for Queue {
    /// Drops the chunks that have arrived, starting with the last one. The reader requests them
    /// again.
    fn give_up_if_idle(&mut self) {
        if self.last_polled.elapsed() < IDLE_AFTER {
            return;
        }
        while let Some(last) = self.chunks.back()
            && last.arrived.load(Relaxed)
        {
            self.bytes -= last.cost;
            self.next = last.number;
            self.chunks.pop_back();
        }
    }
}

impl Window {
    /// The next bytes of the range.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while self.taken < self.range.end {
            if let Some(bytes) = self.prover.release(&self.range) {
                self.taken += bytes.len() as u64;
                return Ok(Some(bytes));
            }
            if !self.take_chunk().await? {
                break;
            }
        }
        Ok(None)
    }

    /// Waits for the next chunk, and hands it to the prover. Returns whether there is one.
    async fn take_chunk(&mut self) -> Result<bool> {
        if !self.located {
            self.prover.prefetch();
            let first = self.cursor.locate(self.prover.fed()).await?;
            lock(&self.queue).next = first;
            self.located = true;
        }
        let reads_on = self.taken >= self.wanted;
        if reads_on && self.max_bytes == 0 {
            self.max_bytes = GROWTH * (self.taken - self.range.start);
        }
        let fetching = loop {
            self.fill();
            let (first, next) = {
                let mut queue = lock(&self.queue);
                (queue.pop(), queue.next)
            };
            match first {
                Some(first) => break first,
                None if self.prover.fed() >= self.prover.end() || next >= self.index.len() => {
                    return Ok(false);
                }
                None => self.cursor.load(next).await?,
            }
        };
        let Fetching { number, chunk: PlacedChunk { start, .. }, cost, task, .. } = fetching;
        let bytes = task.await?;
        if reads_on {
            let more = self.max_bytes + GROWTH * cost;
            self.max_bytes = more.min(self.shared.limits.reading_bytes());
            self.fill();
        }

        if let Some(whole) = &mut self.whole {
            let unfinished = |error| task_error(BLOB, error);
            whole.update(vec![bytes.clone()], ()).await.map_err(unfinished)?;
            // The last bytes are held back until the digest of the whole is verified.
            if number + 1 == self.index.len() {
                let found = whole.finish().await.map_err(unfinished)?.digest;
                let digest = self.index.digest();
                if found != digest {
                    let mismatch = BlobMismatch::Whole { found };
                    return Err(Error::blob_mismatch(BLOB, digest, mismatch));
                }
            }
        }
        match self.prover.feed(start, &bytes).await {
            Err(error) if error.is_blob_mismatch() && self.prover.proof() == Proof::GroupsAlone => {
                self.start_over();
            }
            fed => fed?,
        }
        Ok(true)
    }

    /// Reads the rest again, with the digests of the chunks: they tell a bad chunk, of which there
    /// may be a good copy, from an index that lists the chunks of another blob.
    fn start_over(&mut self) {
        self.range.start = self.taken;
        self.prover = Prover::new(&self.shared, &self.index, &self.range, Proof::Groups);
        let mut queue = lock(&self.queue);
        while queue.pop().is_some() {}
        self.located = false;
    }

    /// Requests further chunks, as many as the window and the memory allow.
    fn fill(&mut self) {
        let mut queue = lock(&self.queue);
        while queue.chunks.len() < self.max_chunks
            && let Some(chunk) = self.cursor.chunk(queue.next)
            && chunk.start < self.prover.end()
        {
            let PlacedChunk { meta, start } = chunk;
            let cost = meta.size.max(MIN_COST);
            let is_first = queue.chunks.is_empty();
            let is_wanted = start < self.needed || queue.bytes + cost <= self.max_bytes;
            if !is_first && !is_wanted {
                return;
            }
            let permit = self.shared.limits.reading().try_take(cost);
            if !is_first && permit.is_none() {
                return;
            }
            let arrived = Arc::new(AtomicBool::new(false));
            let fetch = {
                let (shared, arrived) = (Arc::clone(&self.shared), Arc::clone(&arrived));
                let is_hashed = self.prover.proof() != Proof::GroupsAlone;
                async move {
                    let chunk = match is_hashed {
                        true => shared.get_chunk(meta).await,
                        false => shared.get_chunk_unhashed(meta).await,
                    };
                    arrived.store(true, Relaxed);
                    chunk
                }
            };
            let task = self.shared.requests.spawn_unit(CHUNK, fetch);
            let number = queue.next;
            queue.push(Fetching { number, chunk, cost, task, arrived, _permit: permit });
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}
