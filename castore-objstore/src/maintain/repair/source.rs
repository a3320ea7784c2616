//! Where good chunks and blobs come from.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use castore_core::{BlobReader, BlobService, Digest, MAX_CHUNK_SIZE, Result};
use futures_util::{StreamExt, TryStreamExt};

use super::files::Files;
use super::{Finding, InOrder, Indexed, OPERATION, Phase, blobs, read_index};
use crate::maintain::observer::Observer;
use crate::store::Store;

/// How many places of a chunk are remembered.
const PLACES: usize = 3;

/// The sources of a repair.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) services: Vec<Arc<dyn BlobService>>,
    pub(super) files: Files,
    pub(super) places: Places,
}

impl Sources {
    pub(super) fn is_empty(&self) -> bool {
        self.services.is_empty() && self.files.is_empty()
    }

    /// The bytes of a chunk, verified, where a source has them.
    pub(super) async fn chunk(&self, shared: &Store, digest: &Digest) -> Option<Bytes> {
        if let Some(chunk) = self.files.chunk(shared, digest, self.places.of_chunk(digest)).await {
            return Some(chunk);
        }
        for service in &self.services {
            // By itself, as stores of the same kind and the same cuts have it; then out of a blob.
            if let Ok(Some(reader)) = service.open_read(digest).await {
                let all = 0..reader.size();
                if let Some(chunk) = part(shared, &reader, all, digest).await {
                    return Some(chunk);
                }
            }
            for (blob, range) in self.places.of_chunk(digest) {
                if let Ok(Some(reader)) = service.open_read(blob).await
                    && let Some(chunk) = part(shared, &reader, range.clone(), digest).await
                {
                    return Some(chunk);
                }
            }
        }
        None
    }

    /// Stores a blob whose index is bad from a source that has it; returns whether one does.
    pub(super) async fn restore(
        &self,
        shared: &Arc<Store>,
        blob: &Digest,
        dry_run: bool,
    ) -> Result<bool> {
        for service in &self.services {
            if blobs::from_service(shared, service, blob, dry_run).await? {
                return Ok(true);
            }
        }
        match self.files.blob(blob) {
            Some(path) => blobs::from_file(shared, path, blob, dry_run).await,
            None => Ok(false),
        }
    }
}

/// These bytes of a blob, if they are the chunk `digest`.
async fn part(
    shared: &Store,
    reader: &BlobReader,
    range: Range<u64>,
    digest: &Digest,
) -> Option<Bytes> {
    let size = range.end.checked_sub(range.start)?;
    if range.end > reader.size() || !(1..=MAX_CHUNK_SIZE).contains(&size) {
        return None;
    }
    let mut pieces = reader.read_range(range);
    let mut chunk = BytesMut::with_capacity(size as usize);
    while let Ok(Some(piece)) = pieces.try_next().await {
        chunk.extend_from_slice(&piece);
    }
    is_chunk(shared, chunk.freeze(), *digest).await
}

/// The bytes, if they have the digest.
pub(super) async fn is_chunk(shared: &Store, bytes: Bytes, digest: Digest) -> Option<Bytes> {
    let check = move || (Digest::of(&bytes) == digest).then_some(bytes);
    shared.limits.compute(OPERATION, check).await.ok().flatten()
}

/// In which blobs bad chunks lie, and where.
#[derive(Default)]
pub(super) struct Places(HashMap<Digest, Vec<(Digest, Range<u64>)>>);

impl Places {
    /// Reads all indexes of the store to find the places of `chunks`.
    pub(super) async fn of(
        shared: &Store,
        observer: &dyn Observer,
        chunks: &BTreeMap<Digest, Finding>,
    ) -> Result<Places> {
        let mut places = Places::default();
        let mut phase = Phase::new(observer, "look for the blobs of bad chunks", None);
        let objects = shared.objects(OPERATION, shared.layout.blobs()).map(|object| {
            let object = object?;
            Ok((object.digest, object.size.saturating_mul(2)))
        });
        let read = |blob: Option<Digest>| async move {
            match blob {
                Some(blob) => Some((blob, read_index(shared, &blob).await)),
                None => None,
            }
        };
        InOrder::of(&shared.limits)
            .in_order(objects, read, |indexed| {
                phase.step();
                let Some((blob, Indexed::Chunks(index))) = indexed else { return Ok(()) };
                for (number, chunk) in index.iter().enumerate() {
                    if !chunks.contains_key(&chunk.digest) {
                        continue;
                    }
                    let places = places.0.entry(chunk.digest).or_default();
                    if let Some(range) = index.chunk_range(number)
                        && places.len() < PLACES
                    {
                        places.push((blob, range));
                    }
                }
                Ok(())
            })
            .await?;
        Ok(places)
    }

    fn of_chunk(&self, digest: &Digest) -> &[(Digest, Range<u64>)] {
        self.0.get(digest).map_or(&[], Vec::as_slice)
    }
}
