//! Writing a blob: the sink that takes bytes, and the task that turns them into chunks.
//!
//! Bytes gather in the sink up to a batch and go to the blob's task. It waits for memory, has the
//! batch cut and digested off the async threads, starts a task for each chunk that is not
//! known to be stored (`store.rs`), and writes the index when all of them have ended well. The task
//! goes on while the caller prepares more bytes, and ends when the sink is dropped.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use async_trait::async_trait;
use bytes::Bytes;
use castore_chunker::Cutter;
use castore_core::{
    BlobIndex, BlobSink, BlobWriter, ChunkMeta, Digest, Error, ErrorKind, MAX_CHUNKS, Result,
};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use crate::error::task_error;
use crate::limits::{Permit, Task, off_thread};
use crate::service::Shared;

const OPERATION: &str = "write blob";

/// With more writers than this, each one takes a smaller share: what a writer gathers, and what
/// waits for memory, is not part of what the service's memory counts.
const FEW_WRITERS: usize = 8;

/// A batch is not made smaller than this, in bytes.
const MIN_BATCH: usize = 64 * 1024;

pub(crate) fn open(shared: &Arc<Shared>) -> BlobWriter {
    let writers = 1 + shared.writers.fetch_add(1, Relaxed);
    let batch_size = shared.batch_size * FEW_WRITERS / writers.max(FEW_WRITERS);
    BlobWriter::new(Sink {
        shared: Arc::clone(shared),
        batch_size: batch_size.max(MIN_BATCH),
        gathered: Batch::default(),
        blob: None,
    })
}

struct Sink {
    shared: Arc<Shared>,
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

/// Bytes of a blob on their way to being cut.
#[derive(Default)]
struct Batch {
    pieces: Vec<Bytes>,
    bytes: usize,
    last: bool,
}

/// The blob's task, and the way to it.
struct BlobTask {
    batches: mpsc::Sender<Batch>,
    task: Task<Result<Digest>>,
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
        match blob.finish().await {
            Err(error) => Err(error),
            Ok(_) => Err(Error::new(ErrorKind::Other, OPERATION, "the writer ended early")),
        }
    }
}

impl BlobTask {
    fn start(shared: &Arc<Shared>) -> BlobTask {
        // One batch waits while one is being cut.
        let (batches, incoming) = mpsc::channel(1);
        BlobTask { batches, task: Task::spawn(write_blob(Arc::clone(shared), incoming)) }
    }

    async fn finish(&mut self) -> Result<Digest> {
        match self.task.join().await {
            Ok(result) => result,
            Err(error) => Err(task_error(OPERATION, error)),
        }
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
        self.hand_over(true).await?;
        match &mut self.blob {
            Some(blob) => blob.finish().await,
            None => Err(Error::new(ErrorKind::Other, OPERATION, "the writer has no task")),
        }
    }

    async fn abort(&mut self) {
        if let Some(mut blob) = self.blob.take() {
            blob.task.abort();
            // It ends with "cancelled", or had ended already: either is fine.
            let _ = blob.finish().await;
        }
    }

    fn preferred_write_size(&self) -> usize {
        self.batch_size
    }
}

/// The blob's task.
async fn write_blob(shared: Arc<Shared>, mut batches: mpsc::Receiver<Batch>) -> Result<Digest> {
    let mut digesting = Digesting::new(&shared);
    let mut blob =
        Blob { shared, chunks: Vec::new(), only: None, storing: JoinSet::new(), any_new: false };
    loop {
        let batch = tokio::select! {
            // A chunk that cannot be stored ends the blob at once, and not with the next batch.
            Some(stored) = blob.storing.join_next() => {
                blob.stored(stored)?;
                continue;
            }
            batch = batches.recv() => batch,
        };
        let Some(Batch { pieces, bytes, last }) = batch else {
            return Err(Error::new(ErrorKind::InvalidInput, OPERATION, "the writer was dropped"));
        };
        // The bytes as they are, once more compressed, and the chunk that began in an earlier batch.
        let memory = 2 * bytes + digesting.cutter.buffered();
        let permit = Arc::new(blob.wait_for_memory(memory).await?);
        blob.shared.requests.counters.bytes_written.add(bytes as u64);
        let chunks;
        (digesting, chunks) = digesting.digest(pieces, last).await?;
        blob.add(chunks, digesting.cutter.buffered() > 0, &permit)?;
        if last {
            let whole = digesting.hasher.finalize().into();
            return blob.commit(whole).await;
        }
    }
}

