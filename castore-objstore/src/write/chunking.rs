//! The passes over a blob's bytes: cutting, the digests of the chunks, and the group hashes.
//!
//! Each batch goes through three steps, on as many threads: it is cut, its chunks are digested, and
//! its groups are hashed. Only the cut continues from the state that the previous batch has left.
//! So the next batch is cut, on one processor, while chunks and groups of the batches before are
//! hashed on the others.

use std::sync::Arc;

use bytes::Bytes;
use castore_chunker::Cutter;
use castore_core::groups::Hashed;
use castore_core::{Digest, Result};
use tokio::sync::mpsc;

use crate::error::task_error;
use crate::exec::context::{run_blocking, spawn_blocking};
use crate::exec::hasher::BlobHasher;
use crate::exec::limits::Permit;
use crate::exec::pool::Started;
use crate::store::Store;
use crate::write::pacing::Pacing;

const OPERATION: &str = "write blob";

/// Bytes of a blob that wait to be cut.
#[derive(Default)]
pub(crate) struct Batch {
    pub(crate) pieces: Vec<Bytes>,
    pub(crate) bytes: usize,
    pub(crate) last: bool,
}

pub(crate) type Chunk = (Digest, Bytes);

/// A batch that was cut.
pub(crate) struct Cut {
    /// The chunks that end in the batch. Their digests are being computed.
    pub(crate) chunks: Started<Vec<Chunk>>,
    /// Whether the batch ends within a chunk, so that further chunks will follow.
    pub(crate) more: bool,
    /// The batch's share of the memory, until its last chunk is compressed and its groups are
    /// hashed.
    pub(crate) permit: Arc<Permit>,
}

/// Cuts `batches` and sends them on, up to the last one, and then returns the digest and the group
/// hashes of all bytes. Returns `None` if the batches end without a last one, or if the receiver is
/// gone.
pub(crate) async fn cut_all(
    shared: Arc<Store>,
    pacing: Arc<Pacing>,
    mut batches: mpsc::Receiver<Batch>,
    cut: mpsc::Sender<Cut>,
) -> Result<Option<Hashed>> {
    let mut cutter = Cutter::new(shared.params);
    let mut whole = BlobHasher::default();
    while let Some(Batch { pieces, bytes, last }) = batches.recv().await {
        // Includes the chunk that began in an earlier batch.
        let permit = Arc::new(shared.limits.writing(bytes + cutter.buffered()).await);
        shared.requests.counters.bytes_written.add(bytes as u64);
        let hashed = whole.update(pieces.clone(), Arc::clone(&permit)).await;
        hashed.map_err(|error| task_error(OPERATION, error))?;
        let threads = pacing.cutting_threads();
        let chunks;
        (cutter, chunks) = run_blocking(OPERATION, move || {
            let mut chunks = Vec::new();
            for piece in pieces {
                cutter.push_parallel(piece, threads, |chunk| chunks.push(chunk));
            }
            if last {
                chunks.extend(cutter.finish());
            }
            (cutter, spawn_blocking(|| digested(chunks)))
        })
        .await?;
        let more = cutter.buffered() > 0;
        if cut.send(Cut { chunks, more, permit }).await.is_err() {
            return Ok(None);
        }
        if last {
            let hashed = whole.finish().await.map_err(|error| task_error(OPERATION, error))?;
            return Ok(Some(hashed));
        }
    }
    Ok(None)
}

fn digested(chunks: Vec<Bytes>) -> Vec<Chunk> {
    chunks.into_iter().map(|chunk| (Digest::of(&chunk), chunk)).collect()
}
