//! The gear table of a seed, in the forms in which kernels look up entries.

use std::fmt;
use std::sync::{Arc, LazyLock};

use crate::gear::GEAR;

static UNSEEDED: LazyLock<Arc<Tables>> = LazyLock::new(|| Arc::new(Tables::with_seed(0)));

/// The gear table, for single bytes and for four at a time.
pub(crate) struct Tables {
    /// The table times 8, 4, 2 and 1: the contributions of the first to the last of four bytes to
    /// the hash of the last one.
    steps: [[u64; 256]; 4],
    /// The lowest, second, third and fourth byte of each entry.
    #[cfg(target_arch = "x86_64")]
    planes: [[u8; 256]; 4],
}

impl fmt::Debug for Tables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tables")
    }
}

impl Tables {
    /// The tables of `seed`. Those of seed 0 are made once.
    pub(crate) fn of(seed: u64) -> Arc<Tables> {
        match seed {
            0 => Arc::clone(&UNSEEDED),
            _ => Arc::new(Tables::with_seed(seed)),
        }
    }

    fn with_seed(seed: u64) -> Tables {
        let gear = GEAR.map(|entry| entry ^ seed);
        Tables {
            steps: [3, 2, 1, 0].map(|shift| gear.map(|entry| entry << shift)),
            #[cfg(target_arch = "x86_64")]
            planes: [0, 1, 2, 3].map(|byte| gear.map(|entry| entry.to_le_bytes()[byte])),
        }
    }

    #[inline(always)]
    pub(super) fn steps(&self) -> &[[u64; 256]; 4] {
        &self.steps
    }

    #[cfg(target_arch = "x86_64")]
    pub(super) fn planes(&self) -> &[[u8; 256]; 4] {
        &self.planes
    }

    /// The hash of `byte`, if the byte before it has the hash `hash`.
    #[inline(always)]
    pub(super) fn one(&self, hash: u64, byte: u8) -> u64 {
        (hash << 1).wrapping_add(self.steps[3][usize::from(byte)])
    }

    /// The hash of the last of four bytes, if the byte before them has the hash `hash`.
    #[inline(always)]
    pub(super) fn four(&self, hash: u64, bytes: &[u8; 4]) -> u64 {
        let mut sum = 0_u64;
        for (table, byte) in self.steps.iter().zip(bytes) {
            sum = sum.wrapping_add(table[usize::from(*byte)]);
        }
        (hash << 4).wrapping_add(sum)
    }
}
