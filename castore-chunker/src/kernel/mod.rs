//! Searches for bytes at which the gear hash matches a mask: one definition, and several
//! implementations.
//!
//! The hash of a byte is twice that of the byte before it, plus the gear table's entry for the byte
//! itself, modulo 2^64. A byte matches a mask if all bits of the mask are zero in its hash. Each
//! kernel is a module that finds the first match. All kernels find the same one (`docs/chunking.md`
//! argues why).
//!
//! Only the modules below have unsafe code.

mod lanes;
mod prefetch;
mod tables;
#[cfg(target_arch = "x86_64")]
mod vbmi;

use std::fmt;

use crate::gear::HIGHEST_MASK_BIT;

pub(crate) use tables::Tables;

/// A way to search for cut points. All of them find the same ones, at different speeds.
///
/// The chunker uses the fastest kernel that the processor supports, so no caller has to choose one.
/// A caller can name a kernel to compare it with others
/// ([`CutPoints::with_kernel`](crate::CutPoints::with_kernel)).
///
/// ```
/// use castore_chunker::{ChunkParams, Kernel, cut_points};
///
/// let numbers = 0..2_000_000_u32;
/// let data: Vec<u8> = numbers.flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
/// let params = ChunkParams::with_average(64 * 1024)?;
/// let expected: Vec<_> = cut_points(&data, params).collect();
/// for kernel in Kernel::available() {
///     let cuts: Vec<_> = cut_points(&data, params).with_kernel(kernel).collect();
///     assert_eq!(cuts, expected, "{kernel}");
/// }
/// # Ok::<(), castore_chunker::ParamsError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Kernel(Kind);

/// Only created if the processor supports the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Lanes,
    #[cfg(target_arch = "x86_64")]
    Vbmi(vbmi::Token),
}

impl Kernel {
    /// The kernels that this processor can run, the fastest one first.
    pub fn available() -> impl Iterator<Item = Kernel> {
        #[cfg(target_arch = "x86_64")]
        let vbmi = vbmi::Token::detect().map(Kind::Vbmi);
        #[cfg(not(target_arch = "x86_64"))]
        let vbmi = None;
        vbmi.into_iter().chain([Kind::Lanes]).map(Kernel)
    }

    /// The fastest kernel that this processor can run.
    pub fn best() -> Kernel {
        Kernel::available().next().unwrap_or(Kernel(Kind::Lanes))
    }

    /// The name of the kernel: `lanes`, which runs everywhere, or `avx512-vbmi`.
    pub fn name(&self) -> &'static str {
        match self.0 {
            Kind::Lanes => "lanes",
            #[cfg(target_arch = "x86_64")]
            Kind::Vbmi(_) => "avx512-vbmi",
        }
    }

    /// The index in `data` of the first byte that matches `mask`, if `hash` is the hash of the byte
    /// before `data`. Without a match `hash` becomes that of the last byte, in the bits that a mask
    /// may have; otherwise it is undefined.
    ///
    /// `mask` has at least one bit, and none above [`HIGHEST_MASK_BIT`].
    pub(crate) fn find(
        &self,
        tables: &Tables,
        hash: &mut u64,
        data: &[u8],
        mask: u64,
    ) -> Option<usize> {
        debug_assert!(mask != 0 && mask.ilog2() <= HIGHEST_MASK_BIT);
        match self.0 {
            Kind::Lanes => lanes::find(tables, hash, data, mask),
            #[cfg(target_arch = "x86_64")]
            Kind::Vbmi(token) => vbmi::find(token, tables, hash, data, mask),
        }
    }
}

impl fmt::Display for Kernel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How many bytes, up to and including a byte, determine those bits of its hash that a mask may
/// have. The contributions of earlier bytes were shifted beyond these bits, and a higher bit never
/// changes a lower one.
const HISTORY: usize = HIGHEST_MASK_BIT as usize + 1;

/// The hash of the last byte of `data`, which has at least [`HISTORY`] bytes, in the bits that a
/// mask may have.
#[inline(always)]
fn hash_of(tables: &Tables, data: &[u8]) -> u64 {
    let (steps, rest) = data.as_chunks::<4>();
    let mut hash = 0;
    for step in steps {
        hash = tables.four(hash, step);
    }
    rest.iter().fold(hash, |hash, byte| tables.one(hash, *byte))
}

/// [`Kernel::find`], byte by byte.
fn find_serially(tables: &Tables, hash: &mut u64, data: &[u8], mask: u64) -> Option<usize> {
    data.iter().position(|byte| {
        *hash = tables.one(*hash, *byte);
        *hash & mask == 0
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gear::mask;

    fn random(seed: u64, len: usize) -> Vec<u8> {
        let mut data = vec![0; len];
        blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut data);
        data
    }

    /// Every mask, on data in which it matches now and then, at every alignment to lanes.
    #[test]
    fn every_kernel_finds_the_same_match_as_a_search_byte_by_byte() {
        let tables = Tables::of(0);
        let mut found = 0;
        for bits in 5..=25 {
            for round in 0..60 {
                let len = match round {
                    0..20 => 90 * round as usize,
                    20..40 => 8000 + 37 * round as usize,
                    _ => 3000 * round as usize,
                };
                let data = random(bits + 100 * round, len);
                let start = 0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(round);
                let mut hash = start;
                let expected = find_serially(&tables, &mut hash, &data, mask(bits as u32));
                found += u32::from(expected.is_some());
                for kernel in Kernel::available() {
                    let mut other = start;
                    let index = kernel.find(&tables, &mut other, &data, mask(bits as u32));
                    assert_eq!(index, expected, "{kernel}, mask of {bits} bits, {len} bytes");
                    let differs = (other ^ hash) << (63 - HIGHEST_MASK_BIT) != 0;
                    assert!(index.is_some() || !differs, "{kernel}: another hash at the end");
                }
            }
        }
        assert!((300..1000).contains(&found), "{found}");
    }

    /// A match in each of the lanes of all kernels: the first one counts.
    #[test]
    fn the_first_of_several_matches_is_found() {
        let tables = Tables::of(0);
        // Each mask below matches about every 500 bytes, wherever a search begins.
        let data = random(1, 40_000);
        for mask in [0x0000_0000_01ff_0000, 0x0000_0003_0350_3000, 0x0000_8000_0353_0000] {
            for start in (0..20_000).step_by(61) {
                let expected = find_serially(&tables, &mut 7, &data[start..], mask);
                assert!(expected.is_some());
                for kernel in Kernel::available() {
                    let index = kernel.find(&tables, &mut 7, &data[start..], mask);
                    assert_eq!(index, expected, "{kernel} from {start}");
                }
            }
        }
    }
}
