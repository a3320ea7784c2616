//! The search for the end of one chunk, over bytes that come in pieces.

use std::sync::LazyLock;

use fastcdc::v2020::get_gear_with_seed;
use gearhash::{Hasher, Table};

use crate::ChunkParams;

/// The gear table of FastCDC, which is not the one that `gearhash` has by default.
static GEAR: LazyLock<Table> = LazyLock::new(|| {
    let (gear, _) = get_gear_with_seed(0);
    std::array::from_fn(|byte| gear[byte])
});

/// Finds the ends of a blob's chunks, one after the other.
///
/// The rules of FastCDC 2020, for positions counted from the start of the chunk, with the gear hash
/// at 0 before the minimum:
/// - The first byte, at or after the minimum, at which the hash has no bit of the mask ends the
///   chunk, and is itself the first byte of the next one. The mask is strict before the average and
///   loose from there on.
/// - Without such a byte the chunk ends at the maximum, or with the blob.
/// - Bytes are taken in pairs, and so the last byte of a blob is not looked at if its position is
///   even. A scanner that does not know yet whether more bytes follow leaves that open: see
///   [`Scanner::resume`].
#[derive(Debug)]
pub(crate) struct Scanner {
    params: ChunkParams,
    hasher: Hasher<'static>,
    /// How many bytes of the chunk were scanned or skipped.
    seen: usize,
    /// Whether the chunk ends before the last byte seen, provided that any byte follows that one.
    open: bool,
}

impl Scanner {
    /// A scanner at the start of a chunk.
    pub(crate) fn new(params: ChunkParams) -> Scanner {
        Scanner { params, hasher: Hasher::new(&GEAR), seen: 0, open: false }
    }

    /// Where in `data`, the bytes after those seen, the chunk ends. The scanner then is at the start
    /// of the next chunk, which begins there; otherwise all of `data` is seen.
    ///
    /// Takes time proportional to the bytes up to the end of the chunk, not to all of `data`.
    pub(crate) fn find_end(&mut self, data: &[u8]) -> Option<usize> {
        let index_of = |position: usize| position.saturating_sub(self.seen).min(data.len());
        let mut at = index_of(self.params.min_size());
        for (limit, mask) in self.params.masks() {
            let until = index_of(limit);
            if let Some(count) = self.hasher.next_match(&data[at..until], mask) {
                let end = at + count - 1;
                if end + 1 == data.len() && (self.seen + end).is_multiple_of(2) {
                    self.open = true;
                    break;
                }
                self.restart();
                return Some(end);
            }
            at = until;
        }
        let max_size = self.params.max_size();
        if self.seen + data.len() >= max_size {
            let end = max_size - self.seen;
            self.restart();
            return Some(end);
        }
        self.seen += data.len();
        None
    }

    /// To be called when more bytes follow those seen: whether the chunk ended before the last of
    /// them. The scanner then is in the next chunk, of which it has seen that one byte.
    pub(crate) fn resume(&mut self) -> bool {
        let ended = self.open;
        if ended {
            self.restart();
            self.seen = 1;
        }
        ended
    }

    /// Goes to the start of the next chunk.
    pub(crate) fn restart(&mut self) {
        self.hasher.set_hash(0);
        self.seen = 0;
        self.open = false;
    }
}
