//! Writing a blob: the sink that takes bytes, and the task that turns them into chunks.
//!
//! Bytes gather in the sink up to a batch. A task waits for memory, and has the batch cut and
//! digested off the async threads (`cutting.rs`). The blob's own task takes the chunks, starts a task
//! for each that is not known to be stored (`store.rs`), and writes the index when all of them have
//! ended well. They go on while the caller prepares more bytes, and end when the sink is dropped.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{
    BlobIndex, BlobSink, BlobWriter, ChunkMeta, Digest, Error, ErrorKind, MAX_CHUNKS, Result,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::error::task_error;
use crate::exec::clock::Moment;
use crate::exec::limits::{DIGESTED_AT_ONCE, Permit, Task, off_thread};
use crate::store::Store;
use crate::store::chunk::{CHUNK, InStore};
use crate::write::chunking::{Batch, Chunk, Cut, cut_all};

const OPERATION: &str = "write blob";

/// With more writers than this, each one takes a smaller share: what a writer gathers, and what
/// waits for memory, is not part of what the service's memory counts.
const FEW_WRITERS: usize = 4;

/// A batch is not made smaller than this, in bytes.
const MIN_BATCH: usize = 64 * 1024;

pub(crate) fn open(shared: &Arc<Store>) -> BlobWriter {
    let writers = 1 + shared.writers.fetch_add(1, Relaxed);
    let batch_size = match writers {
        1 => shared.large_batch_size,
        _ => shared.batch_size * FEW_WRITERS / writers.max(FEW_WRITERS),
    };
    BlobWriter::new(Sink {
        shared: Arc::clone(shared),
        batch_size: batch_size.max(MIN_BATCH),
        gathered: Batch::default(),
        blob: None,
    })
}

struct Sink {
    shared: Arc<Store>,
    /// How many bytes are handed over at a time.
    batch_size: usize,
    gathered: Batch,
    /// Starts with the first batch: a writer that is opened and dropped costs nothing.
    blob: Option<BlobTask>,
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.writers.fetch_sub(1, Relaxed);
    }
}

/// The blob's task, and the way to it.
struct BlobTask {
    batches: mpsc::Sender<Batch>,
    task: Task<Digest>,
}

impl Sink {
    /// Gives what is gathered to the blob's task. Waits while that has a batch to take already.
    async fn hand_over(&mut self, last: bool) -> Result<()> {
        let mut batch = std::mem::take(&mut self.gathered);
        batch.last = last;
        let blob = self.blob.get_or_insert_with(|| BlobTask::start(&self.shared));
        if blob.batches.send(batch).await.is_ok() {
            return Ok(());
        }
        // The task takes batches until the last one, unless it has failed.
        match (&mut blob.task).await {
            Err(error) => Err(error),
            Ok(_) => Err(Error::new(ErrorKind::Other, OPERATION, "the writer ended early")),
        }
    }
}

impl BlobTask {
    fn start(shared: &Arc<Store>) -> BlobTask {
        // One batch waits while one is being cut.
        let (batches, incoming) = mpsc::channel(1);
        BlobTask { batches, task: Task::spawn(OPERATION, write_blob(Arc::clone(shared), incoming)) }
    }
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let room = self.batch_size - self.gathered.bytes;
            let piece = data.split_to(room.min(data.len()));
            self.gathered.bytes += piece.len();
            self.gathered.pieces.push(piece);
            if self.gathered.bytes == self.batch_size {
                self.hand_over(false).await?;
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        if self.blob.is_none() && self.gathered.bytes <= self.shared.params.min_size() {
            let batch = std::mem::take(&mut self.gathered);
            let write = write_small(Arc::clone(&self.shared), batch);
            return self.shared.requests.begin(OPERATION, write).await;
        }
        self.hand_over(true).await?;
        match &mut self.blob {
            Some(blob) => (&mut blob.task).await,
            None => Err(Error::new(ErrorKind::Other, OPERATION, "the writer has no task")),
        }
    }

    async fn abort(&mut self) {
        if let Some(mut blob) = self.blob.take() {
            blob.task.abort();
            // It ends with "cancelled", or had ended already: either is fine.
            let _ = (&mut blob.task).await;
        }
    }

    fn preferred_write_size(&self) -> usize {
        self.batch_size
    }
}

/// The task of a blob that is certainly one chunk, or none: there is nothing to cut, and nothing to be
/// done at the same time, so that all of it is done here.
async fn write_small(shared: Arc<Store>, batch: Batch) -> Result<Digest> {
    shared.requests.counters.bytes_written.add(batch.bytes as u64);
    let all = match <[Bytes; 1]>::try_from(batch.pieces) {
        Ok([all]) => all,
        Err(pieces) => pieces.concat().into(),
    };
    let bytes = all.clone();
    let digest = match all.len() {
        0..=DIGESTED_AT_ONCE => Digest::of(&bytes),
        _ => off_thread(OPERATION, move || Digest::of(&bytes)).await?,
    };
    let mut blob = Blob::new(shared);
    if !all.is_empty() {
        blob.chunks.push(ChunkMeta { digest, size: all.len() as u64 });
        blob.only = Some(all);
    }
    blob.commit(digest).await
}

