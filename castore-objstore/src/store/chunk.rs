//! All that puts or gets a chunk.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{ChunkMeta, Digest, Error, ErrorKind, MAX_CHUNK_SIZE, Result};
use object_store::path::Path;

use crate::error::{corrupt, is_corrupt};
use crate::exec::clock::Moment;
use crate::exec::limits::Permit;
use crate::objects::client::{Fetched, unreadable};
use crate::store::Store;
use crate::store::codec::{DecodeError, max_stored_size};

pub(crate) const CHUNK: &str = "store chunk";
pub(crate) const READ_CHUNK: &str = "read chunk";

/// A chunk that is in the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InStore {
    /// Whether it was not there before.
    pub(crate) new: bool,
    /// When it was there: before the request that told so was sent.
    pub(crate) seen: Moment,
}

/// A chunk that was read, and has its digest.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The bytes of its object, as they are stored.
    pub(crate) stored: Bytes,
    /// The bytes of the chunk.
    pub(crate) bytes: Bytes,
}

/// What is found where an object is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum There {
    Absent,
    /// Something that is not the object.
    Bad,
    Good,
}

impl Store {
    /// Stores a chunk, unless it is there. Needs a task of its own; lets go of `permit` when it has
    /// done so with the chunk.
    ///
    /// Where not told to `look`, only a chunk that is known to be there is not stored.
    pub(crate) async fn store_chunk(
        &self,
        digest: Digest,
        chunk: Bytes,
        permit: Option<Arc<Permit>>,
        look: bool,
    ) -> Result<InStore> {
        let counters = &self.requests.counters;
        let _turn = self.known.turn(digest).await;
        let path = self.layout.chunk(&digest);
        let mut there = self.known.seen(&digest);
        let mut replaced = false;
        if there.is_none() && look {
            let seen = Moment::now();
            let found = self.look_at_chunk(digest, chunk.len() as u64, path.clone()).await?;
            replaced = found == There::Bad;
            if found == There::Good {
                // Only now, when it was seen: what is known must not be known for ever.
                self.known.insert(digest, seen);
                there = Some(seen);
            }
        }
        if let Some(seen) = there {
            counters.chunks_reused.add(1);
            return Ok(InStore { new: false, seen });
        }
        let size = chunk.len();
        let mut memory = self.limits.storing(size).await;
        let stored = self.compress(digest, chunk).await?;
        memory.shrink(stored.len());
        drop(permit);
        let seen = self.put_chunk(digest, size, stored).await?;
        counters.chunks_replaced.add(u64::from(replaced));
        Ok(InStore { new: true, seen })
    }

    /// Stores a chunk, whatever is there; returns when it was there.
    pub(crate) async fn upload_chunk(&self, digest: Digest, chunk: Bytes) -> Result<Moment> {
        let size = chunk.len();
        let stored = self.compress(digest, chunk).await?;
        self.put_chunk(digest, size, stored).await
    }

    async fn compress(&self, digest: Digest, chunk: Bytes) -> Result<Bytes> {
        let codec = Arc::clone(&self.codec);
        let stored = self.limits.compute(CHUNK, move || codec.compress(&chunk)).await?;
        stored.map_err(|error| {
            Error::new(ErrorKind::Other, CHUNK, "it cannot be compressed")
                .with_digest(digest)
                .with_source(error)
        })
    }

    /// Puts a chunk of `size` bytes as it is stored.
    async fn put_chunk(&self, digest: Digest, size: usize, stored: Bytes) -> Result<Moment> {
        let counters = &self.requests.counters;
        let stored_size = stored.len() as u64;
        let seen = Moment::now();
        self.requests.put(CHUNK, digest, self.layout.chunk(&digest), stored).await?;
        self.known.insert(digest, seen);
        counters.chunks_new.add(1);
        counters.bytes_new.add(size as u64);
        counters.bytes_stored.add(stored_size);
        Ok(seen)
    }

