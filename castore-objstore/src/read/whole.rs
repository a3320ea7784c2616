//! Reads the chunks of an index from the first to the last, and hashes them here: for callers that
//! need the hashes themselves.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::groups::{GROUP_SIZE, GroupHashes, Hashed, MAX_GROUPS};
use castore_core::{BlobIndex, BlobMismatch, Digest, Error, ErrorKind, Result};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::open::{chunks, unproven_reader};
use super::read_ahead::BLOB;
use crate::error::task_error;
use crate::exec::hasher::BlobHasher;
use crate::store::Store;

const GROUP_HASHES: &str = "get the group hashes of blob";

/// So many bytes are hashed at a time: whole groups, so that several parts of a blob are hashed at
/// once.
const PART: usize = 4 * GROUP_SIZE as usize;

/// The group hashes of a blob: those of its index, or else computed from the whole blob. `None` if
/// there is no index.
///
/// # Errors
/// `Unsupported` for a blob that is too large for a list, and those of [`hash_whole`].
pub(crate) async fn group_hashes(
    shared: &Arc<Store>,
    blob: &Digest,
) -> Result<Option<GroupHashes>> {
    let Some(index) = chunks(shared, blob).await? else { return Ok(None) };
    if let Some(groups) = index.groups() {
        return Ok(Some(groups.clone()));
    }
    let too_large = || {
        let message = format!("a blob of more than {MAX_GROUPS} groups has no group hashes");
        Error::new(ErrorKind::Unsupported, GROUP_HASHES, message).with_digest(*blob)
    };
    if index.size() > MAX_GROUPS as u64 * GROUP_SIZE {
        return Err(too_large());
    }
    let hashed = hash_whole(shared, Arc::new(index)).await?;
    hashed.groups.map(Some).ok_or_else(too_large)
}

/// The digest and the group hashes of the blob with this index, which is read to its end.
///
/// Takes the memory of a reader, and a few MiB for the parts that are hashed.
///
/// # Errors
/// `Corrupt` with a [`BlobMismatch`] if the listed chunks are not the blob, and the errors of a
/// reader.
pub(crate) async fn hash_whole(shared: &Arc<Store>, index: Arc<BlobIndex>) -> Result<Hashed> {
    let blob = index.digest();
    let unfinished = |error| task_error(BLOB, error);
    let mut hasher = BlobHasher::default();
    let mut parts = listed_pieces(shared, index, PART);
    while let Some(part) = parts.try_next().await? {
        hasher.update(part, ()).await.map_err(unfinished)?;
    }
    let hashed = hasher.finish().await.map_err(unfinished)?;
    match hashed.digest == blob {
        true => Ok(hashed),
        false => {
            let mismatch = BlobMismatch::Whole { found: hashed.digest };
            Err(Error::blob_mismatch(BLOB, blob, mismatch))
        }
    }
}

/// The bytes of the chunks that `index` lists, be they the blob or not, in parts of `size` bytes;
/// the last part may be shorter.
pub(crate) fn listed_pieces(
    shared: &Arc<Store>,
    index: Arc<BlobIndex>,
    size: usize,
) -> BoxStream<'static, Result<Vec<Bytes>>> {
    let bytes = 0..index.size();
    even_pieces(unproven_reader(shared, index).read_range(bytes), size)
}

/// The same bytes in parts of `size` bytes; the last part may be shorter.
pub(crate) fn even_pieces(
    pieces: BoxStream<'static, Result<Bytes>>,
    size: usize,
) -> BoxStream<'static, Result<Vec<Bytes>>> {
    let state = (pieces.fuse(), Bytes::new());
    let parts = stream::try_unfold(state, move |(mut pieces, mut rest)| async move {
        let (mut part, mut length) = (Vec::new(), 0);
        while length < size {
            if rest.is_empty() {
                match pieces.try_next().await? {
                    Some(piece) => rest = piece,
                    None => break,
                }
            }
            let piece: Bytes = rest.split_to(rest.len().min(size - length));
            length += piece.len();
            part.push(piece);
        }
        Ok((length > 0).then_some((part, (pieces, rest))))
    });
    parts.boxed()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn parts_are_even_and_have_all_bytes_in_order() {
        let all: Vec<u8> = (0..100).collect();
        for sizes in [vec![100], vec![1; 100], vec![7, 0, 33, 60], vec![50, 50], vec![]] {
            for size in [1, 7, 10, 50, 99, 100, 101] {
                let mut rest = Bytes::from(all.clone());
                let pieces: Vec<_> =
                    sizes.iter().map(|size: &usize| Ok(rest.split_to(*size))).collect();
                let given = 100 - rest.len();
                let parts = even_pieces(stream::iter(pieces).boxed(), size);
                let parts: Vec<Vec<Bytes>> = parts.try_collect().await.unwrap();
                let parts: Vec<Vec<u8>> = parts.iter().map(|part| part.concat()).collect();
                let expected: Vec<&[u8]> = all[..given].chunks(size).collect();
                assert_eq!(parts, expected, "{sizes:?} {size}");
            }
        }
    }

    #[tokio::test]
    async fn an_error_ends_the_parts() {
        let pieces =
            [Ok(Bytes::from_static(b"ab")), Err(Error::of_input(std::io::Error::other("x")))];
        let mut parts = even_pieces(stream::iter(pieces).boxed(), 2);
        assert_eq!(parts.try_next().await.unwrap().unwrap().concat(), b"ab");
        assert!(parts.try_next().await.is_err());
    }
}
