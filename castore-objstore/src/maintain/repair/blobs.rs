//! Reassembles blobs. The index is written once the whole blob has proved right.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use castore_chunker::Cutter;
use castore_core::groups::GroupHasher;
use castore_core::{BlobService, ChunkMeta, Digest, Error, ErrorKind, MAX_CHUNKS, Result};
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};

use super::files::{next_piece, unreadable};
use super::{InOrder, OPERATION};
use crate::error::corrupt;
use crate::exec::clock::Moment;
use crate::exec::context::run_blocking;
use crate::maintain::verify::{Examined, examine};
use crate::store::Store;
use crate::store::index::index_of;

/// Reassembles a blob from a service, with the service's cuts. Returns whether the service has the
/// blob.
///
/// # Errors
/// The errors of the service, `Corrupt` if its own data is damaged; and those of this store.
pub(super) async fn from_service(
    shared: &Arc<Store>,
    service: &Arc<dyn BlobService>,
    blob: &Digest,
    dry_run: bool,
) -> Result<bool> {
    let Some(index) = service.chunks(blob).await? else { return Ok(false) };
    let Some(reader) = service.open_read(blob).await? else { return Ok(false) };
    if reader.size() != index.size() {
        return Ok(false);
    }
    let blob = *blob;
    let pieces = reader.read_range(0..reader.size());
    let sizes: Vec<u64> = index.iter().map(|chunk| chunk.size).collect();
    let state = (pieces, BytesMut::new(), sizes.into_iter());
    let chunks = stream::unfold(state, |(mut pieces, mut held, mut sizes)| async move {
        let size = sizes.next()? as usize;
        while held.len() < size {
            let failed = match pieces.try_next().await {
                Ok(Some(piece)) => {
                    held.extend_from_slice(&piece);
                    continue;
                }
                Ok(None) => corrupt(OPERATION, blob, "the source ends too early"),
                Err(error) => error,
            };
            return Some((Err(failed), (pieces, held, Vec::new().into_iter())));
        }
        let chunk = held.split_to(size).freeze();
        Some((Ok(chunk), (pieces, held, sizes)))
    });
    assemble(shared, &blob, chunks.boxed(), dry_run).await
}

/// Reassembles a blob from a file that had the blob's digest, with this store's cuts. Returns
/// whether the file still has that digest.
pub(super) async fn from_file(
    shared: &Arc<Store>,
    path: &Path,
    blob: &Digest,
    dry_run: bool,
) -> Result<bool> {
    let opened = path.to_owned();
    let file = run_blocking(OPERATION, move || std::fs::File::open(opened));
    let file = file.await?.map_err(|error| unreadable(path, error))?;
    let state = Some((file, Cutter::new(shared.params), path.to_owned()));
    let batches = stream::unfold(state, |state| async move {
        let (mut file, mut cutter, path) = state?;
        let cut = run_blocking(OPERATION, move || {
            let mut chunks = Vec::new();
            let piece = next_piece(&mut file)?;
            let more = !piece.is_empty();
            match more {
                true => cutter.push(piece, |chunk| chunks.push(chunk)),
                false => chunks.extend(cutter.finish()),
            }
            Ok((chunks, more.then_some((file, cutter))))
        });
        match cut.await {
            Ok(Ok((chunks, more))) => {
                let state = more.map(|(file, cutter)| (file, cutter, path));
                Some((Ok(chunks), state))
            }
            Ok(Err(error)) => Some((Err(unreadable(&path, error)), None)),
            Err(error) => Some((Err(error), None)),
        }
    });
    let chunks = batches.map_ok(|chunks| stream::iter(chunks).map(Ok)).try_flatten();
    assemble(shared, blob, chunks.boxed(), dry_run).await
}

/// Stores the chunks that are missing or bad in this store. If together the chunks are the blob,
/// writes its index. Returns whether they are.
pub(super) async fn assemble(
    shared: &Arc<Store>,
    blob: &Digest,
    chunks: BoxStream<'_, Result<Bytes>>,
    dry_run: bool,
) -> Result<bool> {
    let seen = Moment::now();
    let mut whole = GroupHasher::new();
    let metas = store_all(shared, chunks, dry_run, |chunk| whole.update(chunk)).await?;
    let hashed = whole.finish();
    if hashed.digest != *blob {
        return Ok(false);
    }
    let Ok(index) = index_of(hashed, metas) else { return Ok(false) };
    if !dry_run {
        shared.write_index(&index, Some(seen)).await?;
    }
    Ok(true)
}

/// Stores the chunks that are missing or bad in this store, and hands all of them to `each` in
/// order.
pub(super) async fn store_all(
    shared: &Arc<Store>,
    chunks: BoxStream<'_, Result<Bytes>>,
    dry_run: bool,
    mut each: impl FnMut(&Bytes),
) -> Result<Vec<ChunkMeta>> {
    let items = chunks.map_ok(|chunk| {
        let size = 2 * chunk.len() as u64;
        (chunk, size)
    });
    let store = |chunk: Bytes| async move {
        let bytes = chunk.clone();
        let digest = shared.limits.compute(OPERATION, move || Digest::of(&bytes)).await?;
        if !dry_run && !matches!(examine(shared, &digest).await, Examined::Good(_)) {
            shared.upload_chunk(digest, chunk.clone()).await?;
        }
        Ok((digest, chunk))
    };
    let mut metas = Vec::new();
    InOrder::of(&shared.limits)
        .in_order(items, store, |stored: Result<(Digest, Bytes)>| {
            let (digest, chunk) = stored?;
            if metas.len() == MAX_CHUNKS {
                let message = "the blob has too many chunks";
                return Err(Error::new(ErrorKind::InvalidInput, OPERATION, message));
            }
            each(&chunk);
            metas.push(ChunkMeta { digest, size: chunk.len() as u64 });
            Ok(())
        })
        .await?;
    Ok(metas)
}