    /// What is there of a chunk of `size` bytes.
    async fn look_at_chunk(&self, digest: Digest, size: u64, path: Path) -> Result<There> {
        if !self.check_reused {
            return Ok(match self.requests.head(CHUNK, digest, path).await? {
                None => There::Absent,
                // A chunk never takes up no bytes: such an object is what a power cut leaves of a
                // file that was not flushed.
                Some(0) => There::Bad,
                Some(_) => There::Good,
            });
        }
        // Whatever keeps it from being read: it is stored again, or that fails and says why.
        let object = match self.requests.get(CHUNK, digest, path, max_stored_size(size)).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(There::Absent),
            Err(_) => return Ok(There::Bad),
        };
        match self.try_decode(digest, Some(size), object).await {
            Ok(Ok(_)) => Ok(There::Good),
            Ok(Err(_)) | Err(_) => Ok(There::Bad),
        }
    }

    /// The object of a chunk, as it is stored, or `None` where it is absent. `Corrupt` where it has
    /// more than `max_size` bytes.
    pub(crate) async fn fetch_chunk_object(
        &self,
        digest: &Digest,
        max_size: u64,
    ) -> Result<Option<Fetched>> {
        let path = self.layout.chunk(digest);
        self.requests.get(READ_CHUNK, *digest, path, max_size).await
    }

    /// The verified bytes of a chunk that an index lists.
    pub(crate) async fn fetch_chunk(&self, chunk: ChunkMeta) -> Result<Bytes> {
        let found = self.get_listed(READ_CHUNK, chunk.digest, Some(chunk.size)).await?;
        let found = found.ok_or_else(|| corrupt(READ_CHUNK, chunk.digest, "it is missing"))?;
        Ok(found.bytes)
    }

    /// The verified bytes of a chunk whose size nothing tells, in its place or set aside; `None` where
    /// the store has neither.
    pub(crate) async fn fetch_chunk_of_any_size(&self, digest: Digest) -> Result<Option<Bytes>> {
        let found = self.get_listed(READ_CHUNK, digest, None).await?;
        Ok(found.map(|found| found.bytes))
    }

    /// The stored form of a chunk that was verified, and the size of the chunk in bytes; `None` where
    /// it is missing. Of an unknown `size` any will do.
    pub(crate) async fn fetch_stored(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<Option<(Bytes, u64)>> {
        let found = self.get_listed(READ_CHUNK, digest, size).await?;
        Ok(found.map(|found| (found.stored, found.bytes.len() as u64)))
    }

    /// The chunk whose object lies at `path`, verified; `None` where there is no object. Any `size`
    /// will do where none is given.
    ///
    /// # Errors
    /// `Corrupt` for an object that is not the chunk; another kind where the object cannot be read, so
    /// that it is not known whether it is the chunk.
    pub(crate) async fn get_verified(
        &self,
        operation: &'static str,
        digest: Digest,
        size: Option<u64>,
        path: Path,
    ) -> Result<Option<Verified>> {
        let max_size = max_stored_size(size.unwrap_or(MAX_CHUNK_SIZE));
        let object = self.requests.get(operation, digest, path, max_size).await?;
        let Some(object) = object else { return Ok(None) };
        self.verify_object(digest, size, object)
            .await?
            .map(Some)
            .map_err(|error| told(digest, error))
    }

    /// The bytes of a chunk out of the object at `path`, even if that is larger than the format allows;
    /// `None` where there is no object, or where it is damaged.
    ///
    /// # Errors
    /// Never `Corrupt`: the object cannot be read.
    pub(crate) async fn salvage(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
    ) -> Result<Option<Bytes>> {
        let max_size = max_stored_size(MAX_CHUNK_SIZE);
        let object = match self.requests.get(operation, digest, path, max_size).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(None),
            Err(error) if is_corrupt(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let codec = Arc::clone(&self.codec);
        let decoded = self.limits.compute(operation, move || {
            Ok(codec.decode_of_any_size(&digest, None, &object.read()?).ok())
        });
        decoded.await?.map_err(|error| unreadable(operation, digest, error))
    }

    pub(crate) async fn decode(
        &self,
        digest: Digest,
        size: Option<u64>,
        object: Fetched,
    ) -> Result<Bytes> {
        self.try_decode(digest, size, object).await?.map_err(|error| told(digest, error))
    }

    /// The verified bytes of a chunk, or what is wrong with them; an error of ours where they cannot
    /// be read.
    pub(crate) async fn try_decode(
        &self,
        digest: Digest,
        size: Option<u64>,
        object: Fetched,
    ) -> Result<Result<Bytes, DecodeError>> {
        let verified = self.verify_object(digest, size, object).await?;
        Ok(verified.map(|verified| verified.bytes))
    }

    /// The same, and the object's own bytes.
    async fn verify_object(
        &self,
        digest: Digest,
        size: Option<u64>,
        object: Fetched,
    ) -> Result<Result<Verified, DecodeError>> {
        let codec = Arc::clone(&self.codec);
        let verified = self.limits.compute(READ_CHUNK, move || {
            let stored = object.read()?;
            let decoded = codec.decode(&digest, size, &stored);
            Ok(decoded.map(|bytes| Verified { stored, bytes }))
        });
        let verified = verified.await?.map_err(|error| unreadable(READ_CHUNK, digest, error))?;
        if let Ok(Verified { bytes, .. }) = &verified {
            self.requests.counters.bytes_read.add(bytes.len() as u64);
        }
        Ok(verified)
    }
}

/// What is wrong with an object, as an error of ours.
fn told(digest: Digest, error: DecodeError) -> Error {
    let corrupt = corrupt(READ_CHUNK, digest, error.to_string());
    match error {
        DecodeError::Zstd(source) | DecodeError::CutShort(source) => corrupt.with_source(source),
        _ => corrupt,
    }
}
