//! A table of the chunks of a store, in 40 bytes each.

use castore_core::{BlobIndex, Digest};

use super::Usage;

/// The number of missing chunks above which duplicates are dropped.
const MANY: usize = 1 << 16;

/// All chunks that a listing or an index names.
#[derive(Default)]
pub(super) struct Table {
    /// The chunks of the listing, sorted once the listing is complete.
    listed: Vec<Entry>,
    /// The chunks that an index lists and the listing lacks.
    missing: Vec<Entry>,
    /// The number of distinct missing chunks at the last removal of duplicates.
    missing_before: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    digest: Digest,
    /// The stored size in bytes; 0 for a missing chunk.
    stored: u32,
    /// The uncompressed size in bytes; 0 for a chunk that no index lists.
    size: u32,
}

impl Table {
    /// Adds a chunk of the listing. A listing names no chunk twice.
    pub(super) fn push(&mut self, digest: Digest, stored: u64) {
        // The largest chunk takes little more than 2^25 bytes; a larger object is no chunk anyway.
        let stored = u32::try_from(stored).unwrap_or(u32::MAX);
        self.listed.push(Entry { digest, stored, size: 0 });
    }

    /// Sorts the table for lookups.
    pub(super) fn sorted(mut self) -> Table {
        self.listed.sort_unstable_by_key(|entry| entry.digest);
        self.drop_repeated();
        self
    }

    /// Adds the chunks of an index. Returns their stored size, counted as often as the index lists
    /// them.
    pub(super) fn refer(&mut self, index: &BlobIndex) -> u64 {
        let mut stored = 0;
        for chunk in index.iter() {
            // An index has no chunk of more than 2^24 bytes.
            let size = chunk.size as u32;
            match self.listed.binary_search_by_key(&chunk.digest, |entry| entry.digest) {
                Ok(at) => {
                    let entry = &mut self.listed[at];
                    entry.size = size;
                    stored += u64::from(entry.stored);
                }
                Err(_) => {
                    if self.missing.len() >= MANY.max(2 * self.missing_before) {
                        self.drop_repeated();
                    }
                    self.missing.push(Entry { digest: chunk.digest, stored: 0, size });
                }
            }
        }
        stored
    }

    pub(super) fn has_missing(&self) -> bool {
        !self.missing.is_empty()
    }

    /// Notes that the store has this chunk after all, if it was missing. Returns whether it was.
    pub(super) fn found(&mut self, digest: &Digest, stored: u64) -> bool {
        let Ok(at) = self.missing.binary_search_by_key(digest, |entry| entry.digest) else {
            return false;
        };
        let entry = &mut self.missing[at];
        let was_missing = entry.stored == 0;
        if was_missing {
            entry.stored = u32::try_from(stored).unwrap_or(u32::MAX);
        }
        was_missing
    }

    pub(super) fn count(&self, usage: &mut Usage) {
        for entry in self.listed.iter().chain(&self.missing) {
            let (stored, size) = (u64::from(entry.stored), u64::from(entry.size));
            if size == 0 {
                usage.chunks_unreferenced += 1;
                usage.unreferenced_bytes_stored += stored;
                continue;
            }
            usage.chunk_sizes.add(size);
            if stored == 0 {
                usage.chunks_missing += 1;
                continue;
            }
            usage.chunks += 1;
            usage.chunk_bytes += size;
            usage.chunk_bytes_stored += stored;
        }
    }

    fn drop_repeated(&mut self) {
        self.missing.sort_unstable_by_key(|entry| entry.digest);
        self.missing.dedup_by_key(|entry| entry.digest);
        self.missing_before = self.missing.len();
    }
}

#[cfg(test)]
mod tests {
    use castore_core::ChunkMeta;

    use super::*;

    #[test]
    fn a_chunk_takes_40_bytes() {
        assert_eq!(size_of::<Entry>(), 40);
    }

    #[test]
    fn a_chunk_that_many_indexes_miss_is_kept_once() {
        let chunk = |number: u32| ChunkMeta {
            digest: Digest::of(&number.to_le_bytes()),
            size: 1 + u64::from(number),
        };
        let mut table = Table::default().sorted();
        for blob in 0..1000_u32 {
            let index = BlobIndex::new(Digest::of(&blob.to_be_bytes()), (1000..2000).map(chunk));
            assert_eq!(table.refer(&index.unwrap()), 0);
            assert!(table.missing.len() <= MANY);
        }
        let mut table = table.sorted();
        assert!(table.found(&chunk(1500).digest, 7));
        assert!(!table.found(&chunk(1500).digest, 8), "it is not missing any more");
        assert!(!table.found(&chunk(1).digest, 7));
        let mut usage = Usage::default();
        table.count(&mut usage);
        assert_eq!((usage.chunks_missing, usage.chunks, usage.chunks_unreferenced), (999, 1, 0));
        assert_eq!((usage.chunk_bytes, usage.chunk_bytes_stored), (1501, 7));
    }
}
