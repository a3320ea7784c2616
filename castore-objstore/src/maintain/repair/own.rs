//! Good bytes that lie in the store itself, though not where readers find them.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, ChunkMeta, Digest, Result};
use futures_util::{StreamExt, stream};

use super::{OPERATION, blobs};
use crate::error::{corrupt, is_corrupt};
use crate::store::Store;
use crate::store::index::Listed;
use crate::store::layout::Kind;

/// The bytes of a chunk out of an object of this store: the one in its place, which may only be larger
/// than it may be; a copy in the trash; or one in the quarantine.
///
/// # Errors
/// None of these is good, and one of them cannot be read, or is not known to be there.
pub(super) async fn chunk(shared: &Arc<Store>, digest: &Digest) -> Result<Option<Bytes>> {
    let mut keys = vec![shared.layout.chunk(digest)];
    let aside = shared.copies_aside(OPERATION, Kind::Chunk, digest).await?;
    keys.extend(aside.into_iter().map(|copy| copy.path));
    keys.extend(shared.quarantined_keys(OPERATION, Kind::Chunk, digest).await?);
    let mut not_known = None;
    for key in keys {
        match shared.salvage(OPERATION, *digest, key).await {
            Ok(Some(bytes)) => return Ok(Some(bytes)),
            Ok(None) => {}
            Err(error) => not_known = Some(error),
        }
    }
    not_known.map_or(Ok(None), Err)
}

/// The bytes of a chunk that an index lists, from wherever in this store good ones lie.
async fn listed_chunk(shared: &Arc<Store>, digest: &Digest) -> Result<Bytes> {
    let found = match shared.get_listed(OPERATION, *digest, None).await {
        Ok(found) => found.map(|found| found.bytes),
        Err(error) if is_corrupt(&error) => None,
        Err(error) => return Err(error),
    };
    let found = match found {
        None => chunk(shared, digest).await?,
        found => found,
    };
    found.ok_or_else(|| corrupt(OPERATION, *digest, "it is missing"))
}

/// Puts a blob together of its chunks in this store, and writes its index, whatever sizes `index` states.
/// Returns whether the chunks are those of the blob.
///
/// # Errors
/// Something cannot be read or written.
pub(super) async fn from_own_chunks(
    shared: &Arc<Store>,
    index: &BlobIndex,
    dry_run: bool,
) -> Result<bool> {
    let chunks = stream::iter(index.iter())
        .then(|meta| async move { listed_chunk(shared, &meta.digest).await });
    match blobs::assemble(shared, &index.digest(), chunks.boxed(), dry_run).await {
        // Then a source may have it.
        Err(error) if is_corrupt(&error) => Ok(false),
        done => done,
    }
}

/// Writes the index of a blob from what lies in this store: an index in the trash or in the quarantine,
/// or the one chunk that is the blob. The blob is put together of its chunks first. Returns whether the
/// index was written.
///
/// # Errors
/// Nothing of this is good, and something cannot be read; or the index cannot be written.
pub(super) async fn index(shared: &Arc<Store>, blob: &Digest, dry_run: bool) -> Result<bool> {
    let mut keys = Vec::new();
    let aside = shared.copies_aside(OPERATION, Kind::Blob, blob).await?;
    keys.extend(aside.into_iter().map(|copy| copy.path));
    keys.extend(shared.quarantined_keys(OPERATION, Kind::Blob, blob).await?);
    let mut not_known = None;
    for key in keys {
        let restored = match shared.fetch_index_at(blob, key).await {
            Ok(Listed::Chunks(index)) => from_own_chunks(shared, &index, dry_run).await,
            Ok(Listed::Absent | Listed::OneChunk) => Ok(false),
            Err(error) => Err(error),
        };
        match restored {
            Ok(true) => return Ok(true),
            Ok(false) => {}
            Err(error) if is_corrupt(&error) => {}
            Err(error) => not_known = Some(error),
        }
    }
    match listed_chunk(shared, blob).await {
        Ok(bytes) => {
            let chunk = ChunkMeta { digest: *blob, size: bytes.len() as u64 };
            if let Ok(index) = BlobIndex::new(*blob, [chunk])
                && from_own_chunks(shared, &index, dry_run).await?
            {
                return Ok(true);
            }
        }
        Err(error) if is_corrupt(&error) => {}
        Err(error) => not_known = Some(error),
    }
    not_known.map_or(Ok(false), Err)
}
