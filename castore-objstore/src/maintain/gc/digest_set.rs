//! A set of very many digests, in little memory.

use castore_core::Digest;

/// The number of buckets. The first byte of a digest selects its bucket, so that the memory grows
/// in small steps.
const BUCKETS: usize = 256;

/// A set that is filled first and queried afterwards.
///
/// The set takes 32 bytes for each digest, and while it is filled up to as much again for
/// duplicates and spare capacity: less than 64 MB for a million digests.
#[derive(Debug)]
pub(super) struct DigestSet {
    buckets: Vec<Bucket>,
}

#[derive(Debug, Default)]
struct Bucket {
    digests: Vec<Digest>,
    /// The number of digests, from the start, that are sorted and distinct.
    sorted: usize,
}

impl DigestSet {
    pub(super) fn new() -> DigestSet {
        DigestSet { buckets: (0..BUCKETS).map(|_| Bucket::default()).collect() }
    }

    pub(super) fn insert(&mut self, digest: Digest) {
        self.buckets[bucket(&digest)].insert(digest);
    }

    /// Sorts the set, for fast queries. More digests can be inserted afterwards.
    pub(super) fn sort(&mut self) {
        for bucket in &mut self.buckets {
            bucket.sort();
        }
    }

    /// Whether the set contains the digest. Fast once the set is [sorted](DigestSet::sort).
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        let Bucket { digests, sorted } = &self.buckets[bucket(digest)];
        let (sorted, added) = digests.split_at(*sorted);
        sorted.binary_search(digest).is_ok() || added.contains(digest)
    }

    /// The number of digests. Exact once the set is sorted.
    pub(super) fn len(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.digests.len() as u64).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Digest> {
        self.buckets.iter().flat_map(|bucket| &bucket.digests)
    }
}

fn bucket(digest: &Digest) -> usize {
    usize::from(digest.as_bytes()[0])
}

impl Bucket {
    fn insert(&mut self, digest: Digest) {
        if self.digests.len() == self.digests.capacity() {
            // Removing duplicates may free enough room.
            self.sort();
            self.digests.reserve_exact(self.digests.len() / 2 + 16);
        }
        self.digests.push(digest);
    }

    fn sort(&mut self) {
        if self.sorted < self.digests.len() {
            self.digests.sort_unstable();
            self.digests.dedup();
            self.sorted = self.digests.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn lookups_are_right_before_and_after_sorting() {
        let digest = |number: u32| Digest::of(&number.to_le_bytes());
        let mut set = DigestSet::new();
        let mut model = BTreeSet::new();
        for number in 0..20_000_u32 {
            // Most digests come several times.
            let added = digest(number.wrapping_mul(number) % 3000);
            set.insert(added);
            model.insert(added);
            if number % 7000 == 0 {
                set.sort();
            }
            assert!(set.contains(&added));
        }
        set.sort();
        assert_eq!(set.len(), model.len() as u64);
        assert_eq!(set.iter().copied().collect::<BTreeSet<_>>(), model);
        for number in 0..4000 {
            assert_eq!(set.contains(&digest(number)), model.contains(&digest(number)));
        }
    }

    #[test]
    fn a_million_digests_that_come_thrice_take_less_than_64_mb() {
        let mut set = DigestSet::new();
        for number in (0..1_000_000_u64).cycle().take(3_000_000) {
            // Spread as evenly as digests, and much faster to make.
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
            set.insert(Digest::from_bytes(bytes));
        }
        set.sort();
        assert_eq!(set.len(), 1_000_000);
        let bytes: usize = set.buckets.iter().map(|bucket| bucket.digests.capacity() * 32).sum();
        assert!(bytes < 64_000_000, "{bytes}");
    }
}
