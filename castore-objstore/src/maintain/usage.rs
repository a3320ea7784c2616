//! Measures the contents of a store: how many objects, how much space, how well deduplicated and
//! compressed.

mod cost;
mod histogram;
mod table;

use std::sync::Arc;

use castore_core::{BlobIndex, Digest, ErrorKind, Result};
use castore_proto::MAX_INDEX_SIZE;
use futures_util::{StreamExt, TryStreamExt, stream};

pub use self::cost::{Estimate, EstimateLine, Prices};
pub use self::histogram::{Histogram, SizeClass};
use self::table::Table;
use super::observer::{Observer, Phase};
use crate::exec::context::{in_own_task, run_blocking};
use crate::read;
use crate::service::ObjectStoreBlobService;
use crate::store::layout::{Kind, aside_of};

const LIST_CHUNKS: &str = "list the chunks";
const LIST_BLOBS: &str = "list the blobs";
const LIST_BESIDE: &str = "list what was moved out of the way";
const READ: &str = "read the indexes";

/// How many indexes are read at once.
const AT_ONCE: usize = 32;

/// The contents of a store while it was measured. All sizes are in bytes.
///
/// A chunk without an index is no blob, whatever its digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// Blobs whose indexes can be read.
    pub blobs: u64,
    /// Indexes that cannot be read, because they are damaged, or because a chunk needed to read
    /// them is.
    pub blobs_unreadable: u64,
    /// The total size of all blobs.
    pub logical_bytes: u64,
    /// The chunks that indexes list, each counted as often as it is listed.
    pub chunks_listed: u64,
    /// The listed chunks that are present, each counted once.
    pub chunks: u64,
    /// The uncompressed size of the present listed chunks.
    pub chunk_bytes: u64,
    /// The stored size of the present listed chunks.
    pub chunk_bytes_stored: u64,
    /// The listed chunks that are missing, each counted once.
    pub chunks_missing: u64,
    /// Chunks that no index lists.
    pub chunks_unreferenced: u64,
    /// The stored size of the chunks that no index lists.
    pub unreferenced_bytes_stored: u64,
    /// The stored size of all indexes.
    pub index_bytes_stored: u64,
    /// Objects among the indexes and chunks whose keys are not those of indexes or chunks, and
    /// empty objects in place of chunks.
    pub strays: u64,
    /// The stored size of the strays.
    pub stray_bytes_stored: u64,
    /// Objects that were moved out of the way: set aside by a garbage collector, or quarantined as
    /// bad. Records of the collector count, too. A listed chunk that is only set aside counts among
    /// the chunks, since readers find it.
    pub beside: u64,
    /// The stored size of the objects that were moved out of the way.
    pub beside_bytes_stored: u64,
    /// Objects in the quarantine: a repair found each of them damaged and could not repair it. They
    /// also count in `beside`.
    pub quarantined: u64,
    /// The number of objects to fetch to read every blob once.
    pub objects_to_read: u64,
    /// The size of the objects to fetch to read every blob once.
    pub bytes_to_read: u64,
    /// The uncompressed sizes of all listed chunks, present or missing, each counted once.
    pub chunk_sizes: Histogram,
}

impl Usage {
    /// The number of all objects.
    pub fn objects(&self) -> u64 {
        self.blobs
            + self.blobs_unreadable
            + self.chunks
            + self.chunks_unreferenced
            + self.strays
            + self.beside
    }

    /// The stored size of all objects in bytes.
    pub fn bytes_stored(&self) -> u64 {
        self.index_bytes_stored
            + self.chunk_bytes_stored
            + self.unreferenced_bytes_stored
            + self.stray_bytes_stored
            + self.beside_bytes_stored
    }

    /// The deduplication ratio: the total size of all blobs divided by that of their chunks. `None`
    /// if no listed chunk is present.
    pub fn deduplication_ratio(&self) -> Option<f64> {
        ratio(self.logical_bytes, self.chunk_bytes)
    }

