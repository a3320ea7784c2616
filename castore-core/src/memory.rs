//! The reference implementation: a blob service in memory, meant to be read first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, StreamExt};

use crate::groups::GroupHasher;
use crate::{
    BlobIndex, BlobReader, BlobService, BlobSink, BlobSource, BlobWriter, BoxStream, ChunkMeta,
    Digest, Error, ErrorKind, Piece, Result,
};

/// Every blob is divided into chunks of this many bytes (the last may be shorter).
///
/// Content-defined chunks would share more data, but the reference implementation is meant to be
/// simple.
const CHUNK_SIZE: usize = 256 * 1024;

/// Blobs in memory, which are dropped with the last clone of the service.
///
/// This service keeps every point of the contract of [`BlobService`] in the simplest way. So it
/// shows what a backend has to do: keep chunks by digest, keep an index for each blob, and publish
/// the index last.
#[derive(Debug, Clone, Default)]
pub struct MemoryBlobService {
    storage: Arc<Mutex<Storage>>,
}

#[derive(Debug, Default)]
struct Storage {
    chunks: HashMap<Digest, Bytes>,
    blobs: HashMap<Digest, BlobIndex>,
}

impl MemoryBlobService {
    /// An empty service.
    pub fn new() -> MemoryBlobService {
        MemoryBlobService::default()
    }

    fn storage(&self) -> MutexGuard<'_, Storage> {
        // No code panics while it holds this lock in the middle of a change.
        self.storage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl BlobService for MemoryBlobService {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.chunks(digest).await?.is_some())
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        if *digest == Digest::EMPTY {
            return Ok(Some(BlobIndex::empty()));
        }
        Ok(self.storage().blobs.get(digest).cloned())
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        let index = self.chunks(digest).await?;
        Ok(index.map(|index| BlobReader::new(Source { service: self.clone(), index })))
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        Ok(BlobWriter::new(Sink { service: self.clone(), written: BytesMut::new() }))
    }

    fn list(&self) -> BoxStream<Result<Digest>> {
        let digests: Vec<_> = self.storage().blobs.keys().copied().map(Ok).collect();
        stream::iter(digests).boxed()
    }

    /// Removes the index; the chunks stay, as other blobs may list them.
    async fn remove(&self, digest: &Digest) -> Result<bool> {
        Ok(self.storage().blobs.remove(digest).is_some())
    }

    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        Ok(self.storage().chunks.get(chunk).cloned())
    }
}

struct Source {
    service: MemoryBlobService,
    index: BlobIndex,
}

impl BlobSource for Source {
    fn size(&self) -> u64 {
        self.index.size()
    }

    fn digest(&self) -> Digest {
        self.index.digest()
    }

    fn index(&self) -> Option<BlobIndex> {
        Some(self.index.clone())
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<Result<Bytes>> {
        let storage = self.service.storage();
        let read = |piece: Piece| {
            let ChunkMeta { digest, .. } = piece.meta;
            let chunk = storage.chunks.get(&digest).ok_or_else(|| {
                let error = Error::new(ErrorKind::Corrupt, "read a chunk", "it is missing");
                error.with_digest(digest)
            })?;
            // No other code can change this memory, so chunks and ranges need no verification.
            Ok(piece.clip(chunk))
        };
        let pieces: Vec<Result<Bytes>> = self.index.pieces(range).map(read).collect();
        stream::iter(pieces).boxed()
    }
}

struct Sink {
    service: MemoryBlobService,
    written: BytesMut,
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.written.extend_from_slice(&data);
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        let bytes = std::mem::take(&mut self.written).freeze();
        let mut hasher = GroupHasher::new();
        hasher.update(&bytes);
        let hashed = hasher.finish();
        let digest = hashed.digest;
        let chunks: Vec<(ChunkMeta, Bytes)> = (0..bytes.len())
            .step_by(CHUNK_SIZE)
            .map(|start| {
                let chunk = bytes.slice(start..bytes.len().min(start + CHUNK_SIZE));
                let size = chunk.len() as u64;
                (ChunkMeta { digest: Digest::of(&chunk), size }, chunk)
            })
            .collect();
        let index =
            BlobIndex::new(digest, chunks.iter().map(|(meta, _)| *meta)).map_err(|error| {
                let message = "the blob has too many chunks";
                Error::new(ErrorKind::InvalidInput, "write", message).with_source(error)
            })?;
        // The reader needs no proof of this memory: the group hashes are for callers of `chunks`.
        let index = match hashed.groups {
            Some(groups) => index.with_groups(groups).expect("the hashes are of these bytes"),
            None => index,
        };

        let mut storage = self.service.storage();
        storage.chunks.extend(chunks.into_iter().map(|(meta, chunk)| (meta.digest, chunk)));
        // The index comes last, so that a present blob has all its chunks.
        storage.blobs.insert(digest, index);
        Ok(digest)
    }
}
