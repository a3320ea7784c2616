//! The difference between two blobs.

use castore_core::{BlobIndex, ChunkMeta};

/// A number of chunks, each counted once, and their size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The number of chunks.
    pub chunks: u64,
    /// The uncompressed size of the chunks in bytes.
    pub bytes: u64,
}

/// The chunks that two blobs share, and those that only one of them has. Each chunk counts once,
/// however often a blob repeats it.
///
/// ```
/// use castore_core::{BlobIndex, ChunkMeta, Digest};
/// use castore_objstore::diff::Difference;
///
/// let chunk = |name: &[u8], size| ChunkMeta { digest: Digest::of(name), size };
/// let old = BlobIndex::new(Digest::of(b"old"), [chunk(b"a", 10), chunk(b"b", 20)])?;
/// let chunks = [chunk(b"b", 20), chunk(b"c", 7), chunk(b"c", 7)];
/// let new = BlobIndex::new(Digest::of(b"new"), chunks)?;
/// let difference = Difference::between(&old, &new);
/// assert_eq!(difference.shared.bytes, 20);
/// assert_eq!(difference.only_first.bytes, 10);
/// assert_eq!(difference.only_second.bytes, 7);
/// # Ok::<(), castore_core::IndexError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Difference {
    /// The chunks of both blobs.
    pub shared: Extent,
    /// The chunks of the first blob only.
    pub only_first: Extent,
    /// The chunks of the second blob only.
    pub only_second: Extent,
}

impl Difference {
    /// Compares two blobs by the chunks that they list. Takes O(n log n) time on the calling
    /// thread.
    pub fn between(first: &BlobIndex, second: &BlobIndex) -> Difference {
        let (first, second) = (distinct(first), distinct(second));
        let mut difference = Difference::default();
        let (mut a, mut b) = (first.iter().peekable(), second.iter().peekable());
        loop {
            let order = match (a.peek(), b.peek()) {
                (None, None) => return difference,
                (Some(_), None) => std::cmp::Ordering::Less,
                (None, Some(_)) => std::cmp::Ordering::Greater,
                (Some(a), Some(b)) => a.digest.cmp(&b.digest),
            };
            let (extent, chunk) = match order {
                std::cmp::Ordering::Less => (&mut difference.only_first, a.next()),
                std::cmp::Ordering::Greater => (&mut difference.only_second, b.next()),
                std::cmp::Ordering::Equal => {
                    b.next();
                    (&mut difference.shared, a.next())
                }
            };
            extent.chunks += 1;
            extent.bytes += chunk.map_or(0, |chunk| chunk.size);
        }
    }
}

fn distinct(index: &BlobIndex) -> Vec<ChunkMeta> {
    let mut chunks: Vec<ChunkMeta> = index.iter().collect();
    chunks.sort_unstable_by_key(|chunk| chunk.digest);
    chunks.dedup_by_key(|chunk| chunk.digest);
    chunks
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use castore_core::Digest;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;

    use super::*;

    /// An index of chunks with these numbers. Chunk `n` has `n + 1` bytes.
    fn index(name: &str, chunks: &[u8]) -> BlobIndex {
        let chunk = |number: &u8| ChunkMeta {
            digest: Digest::of(&[*number]),
            size: 1 + u64::from(*number),
        };
        // A blob of one chunk has the digest of that chunk.
        let digest = match chunks {
            [] => Digest::EMPTY,
            [only] => chunk(only).digest,
            _ => Digest::of(name.as_bytes()),
        };
        BlobIndex::new(digest, chunks.iter().map(chunk)).unwrap()
    }

    fn extent(chunks: &BTreeMap<u8, (bool, bool)>, wanted: (bool, bool)) -> Extent {
        let found = chunks.iter().filter(|(_, has)| **has == wanted);
        let sizes: Vec<u64> = found.map(|(number, _)| 1 + u64::from(*number)).collect();
        Extent { chunks: sizes.len() as u64, bytes: sizes.iter().sum() }
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 1000,
            rng_seed: RngSeed::Fixed(1),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn every_chunk_is_in_one_of_three_parts(
            a in proptest::collection::vec(0..20_u8, 0..30),
            b in proptest::collection::vec(0..20_u8, 0..30),
        ) {
            let mut chunks = BTreeMap::<u8, (bool, bool)>::new();
            for number in &a {
                chunks.entry(*number).or_default().0 = true;
            }
            for number in &b {
                chunks.entry(*number).or_default().1 = true;
            }
            let expected = Difference {
                shared: extent(&chunks, (true, true)),
                only_first: extent(&chunks, (true, false)),
                only_second: extent(&chunks, (false, true)),
            };
            prop_assert_eq!(Difference::between(&index("a", &a), &index("b", &b)), expected);
        }
    }
}
