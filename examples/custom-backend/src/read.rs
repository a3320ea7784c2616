//! Reads a blob: the index, then chunk after chunk. Everything read is verified.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobSource, ChunkMeta, Digest, Error, ErrorKind, Result};
use castore_proto::MAX_INDEX_SIZE;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::storage::{BLOBS, CHUNKS, Storage};

const INDEX: &str = "read an index";
const CHUNK: &str = "read a chunk";

/// The index of the blob `digest`, or `None` if the blob is absent.
///
/// # Errors
/// Those of the storage; `Corrupt` if the stored data is not the blob's index.
pub fn load_index(storage: &Storage, digest: &Digest) -> Result<Option<BlobIndex>> {
    if *digest == Digest::EMPTY {
        return Ok(Some(BlobIndex::empty()));
    }
    let Some(stored) = storage.get(INDEX, BLOBS, digest)? else { return Ok(None) };
    let corrupt = |why| Error::new(ErrorKind::Corrupt, INDEX, why).with_digest(*digest);
    if stored.value().len() as u64 > MAX_INDEX_SIZE {
        return Err(corrupt("it is too large"));
    }
    match castore_proto::decode(digest, stored.value()) {
        Ok(Some(index)) => Ok(Some(index)),
        // Some writers of the format leave out the only chunk of a blob; this one does not.
        Ok(None) => Err(corrupt("it lists no chunks")),
        Err(error) => Err(corrupt("it is malformed").with_source(error)),
    }
}

/// The bytes of `chunk`, once verified.
fn load_chunk(storage: &Storage, chunk: ChunkMeta) -> Result<Bytes> {
    let missing = || Error::new(ErrorKind::Corrupt, CHUNK, "it is missing");
    let stored = storage.get(CHUNK, CHUNKS, &chunk.digest)?;
    let stored = stored.ok_or_else(|| missing().with_digest(chunk.digest))?;
    chunk.verify(stored.value())?;
    Ok(Bytes::copy_from_slice(stored.value()))
}

/// The backend's part of a reader of one blob.
#[derive(Debug)]
pub struct Source {
    storage: Arc<Storage>,
    index: Arc<BlobIndex>,
}

impl Source {
    /// A source for the blob of `index`, whose chunks are in `storage`.
    pub fn new(storage: Arc<Storage>, index: BlobIndex) -> Source {
        Source { storage, index: Arc::new(index) }
    }
}

impl BlobSource for Source {
    fn size(&self) -> u64 {
        self.index.size()
    }

    fn digest(&self) -> Digest {
        self.index.digest()
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let state = (Arc::clone(&self.storage), Arc::clone(&self.index), range);
        stream::try_unfold(state, |(storage, index, mut range)| async move {
            // The first chunk of the rest of the range.
            let Some(piece) = index.pieces(range.clone()).next() else { return Ok(None) };
            range.start = piece.end();
            let chunk = piece.meta;
            let bytes = storage.run(CHUNK, move |storage| load_chunk(storage, chunk)).await?;
            Ok(Some((piece.clip(&bytes), (storage, index, range))))
        })
        .boxed()
    }
}
