//! Indexes: fetched and decoded, written and committed.

use bytes::Bytes;
use castore_core::{BlobIndex, Digest, Result};
use object_store::path::Path;

use super::Store;
use super::chunk::There;
use crate::error::corrupt;
use crate::exec::clock::Moment;
use crate::exec::limits::off_thread;
use crate::objects::client::unreadable;

const INDEX: &str = "store the index of blob";
pub(crate) const READ_INDEX: &str = "read the index of blob";

/// What the object of an index says.
pub(crate) enum Listed {
    /// There is none.
    Absent,
    /// The blob is one chunk, of unknown size.
    OneChunk,
    Chunks(BlobIndex),
}

impl Store {
    /// Writes an index, whatever is there. Its chunks are stored; `seen` is when the first of them was
    /// seen to be.
    pub(crate) async fn write_index(&self, index: &BlobIndex, seen: Option<Moment>) -> Result<()> {
        let (digest, object) = (index.digest(), castore_proto::encode(index));
        self.flush_chunks().await?;
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

    /// What the index of a blob says. `Corrupt` where it is malformed.
    pub(crate) async fn fetch_index(&self, digest: &Digest) -> Result<Listed> {
        self.fetch_index_at(digest, self.layout.blob(digest)).await
    }

    /// The same for an index that lies elsewhere.
    pub(crate) async fn fetch_index_at(&self, digest: &Digest, path: Path) -> Result<Listed> {
        let object =
            self.requests.get(READ_INDEX, *digest, path, castore_proto::MAX_INDEX_SIZE).await?;
        let Some(object) = object else { return Ok(Listed::Absent) };
        let digest = *digest;
        let decoded = off_thread(READ_INDEX, move || {
            let bytes = object.read()?;
            Ok(castore_proto::decode(&digest, &bytes))
        });
        match decoded.await?.map_err(|error| unreadable(READ_INDEX, digest, error))? {
            Ok(Some(index)) => Ok(Listed::Chunks(index)),
            Ok(None) => Ok(Listed::OneChunk),
            Err(error) => Err(corrupt(READ_INDEX, digest, "it is malformed").with_source(error)),
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

    /// Returns once all chunks that were stored so far survive a power cut, if an index does that is
    /// stored later.
    async fn flush_chunks(&self) -> Result<()> {
        match &self.barrier {
            Some(barrier) => barrier.wait_for_chunks().await,
            None => Ok(()),
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
