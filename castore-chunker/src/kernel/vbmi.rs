//! The kernel for processors with AVX-512 VBMI: hashes 16 positions at once, with table look-ups in
//! registers.
//!
//! The gear table does not fit into registers, but the low 32 bits of its entries do: four tables
//! of 256 bytes, one for each byte of an entry, take 16 registers. They give the low 32 bits of
//! each hash, which depend on the last 32 bytes only. If none of the mask's low bits is set in
//! these, the byte may match: it is a *candidate*. The kernel records the candidates, and tests
//! them with the full hash once the window of 16 lanes is done.
#![allow(unsafe_code, reason = "AVX-512 has to be promised to be there, and loads take pointers")]

use std::arch::x86_64::*;
use std::sync::LazyLock;

use super::prefetch::prefetch;
use super::{HISTORY, Tables, find_serially, hash_of, lanes};

const LANES: usize = 16;

/// The length of a lane in bytes.
const LEN: usize = 512;

const WINDOW: usize = LANES * LEN;

/// How many bytes of each lane are processed at a time.
const GROUP: usize = 16;

const _: () =
    assert!(RUN * 4 == GROUP && WARM_UP.is_multiple_of(GROUP) && LEN.is_multiple_of(GROUP));

/// How many bytes before a lane are hashed to get the low 32 bits of the hash at its start.
const WARM_UP: usize = 32;

/// A mask with fewer low bits than this makes too many candidates: with 6 bits, one every 64 bytes.
const FILTER_BITS: u32 = 9;

/// The largest number of candidates that are recorded for a window; random data has 16 with 9 bits.
/// Data with more candidates is left to the other kernel.
const CANDIDATES: usize = 64;

/// The length of a run: four consecutive bytes, some of which may match.
const RUN: usize = 4;

/// Proof that the processor has AVX-512 F, BW and VBMI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Token(());

impl Token {
    pub(super) fn detect() -> Option<Token> {
        static DETECTED: LazyLock<bool> = LazyLock::new(|| {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vbmi")
        });
        DETECTED.then_some(Token(()))
    }
}

/// As [`Kernel::find`](super::Kernel::find).
pub(super) fn find(
    _: Token,
    tables: &Tables,
    hash: &mut u64,
    data: &[u8],
    mask: u64,
) -> Option<usize> {
    let mut at = 0;
    if (mask as u32).count_ones() >= FILTER_BITS && data.len() >= HISTORY + WINDOW {
        // From here on all bytes that a hash depends on are in `data`.
        if let Some(index) = find_serially(tables, hash, &data[..HISTORY], mask) {
            return Some(index);
        }
        // SAFETY: a token exists only if the processor has these features.
        let searched = unsafe { find_in_windows(tables, data, mask) };
        match searched {
            Searched::Found(index) => return Some(index),
            Searched::Nothing(end) => at = end,
        }
        *hash = hash_of(tables, &data[at - HISTORY..at]);
    }
    lanes::find(tables, hash, &data[at..], mask).map(|index| at + index)
}

enum Searched {
    /// The index of the first match.
    Found(usize),
    /// No match before this index.
    Nothing(usize),
}

/// Searches windows from `HISTORY` on, as many as fit, or up to one with too many candidates.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn find_in_windows(tables: &Tables, data: &[u8], mask: u64) -> Searched {
    let mut candidates = [0; CANDIDATES];
    let mut start = HISTORY;
    while data.len() - start >= WINDOW {
        let Some(count) = filter(tables.planes(), data, start, mask, &mut candidates) else {
            break;
        };
        let mut first = usize::MAX;
        for run in &candidates[..count] {
            let run = start + usize::from(*run);
            if run < first
                && let Some(index) = match_in_run(tables, data, run, mask)
            {
                first = index;
            }
        }
        if first < usize::MAX {
            return Searched::Found(first);
        }
        start += WINDOW;
    }
    Searched::Nothing(start)
}

/// The index of the first match in the run that begins at `run`.
fn match_in_run(tables: &Tables, data: &[u8], run: usize, mask: u64) -> Option<usize> {
    let mut hash = hash_of(tables, &data[run - HISTORY..run]);
    find_serially(tables, &mut hash, &data[run..run + RUN], mask).map(|index| run + index)
}

