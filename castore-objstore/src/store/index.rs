//! Indexes: fetched and decoded, written and committed.

use std::collections::HashSet;

use bytes::Bytes;
use castore_core::groups::Hashed;
use castore_core::{BlobIndex, ChunkMeta, Digest, Error, ErrorKind, Result};
use castore_proto::DecodeError;
use futures_util::future::join;
use object_store::path::Path;

use super::Store;
use super::chunk::{CHUNK, Existing, Stored};
use crate::error::corrupt;
use crate::exec::clock::Moment;
use crate::exec::context::run_blocking;
use crate::objects::client::unreadable;

/// How many times a writer tries to send an index. Another try follows if the request has waited so
/// long that the chunks must be looked for again.
const SENDS: usize = 3;

const INDEX: &str = "store the index of blob";
pub(crate) const READ_INDEX: &str = "read the index of blob";

/// The content of an index object.
pub(crate) enum Listed {
    /// The object does not exist.
    Absent,
    /// The blob is one chunk, of unknown size.
    OneChunk,
    Chunks(BlobIndex),
}

/// The object found in the place of an index that is about to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FoundIndex {
    Absent,
    Expected,
    /// An index of other chunks.
    Other,
    /// Not an index, or too long to be the expected one; an object that is too long is not read.
    Unknown,
}

/// The index of a blob that was hashed and consists of `chunks`.
///
/// # Errors
/// Fails if the chunks contradict the digest or the size of the blob.
pub(crate) fn index_of(
    hashed: Hashed,
    chunks: impl IntoIterator<Item = ChunkMeta>,
) -> std::result::Result<BlobIndex, Box<dyn std::error::Error + Send + Sync>> {
    let index = BlobIndex::new(hashed.digest, chunks)?;
    Ok(match hashed.groups {
        Some(groups) => index.with_groups(groups)?,
        None => index,
    })
}

