//! All operations that put or get a chunk.

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
    /// The size of the chunk's object in bytes, if the store did not have the chunk before.
    pub(crate) new: Option<u64>,
    /// The moment before the request was sent that found or stored the chunk.
    pub(crate) seen: Moment,
}

/// A chunk that was read and whose digest is right.
#[derive(Debug)]
pub(crate) struct Verified {
    /// The stored bytes of the chunk's object.
    pub(crate) stored: Bytes,
    /// The bytes of the chunk.
    pub(crate) bytes: Bytes,
}

/// How to find out whether the store has a chunk that this service has not seen recently.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Probe {
    /// Ask the store.
    Look,
    /// A listing had it at this moment.
    Seen(Moment),
    /// A listing did not have it: store it, and replace any object in its place.
    Absent,
}

/// The object found in the place of a chunk that is about to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    Absent,
    /// An object that is certainly not the right one.
    Damaged,
    /// The right one, as far as the probe checks.
    Intact,
}

impl Store {
    /// Stores a chunk unless the store has it. The caller runs this in a task of its own. `permit`
    /// is released once the chunk is compressed or known to be stored.
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

    /// Stores the chunk of `size` bytes unless the store has it. `object` computes the chunk's
    /// object; if the store has the chunk, `object` is not polled.
    ///
    /// Writers and copies store every chunk through this function. Of several identical chunks in
    /// flight, one is looked up and stored, and is known afterwards. A caller that holds the turn
    /// waits for no other memory than that for compressed chunks.
    pub(crate) async fn store_object(
        &self,
        digest: Digest,
        size: u64,
        probe: Probe,
        object: impl Future<Output = Result<(Bytes, Option<Permit>)>>,
    ) -> Result<Stored> {
        let counters = &self.requests.counters;
        let _turn = self.presence.single_flight(digest).await;
        let mut there = self.presence.seen(&digest);
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

    /// Stores a chunk, and replaces any object in its place. Returns the moment before the request
    /// was sent.
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

    /// Puts the stored form of a chunk of `size` bytes.
    async fn put_chunk(&self, digest: Digest, size: u64, stored: Bytes) -> Result<Moment> {
        let counters = &self.requests.counters;
        let stored_size = stored.len() as u64;
        let seen = Moment::now();
        self.requests.put(CHUNK, digest, self.layout.chunk(&digest), stored).await?;
        self.presence.insert_sized(digest, seen, stored_size);
        counters.chunks_new.add(1);
        counters.bytes_new.add(size);
        counters.bytes_stored.add(stored_size);
        Ok(seen)
    }

    /// Looks at the object in the place of a chunk of `size` bytes, and remembers an intact one.
    ///
    /// With `check_reused`, reads and verifies the whole chunk. Otherwise compares the size of the
    /// object with the sizes that a chunk of `size` bytes may have, and with the size that this
    /// service wrote or verified before. In a directory it also walks through the file's frames,
    /// which detects a truncated file.
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
            // The writer stores a chunk again whose file cannot be read; if that fails, the error
            // of the write says why.
            Ok(len <= max_size && is_complete(read_at, len, size).unwrap_or(false))
        };
        let found = match self.requests.examine(CHUNK, digest, path, examine).await {
            // A pipe or a directory, for example, is in the chunk's place.
            Err(error) if is_corrupt(&error) => return Ok(Existing::Damaged),
            found => found?,
        };
        let Some((stored_size, is_whole)) = found else { return Ok(Existing::Absent) };
        let known_size = self.presence.stored_size(&digest);
        let intact = match is_whole {
            Some(is_whole) => is_whole,
            None => {
                // A power cut can leave an object without bytes.
                (1..=max_size).contains(&stored_size)
                    && known_size.is_none_or(|known| known == stored_size)
            }
        };
        if !intact {
            self.presence.forget(&digest);
            return Ok(Existing::Damaged);
        }
        // Only the moment of this look counts: no chunk may stay known for ever.
        self.presence.insert(digest, seen);
        Ok(Existing::Intact)
    }

    /// The same, but always reads and verifies the whole chunk.
    ///
    /// A chunk that cannot be read counts as damaged: the writer stores it again, and if that
    /// fails, the error of the write says why.
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
                self.presence.insert_sized(digest, seen, stored_size);
                Existing::Intact
            }
            Ok(Err(_)) | Err(_) => Existing::Damaged,
        }
    }

    /// The stored object of a chunk, or `None` if it is absent. `Corrupt` if it has more than
    /// `max_size` bytes.
    pub(crate) async fn get_in_place(
        &self,
        digest: &Digest,
        max_size: u64,
    ) -> Result<Option<Fetched>> {
        let path = self.layout.chunk(digest);
        self.requests.get(READ_CHUNK, *digest, path, max_size).await
    }

    /// The verified bytes of a chunk that an index lists.
    pub(crate) async fn get_chunk(&self, chunk: ChunkMeta) -> Result<Bytes> {
        let found = self.get_listed(READ_CHUNK, chunk.digest, Some(chunk.size)).await?;
        let found = found.ok_or_else(|| corrupt(READ_CHUNK, chunk.digest, "it is missing"))?;
        Ok(found.bytes)
    }

    /// The bytes of a chunk that an index lists, for a caller that has another proof for them. The
    /// object in the chunk's place has the right number of bytes, and its digest is not computed.
    pub(crate) async fn get_chunk_unhashed(&self, chunk: ChunkMeta) -> Result<Bytes> {
        let ChunkMeta { digest, size } = chunk;
        let in_place = match self.get_in_place(&digest, max_stored_size(size)).await {
            Ok(Some(object)) => self.decompress(chunk, object).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        self.or_elsewhere(digest, Some(size), in_place).await
    }

    /// The bytes of a chunk that were found in its place, or else those of a verified copy.
    pub(crate) async fn or_elsewhere(
        &self,
        digest: Digest,
        size: Option<u64>,
        in_place: Result<Option<Bytes>>,
    ) -> Result<Bytes> {
        let bad = match in_place {
            Ok(Some(bytes)) => return Ok(bytes),
            in_place => in_place.err(),
        };
        let found = self.get_elsewhere(READ_CHUNK, digest, size, bad).await?;
        let found = found.ok_or_else(|| corrupt(READ_CHUNK, digest, "it is missing"))?;
        Ok(found.bytes)
    }

    async fn decompress(
        &self,
        ChunkMeta { digest, size }: ChunkMeta,
        object: Fetched,
    ) -> Result<Bytes> {
        let codec = Arc::clone(&self.codec);
        let bytes = self
            .limits
            .compute(READ_CHUNK, move || Ok(codec.decompress(Some(size), &object.read()?)));
        let bytes = bytes.await?.map_err(|error| unreadable(READ_CHUNK, digest, error))?;
        let bytes = bytes.map_err(|error| decode_error(digest, error))?;
        self.requests.counters.bytes_read.add(size);
        Ok(bytes)
    }

    /// The verified bytes of a chunk of unknown size, in its place or set aside; `None` if the
    /// store has neither.
    pub(crate) async fn get_any_chunk(&self, digest: Digest) -> Result<Option<Bytes>> {
        let found = self.get_listed(READ_CHUNK, digest, None).await?;
        Ok(found.map(|found| found.bytes))
    }

    /// The stored form of a verified chunk, and its bytes; `None` if the chunk is missing. If
    /// `size` is `None`, any size is accepted.
    pub(crate) async fn get_compressed(
        &self,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<Option<(Bytes, Bytes)>> {
        let found = self.get_listed(READ_CHUNK, digest, size).await?;
        Ok(found.map(|found| (found.stored, found.bytes)))
    }

    /// The verified chunk whose object is at `path`; `None` if there is no object. If `size` is
    /// `None`, any size is accepted.
    ///
    /// # Errors
    /// `Corrupt` for an object that is not the chunk. Another kind if the object cannot be read:
    /// then the object may or may not be the chunk.
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
            .map_err(|error| decode_error(digest, error))
    }

    /// The bytes of a chunk from the object at `path`, even if the object is larger than the format
    /// allows; `None` if there is no object, or if it is damaged.
    ///
    /// # Errors
    /// Those of an object that cannot be read. Never `Corrupt`.
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
        self.try_decode(digest, size, object).await?.map_err(|error| decode_error(digest, error))
    }

    /// The verified bytes of a chunk, or the reason why the object is damaged. Fails with an error
    /// of this crate if the object cannot be read.
    pub(crate) async fn try_decode(
        &self,
        digest: Digest,
        size: Option<u64>,
        object: Fetched,
    ) -> Result<Result<Bytes, DecodeError>> {
        let verified = self.verify_object(digest, size, object).await?;
        Ok(verified.map(|verified| verified.bytes))
    }

    /// The same, with the object's stored bytes.
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

/// A decoding error as an error of this crate.
fn decode_error(digest: Digest, error: DecodeError) -> Error {
    let corrupt = corrupt(READ_CHUNK, digest, error.to_string());
    match error {
        DecodeError::Zstd(source) | DecodeError::CutShort(source) => corrupt.with_source(source),
        _ => corrupt,
    }
}