/// Records the candidates of the window at `start`: the positions at which their runs begin,
/// relative to `start`. Returns how many there are, or `None` if there are too many.
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn filter(
    planes: &[[u8; 256]; 4],
    data: &[u8],
    start: usize,
    mask: u64,
    candidates: &mut [u16; CANDIDATES],
) -> Option<usize> {
    let bytes = data[start - WARM_UP..].first_chunk()?;
    let [a, b, c, d] = planes;
    let planes = [quarters(a), quarters(b), quarters(c), quarters(d)];
    let mask = _mm512_set1_epi32(mask as u32 as i32);
    let mut hash = _mm512_setzero_si512();
    let mut count = 0;
    for offset in (0..WARM_UP + LEN).step_by(GROUP) {
        // A cache line of each lane of the next window.
        if offset.is_multiple_of(64) {
            for lane in 0..LANES {
                prefetch(data, start + WINDOW + lane * LEN + offset);
            }
        }
        for (column, bytes) in columns(bytes, offset).into_iter().enumerate() {
            // The minimum of the four hashes, masked: 0 if one of them matches.
            let mut least = _mm512_set1_epi32(-1);
            for gear in look_up(&planes, bytes) {
                hash = _mm512_add_epi32(_mm512_add_epi32(hash, hash), gear);
                least = _mm512_min_epu32(least, _mm512_and_si512(hash, mask));
            }
            let mut lanes = _mm512_testn_epi32_mask(least, least);
            // The bytes before the lanes only contribute to the hash.
            if lanes == 0 || offset < WARM_UP {
                continue;
            }
            while lanes != 0 {
                let lane = lanes.trailing_zeros() as usize;
                lanes &= lanes - 1;
                *candidates.get_mut(count)? = (lane * LEN + offset - WARM_UP + column * RUN) as u16;
                count += 1;
            }
        }
    }
    Some(count)
}

/// A table of 256 bytes as four registers.
#[inline]
#[target_feature(enable = "avx512f")]
fn quarters(table: &[u8; 256]) -> [__m512i; 4] {
    let (quarters, _) = table.as_chunks::<64>();
    // SAFETY: each load reads the 64 bytes of an array, and need not be aligned.
    let load = |quarter: &[u8; 64]| unsafe { _mm512_loadu_si512(quarter.as_ptr().cast()) };
    [load(&quarters[0]), load(&quarters[1]), load(&quarters[2]), load(&quarters[3])]
}

/// The `GROUP` bytes at `offset` of each lane together with the `WARM_UP` bytes before it, in four
/// registers. Lanes are `LEN` bytes apart. In the first register, the 32 bits number n are the
/// first four bytes of lane n, and so on.
#[inline]
#[target_feature(enable = "avx512f")]
fn columns(bytes: &[u8; WARM_UP + WINDOW], offset: usize) -> [__m512i; 4] {
    assert!(offset <= WARM_UP + LEN - GROUP);
    macro_rules! lane {
        ($lane:expr) => {
            // SAFETY: 16 bytes are loaded, the last of them at most number `(LANES - 1) * LEN +
            // WARM_UP + LEN - 1`, the last of `bytes`. They need not be aligned.
            unsafe { _mm_loadu_si128(bytes.as_ptr().add($lane * LEN + offset).cast()) }
        };
    }
    // A macro, because calls of a function would save the registers.
    macro_rules! every_fourth {
        ($first:expr) => {{
            let register = _mm512_castsi128_si512(lane!($first));
            let register = _mm512_inserti32x4::<1>(register, lane!($first + 4));
            let register = _mm512_inserti32x4::<2>(register, lane!($first + 8));
            _mm512_inserti32x4::<3>(register, lane!($first + 12))
        }};
    }
    let [a, b, c, d] = [every_fourth!(0), every_fourth!(1), every_fourth!(2), every_fourth!(3)];
    // In each quarter of the registers, a square of four by four 32-bit numbers is transposed.
    let (ab_low, ab_high) = (_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi32(c, d), _mm512_unpackhi_epi32(c, d));
    [
        _mm512_unpacklo_epi64(ab_low, cd_low),
        _mm512_unpackhi_epi64(ab_low, cd_low),
        _mm512_unpacklo_epi64(ab_high, cd_high),
        _mm512_unpackhi_epi64(ab_high, cd_high),
    ]
}

/// The low 32 bits of the gear table's entries for the first, second, third and fourth byte in each
/// 32 bits of `bytes`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
fn look_up(planes: &[[__m512i; 4]; 4], bytes: __m512i) -> [__m512i; 4] {
    // In each quarter of the register, the first bytes of its four lanes come first.
    let by_turn =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    let bytes = _mm512_shuffle_epi8(bytes, by_turn);
    // The two highest bits of a byte select the quarter of the table.
    let high = _mm512_movepi8_mask(bytes);
    let low = _mm512_movepi8_mask(_mm512_slli_epi16::<1>(bytes));
    let plane = |plane: &[__m512i; 4]| {
        let entry = _mm512_permutexvar_epi8(bytes, plane[0]);
        let entry = _mm512_mask_permutexvar_epi8(entry, !high & low, bytes, plane[1]);
        let entry = _mm512_mask_permutexvar_epi8(entry, high & !low, bytes, plane[2]);
        _mm512_mask_permutexvar_epi8(entry, high & low, bytes, plane[3])
    };
    let [a, b, c, d] = [plane(&planes[0]), plane(&planes[1]), plane(&planes[2]), plane(&planes[3])];
    // Joins the four bytes of each entry.
    let (ab_low, ab_high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
    let (cd_low, cd_high) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
    [
        _mm512_unpacklo_epi16(ab_low, cd_low),
        _mm512_unpackhi_epi16(ab_low, cd_low),
        _mm512_unpacklo_epi16(ab_high, cd_high),
        _mm512_unpackhi_epi16(ab_high, cd_high),
    ]
}
