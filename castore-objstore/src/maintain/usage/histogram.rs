//! A histogram of chunk sizes.

use std::ops::Range;

use castore_core::MAX_CHUNK_SIZE;

/// The number of classes: sizes 1, 2 to 3, 4 to 7, ..., and the largest chunk alone.
const CLASSES: usize = MAX_CHUNK_SIZE.ilog2() as usize + 1;

/// The number of chunks of each size, in classes by powers of two.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    classes: [(u64, u64); CLASSES],
}

/// The chunks of one class of sizes.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SizeClass {
    /// The uncompressed sizes of the class, in bytes.
    pub sizes: Range<u64>,
    /// The number of chunks.
    pub chunks: u64,
    /// The total uncompressed size of the chunks in bytes.
    pub bytes: u64,
}

impl Histogram {
    /// The classes in the order of their sizes, from the first with a chunk to the last.
    pub fn classes(&self) -> impl Iterator<Item = SizeClass> + '_ {
        let used = |class: &(u64, u64)| class.0 > 0;
        let first = self.classes.iter().position(used).unwrap_or(0);
        let end = self.classes.iter().rposition(used).map_or(0, |last| last + 1);
        (first..end).map(|class| {
            let (chunks, bytes) = self.classes[class];
            SizeClass { sizes: 1 << class..2 << class, chunks, bytes }
        })
    }

    /// Adds a chunk of `size` bytes, which is from 1 to [`MAX_CHUNK_SIZE`].
    pub(super) fn add(&mut self, size: u64) {
        let class = (size.max(1).ilog2() as usize).min(CLASSES - 1);
        self.classes[class].0 += 1;
        self.classes[class].1 += size;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_powers_of_two() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.classes().count(), 0);
        for size in [4, 7, 8, 31, MAX_CHUNK_SIZE] {
            histogram.add(size);
        }
        let classes: Vec<SizeClass> = histogram.classes().collect();
        assert_eq!(classes[0], SizeClass { sizes: 4..8, chunks: 2, bytes: 11 });
        assert_eq!(classes[1], SizeClass { sizes: 8..16, chunks: 1, bytes: 8 });
        assert_eq!(classes[2], SizeClass { sizes: 16..32, chunks: 1, bytes: 31 });
        assert_eq!(classes[3].chunks, 0);
        let last = classes.last().unwrap();
        assert_eq!((last.sizes.start, last.chunks), (MAX_CHUNK_SIZE, 1));
        assert_eq!(classes.iter().map(|class| class.chunks).sum::<u64>(), 5);
    }
}