    /// The compression ratio: the uncompressed size of the chunks divided by their stored size.
    /// `None` if no listed chunk is present.
    pub fn compression_ratio(&self) -> Option<f64> {
        ratio(self.chunk_bytes, self.chunk_bytes_stored)
    }
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

impl ObjectStoreBlobService {
    /// Measures the contents of the store.
    ///
    /// Lists the chunks, lists the indexes and reads each of them, and lists the objects that were
    /// moved aside. Reads a chunk only if nothing else tells the size of a blob. Objects that
    /// others write or remove meanwhile may count or not, but never as missing.
    ///
    /// Takes 40 bytes of memory for each chunk of the store, 36 for each blob, and the service's
    /// memory for indexes while they are read, or the size of the largest of them if that is more
    /// (80 bytes for each of its chunks). Changes nothing, and may be cancelled at any time.
    ///
    /// # Errors
    /// Fails if the store fails. Damaged objects are counted, and are no error.
    pub async fn usage(&self, observer: &dyn Observer) -> Result<Usage> {
        let shared = &self.shared;
        let mut usage = Usage::default();

        let mut table = Table::default();
        let mut phase = Phase::new(observer, LIST_CHUNKS, None);
        let mut objects = shared.objects(LIST_CHUNKS, shared.layout.all(Kind::Chunk));
        while let Some(object) = objects.try_next().await? {
            match object.digest {
                Some(digest) if object.size > 0 => table.push(digest, object.size),
                _ => usage.stray(object.size),
            }
            phase.step();
        }
        drop(objects);
        let mut table = run_blocking(LIST_CHUNKS, move || table.sorted()).await?;

        let mut blobs = Vec::new();
        let mut phase = Phase::new(observer, LIST_BLOBS, None);
        let mut objects = shared.objects(LIST_BLOBS, shared.layout.blobs());
        while let Some(object) = objects.try_next().await? {
            match object.digest {
                Some(digest) => {
                    blobs.push((digest, object.size.min(MAX_INDEX_SIZE) as u32));
                    usage.index_bytes_stored += object.size;
                }
                None => usage.stray(object.size),
            }
            phase.step();
        }
        drop(objects);

        let mut phase = Phase::new(observer, READ, Some(blobs.len() as u64));
        let mut indexes = stream::iter(blobs)
            .map(|(digest, size): (Digest, u32)| {
                let shared = Arc::clone(shared);
                in_own_task(READ, async move {
                    // The permit lasts until the chunks of the index are counted.
                    let permit = shared.limits.for_index(size.into()).await;
                    let index = read::chunks(&shared, &digest).await;
                    if let Ok(None) = index {
                        shared.confirm_absent(READ, Kind::Blob, &digest).await?;
                    }
                    Ok((index, permit))
                })
            })
            .buffer_unordered(AT_ONCE);
        while let Some((index, _permit)) = indexes.try_next().await? {
            match index {
                Ok(Some(index)) => {
                    usage.blob(&index);
                    let bytes;
                    (table, bytes) = run_blocking(READ, move || {
                        let bytes = table.refer(&index);
                        (table, bytes)
                    })
                    .await?;
                    usage.bytes_to_read += bytes;
                }
                // The blob was removed meanwhile.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => usage.blobs_unreadable += 1,
                Err(error) => return Err(error),
            }
            phase.step();
        }
        drop(indexes);
        usage.bytes_to_read += usage.index_bytes_stored;

        if table.has_missing() {
            // A chunk that was stored after its part of the listing had passed is not missing.
            table = run_blocking(LIST_CHUNKS, move || table.sorted()).await?;
            let mut phase = Phase::new(observer, "list the chunks again", None);
            let mut objects = shared.objects(LIST_CHUNKS, shared.layout.all(Kind::Chunk));
            while let Some(object) = objects.try_next().await? {
                if let Some(digest) = object.digest
                    && object.size > 0
                {
                    table.found(&digest, object.size);
                }
                phase.step();
            }
        }
        for part in ["gc", "quarantine"] {
            let mut phase = Phase::new(observer, LIST_BESIDE, None);
            let mut objects = shared.objects(LIST_BESIDE, &shared.layout.part(part));
            while let Some(object) = objects.try_next().await? {
                let is_needed = object
                    .path
                    .as_ref()
                    .and_then(aside_of)
                    .is_some_and(|(digest, _)| table.found(&digest, object.size));
                if part == "quarantine" {
                    usage.quarantined += 1;
                }
                if !is_needed {
                    usage.beside += 1;
                    usage.beside_bytes_stored += object.size;
                }
                phase.step();
            }
        }
        run_blocking(READ, move || {
            table.count(&mut usage);
            usage
        })
        .await
    }
}

impl Usage {
    fn stray(&mut self, size: u64) {
        self.strays += 1;
        self.stray_bytes_stored += size;
    }

    fn blob(&mut self, index: &BlobIndex) {
        self.blobs += 1;
        self.logical_bytes += index.size();
        self.chunks_listed += index.len() as u64;
        // A reader asks for the index and, at the same time, for a chunk with the blob's digest.
        self.objects_to_read += match index.len() {
            0 => 0,
            1 => 2,
            several => 2 + several as u64,
        };
    }
}
