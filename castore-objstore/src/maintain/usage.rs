//! What is in a store, what it takes up, and what that is good for.

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
use crate::exec::limits::{driven, off_thread};
use crate::read;
use crate::service::ObjectStoreBlobService;
use crate::store::layout::{Kind, aside_of};

const LIST_CHUNKS: &str = "list the chunks";
const LIST_BLOBS: &str = "list the blobs";
const LIST_BESIDE: &str = "list what was moved out of the way";
const READ: &str = "read the indexes";

/// How many indexes are on their way at once.
const AT_ONCE: usize = 32;

/// What is in a store, at some time while it was looked at. All sizes are in bytes.
///
/// A chunk of which no index is there is no blob, whatever its digest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Usage {
    /// The blobs: indexes that can be read.
    pub blobs: u64,
    /// The indexes that cannot be read, because they, or chunks that are needed for it, are damaged.
    pub blobs_unreadable: u64,
    /// The sizes of all blobs together.
    pub logical_bytes: u64,
    /// The chunks that indexes list, each as often as it is listed.
    pub chunks_listed: u64,
    /// The chunks that an index lists and that are there, each once.
    pub chunks: u64,
    /// What they take up uncompressed.
    pub chunk_bytes: u64,
    /// What they take up in the store.
    pub chunk_bytes_stored: u64,
    /// Chunks that an index lists and that are not there, each once.
    pub chunks_missing: u64,
    /// Chunks that no index lists.
    pub chunks_unreferenced: u64,
    /// What they take up in the store.
    pub unreferenced_bytes_stored: u64,
    /// What all indexes take up in the store.
    pub index_bytes_stored: u64,
    /// Objects among the indexes and chunks that are not named as those are, or have no bytes where
    /// a chunk would be.
    pub strays: u64,
    /// What they take up in the store.
    pub stray_bytes_stored: u64,
    /// Objects that were moved out of the way: set aside by a collector of garbage, or bad and in
    /// quarantine; records of the collector are among them. A chunk that an index lists and that is
    /// only set aside counts among the chunks, as readers find it.
    pub beside: u64,
    /// What they take up in the store.
    pub beside_bytes_stored: u64,
    /// Of the objects that were moved out of the way those in the quarantine: each is one that a repair
    /// found to be damaged and could not make good.
    pub quarantined: u64,
    /// Objects to be fetched to read every blob once.
    pub objects_to_read: u64,
    /// Their bytes.
    pub bytes_to_read: u64,
    /// The uncompressed sizes of the chunks that an index lists, whether they are there or not, each
    /// once.
    pub chunk_sizes: Histogram,
}

impl Usage {
    /// All objects.
    pub fn objects(&self) -> u64 {
        self.blobs
            + self.blobs_unreadable
            + self.chunks
            + self.chunks_unreferenced
            + self.strays
            + self.beside
    }

    /// What all objects take up in the store, in bytes.
    pub fn bytes_stored(&self) -> u64 {
        self.index_bytes_stored
            + self.chunk_bytes_stored
            + self.unreferenced_bytes_stored
            + self.stray_bytes_stored
            + self.beside_bytes_stored
    }

    /// How often each byte of a chunk is used: the bytes of all blobs by those of their chunks.
    /// `None` where there are none.
    pub fn deduplication_ratio(&self) -> Option<f64> {
        ratio(self.logical_bytes, self.chunk_bytes)
    }

    /// The bytes of chunks as they are by the bytes that they take up. `None` where there are none.
    pub fn compression_ratio(&self) -> Option<f64> {
        ratio(self.chunk_bytes, self.chunk_bytes_stored)
    }
}

fn ratio(of: u64, to: u64) -> Option<f64> {
    (to > 0).then(|| of as f64 / to as f64)
}

impl ObjectStoreBlobService {
    /// What is in the store.
    ///
    /// Lists the chunks, lists the indexes and reads each of them, and lists what was moved aside;
    /// reads chunks only where nothing else tells the size of a blob. What others write or remove
    /// meanwhile may count or not, but never as missing.
    ///
    /// Takes 40 bytes of memory for each chunk of the store, 36 for each blob, and the service's
    /// memory for indexes while they are read, or what the largest of them takes (80 bytes for each
    /// of its chunks). Changes nothing, and may be given up at any time.
    ///
    /// # Errors
    /// Where the store fails. What is damaged is counted, and is no error.
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
        let mut table = off_thread(LIST_CHUNKS, move || table.sorted()).await?;

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
                driven(READ, async move {
                    // Until its chunks are counted.
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
                    (table, bytes) = off_thread(READ, move || {
                        let bytes = table.refer(&index);
                        (table, bytes)
                    })
                    .await?;
                    usage.bytes_to_read += bytes;
                }
                // It was removed meanwhile.
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => usage.blobs_unreadable += 1,
                Err(error) => return Err(error),
            }
            phase.step();
        }
        drop(indexes);
        usage.bytes_to_read += usage.index_bytes_stored;

        if table.has_missing() {
            // What was stored after its part of the listing was past is not missing.
            table = off_thread(LIST_CHUNKS, move || table.sorted()).await?;
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
        off_thread(READ, move || {
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
        // A reader asks for the index, and for a chunk of its digest beside it.
        self.objects_to_read += match index.len() {
            0 => 0,
            1 => 2,
            several => 2 + several as u64,
        };
    }
}
