//! Stores the chunks of a writer that are not stored yet, and at last the index.

use bytes::Bytes;
use castore_core::groups::ChainingValue;
use castore_core::{BlobIndex, Digest, Error, ErrorKind, Result};

use crate::flaw::Flaw;
use crate::index::encode;
use crate::records::{blob_name, chunk_name, locked};
use crate::store::Store;

/// The group hashes that an index carries.
fn listed(index: &BlobIndex) -> &[ChainingValue] {
    index.groups().map_or(&[], |groups| groups.values())
}

impl Store {
    /// Stores a chunk; with some flaws, not while another writer is storing the same one.
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
            fetched => fetched?.is_some_and(|found| match self.flaw {
                Some(Flaw::TrustsExistence | Flaw::FillsChunksInPlace) => true,
                Some(Flaw::TrustsLength) => found.len() == chunk.len(),
                _ => found == *chunk,
            }),
        };
        let is_trusted = self.is(Flaw::TrustsItself) && locked(known).contains(&digest);
        if is_stored || is_trusted {
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
        if self.is(Flaw::TrustsItself) {
            locked(known).insert(digest);
        }
        Ok(())
    }

    /// Stores an index, and so publishes the blob.
    pub(crate) async fn store_index(&self, index: BlobIndex) -> Result<()> {
        let digest = index.digest();
        let name = blob_name(&digest);
        let record = encode(&index, listed(&index));
        if self.is(Flaw::TellsAnotherWriter)
            && let Some(error) = locked(&self.memory.error).take()
        {
            return Err(error);
        }
        let has_failed = || locked(&self.memory.digests).contains(&digest);
        let conflicts = self.is(Flaw::ConflictsWithTheSameBlob)
            || self.is(Flaw::ConflictsWithItsOwnRemains) && has_failed();
        if conflicts && self.records.contains(&name) {
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
                self.store(&blob_name(&digest), encode(&index, &[])).await?;
            }
            return Ok(());
        }
        if self.is(Flaw::LeavesIndexesAlone) && self.records.contains(&name) {
            return self.sync(&[name]).await;
        }
        if self.is(Flaw::ReplacesByDeleting) && self.records.contains(&name) {
            self.turn().await;
            self.records.remove(&name)?;
        }
        let store = self.store(&name, record);
        match self.locking(Flaw::DroppedCloseKeepsTheLock, store).await {
            Err(error) if self.is(Flaw::ConflictsWithItsOwnRemains) => {
                locked(&self.memory.digests).insert(digest);
                return Err(error);
            }
            Err(error) if self.is(Flaw::DeletesWhatFailed) => {
                self.records.replace(&name, None);
                return Err(error);
            }
            stored => stored?,
        }
        self.sync(std::slice::from_ref(&name)).await?;
        if self.is(Flaw::AcknowledgesTooEarly) {
            self.records.make_unsafe(name);
        }
        Ok(())
    }
}
