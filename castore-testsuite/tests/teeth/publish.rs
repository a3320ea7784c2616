//! What a writer stores: chunks that are not there yet, and at last the index.

use bytes::Bytes;
use castore_core::{BlobIndex, Digest, Error, ErrorKind, Result};

use crate::flaw::Flaw;
use crate::index::encode;
use crate::records::{blob_name, chunk_name, locked};
use crate::store::Store;

impl Store {
    /// Stores a chunk; with some flaws, not while somebody else is storing the same one.
    pub(crate) async fn store_chunk(&self, digest: Digest, chunk: &Bytes) -> Result<()> {
        if self.is(Flaw::TrustsTheLeader) {
            let stored = self.once(digest, self.store_if_absent(digest, chunk)).await;
            return stored.unwrap_or(Ok(()));
        }
        if self.is(Flaw::WaitsForDroppedWriters) {
            loop {
                let stored = self.once(digest, self.store_if_absent(digest, chunk)).await;
                if let Some(stored) = stored {
                    return stored;
                }
            }
        }
        self.store_if_absent(digest, chunk).await
    }

    async fn store_if_absent(&self, digest: Digest, chunk: &Bytes) -> Result<()> {
        let name = chunk_name(&digest);
        let known = &self.memory.digests;
        let start = &chunk[..chunk.len().min(64)];
        let by_start = Digest::of(&[start, &chunk.len().to_le_bytes()].concat());
        if self.is(Flaw::KnowsChunksByTheirStart) && locked(known).contains(&by_start) {
            return Ok(());
        }
        if self.is(Flaw::KnowsChunksTooEarly) && !locked(known).insert(digest) {
            return Ok(());
        }
        let is_stored = match self.fetch(&name).await {
            Err(_) if self.is(Flaw::TakesAFailedLookForPresence) => true,
            fetched => fetched?.is_some(),
        };
        if is_stored {
            return Ok(());
        }
        if self.is(Flaw::FillsChunksInPlace) {
            self.store(&name, Bytes::new()).await?;
        }
        match self.store(&name, chunk.clone()).await {
            Err(_) if self.is(Flaw::SwallowsFailedWrites) => {}
            Err(error) if self.is(Flaw::TellsAnotherWriter) => {
                *locked(&self.memory.error) = Some(error);
            }
            stored => stored?,
        }
        if self.is(Flaw::KnowsChunksByTheirStart) {
            locked(known).insert(by_start);
        }
        Ok(())
    }

    /// Stores an index, and so publishes the blob.
    pub(crate) async fn store_index(&self, index: BlobIndex) -> Result<()> {
        let digest = index.digest();
        let name = blob_name(&digest);
        let record = encode(&index);
        if self.is(Flaw::TellsAnotherWriter)
            && let Some(error) = locked(&self.memory.error).take()
        {
            return Err(error);
        }
        if self.is(Flaw::ConflictsWithTheSameBlob) && self.records.contains(&name) {
            return Err(Error::new(ErrorKind::Other, "close", "the blob exists already"));
        }
        if self.is(Flaw::RemembersAbsence) {
            locked(&self.memory.digests).remove(&digest);
        }
        if self.is(Flaw::HasBlobsTooEarly) {
            locked(&self.memory.indexes).insert(digest, index);
        } else if self.is(Flaw::WritesIndexesBehind) {
            let behind = std::mem::take(&mut *locked(&self.memory.indexes));
            locked(&self.memory.indexes).insert(digest, index);
            for (digest, index) in behind {
                self.store(&blob_name(&digest), encode(&index)).await?;
            }
            return Ok(());
        }
        let store = self.store(&name, record);
        self.locking(Flaw::DroppedCloseKeepsTheLock, store).await?;
        if self.is(Flaw::AcknowledgesTooEarly) {
            self.records.make_unsafe(name);
        }
        Ok(())
    }
}
