//! Writes a blob: the chunks in batches as the bytes come, and the index at the end.

use std::fmt;
use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter};
use castore_core::{BlobIndex, BlobSink, ChunkMeta, Digest, Error, ErrorKind, Result};
use redb::{Database, ReadableTable, WriteTransaction};
use tokio::task::spawn_blocking;

use crate::storage::{BLOBS, CHUNKS, Storage, Table, begin_write};

const WRITE: &str = "write a blob";

/// The bytes of a blob in one transaction. Each transaction flushes the disk twice. That takes some
/// milliseconds, little beside the time of 4 MiB. A writer holds this much in memory.
const BATCH_SIZE: usize = 4 * 1024 * 1024;

/// Writes one blob.
#[derive(Debug)]
pub struct Sink {
    storage: Arc<Storage>,
    progress: Progress,
    given_up: Arc<Mutex<bool>>,
}

impl Sink {
    /// Makes a sink for a new blob in `storage`.
    pub fn new(storage: Arc<Storage>) -> Sink {
        Sink { storage, progress: Progress::default(), given_up: Arc::default() }
    }
}

impl Sink {
    /// Does `work` unless the blob is given up. Holds the lock meanwhile; `abort` waits for it.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Storage) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let given_up = Arc::clone(&self.given_up);
        let work = move |storage: &Storage| match given_up.lock() {
            Ok(given_up) if !*given_up => work(storage),
            _ => Err(Error::new(ErrorKind::InvalidInput, WRITE, "the blob was given up")),
        };
        self.storage.run(WRITE, work).await
    }
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let batch = data.split_to(data.len().min(BATCH_SIZE));
            // If this fails or is dropped, the progress is lost: then only `abort` is called.
            let mut progress = mem::take(&mut self.progress);
            let work = move |storage: &Storage| progress.push(storage, batch).map(|()| progress);
            self.progress = self.run(work).await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        let progress = mem::take(&mut self.progress);
        self.run(move |storage| progress.finish(storage)).await
    }

    async fn abort(&mut self) {
        let given_up = Arc::clone(&self.given_up);
        // Waits for work that a dropped future has left behind, and prevents work not yet begun.
        let give_up = move || *given_up.lock().unwrap_or_else(PoisonError::into_inner) = true;
        let _ = spawn_blocking(give_up).await;
    }

    fn preferred_write_size(&self) -> usize {
        BATCH_SIZE
    }
}

/// The state of a blob so far.
pub struct Progress {
    cutter: Cutter,
    hasher: blake3::Hasher,
    /// The chunks that are stored.
    chunks: Vec<ChunkMeta>,
}

impl Progress {
    /// Takes the next bytes of the blob, and stores the chunks that they complete.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn push(&mut self, storage: &Storage, batch: Bytes) -> Result<()> {
        self.hasher.update(&batch);
        let mut complete = Vec::new();
        self.cutter.push(batch, |chunk| complete.push(chunk));
        let rows = self.list(complete);
        commit(storage, |transaction| put_all(transaction, CHUNKS, &rows))
    }

    /// Stores the last chunk and the index, both or neither.
    ///
    /// # Errors
    /// Those of the storage; `InvalidInput` if the blob has too many chunks.
    pub fn finish(mut self, storage: &Storage) -> Result<Digest> {
        let digest = Digest::from_bytes(*self.hasher.finalize().as_bytes());
        if digest == Digest::EMPTY {
            // The empty blob is always present.
            return Ok(digest);
        }
        let last = self.cutter.finish();
        let rows = self.list(last);
        let index = BlobIndex::new(digest, self.chunks).map_err(|error| {
            let message = "the blob has too many chunks";
            Error::new(ErrorKind::InvalidInput, WRITE, message).with_source(error)
        })?;
        let index = [(digest, castore_proto::encode(&index))];
        commit(storage, |transaction| {
            let is_new = put_all(transaction, CHUNKS, &rows)?;
            Ok(put_all(transaction, BLOBS, &index)? || is_new)
        })?;
        Ok(digest)
    }

    /// Computes the digests of `chunks`, and lists them as the next ones of the blob.
    fn list(&mut self, chunks: impl IntoIterator<Item = Bytes>) -> Vec<(Digest, Bytes)> {
        let named = chunks.into_iter().map(|chunk| (Digest::of(&chunk), chunk));
        named
            .inspect(|(digest, chunk)| {
                self.chunks.push(ChunkMeta { digest: *digest, size: chunk.len() as u64 });
            })
            .collect()
    }
}

impl Default for Progress {
    fn default() -> Progress {
        let cutter = Cutter::new(ChunkParams::default());
        Progress { cutter, hasher: blake3::Hasher::new(), chunks: Vec::new() }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress").field("chunks", &self.chunks.len()).finish_non_exhaustive()
    }
}

/// Does `change` in a transaction, which is durable once this returns. `change` returns whether it
/// had anything to do.
fn commit(
    storage: &Storage,
    change: impl Fn(&WriteTransaction) -> Result<bool, redb::Error>,
) -> Result<()> {
    storage.with(WRITE, |database: &Database| {
        let transaction = begin_write(database)?;
        if change(&transaction)? {
            transaction.commit()?;
        } else {
            transaction.abort()?;
        }
        Ok(())
    })
}

/// Puts the missing values into `table`, and returns whether there were any.
///
/// An existing value counts only if its bytes are right: otherwise the sink would publish a blob
/// that cannot be read. So storing a damaged blob again repairs it.
fn put_all(
    transaction: &WriteTransaction,
    table: Table,
    rows: &[(Digest, Bytes)],
) -> Result<bool, redb::Error> {
    let mut table = transaction.open_table(table)?;
    let mut is_new = false;
    for (digest, bytes) in rows {
        let stored = table.get(digest.as_bytes())?;
        if stored.is_none_or(|stored| stored.value() != &**bytes) {
            table.insert(digest.as_bytes(), &**bytes)?;
            is_new = true;
        }
    }
    Ok(is_new)
}
