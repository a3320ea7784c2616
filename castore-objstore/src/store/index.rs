//! Indexes: fetched and decoded, written and committed.

use std::collections::HashSet;

use bytes::Bytes;
use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};
use futures_util::future::join;
use object_store::path::Path;

use super::Store;
use super::chunk::{CHUNK, Existing, Stored};
use crate::error::corrupt;
use crate::exec::clock::Moment;
use crate::exec::limits::off_thread;
use crate::objects::client::unreadable;

/// How often an index is tried to be sent, where its request has to wait for so long that its chunks are
/// looked for again.
const SENDS: usize = 3;

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

/// The object that is found where an index is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FoundIndex {
    Absent,
    Expected,
    /// An index of other chunks.
    Other,
    /// No index, or one that is too long to be the expected one: then it was not read.
    Unknown,
}

impl Store {
    /// Writes an index, whatever is there. Its chunks are stored; `seen` is when the first of them was
    /// seen to be.
    ///
    /// The index is not sent where the chunks were seen too long ago at the moment when the request may
    /// be sent: then they are looked for again.
    ///
    /// # Errors
    /// Those of [`Self::check_again`], and `Unavailable` where the request has to wait for too long each
    /// time.
    pub(crate) async fn write_index(&self, index: &BlobIndex, seen: Option<Moment>) -> Result<()> {
        let (digest, object) = (index.digest(), castore_proto::encode(index));
        self.flush_chunks().await?;
        let mut seen = seen;
        for _ in 0..SENDS {
            if let Some(before) = seen {
                seen = Some(self.check_again(index, before).await?);
            }
            let in_time = self.in_time();
            let allowed = move || seen.is_none_or(in_time);
            let path = self.layout.blob(&digest);
            if self.requests.put_if(INDEX, digest, path, object.clone(), allowed).await? {
                return self.flush().await;
            }
        }
        let message =
            "the request has to wait for longer than half the grace period; store it again";
        Err(Error::new(ErrorKind::Unavailable, INDEX, message).with_digest(digest))
    }

    /// Writes the index of a blob whose chunks are stored, unless it is there. `any_new` says that
    /// one of them was not there before, and so no index that lists it can be; `seen` is when the first
    /// of them was seen to be stored.
    ///
    /// The chunk of a blob of one chunk is not stored yet: it is `sole_chunk`. The store is asked for it and
    /// for the index at once, so that a known blob takes one round trip and two requests, and a new one
    /// three round trips and four requests.
    pub(crate) async fn commit(
        &self,
        index: &BlobIndex,
        sole_chunk: Option<Bytes>,
        any_new: bool,
        mut seen: Option<Moment>,
    ) -> Result<()> {
        let digest = index.digest();
        if any_new {
            return self.write_index(index, seen).await;
        }
        let expected = castore_proto::encode(index);
        let found = match sole_chunk {
            None => self.look_at_index(digest, &expected).await?,
            Some(chunk) => {
                let look = self.look_at_index(digest, &expected);
                let store = self.store_chunk(digest, chunk.clone(), None);
                let (found, stored) = join(look, store).await;
                let (found, mut stored) = (found?, stored?);
                let is_in_doubt = found == FoundIndex::Unknown && !self.check_reused;
                if is_in_doubt
                    && stored.new.is_none()
                    && self.verify_chunk(digest, index.size()).await != Existing::Intact
                {
                    // The store has something else where the index belongs, and in the chunk's place.
                    let seen = self.upload_chunk(digest, chunk).await?;
                    self.requests.counters.chunks_replaced.add(1);
                    stored = Stored { new: None, seen };
                }
                seen = Some(stored.seen);
                found
            }
        };
        match found {
            FoundIndex::Expected => {
                self.requests.rely_on(INDEX, digest, self.layout.blob(&digest)).await?;
                self.flush().await
            }
            FoundIndex::Absent | FoundIndex::Other => self.write_index(index, seen).await,
            FoundIndex::Unknown => {
                if !self.check_reused {
                    self.verify_chunks(index).await?;
                }
                self.write_index(index, seen).await?;
                // A server that answers every request with "200 OK" has stored nothing.
                match self.look_at_index(digest, &expected).await? {
                    FoundIndex::Expected => Ok(()),
                    _ => {
                        let message = "the store does not give back the index that it was given";
                        Err(Error::new(ErrorKind::Unavailable, INDEX, message).with_digest(digest))
                    }
                }
            }
        }
    }

    /// Reads and verifies the chunks of a blob. Ends with the first one that cannot be read, as `Corrupt`.
    async fn verify_chunks(&self, index: &BlobIndex) -> Result<()> {
        let mut distinct = HashSet::new();
        for ChunkMeta { digest, size } in index.iter().filter(|chunk| distinct.insert(chunk.digest))
        {
            if self.verify_chunk(digest, size).await != Existing::Intact {
                self.known.forget(&digest);
                let message = "the store has something else in its place; check what is reused";
                return Err(corrupt(CHUNK, digest, message));
            }
        }
        Ok(())
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

    /// Looks whether the index in the store is `expected`, byte for byte.
    async fn look_at_index(&self, digest: Digest, expected: &Bytes) -> Result<FoundIndex> {
        let path = self.layout.blob(&digest);
        let object = match self.requests.get(INDEX, digest, path, expected.len() as u64).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(FoundIndex::Absent),
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(FoundIndex::Unknown),
            // An object that cannot be read is overwritten, or that fails and says why.
            Err(_) if self.check_reused => return Ok(FoundIndex::Other),
            Err(error) => return Err(error),
        };
        let expected = expected.clone();
        let compared = off_thread(INDEX, move || {
            let found = object.read()?;
            Ok(match castore_proto::decode(&digest, &found) {
                _ if found == expected => FoundIndex::Expected,
                Ok(_) => FoundIndex::Other,
                Err(_) => FoundIndex::Unknown,
            })
        });
        compared.await?.map_err(|error| unreadable(INDEX, digest, error))
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
