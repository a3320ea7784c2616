//! All chunks of a store, with the statements of its indexes about them, in little memory: 48 bytes
//! for each chunk and 32 for each blob, and an eighth more as spare capacity.

use castore_core::{Digest, MAX_CHUNK_SIZE};

/// A chunk object, with the facts collected about it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chunk {
    pub(crate) digest: Digest,
    /// The stored size in bytes, capped at `u32::MAX`, which exceeds the largest size of a chunk.
    pub(crate) stored: u32,
    /// The size that the first index to list the chunk states, and the flags.
    stated: u32,
    /// The number of the last blob that lists the chunk.
    last_blob: u32,
    /// How many blobs list the chunk.
    pub(crate) blobs: u32,
}

const STATED: u32 = (1 << 25) - 1;
const SELECTED: u32 = 1 << 31;
const CONFLICT: u32 = 1 << 30;
const BAD: u32 = 1 << 29;
const _: () = assert!(MAX_CHUNK_SIZE <= STATED as u64);

impl Chunk {
    /// The size in bytes that an index states, if any index lists the chunk.
    pub(crate) fn stated(&self) -> Option<u64> {
        let size = u64::from(self.stated & STATED);
        (size > 0).then_some(size)
    }

    /// Whether the chunk was selected for reading when it was listed.
    pub(crate) fn is_selected(&self) -> bool {
        self.stated & SELECTED != 0
    }

    /// Whether two indexes state different sizes.
    pub(crate) fn is_in_conflict(&self) -> bool {
        self.stated & CONFLICT != 0
    }

    /// Whether the chunk is already known to be bad.
    pub(crate) fn is_bad(&self) -> bool {
        self.stated & BAD != 0
    }
}

/// All chunks, for lookups by digest once all of them are added.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// The chunks by the first byte of the digest: growing a bucket copies little.
    buckets: Vec<Vec<Chunk>>,
    /// The blobs by number, in segments that are full except for the last.
    blobs: Vec<Vec<Digest>>,
}

const SEGMENT: usize = 4096;

impl Inventory {
    pub(crate) fn new() -> Inventory {
        Inventory { buckets: (0..256).map(|_| Vec::new()).collect(), blobs: Vec::new() }
    }

    /// Adds a chunk object of `stored` bytes.
    pub(crate) fn add(&mut self, digest: Digest, stored: u64, selected: bool) {
        let bucket = &mut self.buckets[bucket(&digest)];
        reserve(bucket);
        let stored = u32::try_from(stored).unwrap_or(u32::MAX);
        let stated = if selected { SELECTED } else { 0 };
        bucket.push(Chunk { digest, stored, stated, last_blob: 0, blobs: 0 });
    }

    /// Sorts the chunks for lookups, and drops duplicates: some stores list an object twice while
    /// others write.
    pub(crate) fn seal(&mut self) {
        for bucket in &mut self.buckets {
            bucket.sort_unstable_by_key(|chunk| chunk.digest);
            bucket.dedup_by_key(|chunk| chunk.digest);
        }
    }

    /// The number of chunks.
    pub(crate) fn len(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.len() as u64).sum()
    }

    /// Adds a blob, and returns its number.
    pub(crate) fn add_blob(&mut self, digest: Digest) -> u32 {
        let full = self.blobs.last().is_none_or(|segment| segment.len() == SEGMENT);
        if full {
            self.blobs.push(Vec::with_capacity(SEGMENT));
        }
        let before = (self.blobs.len() - 1) * SEGMENT;
        let Some(last) = self.blobs.last_mut() else { return 0 };
        last.push(digest);
        // Beyond 2^32 blobs a number names another blob; the memory would have run out long before.
        (before + last.len() - 1) as u32
    }

    /// Notes that the blob `number` lists the chunk with this size, and returns whether the chunk
    /// is in the inventory. All chunks of a blob must be noted before those of the next.
    pub(crate) fn refer(&mut self, digest: &Digest, size: Option<u64>, number: u32) -> bool {
        let Some(chunk) = self.get_mut(digest) else { return false };
        if chunk.blobs == 0 || chunk.last_blob != number {
            chunk.blobs = chunk.blobs.saturating_add(1);
            chunk.last_blob = number;
        }
        let size = size.unwrap_or(0) as u32 & STATED;
        match chunk.stated & STATED {
            0 => chunk.stated |= size,
            stated if size != 0 && stated != size => chunk.stated |= CONFLICT,
            _ => {}
        }
        true
    }

    pub(crate) fn set_bad(&mut self, digest: &Digest) {
        if let Some(chunk) = self.get_mut(digest) {
            chunk.stated |= BAD;
        }
    }

    pub(crate) fn get(&self, digest: &Digest) -> Option<&Chunk> {
        let bucket = &self.buckets[bucket(digest)];
        let at = bucket.binary_search_by_key(digest, |chunk| chunk.digest).ok()?;
        bucket.get(at)
    }

    /// The chunks after `after`, in the order of their digests.
    pub(crate) fn after(&self, after: Option<Digest>) -> impl Iterator<Item = &Chunk> {
        let first = after.map_or(0, |digest| bucket(&digest));
        self.buckets[first..]
            .iter()
            .flatten()
            .skip_while(move |chunk| after.is_some_and(|after| chunk.digest <= after))
    }

    /// A blob that lists the chunk, if any, and the number of all such blobs.
    pub(crate) fn blobs_of(&self, chunk: &Chunk) -> (Vec<Digest>, u64) {
        let number = chunk.last_blob as usize;
        let segment = self.blobs.get(number / SEGMENT).filter(|_| chunk.blobs > 0);
        let blob = segment.and_then(|segment| segment.get(number % SEGMENT));
        (blob.copied().into_iter().collect(), u64::from(chunk.blobs))
    }

    fn get_mut(&mut self, digest: &Digest) -> Option<&mut Chunk> {
        let bucket = &mut self.buckets[bucket(digest)];
        let at = bucket.binary_search_by_key(digest, |chunk| chunk.digest).ok()?;
        bucket.get_mut(at)
    }
}

