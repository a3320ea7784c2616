//! All that puts or gets a chunk.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
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
use crate::store::frames::is_complete;

pub(crate) const CHUNK: &str = "store chunk";
pub(crate) const READ_CHUNK: &str = "read chunk";

/// A chunk that is in the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stored {
    /// The size of its object in bytes, where it was not there before.
    pub(crate) new: Option<u64>,
    /// The moment before the request was sent that found or stored it.
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

/// How to tell whether a chunk is in the store that this service has not seen lately.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probe {
    /// Ask the store.
    Look,
    /// A listing had it at this moment.
    Seen(Moment),
    /// A listing did not have it: store it, whatever is there.
    Absent,
}

/// The object that is found where another one is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Absent,
    /// An object that is certainly not the right one.
    Damaged,
    /// The right one, as far as the look goes.
    Intact,
}

impl Store {
    /// Stores a chunk, unless it is there. Needs a task of its own; lets go of `permit` when the chunk is
    /// compressed or known to be stored.
    pub(crate) async fn store_chunk(
        &self,
        digest: Digest,
        chunk: Bytes,
        permit: Option<Arc<Permit>>,
    ) -> Result<Stored> {
        let size = chunk.len() as u64;
        let compressed = async {
            let mut memory = self.limits.storing(chunk.len()).await;
            let object = self.compress(digest, chunk).await?;
            memory.shrink(object.len());
            drop(permit);
            Ok((object, Some(memory)))
        };
        self.store_object(digest, size, Probe::Look, compressed).await
    }

    /// Stores the chunk of `size` bytes whose object is the result of `object`, unless it is there: then
    /// `object` is not polled.
    ///
    /// This is the one way in which chunks are stored by writers and copies: of identical ones in flight one
    /// is looked for and stored, and it is known afterwards. A caller that has the turn waits for no other
    /// memory than that for compressed chunks.
    pub(crate) async fn store_object(
        &self,
        digest: Digest,
        size: u64,
        probe: Probe,
        object: impl Future<Output = Result<(Bytes, Option<Permit>)>>,
    ) -> Result<Stored> {
        let counters = &self.requests.counters;
        let _turn = self.known.turn(digest).await;
        let mut there = self.known.seen(&digest);
        let mut replaced = false;
        if let (None, Probe::Seen(seen)) = (there, probe) {
            there = Some(seen);
        }
        if let (None, Probe::Look) = (there, probe) {
            let seen = Moment::now();
            match self.look_at_chunk(digest, size).await? {
                Existing::Absent => {}
                Existing::Damaged => replaced = true,
                Existing::Intact => there = Some(seen),
            }
        }
        if let Some(seen) = there {
            counters.chunks_reused.add(1);
            return Ok(Stored { new: None, seen });
        }
        let (object, _memory) = object.await?;
        let stored_size = object.len() as u64;
        let seen = self.put_chunk(digest, size, object).await?;
        counters.chunks_replaced.add(u64::from(replaced));
        Ok(Stored { new: Some(stored_size), seen })
    }

    /// Stores a chunk, whatever is there; returns when it was there.
    pub(crate) async fn upload_chunk(&self, digest: Digest, chunk: Bytes) -> Result<Moment> {
        let size = chunk.len() as u64;
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
    async fn put_chunk(&self, digest: Digest, size: u64, stored: Bytes) -> Result<Moment> {
        let counters = &self.requests.counters;
        let stored_size = stored.len() as u64;
        let seen = Moment::now();
        self.requests.put(CHUNK, digest, self.layout.chunk(&digest), stored).await?;
        self.known.insert_sized(digest, seen, stored_size);
        counters.chunks_new.add(1);
        counters.bytes_new.add(size);
        counters.bytes_stored.add(stored_size);
        Ok(seen)
    }

    /// Looks at what is in the place of a chunk of `size` bytes, and remembers an intact one.
    ///
    /// With `check_reused` the look reads and verifies all of the chunk. Otherwise it compares the size of
    /// the object with what can be, and with what this service wrote or verified before; in a directory it
    /// also goes through the file's frames, which tells a file that was cut short.
    pub(crate) async fn look_at_chunk(&self, digest: Digest, size: u64) -> Result<Existing> {
        let seen = Moment::now();
        if self.check_reused {
            return Ok(self.verify_chunk(digest, size).await);
        }
        let path = self.layout.chunk(&digest);
        let max_size = max_stored_size(size);
        let examine = move |file: &File, len: u64| {
            let read_at = |buffer: &mut [u8], at: u64| {
                let mut file = file;
                file.seek(SeekFrom::Start(at))?;
                file.read_exact(buffer)
            };
            // A file that cannot be read is stored again, or that fails and says why.
            Ok(len <= max_size && is_complete(read_at, len, size).unwrap_or(false))
        };
        let found = match self.requests.examine(CHUNK, digest, path, examine).await {
            // A pipe or a directory, say, is in the chunk's place.
            Err(error) if is_corrupt(&error) => return Ok(Existing::Damaged),
            found => found?,
        };
        let Some((stored_size, is_whole)) = found else { return Ok(Existing::Absent) };
        let known_size = self.known.stored_size(&digest);
        let intact = match is_whole {
            Some(is_whole) => is_whole,
            None => {
                // Of a power cut an object of no bytes is left.
                (1..=max_size).contains(&stored_size)
                    && known_size.is_none_or(|known| known == stored_size)
            }
        };
        if !intact {
            self.known.forget(&digest);
            return Ok(Existing::Damaged);
        }
        // Only a chunk that was just seen: none must be known for ever.
        self.known.insert(digest, seen);
        Ok(Existing::Intact)
    }

    /// The same, with all of the chunk read and verified.
    ///
    /// A chunk that cannot be read counts as damaged: it is stored again, or that fails and says why.
    pub(crate) async fn verify_chunk(&self, digest: Digest, size: u64) -> Existing {
        let seen = Moment::now();
        let path = self.layout.chunk(&digest);
        let object = match self.requests.get(CHUNK, digest, path, max_stored_size(size)).await {
            Ok(Some(object)) => object,
            Ok(None) => return Existing::Absent,
            Err(_) => return Existing::Damaged,
        };
        let stored_size = object.size();
        match self.try_decode(digest, Some(size), object).await {
            Ok(Ok(_)) => {
                self.known.insert_sized(digest, seen, stored_size);
                Existing::Intact
            }
            Ok(Err(_)) | Err(_) => Existing::Damaged,
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

    /// The stored form of a chunk that was verified, and its bytes; `None` where it is missing. Of an
    /// unknown `size` any will do.
    pub(crate) async fn fetch_stored(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<Option<(Bytes, Bytes)>> {
        let found = self.get_listed(READ_CHUNK, digest, size).await?;
        Ok(found.map(|found| (found.stored, found.bytes)))
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