/// The blob's task.
async fn write_blob(shared: Arc<Store>, batches: mpsc::Receiver<Batch>) -> Result<Digest> {
    // One batch is taken up while the next one is being cut.
    let (cut, mut incoming) = mpsc::channel(1);
    // It waits for memory, which chunks of this very blob may hold: they are seen to here meanwhile.
    let cutting = Task::spawn(OPERATION, cut_all(Arc::clone(&shared), batches, cut));
    let mut blob = Blob::new(shared);
    loop {
        tokio::select! {
            // A chunk that cannot be stored ends the blob at once, and not with the next batch.
            Some(stored) = blob.storing.next() => blob.stored(stored?),
            batch = incoming.recv() => match batch {
                Some(Cut { chunks, more, permit }) => {
                    let chunks = chunks.await.map_err(|error| task_error(OPERATION, error))?;
                    blob.add(chunks, more, &permit)?;
                }
                None => break,
            },
        }
    }
    match cutting.await? {
        Some(whole) => blob.commit(whole).await,
        None => Err(Error::new(ErrorKind::InvalidInput, OPERATION, "the writer was dropped")),
    }
}

/// A blob that is being written.
struct Blob {
    shared: Arc<Store>,
    chunks: Vec<ChunkMeta>,
    /// The first chunk, as long as it may be the only one. What is done with it depends on that.
    only: Option<Bytes>,
    storing: FuturesUnordered<Task<InStore>>,
    any_new: bool,
    /// When the first of the chunks was seen to be stored.
    seen: Option<Moment>,
}

impl Blob {
    fn new(shared: Arc<Store>) -> Blob {
        Blob {
            shared,
            chunks: Vec::new(),
            only: None,
            storing: FuturesUnordered::new(),
            any_new: false,
            seen: None,
        }
    }

    /// Takes the next chunks, which hold on to `permit` until they are compressed or known to be
    /// stored; `more` says that further bytes of the blob are there.
    fn add(&mut self, chunks: Vec<Chunk>, more: bool, permit: &Arc<Permit>) -> Result<()> {
        for (digest, chunk) in chunks {
            if self.chunks.len() == MAX_CHUNKS {
                let message = format!("it has more than {MAX_CHUNKS} chunks; use larger ones");
                return Err(Error::new(ErrorKind::InvalidInput, OPERATION, message));
            }
            let size = chunk.len() as u64;
            self.chunks.push(ChunkMeta { digest, size });
            if self.chunks.len() == 1 {
                self.only = Some(chunk);
            } else {
                self.store_first(permit);
                self.store(digest, chunk, permit);
            }
        }
        if more {
            self.store_first(permit);
        }
        Ok(())
    }

    /// Stores the first chunk, now that it is not the only one.
    fn store_first(&mut self, permit: &Arc<Permit>) {
        if let Some(first) = self.only.take() {
            self.store(self.chunks[0].digest, first, permit);
        }
    }

    /// Starts to store a chunk, unless that is known to be done.
    fn store(&mut self, digest: Digest, chunk: Bytes, permit: &Arc<Permit>) {
        if let Some(seen) = self.shared.known.seen(&digest) {
            self.seen_at(seen);
            self.shared.requests.counters.chunks_reused.add(1);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let permit = Arc::clone(permit);
        let store = async move { shared.store_chunk(digest, chunk, Some(permit), true).await };
        self.storing.push(self.shared.requests.begin(CHUNK, store));
    }

    fn stored(&mut self, InStore { new, seen }: InStore) {
        self.any_new |= new;
        self.seen_at(seen);
    }

    fn seen_at(&mut self, seen: Moment) {
        self.seen = Some(self.seen.map_or(seen, |before| before.earlier(seen)));
    }

    /// Waits until all chunks are stored, then writes the index: from then on the blob is there.
    ///
    /// `whole` is the digest of all bytes.
    async fn commit(mut self, whole: Digest) -> Result<Digest> {
        let digest = match self.chunks.as_slice() {
            [only] => only.digest,
            _ => whole,
        };
        let index = BlobIndex::new(digest, self.chunks.drain(..)).map_err(|error| {
            // BLAKE3 would have to be broken.
            Error::new(ErrorKind::Other, OPERATION, "its chunks contradict its digest")
                .with_digest(digest)
                .with_source(error)
        })?;
        while let Some(stored) = self.storing.next().await {
            self.stored(stored?);
        }
        self.shared.commit(&index, self.only, self.any_new, self.seen).await?;
        Ok(digest)
    }
}
