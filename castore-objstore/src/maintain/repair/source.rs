//! The sources of good chunks and blobs.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use castore_core::{BlobService, Digest, Error, MAX_CHUNK_SIZE, Result};
use futures_util::{StreamExt, TryStreamExt};

use super::files::Files;
use super::{Finding, InOrder, OPERATION, Phase, blobs, regions};
use crate::error::is_corrupt;
use crate::maintain::observer::Observer;
use crate::maintain::verify::{Indexed, WrongGroups, read_index};
use crate::store::Store;

/// How many places of each chunk are kept.
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

    /// The verified bytes of a chunk, if a source has them.
    ///
    /// # Errors
    /// Fails if no source has them, and a source that may have them could not be asked.
    pub(super) async fn chunk(&self, shared: &Store, digest: &Digest) -> Result<Option<Bytes>> {
        let places = self.places.of_chunk(digest);
        let mut answer = Answer::default();
        if let Some(chunk) = answer.take(self.files.chunk(shared, digest, places).await) {
            return Ok(Some(chunk));
        }
        for service in &self.services {
            // A store that cuts alike keeps the chunk as an object; any other has its bytes inside
            // a blob.
            if let Some(chunk) = answer.take(by_itself(shared, service.as_ref(), digest).await) {
                return Ok(Some(chunk));
            }
            for (blob, range) in places {
                let found = part_of(shared, service.as_ref(), blob, range.clone(), digest).await;
                if let Some(chunk) = answer.take(found) {
                    return Ok(Some(chunk));
                }
            }
        }
        if !self.is_empty()
            && let Some(error) = &self.places.incomplete
        {
            answer.failure.get_or_insert(error.clone());
        }
        answer.failure.map_or(Ok(None), Err)
    }

    /// Restores a blob with a bad index from a source that has the blob. Returns whether a source
    /// has it.
    ///
    /// # Errors
    /// Fails if no source has the blob and one of them could not be asked; or if this store fails.
    pub(super) async fn restore(
        &self,
        shared: &Arc<Store>,
        blob: &Digest,
        dry_run: bool,
    ) -> Result<bool> {
        let mut failure = None;
        for service in &self.services {
            match blobs::from_service(shared, service, blob, dry_run).await {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) if is_corrupt(&error) => {}
                Err(error) => failure = Some(error),
            }
        }
        if let Some(path) = self.files.blob(blob)
            && blobs::from_file(shared, path, blob, dry_run).await?
        {
            return Ok(true);
        }
        failure.map_or(Ok(false), Err)
    }
}

impl Sources {
    /// Restores a blob of which the `wrong` groups are known from a source that has the blob. Reads
    /// only the bytes around these groups. Returns whether the index was written.
    pub(super) async fn restore_regions(
        &self,
        shared: &Arc<Store>,
        wrong: &WrongGroups,
        dry_run: bool,
    ) -> bool {
        let is_done = |done: Result<bool>| {
            done.unwrap_or_else(|error| {
                tracing::debug!(%error, "a source cannot replace a part of a blob");
                false
            })
        };
        for service in &self.services {
            if is_done(regions::from_service(shared, service, wrong, dry_run).await) {
                return true;
            }
        }
        match self.files.blob(&wrong.index.digest()) {
            Some(path) => is_done(regions::from_file(shared, path, wrong, dry_run).await),
            None => false,
        }
    }
}

/// The answers of the sources asked so far.
#[derive(Default)]
struct Answer {
    failure: Option<Error>,
}

impl Answer {
    /// Returns the chunk, if found. A source with damaged data counts as not having the chunk;
    /// after any other failure, it is unknown whether the source has the chunk.
    fn take(&mut self, found: Result<Option<Bytes>>) -> Option<Bytes> {
        match found {
            Ok(found) => found,
            Err(error) if is_corrupt(&error) => None,
            Err(error) => {
                self.failure.get_or_insert(error);
                None
            }
        }
    }
}

/// The chunk, if the service keeps chunks by digest and has this one. Sources are not trusted: the
/// bytes are verified here, too.
async fn by_itself(
    shared: &Store,
    service: &dyn BlobService,
    digest: &Digest,
) -> Result<Option<Bytes>> {
    match service.get_chunk(digest).await? {
        Some(chunk) => is_chunk(shared, chunk, *digest).await,
        None => Ok(None),
    }
}

/// The bytes of a blob in this range, if they form the chunk `digest`.
async fn part_of(
    shared: &Store,
    service: &dyn BlobService,
    blob: &Digest,
    range: Range<u64>,
    digest: &Digest,
) -> Result<Option<Bytes>> {
    let Some(reader) = service.open_read(blob).await? else { return Ok(None) };
    let size = range.end.saturating_sub(range.start);
    if range.end > reader.size() || !(1..=MAX_CHUNK_SIZE).contains(&size) {
        return Ok(None);
    }
    let mut pieces = reader.read_range(range);
    let mut chunk = BytesMut::with_capacity(size as usize);
    while let Some(piece) = pieces.try_next().await? {
        chunk.extend_from_slice(&piece);
    }
    is_chunk(shared, chunk.freeze(), *digest).await
}

/// The bytes, if they have the digest.
pub(super) async fn is_chunk(
    shared: &Store,
    bytes: Bytes,
    digest: Digest,
) -> Result<Option<Bytes>> {
    let check = move || (Digest::of(&bytes) == digest).then_some(bytes);
    shared.limits.compute(OPERATION, check).await
}

/// The places of bad chunks in blobs.
#[derive(Default)]
pub(super) struct Places {
    of: HashMap<Digest, Vec<(Digest, Range<u64>)>>,
    /// The error because of which some indexes, which may name more places, could not be read.
    incomplete: Option<Error>,
}

impl Places {
    /// Reads all indexes of the store to find the places of `chunks`.
    pub(super) async fn of(
        shared: &Arc<Store>,
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
                let (blob, index) = match indexed {
                    Some((blob, Indexed::Chunks(index))) => (blob, index),
                    Some((_, Indexed::Unreadable(error))) => {
                        places.incomplete = Some(error);
                        return Ok(());
                    }
                    _ => return Ok(()),
                };
                for (number, chunk) in index.iter().enumerate() {
                    if !chunks.contains_key(&chunk.digest) {
                        continue;
                    }
                    let places = places.of.entry(chunk.digest).or_default();
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
        self.of.get(digest).map_or(&[], Vec::as_slice)
    }
}
