//! Opens a blob: fetches its index, and beside it the only chunk of a blob of one chunk.

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobReader, ChunkMeta, Digest, MAX_CHUNK_SIZE, Result};
use futures_util::future::{Either, select};

use super::read_ahead::Source;
use crate::error::corrupt;
use crate::objects::client::Fetched;
use crate::store::Store;
use crate::store::chunk::READ_CHUNK as CHUNK;
use crate::store::codec::max_stored_size;
use crate::store::index::{Listed, READ_INDEX};
use crate::store::layout::Kind;
use crate::store::pages::Index;

/// The chunks of a blob. Fetches the blob's chunk itself only if its size is not known otherwise.
pub(crate) async fn chunks(shared: &Arc<Store>, digest: &Digest) -> Result<Option<BlobIndex>> {
    if *digest == Digest::EMPTY {
        return Ok(Some(BlobIndex::empty()));
    }
    match shared.get_index(digest).await? {
        Listed::Absent => Ok(None),
        Listed::Chunks(index) => Ok(Some(index)),
        Listed::OneChunk => {
            let max_size = max_stored_size(MAX_CHUNK_SIZE);
            let chunk = shared.get_in_place(digest, max_size).await;
            Ok(Some(shared.one_chunk(digest, None, chunk).await?.0))
        }
    }
}

/// The size of a blob in bytes, `None` if there is no index.
pub(crate) async fn size(shared: &Arc<Store>, digest: &Digest) -> Result<Option<u64>> {
    if *digest == Digest::EMPTY {
        return Ok(Some(0));
    }
    let Some(listed) = shared.open_index(digest).await? else { return Ok(None) };
    match shared.indexes.share(listed) {
        Some(index) => Ok(Some(index.size())),
        None => Ok(chunks(shared, digest).await?.map(|index| index.size())),
    }
}

/// A reader of a blob; `None` where there is no index. Asks for the index, and for a chunk of the
/// same digest beside it: so a blob of one chunk takes one round trip.
pub(crate) async fn open(shared: &Arc<Store>, digest: &Digest) -> Result<Option<BlobReader>> {
    let reader = |index, only| {
        let shared = Arc::clone(shared);
        BlobReader::new(Source { shared, index, only, caller_proves: false })
    };
    if *digest == Digest::EMPTY {
        return Ok(Some(reader(Index::of(Arc::new(BlobIndex::empty())), None)));
    }
    let found = find(Arc::clone(shared), *digest);
    let found = shared.requests.spawn_unit(READ_INDEX, found).await?;
    Ok(found.map(|(index, only)| reader(index, only)))
}

/// The index of a blob, and the blob's bytes if they are one chunk.
async fn find(shared: Arc<Store>, digest: Digest) -> Result<Option<(Index, Option<Bytes>)>> {
    let digest = &digest;
    let listed = pin!(shared.open_index(digest));
    let chunk = pin!(shared.get_in_place(digest, max_stored_size(MAX_CHUNK_SIZE)));
    // The index decides: without it the chunk is no blob, and a blob of several chunks has no chunk
    // of its own digest.
    let (listed, chunk) = match select(listed, chunk).await {
        Either::Left((listed, chunk)) => (listed?, Either::Left(chunk)),
        Either::Right((chunk, listed)) => (listed.await?, Either::Right(chunk)),
    };
    let Some(listed) = listed else { return Ok(None) };
    let index = match shared.indexes.share(listed) {
        Some(index) if index.len() > 1 => return Ok(Some((index, None))),
        index => index,
    };
    let chunk = match chunk {
        Either::Left(chunk) => chunk.await,
        Either::Right(chunk) => chunk,
    };
    let size = index.as_ref().map(Index::size);
    let (of_chunk, only) = shared.one_chunk(digest, size, chunk).await?;
    Ok(Some((index.unwrap_or_else(|| Index::of(Arc::new(of_chunk))), Some(only))))
}

/// A reader of the blob with this index.
pub(crate) fn reader_of(shared: &Arc<Store>, index: Arc<BlobIndex>) -> BlobReader {
    reader_with(shared, index, false)
}

/// A reader of the chunks that this index lists, be they the blob or not: the caller has to verify
/// the blob.
pub(super) fn unproven_reader(shared: &Arc<Store>, index: Arc<BlobIndex>) -> BlobReader {
    reader_with(shared, index, true)
}

fn reader_with(shared: &Arc<Store>, index: Arc<BlobIndex>, caller_proves: bool) -> BlobReader {
    let (shared, index) = (Arc::clone(shared), Index::of(index));
    BlobReader::new(Source { shared, index, only: None, caller_proves })
}

impl Store {
    /// Whether a reader would find the chunk at this moment: in its place; as a copy aside, which
    /// is read and verified; or in its place again, where a collector may have put it back.
    pub(crate) async fn has_chunk(&self, operation: &'static str, digest: &Digest) -> Result<bool> {
        Ok(self.is_in_place(operation, Kind::Chunk, digest).await?
            || self.good_copy(operation, digest).await?.is_some()
            || self.is_in_place(operation, Kind::Chunk, digest).await?)
    }

    /// The index and the bytes of a blob of one chunk, which has `size` bytes if its index states a
    /// size. `chunk` is the object in the chunk's place. If that is missing or damaged, the copies
    /// that are set aside are tried.
    async fn one_chunk(
        &self,
        digest: &Digest,
        size: Option<u64>,
        chunk: Result<Option<Fetched>>,
    ) -> Result<(BlobIndex, Bytes)> {
        let in_place = match chunk {
            Ok(Some(chunk)) => self.decode(*digest, size, chunk).await.map(Some),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let bytes = self.or_elsewhere(*digest, size, in_place).await?;
        let meta = ChunkMeta { digest: *digest, size: bytes.len() as u64 };
        let index = BlobIndex::new(*digest, [meta])
            .map_err(|error| corrupt(CHUNK, *digest, "it is no chunk").with_source(error))?;
        Ok((index, bytes))
    }
}
