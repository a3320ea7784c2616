//! Pseudorandom numbers from a named seed: the same on every machine.

/// A stream of pseudorandom bytes and numbers.
pub(crate) struct Random(blake3::OutputReader);

impl Random {
    /// Makes the stream of the seed `name`.
    pub(crate) fn new(name: &str) -> Random {
        Random(blake3::Hasher::new().update(name.as_bytes()).finalize_xof())
    }

    /// Fills `bytes` with the next bytes.
    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        self.0.fill(bytes);
    }

    /// The next number below `bound`, which must not be 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        // The distribution is skewed for bounds near 2^64; ours are far below.
        u64::from_le_bytes(bytes) % bound
    }
}
