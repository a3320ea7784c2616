//! The kernel for every processor: hashes several positions of the data at once.
//!
//! Each hash depends on the one before, and waiting for that takes a processor longer than all
//! other work on a byte. So a window of the data is divided into four lanes of equal length, and
//! the processor works on their four hashes at the same time. Each lane but the first starts with
//! the hash of the bytes before it, which determine that hash exactly (`HISTORY`).

use super::prefetch::prefetch;
use super::{HISTORY, Tables, find_serially, hash_of};

const LANES: usize = 4;

/// The length of a lane in bytes. Long lanes make the cost of starting one comparatively small.
/// Short lanes are for masks that match often, because the work on the rest of a window after a
/// match is wasted.
const LONG: usize = 1024;
const SHORT: usize = 128;

/// A mask of at least this many bits matches rarely, compared to the length of a window of long
/// lanes.
const RARE: u32 = 14;

/// As [`Kernel::find`](super::Kernel::find).
pub(super) fn find(tables: &Tables, hash: &mut u64, data: &[u8], mask: u64) -> Option<usize> {
    let mut at = 0;
    if mask.count_ones() >= RARE {
        match find_in_windows::<LONG>(tables, hash, data, mask) {
            Searched::Found(index) => return Some(index),
            Searched::Nothing(len) => at = len,
        }
    }
    match find_in_windows::<SHORT>(tables, hash, &data[at..], mask) {
        Searched::Found(index) => return Some(at + index),
        Searched::Nothing(len) => at += len,
    }
    find_serially(tables, hash, &data[at..], mask).map(|index| at + index)
}

enum Searched {
    /// The index of the first match.
    Found(usize),
    /// No match in this many bytes.
    Nothing(usize),
}

/// Searches as many windows of lanes of `LEN` bytes as fit into `data`.
#[inline(never)]
fn find_in_windows<const LEN: usize>(
    tables: &Tables,
    hash: &mut u64,
    data: &[u8],
    mask: u64,
) -> Searched {
    const { assert!(LEN >= HISTORY && LEN.is_multiple_of(LINE)) };
    // The mask for each of the four bytes of a step: see `misses`.
    let masks = [mask << 3, mask << 2, mask << 1, mask];
    let (lanes, _) = data.as_chunks::<LEN>();
    let (windows, _) = lanes.as_chunks::<LANES>();
    for (number, window) in windows.iter().enumerate() {
        let start = number * LANES * LEN;
        let mut hashes = [*hash; LANES];
        for lane in 1..LANES {
            hashes[lane] = hash_of(tables, &window[lane - 1][LEN - HISTORY..]);
        }
        if let Some(hit) = hit_of(tables, &mut hashes, window, masks) {
            return Searched::Found(start + first_match(tables, *hash, window, mask, hit));
        }
        *hash = hashes[LANES - 1];
    }
    Searched::Nothing(windows.len() * LANES * LEN)
}

/// The usual length of a cache line in bytes. This only decides how often to prefetch.
const LINE: usize = 64;

const STEP: usize = 4;

/// The offset within its lane, in bytes and rounded down to a step, of the first match found in any
/// lane. Without a match, `hashes` become those of the last bytes.
///
/// Not inlined: with the surrounding code there are more values than registers, and the masks would
/// be loaded for each byte. The number of loads limits the speed; without inlining there are two
/// for each byte.
#[inline(never)]
fn hit_of<const LEN: usize>(
    tables: &Tables,
    hashes: &mut [u64; LANES],
    window: &[[u8; LEN]; LANES],
    masks: [u64; STEP],
) -> Option<usize> {
    let mut own = *hashes;
    for line in 0..LEN / LINE {
        // The processor's own prefetching follows one or two streams of data, not four that end
        // soon.
        if LEN >= LONG {
            for lane in 0..LANES {
                prefetch(window.as_flattened(), (LANES + lane) * LEN + line * LINE);
            }
        }
        for step in line * LINE / STEP..(line + 1) * LINE / STEP {
            for lane in 0..LANES {
                let bytes = &window[lane].as_chunks::<STEP>().0[step];
                if !misses(tables, &mut own[lane], bytes, masks) {
                    return Some(step * STEP);
                }
            }
        }
    }
    *hashes = own;
    None
}

/// Whether none of four bytes matches.
///
/// The contributions of all four bytes are shifted to their positions in the hash of the last one,
/// which takes one shift instead of four. The masks are shifted accordingly.
#[inline(always)]
fn misses(tables: &Tables, hash: &mut u64, bytes: &[u8; STEP], masks: [u64; STEP]) -> bool {
    let mut sum = *hash << STEP;
    for byte in 0..STEP {
        sum = sum.wrapping_add(tables.steps()[byte][usize::from(bytes[byte])]);
        if sum & masks[byte] == 0 {
            return false;
        }
    }
    *hash = sum;
    true
}

/// The index of the first match in `window`, which has one. No match is less than `hit` bytes into
/// its lane. `hash` is that of the byte before the window.
fn first_match<const LEN: usize>(
    tables: &Tables,
    hash: u64,
    window: &[[u8; LEN]; LANES],
    mask: u64,
    hit: usize,
) -> usize {
    let window = window.as_flattened();
    for lane in 0..LANES {
        let start = lane * LEN + hit;
        let mut hash = match start.checked_sub(HISTORY) {
            Some(before) => hash_of(tables, &window[before..start]),
            None => window[..start].iter().fold(hash, |hash, byte| tables.one(hash, *byte)),
        };
        let end = (lane + 1) * LEN;
        if let Some(index) = find_serially(tables, &mut hash, &window[start..end], mask) {
            return start + index;
        }
    }
    unreachable!("some lane matched")
}
