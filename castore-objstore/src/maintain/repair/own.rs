//! Finds good copies of bad objects elsewhere in the same store: in the trash and in the
//! quarantine.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, ChunkMeta, Digest, Result};
use futures_util::{StreamExt, stream};

use super::{OPERATION, blobs};
use crate::error::{corrupt, is_corrupt};
use crate::store::Store;
use crate::store::index::Listed;
use crate::store::layout::Kind;

/// The bytes of a chunk, from a good object of this store: the object in its place, which may only
/// be larger than allowed; a copy in the trash; or a copy in the quarantine.
///
/// # Errors
/// Fails if no object is good, and one of them cannot be read, or is not known to be present.
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

/// The bytes of a listed chunk, from any good object of this store.
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

/// Reassembles a blob from its chunks in this store, and writes its index; the sizes that `index`
/// states do not matter. Returns whether the chunks are those of the blob.
///
/// # Errors
/// Fails if an object cannot be read or written.
async fn from_own_chunks(shared: &Arc<Store>, index: &BlobIndex, dry_run: bool) -> Result<bool> {
    let chunks = stream::iter(index.iter())
        .then(|meta| async move { listed_chunk(shared, &meta.digest).await });
    match blobs::assemble(shared, &index.digest(), chunks.boxed(), dry_run).await {
        // A chunk is missing here; a source may have it.
        Err(error) if is_corrupt(&error) => Ok(false),
        done => done,
    }
}

/// Restores the index of a blob from this store: from the entries of an index in the trash or in
/// the quarantine, or from the one chunk that is the blob. With `in_place`, the index in its place
/// comes first: its sizes or its group hashes may be wrong, and its entries right. The blob is
/// reassembled from its chunks first. Returns whether the index was written.
///
/// # Errors
/// Fails if none of these is good and one of them cannot be read; or if the index cannot be
/// written.
pub(super) async fn index(
    shared: &Arc<Store>,
    blob: &Digest,
    in_place: bool,
    dry_run: bool,
) -> Result<bool> {
    let mut keys = Vec::from_iter(in_place.then(|| shared.layout.blob(blob)));
    let aside = shared.copies_aside(OPERATION, Kind::Blob, blob).await?;
    keys.extend(aside.into_iter().map(|copy| copy.path));
    keys.extend(shared.quarantined_keys(OPERATION, Kind::Blob, blob).await?);
    let mut not_known = None;
    for key in keys {
        let restored = match shared.get_entries_at(blob, key).await {
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