/// A blob that is being written.
struct Blob {
    shared: Arc<Shared>,
    chunks: Vec<ChunkMeta>,
    /// The first chunk, as long as it may be the only one. What is done with it depends on that.
    only: Option<Bytes>,
    storing: JoinSet<Result<bool>>,
    any_new: bool,
}

impl Blob {
    /// Takes the next chunks, which hold on to `permit` until they are stored; `more` says that
    /// further bytes of the blob are there.
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
        if self.shared.known.contains(&digest) {
            self.shared.requests.counters.chunks_reused.add(1);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let permit = Arc::clone(permit);
        self.storing.spawn(async move {
            let stored = shared.store_chunk(digest, chunk, true).await;
            drop(permit);
            stored
        });
    }

    /// Waits until `bytes` are free. They may be taken by chunks of this very blob, so that the first
    /// of them which cannot be stored has to be heard of here.
    async fn wait_for_memory(&mut self, bytes: usize) -> Result<Permit> {
        let shared = Arc::clone(&self.shared);
        let mut memory = pin!(shared.limits.writing(bytes));
        loop {
            tokio::select! {
                Some(stored) = self.storing.join_next() => self.stored(stored)?,
                permit = &mut memory => return Ok(permit),
            }
        }
    }

    fn stored(&mut self, stored: Result<Result<bool>, JoinError>) -> Result<()> {
        self.any_new |= stored.map_err(|error| task_error(OPERATION, error))??;
        Ok(())
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
        while let Some(stored) = self.storing.join_next().await {
            self.stored(stored)?;
        }
        self.shared.commit(&index, self.only, self.any_new).await?;
        Ok(digest)
    }
}

type Chunk = (Digest, Bytes);

/// What goes through a blob's bytes in order: where it is cut, and the digest of the whole.
struct Digesting {
    cutter: Cutter,
    /// The digest of the whole, unless that is one chunk from the start: then it is the chunk's.
    hasher: blake3::Hasher,
    /// The largest blob that is certainly one chunk, in bytes.
    min_size: usize,
}

impl Digesting {
    fn new(shared: &Shared) -> Digesting {
        let min_size = shared.params.min_size();
        let (cutter, hasher) = (Cutter::new(shared.params), blake3::Hasher::new());
        Digesting { cutter, hasher, min_size }
    }

    /// Cuts `pieces` and digests the chunks; beside it, on another thread, digests the whole.
    async fn digest(self, pieces: Vec<Bytes>, last: bool) -> Result<(Digesting, Vec<Chunk>)> {
        let Digesting { mut cutter, mut hasher, min_size } = self;
        let begins = hasher.count() == 0;
        let bytes: usize = pieces.iter().map(Bytes::len).sum();
        let one_chunk = begins && last && bytes <= min_size;
        let whole = pieces.clone();
        let whole = async {
            if one_chunk {
                return Ok(hasher);
            }
            off_thread(OPERATION, move || {
                for piece in &whole {
                    hasher.update(piece);
                }
                hasher
            })
            .await
        };
        let chunks = off_thread(OPERATION, move || {
            let mut chunks = Vec::new();
            let mut add = |chunk: Bytes| chunks.push((Digest::of(&chunk), chunk));
            for piece in pieces {
                cutter.push(piece, &mut add);
            }
            if last {
                cutter.finish().into_iter().for_each(add);
            }
            (cutter, chunks)
        });
        let (hasher, (cutter, chunks)) = tokio::try_join!(whole, chunks)?;
        Ok((Digesting { cutter, hasher, min_size }, chunks))
    }
}