impl Store {
    /// Writes an index, and replaces any object in its place. The chunks are stored already; `seen`
    /// is when the first of them was seen in the store.
    ///
    /// The index is not sent if, at the moment when its request may be sent, the chunks were seen
    /// too long ago. Then the chunks are looked for again.
    ///
    /// # Errors
    /// Those of [`Self::check_again`], and `Unavailable` if the request has to wait too long each
    /// time.
    pub(crate) async fn write_index(&self, index: &BlobIndex, seen: Option<Moment>) -> Result<()> {
        let (digest, object) = (index.digest(), self.encode_index(index));
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

    /// Writes the index of a blob whose chunks are stored, unless the store has that index.
    /// `any_new` says that one of the chunks was not in the store before; then no index that lists
    /// this chunk can be there. `seen` is when the first of the chunks was seen in the store.
    ///
    /// For a blob of one chunk, `sole_chunk` is that chunk, which is not stored yet. The requests
    /// for the chunk and for the index run concurrently: a known blob takes one round trip and two
    /// requests, and a new one three round trips and four requests.
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
        let found = match sole_chunk {
            None => self.look_at_index(index).await?,
            Some(chunk) => {
                let look = self.look_at_index(index);
                let store = self.store_chunk(digest, chunk.clone(), None);
                let (found, stored) = join(look, store).await;
                let (found, mut stored) = (found?, stored?);
                let is_in_doubt = found == FoundIndex::Unknown && !self.check_reused;
                if is_in_doubt
                    && stored.new.is_none()
                    && self.verify_chunk(digest, index.size()).await != Existing::Intact
                {
                    // The store has other objects in the places of the index and of the chunk.
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
                match self.look_at_index(index).await? {
                    FoundIndex::Expected => Ok(()),
                    _ => {
                        let message = "the store does not give back the index that it was given";
                        Err(Error::new(ErrorKind::Unavailable, INDEX, message).with_digest(digest))
                    }
                }
            }
        }
    }

    /// Reads and verifies the chunks of a blob. Fails with `Corrupt` at the first chunk that cannot
    /// be read.
    async fn verify_chunks(&self, index: &BlobIndex) -> Result<()> {
        let mut distinct = HashSet::new();
        for ChunkMeta { digest, size } in index.iter().filter(|chunk| distinct.insert(chunk.digest))
        {
            if self.verify_chunk(digest, size).await != Existing::Intact {
                self.presence.forget(&digest);
                let message = "the store has something else in its place; check what is reused";
                return Err(corrupt(CHUNK, digest, message));
            }
        }
        Ok(())
    }

    /// The content of a blob's index. `Corrupt` if the index is malformed.
    pub(crate) async fn get_index(&self, digest: &Digest) -> Result<Listed> {
        self.get_decoded(digest, self.layout.blob(digest), castore_proto::decode).await
    }

    /// The content of the index at `path`, without group hashes: a list of them may be damaged, and
    /// whether the entries are those of the blob is not known.
    pub(crate) async fn get_entries_at(&self, digest: &Digest, path: Path) -> Result<Listed> {
        self.get_decoded(digest, path, castore_proto::decode_entries).await
    }

    async fn get_decoded(
        &self,
        digest: &Digest,
        path: Path,
        decode: fn(&Digest, &[u8]) -> Result<Option<BlobIndex>, DecodeError>,
    ) -> Result<Listed> {
        let object =
            self.requests.get(READ_INDEX, *digest, path, castore_proto::MAX_INDEX_SIZE).await?;
        let Some(object) = object else { return Ok(Listed::Absent) };
        let digest = *digest;
        let decoded = run_blocking(READ_INDEX, move || {
            let bytes = object.read()?;
            Ok(decode(&digest, &bytes))
        });
        match decoded.await?.map_err(|error| unreadable(READ_INDEX, digest, error))? {
            Ok(Some(index)) => Ok(Listed::Chunks(index)),
            Ok(None) => Ok(Listed::OneChunk),
            Err(error) => Err(corrupt(READ_INDEX, digest, "it is malformed").with_source(error)),
        }
    }

    /// The object of an index that is written.
    fn encode_index(&self, index: &BlobIndex) -> Bytes {
        match self.group_hashes {
            true => castore_proto::encode(index),
            false => castore_proto::encode(&index.clone().without_groups()),
        }
    }

    /// Looks whether the index in the store is `index` as this service writes it, byte for byte; or
    /// with group hashes, where this service writes none.
    async fn look_at_index(&self, index: &BlobIndex) -> Result<FoundIndex> {
        let digest = index.digest();
        let mut expected = vec![self.encode_index(index)];
        if !self.group_hashes {
            expected.push(castore_proto::encode(index));
        }
        let longest = expected.iter().map(Bytes::len).max().unwrap_or(0) as u64;
        let path = self.layout.blob(&digest);
        let object = match self.requests.get(INDEX, digest, path, longest).await {
            Ok(Some(object)) => object,
            Ok(None) => return Ok(FoundIndex::Absent),
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(FoundIndex::Unknown),
            // The writer overwrites an object that cannot be read; if that fails, the error of the
            // write says why.
            Err(_) if self.check_reused => return Ok(FoundIndex::Other),
            Err(error) => return Err(error),
        };
        let compared = run_blocking(INDEX, move || {
            let found = object.read()?;
            Ok(match castore_proto::decode(&digest, &found) {
                _ if expected.contains(&found) => FoundIndex::Expected,
                Ok(_) => FoundIndex::Other,
                Err(_) => FoundIndex::Unknown,
            })
        });
        compared.await?.map_err(|error| unreadable(INDEX, digest, error))
    }

    /// Returns once all chunks stored so far are certain to survive a power cut if an index that is
    /// stored later does.
    async fn flush_chunks(&self) -> Result<()> {
        match &self.barrier {
            Some(barrier) => barrier.wait_for_chunks().await,
            None => Ok(()),
        }
    }

    /// Returns once everything stored so far would survive a power cut.
    pub(crate) async fn flush(&self) -> Result<()> {
        match &self.barrier {
            Some(barrier) => barrier.wait().await,
            None => Ok(()),
        }
    }
}
