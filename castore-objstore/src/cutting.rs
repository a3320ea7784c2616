//! What goes through a blob's bytes in order: where it is cut, and the digest of the whole.
//!
//! Three things are done with each batch, on as many threads: it is cut, its chunks are digested,
//! and it goes into the digest of the whole. The first and the last need what the batch before has
//! left; so the next batch is cut while the chunks of this one are digested.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use castore_chunker::Cutter;
use castore_core::{Digest, Result};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::task_error;
use crate::limits::{Permit, off_thread, start_off_thread};
use crate::service::Shared;

const OPERATION: &str = "write blob";

/// Bytes of a blob on their way to being cut.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) last: bool,
}

pub(crate) type Chunk = (Digest, Bytes);

/// A batch that was cut.
pub(crate) struct Cut {
    pub(crate) chunks: Chunks,
    /// Whether it ends within a chunk, so that further ones will come.
    pub(crate) more: bool,
    /// What of the memory is the batch's.
    pub(crate) permit: Arc<Permit>,
}

/// The chunks that end in a batch.
pub(crate) enum Chunks {
    Digested(Vec<Chunk>),
    Digesting(JoinHandle<Vec<Chunk>>),
}

impl Chunks {
    pub(crate) async fn digested(self) -> Result<Vec<Chunk>> {
        match self {
            Chunks::Digested(chunks) => Ok(chunks),
            Chunks::Digesting(task) => task.await.map_err(|error| task_error(OPERATION, error)),
        }
    }
}

/// Cuts `batches` and hands them on, up to the last one; then returns the digest of all bytes.
/// Returns `None` where there is no last one, or nobody takes them any more.
pub(crate) async fn cut_all(
    shared: Arc<Shared>,
    mut batches: mpsc::Receiver<Batch>,
    cut: mpsc::Sender<Cut>,
) -> Result<Option<Digest>> {
    let min_size = shared.params.min_size();
    let mut cutter = Cutter::new(shared.params);
    let mut whole = Whole::default();
    while let Some(Batch { pieces, bytes, last }) = batches.recv().await {
        // The bytes as they are, once more compressed, and the chunk that began in an earlier batch.
        let permit = shared.limits.writing(2 * bytes + cutter.buffered()).await;
        shared.requests.counters.bytes_written.add(bytes as u64);
        // It is certainly one chunk, whose digest is that of the whole.
        let small = last && whole.is_empty() && bytes <= min_size;
        if !small {
            whole.update(pieces.clone()).await?;
        }
        // Other writers keep the other processors busy, if there are any.
        let alone = shared.writers.load(Relaxed) <= 1;
        let threads = if alone { shared.cutting_threads } else { NonZeroUsize::MIN };
        let chunks;
        (cutter, chunks) = off_thread(OPERATION, move || {
            let mut chunks = Vec::new();
            for piece in pieces {
                cutter.push_parallel(piece, threads, |chunk| chunks.push(chunk));
            }
            if last {
                chunks.extend(cutter.finish());
            }
            let chunks = match small {
                true => Chunks::Digested(digested(chunks)),
                false => Chunks::Digesting(start_off_thread(|| digested(chunks))),
            };
            (cutter, chunks)
        })
        .await?;
        let more = cutter.buffered() > 0;
        if cut.send(Cut { chunks, more, permit: Arc::new(permit) }).await.is_err() {
            return Ok(None);
        }
        if last {
            return whole.finish().await.map(Some);
        }
    }
    Ok(None)
}

fn digested(chunks: Vec<Bytes>) -> Vec<Chunk> {
    chunks.into_iter().map(|chunk| (Digest::of(&chunk), chunk)).collect()
}

/// The digest of all bytes, taken one batch after another beside everything else.
#[derive(Default)]
struct Whole {
    task: Option<JoinHandle<blake3::Hasher>>,
}

impl Whole {
    fn is_empty(&self) -> bool {
        self.task.is_none()
    }

    /// Begins with the next bytes, when it is done with those before.
    async fn update(&mut self, pieces: Vec<Bytes>) -> Result<()> {
        let mut hasher = self.hasher().await?;
        self.task = Some(start_off_thread(move || {
            for piece in &pieces {
                hasher.update(piece);
            }
            hasher
        }));
        Ok(())
    }

    async fn finish(&mut self) -> Result<Digest> {
        Ok(self.hasher().await?.finalize().into())
    }

    async fn hasher(&mut self) -> Result<blake3::Hasher> {
        match self.task.take() {
            Some(task) => task.await.map_err(|error| task_error(OPERATION, error)),
            None => Ok(blake3::Hasher::new()),
        }
    }
}
