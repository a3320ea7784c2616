//! Storing the parts of a blob: its chunks, then its index.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, Digest, Error, ErrorKind, Result};

use crate::moment::Moment;
use crate::service::Shared;

const CHUNK: &str = "store chunk";
const INDEX: &str = "store the index of blob";

/// A chunk that is in the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InStore {
    /// Whether it was not there before.
    pub(crate) new: bool,
    /// When it was there: before the request that told so was sent.
    pub(crate) seen: Moment,
}

impl Shared {
    /// Stores a chunk, unless it is there.
    ///
    /// Where not told to `look`, only a chunk that is known to be there is not stored.
    pub(crate) async fn store_chunk(
        &self,
        digest: Digest,
        chunk: Bytes,
        look: bool,
    ) -> Result<InStore> {
        let counters = &self.requests.counters;
        let _turn = self.known.turn(digest).await;
        let path = self.layout.chunk(&digest);
        let mut there = self.known.seen(&digest);
        if there.is_none() && look {
            let seen = Moment::now();
            let size = self.requests.head(CHUNK, digest, path.clone()).await?;
            // A chunk never takes up no bytes: such an object is what a power cut leaves of a file
            // that was not flushed.
            if size.is_some_and(|size| size > 0) {
                // Only now, when it was seen: what is known must not be known for ever.
                self.known.insert(digest, seen);
                there = Some(seen);
            }
        }
        if let Some(seen) = there {
            counters.chunks_reused.add(1);
            return Ok(InStore { new: false, seen });
        }
        let size = chunk.len() as u64;
        let codec = Arc::clone(&self.codec);
        let stored = self.limits.compute(CHUNK, move || codec.compress(&chunk)).await?;
        let stored = stored.map_err(|error| {
            Error::new(ErrorKind::Other, CHUNK, "it cannot be compressed")
                .with_digest(digest)
                .with_source(error)
        })?;
        let stored_size = stored.len() as u64;
        let seen = Moment::now();
        self.requests.put(CHUNK, digest, path, stored.into()).await?;
        self.known.insert(digest, seen);
        counters.chunks_new.add(1);
        counters.bytes_new.add(size);
        counters.bytes_stored.add(stored_size);
        Ok(InStore { new: true, seen })
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
        let path = self.layout.blob(&digest);
        let object = castore_proto::encode(index);
        if !any_new {
            let there = self.requests.head(INDEX, digest, path.clone()).await?;
            // What has another size is not this index: damaged, or of chunks of other sizes.
            if there == Some(object.len() as u64) {
                if only.is_some() {
                    self.requests.counters.chunks_reused.add(1);
                }
                return self.flush().await;
            }
            if let Some(chunk) = only {
                // Some writers leave the index of such a blob empty; then the chunk tells.
                seen = Some(self.store_chunk(digest, chunk, there.is_some()).await?.seen);
            }
        }
        self.flush().await?;
        if let Some(seen) = seen {
            self.check_again(index, seen).await?;
        }
        self.requests.put(INDEX, digest, path, object).await?;
        self.flush().await
    }

    /// Returns once all that was stored so far would survive a power cut.
    pub(crate) async fn flush(&self) -> Result<()> {
        match &self.barrier {
            Some(barrier) => barrier.wait().await,
            None => Ok(()),
        }
    }
}