fn bucket(digest: &Digest) -> usize {
    usize::from(digest.as_bytes()[0])
}

/// Makes room for one more chunk. A full bucket grows by an eighth, because doubling could leave
/// half of it unused.
fn reserve(chunks: &mut Vec<Chunk>) {
    if chunks.len() == chunks.capacity() {
        chunks.reserve_exact(chunks.len() / 8 + 16);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn chunks_are_found_and_come_in_order() {
        let mut inventory = Inventory::new();
        for number in (0..5000).chain(100..200) {
            inventory.add(digest(number), u64::from(number), number % 2 == 0);
        }
        inventory.seal();
        assert_eq!(inventory.len(), 5000);
        for number in 0..5000 {
            let chunk = inventory.get(&digest(number)).unwrap();
            assert_eq!((chunk.stored, chunk.is_selected()), (number, number % 2 == 0));
        }
        assert!(inventory.get(&digest(5000)).is_none());
        let all: Vec<Digest> = inventory.after(None).map(|chunk| chunk.digest).collect();
        assert!(all.is_sorted());
        for at in [0, 1, 2500, 4999] {
            let rest: Vec<Digest> =
                inventory.after(Some(all[at])).map(|chunk| chunk.digest).collect();
            assert_eq!(rest, all[at + 1..]);
        }
    }

    #[test]
    fn blobs_are_counted_once_each_and_sizes_compared() {
        let mut inventory = Inventory::new();
        inventory.add(digest(1), 10, true);
        inventory.seal();
        for blob in 0..3 {
            let number = inventory.add_blob(digest(100 + blob));
            assert!(inventory.refer(&digest(1), Some(7), number));
            assert!(inventory.refer(&digest(1), None, number));
            assert!(!inventory.refer(&digest(2), Some(7), number));
        }
        let chunk = *inventory.get(&digest(1)).unwrap();
        assert_eq!((chunk.stated(), chunk.is_in_conflict()), (Some(7), false));
        assert_eq!(inventory.blobs_of(&chunk), (vec![digest(102)], 3));
        let number = inventory.add_blob(digest(200));
        inventory.refer(&digest(1), Some(8), number);
        let chunk = inventory.get(&digest(1)).unwrap();
        assert!(chunk.is_in_conflict() && chunk.is_selected() && !chunk.is_bad());
        assert_eq!(chunk.stated(), Some(7));
    }

    #[test]
    fn a_chunk_takes_48_bytes() {
        assert_eq!(size_of::<Chunk>(), 48);
    }

    #[test]
    fn a_blob_is_named_by_each_of_its_chunks_however_many_blobs_there_are() {
        let mut inventory = Inventory::new();
        let blobs = 3 * SEGMENT as u32 + 1;
        (0..blobs).for_each(|number| inventory.add(digest(number), 1, false));
        inventory.seal();
        for number in 0..blobs {
            assert_eq!(inventory.add_blob(digest(100_000 + number)), number);
            assert!(inventory.refer(&digest(number), Some(1), number));
        }
        for number in 0..blobs {
            let chunk = inventory.get(&digest(number)).unwrap();
            assert_eq!(inventory.blobs_of(chunk), (vec![digest(100_000 + number)], 1));
        }
    }

    #[test]
    fn only_a_chunk_that_was_found_to_be_bad_is_bad() {
        let mut inventory = Inventory::new();
        (1..3).for_each(|number| inventory.add(digest(number), 10, false));
        inventory.seal();
        inventory.set_bad(&digest(1));
        inventory.set_bad(&digest(3));
        assert!(inventory.get(&digest(1)).unwrap().is_bad());
        assert!(!inventory.get(&digest(2)).unwrap().is_bad());
    }

    #[test]
    fn at_most_an_eighth_and_a_little_of_the_room_is_unused() {
        let mut chunks = Vec::new();
        for number in 0..10_000 {
            reserve(&mut chunks);
            let digest = digest(number);
            chunks.push(Chunk { digest, stored: 1, stated: 0, last_blob: 0, blobs: 0 });
            let unused = chunks.capacity() - chunks.len();
            assert!(unused <= chunks.len() / 8 + 16, "{unused} of {}", chunks.capacity());
        }
    }
}
