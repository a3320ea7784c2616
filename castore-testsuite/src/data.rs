//! Bytes to store, the same in every run.

use bytes::Bytes;

/// Returns `len` incompressible bytes, different for each `name`.
pub(crate) fn random(name: &str, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

/// A seeded sequence of numbers, each below a requested bound.
pub(crate) struct Numbers(blake3::OutputReader);

impl Numbers {
    pub(crate) fn new(name: &str) -> Numbers {
        Numbers(blake3::Hasher::new().update(name.as_bytes()).finalize_xof())
    }

    pub(crate) fn next(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }
}

/// Sizes in bytes at which implementations often change their behaviour: powers of two (among them
/// common sizes of chunks and buffers), each with its neighbours.
pub(crate) fn interesting_sizes() -> Vec<usize> {
    let mut sizes = vec![0, 1, 2, 3, 1000, 3 << 20];
    for power in [6, 10, 12, 16, 17, 18, 19, 20] {
        sizes.extend([(1 << power) - 1, 1 << power, (1 << power) + 1]);
    }
    sizes
}
