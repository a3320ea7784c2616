//! Storing the parts of a blob: its chunks, then its index.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, Digest, Error, ErrorKind, Result};
use object_store::path::Path;

use crate::codec::max_stored_size;
use crate::limits::{Permit, off_thread};
use crate::moment::Moment;
use crate::service::Shared;

pub(crate) const CHUNK: &str = "store chunk";
const INDEX: &str = "store the index of blob";

/// A chunk that is in the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InStore {
    /// Whether it was not there before.
    pub(crate) new: bool,
    /// When it was there: before the request that told so was sent.
    pub(crate) seen: Moment,
}

/// What is found where an object is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum There {
    Absent,
    /// Something that is not the object.
    Bad,
    Good,
}

impl Shared {
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

    /// Writes an index, whatever is there. Its chunks are stored; `seen` is when the first of them was
    /// seen to be.
    pub(crate) async fn write_index(&self, index: &BlobIndex, seen: Option<Moment>) -> Result<()> {
        let (digest, object) = (index.digest(), castore_proto::encode(index));
        self.flush().await?;
        if let Some(seen) = seen {
            self.check_again(index, seen).await?;
        }
        self.requests.put(INDEX, digest, self.layout.blob(&digest), object).await?;
        self.flush().await
    }

    /// Writes the index of a blob whose chunks are stored, unless it is there. `any_new` says that
    /// one of them was not there before, and so no index that lists it can be; `seen` is when the first
    /// of them was seen to be stored.
    ///
    /// The chunk of a blob of one chunk is not stored yet, it is `only`: where the index is there,
    /// so is the chunk, and asking for the index first makes a known blob cost one request. A new
    /// one costs three, as its chunk is stored without looking for it.
    pub(crate) async fn commit(
        &self,
        index: &BlobIndex,
        only: Option<Bytes>,
        any_new: bool,
        mut seen: Option<Moment>,
    ) -> Result<()> {
        let digest = index.digest();
        if !any_new {
            let there = self.look_at_index(digest, &castore_proto::encode(index)).await?;
            match only {
                Some(_) if there == There::Good && !self.check_reused => {
                    self.requests.counters.chunks_reused.add(1);
                }
                // Some writers leave the index of such a blob empty; then the chunk tells.
                Some(chunk) => {
                    let look = there != There::Absent || self.check_reused;
                    seen = Some(self.store_chunk(digest, chunk, None, look).await?.seen);
                }
                None => {}
            }
            if there == There::Good {
                return self.flush().await;
            }
        }
        self.write_index(index, seen).await
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

    /// What is there of an index that is `expected`.
    async fn look_at_index(&self, digest: Digest, expected: &Bytes) -> Result<There> {
        let path = self.layout.blob(&digest);
        let size = expected.len() as u64;
        if !self.check_reused {
            return Ok(match self.requests.head(INDEX, digest, path).await? {
                None => There::Absent,
                // What has another size is not this index: damaged, or of chunks of other sizes.
                Some(found) if found != size => There::Bad,
                Some(_) => There::Good,
            });
        }
        let object = match self.requests.get(INDEX, digest, path, size).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(There::Absent),
            Err(_) => return Ok(There::Bad),
        };
        match off_thread(INDEX, move || object.read()).await? {
            Ok(found) if found == *expected => Ok(There::Good),
            Ok(_) | Err(_) => Ok(There::Bad),
        }
    }

    /// Returns once all that was stored so far would survive a power cut.
    pub(crate) async fn flush(&self) -> Result<()> {
        match &self.barrier {
            Some(barrier) => barrier.wait().await,
            None => Ok(()),
        }
    }
}
