//! Fetches and verifies one chunk of an open blob.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};

use crate::flaw::Flaw;
use crate::groups::Groups;
use crate::records::{chunk_name, locked};
use crate::store::Store;

/// An open blob.
#[derive(Clone)]
pub(crate) struct Blob {
    pub(crate) store: Store,
    /// The service that opened the blob, while it exists.
    pub(crate) service: Weak<()>,
    pub(crate) index: Arc<BlobIndex>,
    /// The group hashes, if the service claims verified ranges.
    pub(crate) groups: Option<Arc<Groups>>,
}

impl Blob {
    pub(crate) fn is(&self, flaw: Flaw) -> bool {
        self.store.is(flaw)
    }

    /// The bytes of a chunk. The caller reads it as a part of the whole blob or of less.
    pub(crate) async fn read_chunk(&self, chunk: ChunkMeta, is_whole: bool) -> Result<Bytes> {
        if self.is(Flaw::SharedFetchesHang) {
            return self.share(chunk, is_whole).await;
        }
        if self.is(Flaw::WaitsForDroppedReads) {
            loop {
                let read = self.fetch_chunk(chunk, is_whole);
                if let Some(read) = self.store.once(chunk.digest, read).await {
                    return read;
                }
            }
        }
        let read = self.fetch_chunk(chunk, is_whole);
        self.store.locking(Flaw::DroppedReadKeepsTheLock, read).await
    }

    /// Fetches a chunk for all concurrent readers of it, for `SharedFetchesHang`: waiting readers
    /// are woken only if the fetch succeeds.
    async fn share(&self, chunk: ChunkMeta, is_whole: bool) -> Result<Bytes> {
        loop {
            let mut fetched = None;
            let fetch = async {
                let result = self.fetch_chunk(chunk, is_whole).await;
                let is_good = result.is_ok();
                fetched = Some(result);
                is_good
            };
            if self.store.once_if(chunk.digest, fetch).await {
                return fetched.unwrap_or_else(|| unreachable!("it was fetched"));
            }
        }
    }

    async fn fetch_chunk(&self, chunk: ChunkMeta, is_whole: bool) -> Result<Bytes> {
        let digest = chunk.digest;
        let memory = &self.store.memory;
        let wrong = |kind, message| Error::new(kind, "read a chunk", message).with_digest(digest);
        if self.is(Flaw::WritersLockReadersOut) && memory.open_writers.load(Ordering::Relaxed) > 0 {
            return Err(wrong(ErrorKind::Unavailable, "a writer is open"));
        }
        if self.is(Flaw::ReadersDieWithTheirService) && self.service.strong_count() == 0 {
            return Err(wrong(ErrorKind::Other, "the service is gone"));
        }
        if self.is(Flaw::RemembersFailure) && locked(&memory.digests).contains(&digest) {
            return Err(wrong(ErrorKind::Unavailable, "it could not be fetched before"));
        }
        if self.is(Flaw::RemembersDamage) && self.store.records.contains(&listed_name(&digest)) {
            return Err(wrong(ErrorKind::Corrupt, "it is on the list of damaged chunks"));
        }

        match self.store.fetch(&chunk_name(&digest)).await {
            Ok(Some(bytes))
                if self.is(Flaw::VerifiesOnce) && locked(&memory.digests).contains(&digest) =>
            {
                Ok(bytes)
            }
            Ok(Some(bytes)) => self.verified(chunk, bytes, is_whole),
            Ok(None) if self.is(Flaw::FillsInMissingChunks) => {
                Ok(vec![0; chunk.size as usize].into())
            }
            Ok(None) if self.is(Flaw::CallsMissingChunksUnavailable) => {
                Err(wrong(ErrorKind::Unavailable, "it is missing"))
            }
            Ok(None) => Err(wrong(ErrorKind::Corrupt, "it is missing")),
            Err(_)
                if self.is(Flaw::CallsFailureDamage)
                    || (self.is(Flaw::CallsFailedRangesDamage) && !is_whole) =>
            {
                Err(wrong(ErrorKind::Corrupt, "it cannot be fetched"))
            }
            Err(error) => {
                if self.is(Flaw::RemembersFailure) {
                    locked(&memory.digests).insert(digest);
                }
                Err(error.with_digest(digest))
            }
        }
    }

    /// The bytes of a chunk, if they are those that its digest names.
    fn verified(&self, chunk: ChunkMeta, bytes: Bytes, is_whole: bool) -> Result<Bytes> {
        let ChunkMeta { digest, size } = chunk;
        let wrong = |kind, message| Error::new(kind, "read a chunk", message).with_digest(digest);
        let found = bytes.len() as u64;
        if self.is(Flaw::ServesLongChunksWhole)
            && found > size
            && Digest::of(&bytes[..size as usize]) == digest
        {
            return Ok(bytes);
        }
        if self.is(Flaw::CallsShortChunksOther) && found < size {
            return Err(wrong(ErrorKind::Other, "it is too short"));
        }
        if found != size {
            return Err(wrong(ErrorKind::Corrupt, "it has another size"));
        }

        if self.is(Flaw::ServesUnverifiedChunks)
            || (self.is(Flaw::VerifiesOnlyWholeReads) && !is_whole)
            || (self.is(Flaw::TakesZerosForAHole) && bytes.iter().all(|byte| *byte == 0))
        {
            return Ok(bytes);
        }
        if self.is(Flaw::TakesDataForCompressed) && bytes.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err(wrong(ErrorKind::Corrupt, "it does not decompress"));
        }
        if self.is(Flaw::TakesDataForAnIndex) {
            let all = self.store.records.all();
            if all.iter().any(|(name, record)| name.starts_with("blob/") && *record == bytes) {
                return Err(wrong(ErrorKind::Corrupt, "it is an index, and no chunk"));
            }
        }
        let found = Digest::of(&bytes);
        if self.is(Flaw::VerifiesOnce) && found == digest {
            locked(&self.store.memory.digests).insert(digest);
        }
        let is_listed = |digest| self.index.iter().any(|chunk| chunk.digest == digest);
        if found == digest || (self.is(Flaw::AcceptsAnyChunkOfTheBlob) && is_listed(found)) {
            return Ok(bytes);
        }
        if self.is(Flaw::RemembersDamage) {
            self.store.records.replace(&listed_name(&digest), Some(Bytes::new()));
        }
        if self.is(Flaw::CallsWrongBytesOther) {
            return Err(wrong(ErrorKind::Other, "it has other bytes"));
        }
        Err(wrong(ErrorKind::Corrupt, "it has other bytes"))
    }
}

/// The name of the record by which `RemembersDamage` lists a damaged chunk.
fn listed_name(digest: &Digest) -> String {
    format!("damaged/{digest}")
}
