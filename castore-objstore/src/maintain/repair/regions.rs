//! Replaces the wrong part of a blob: the chunks around the wrong groups are made again from a
//! source that has the blob, and all other chunks stay.
//!
//! The bytes of a source are proven by the group hashes of the index, which merge to the digest of
//! the blob. A region begins and ends with a chunk of the index, and has all bytes of its wrong
//! groups; so the groups outside of the regions, and the chunks there, are right.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use castore_chunker::Cutter;
use castore_core::groups::{GROUP_SIZE, GroupHashes};
use castore_core::{BlobIndex, BlobService, ChunkMeta, Result};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::OPERATION;
use super::blobs::store_all;
use super::files::{next_piece, unreadable};
use crate::error::corrupt;
use crate::exec::context::run_blocking;
use crate::maintain::verify::WrongGroups;
use crate::read::even_pieces;
use crate::store::Store;

/// Takes the bytes of the regions from a service. Returns whether the index was written.
///
/// # Errors
/// The errors of the service, `Corrupt` if it has other bytes; and those of this store.
pub(super) async fn from_service(
    shared: &Arc<Store>,
    service: &Arc<dyn BlobService>,
    wrong: &WrongGroups,
    dry_run: bool,
) -> Result<bool> {
    match service.open_read(&wrong.index.digest()).await? {
        Some(reader) if reader.size() == wrong.index.size() => {
            replace(shared, wrong, |bytes| reader.read_range(bytes), dry_run).await
        }
        _ => Ok(false),
    }
}

/// Takes the bytes of the regions from a file that had the digest of the blob. Returns whether the
/// index was written.
///
/// # Errors
/// `InvalidInput` if the file cannot be read, `Corrupt` if it has other bytes; and those of this
/// store.
pub(super) async fn from_file(
    shared: &Arc<Store>,
    path: &Path,
    wrong: &WrongGroups,
    dry_run: bool,
) -> Result<bool> {
    replace(shared, wrong, |bytes| read_file(path.into(), bytes), dry_run).await
}

/// The bytes of a file from the start of `bytes` to its end, or a little more.
fn read_file(path: Arc<Path>, bytes: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
    let state = (None::<File>, bytes.start);
    let pieces = stream::try_unfold(state, move |(file, at)| {
        let (path, end) = (Arc::clone(&path), bytes.end);
        async move {
            if at >= end {
                return Ok(None);
            }
            let opened = Arc::clone(&path);
            let read = run_blocking(OPERATION, move || {
                let mut file = match file {
                    Some(file) => file,
                    None => {
                        let mut file = File::open(opened)?;
                        file.seek(SeekFrom::Start(at))?;
                        file
                    }
                };
                next_piece(&mut file).map(|piece| (piece, file))
            });
            let (mut piece, file) = read.await?.map_err(|error| unreadable(&path, error))?;
            piece.truncate(usize::try_from(end - at).unwrap_or(usize::MAX));
            let at = at + piece.len() as u64;
            Ok((!piece.is_empty()).then_some((piece, (Some(file), at))))
        }
    });
    pieces.boxed()
}

/// Makes the chunks of all regions again from the bytes that `read` returns, and writes the index.
/// Returns whether it did.
async fn replace(
    shared: &Arc<Store>,
    wrong: &WrongGroups,
    read: impl Fn(Range<u64>) -> BoxStream<'static, Result<Bytes>>,
    dry_run: bool,
) -> Result<bool> {
    let index = &wrong.index;
    let Some(hashes) = index.groups() else { return Ok(false) };
    let mut chunks: Vec<ChunkMeta> = Vec::with_capacity(index.len());
    let mut kept_from = 0;
    for entries in wrong.suspects() {
        let first = index.chunk_range(entries.start);
        let (Some(first), Some(last)) = (first, index.chunk_range(entries.end - 1)) else {
            return Ok(false);
        };
        chunks.extend((kept_from..entries.start).filter_map(|number| index.get(number)));
        kept_from = entries.end;
        let new = proven_chunks(shared, hashes, first.start..last.end, &read);
        chunks.extend(store_all(shared, new, dry_run, |_| {}).await?);
    }
    chunks.extend((kept_from..index.len()).filter_map(|number| index.get(number)));
    let Ok(right) = BlobIndex::new(index.digest(), chunks) else { return Ok(false) };
    // An index of another size has other hashes.
    let Ok(right) = right.with_groups(hashes.clone()) else { return Ok(false) };
    if !dry_run {
        shared.write_index(&right, Some(wrong.seen)).await?;
    }
    Ok(true)
}

/// Cuts a region of the blob into chunks, once the groups that have bytes of the region are proven.
fn proven_chunks<'a>(
    shared: &'a Arc<Store>,
    hashes: &'a GroupHashes,
    region: Range<u64>,
    read: impl Fn(Range<u64>) -> BoxStream<'static, Result<Bytes>>,
) -> BoxStream<'a, Result<Bytes>> {
    let numbers = hashes.covering(region.clone());
    let bytes = hashes.range(numbers.start).start..hashes.range(numbers.end - 1).end;
    let groups = even_pieces(read(bytes), GROUP_SIZE as usize);
    let state = Some((groups, Cutter::new(shared.params), numbers.start));
    let cut = stream::try_unfold(state, move |state| {
        let region = region.clone();
        async move {
            let Some((mut groups, mut cutter, number)) = state else { return Ok(None) };
            let Some(pieces) = groups.try_next().await? else {
                return Ok(Some((Vec::from_iter(cutter.finish()), None)));
            };
            let (proof, mut at) = (hashes.proof(number), hashes.range(number).start);
            let cut = move || {
                if !proof?.verify(pieces.iter().map(|piece| &**piece)) {
                    return None;
                }
                let mut chunks = Vec::new();
                for piece in pieces {
                    let clip = |to: u64| to.saturating_sub(at).min(piece.len() as u64) as usize;
                    let part = piece.slice(clip(region.start)..clip(region.end));
                    at += piece.len() as u64;
                    cutter.push(part, |chunk| chunks.push(chunk));
                }
                Some((chunks, cutter))
            };
            let (chunks, cutter) =
                shared.limits.compute(OPERATION, cut).await?.ok_or_else(|| {
                    corrupt(OPERATION, hashes.digest(), "the source has other bytes")
                })?;
            Ok(Some((chunks, Some((groups, cutter, number + 1)))))
        }
    });
    cut.map_ok(|chunks| stream::iter(chunks).map(Ok)).try_flatten().boxed()
}
