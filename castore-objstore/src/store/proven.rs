//! The groups of an open blob that are proven.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// A bit for each group of a blob: whether a reader has found that the chunks which the open index
/// lists have the right bytes there. A chunk is verified whenever it is read, so a proof holds for
/// as long as the index is open.
#[derive(Debug)]
pub(crate) struct Proven {
    bits: Box<[AtomicU64]>,
}

impl Proven {
    /// For a blob of this many groups, of which none is proven.
    pub(crate) fn new(groups: usize) -> Proven {
        Proven { bits: (0..groups.div_ceil(64)).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Whether the group `number` is proven.
    pub(crate) fn has(&self, number: usize) -> bool {
        let bits = self.bits.get(number / 64).map_or(0, |bits| bits.load(Relaxed));
        bits >> (number % 64) & 1 == 1
    }

    /// Notes that the group `number` is proven.
    pub(crate) fn set(&self, number: usize) {
        if let Some(bits) = self.bits.get(number / 64) {
            bits.fetch_or(1 << (number % 64), Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_has_a_bit_of_its_own() {
        let proven = Proven::new(130);
        for number in [0, 63, 64, 129] {
            assert!(!proven.has(number));
            proven.set(number);
        }
        for number in 0..200 {
            assert_eq!(proven.has(number), [0, 63, 64, 129].contains(&number), "{number}");
        }
        // No group is beyond the last word.
        proven.set(1000);
        assert!(!proven.has(1000));
    }
}
