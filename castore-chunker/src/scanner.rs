//! Searches for the end of one chunk, in bytes that arrive in pieces.

use std::sync::Arc;

use crate::ChunkParams;
use crate::kernel::{Kernel, Tables};

/// Finds the ends of a blob's chunks, one after the other.
///
/// The rules of FastCDC 2020, for positions counted from the start of the chunk, with the gear hash
/// at 0 before the minimum:
/// - The first byte, at or after the minimum, at which the hash has no bit of the mask ends the
///   chunk, and is itself the first byte of the next one. The mask is strict before the average and
///   loose from there on.
/// - If there is no such byte, the chunk ends at the maximum, or with the blob.
/// - FastCDC takes bytes in pairs, so it does not test the last byte of a blob if its position is
///   even. A scanner that does not know yet whether more bytes follow leaves this open: see
///   [`Scanner::resume`].
#[derive(Debug, Clone)]
pub(crate) struct Scanner {
    params: ChunkParams,
    tables: Arc<Tables>,
    kernel: Kernel,
    /// The hash of the last byte seen.
    hash: u64,
    /// How many bytes of the chunk were scanned or skipped.
    seen: usize,
    /// Whether the chunk ends before the last byte seen, provided that another byte follows.
    open: bool,
}

impl Scanner {
    /// A scanner at the start of a chunk.
    pub(crate) fn new(params: ChunkParams) -> Scanner {
        Scanner {
            params,
            tables: Tables::of(params.seed()),
            kernel: Kernel::best(),
            hash: 0,
            seen: 0,
            open: false,
        }
    }

    /// The same with another kernel.
    pub(crate) fn with_kernel(self, kernel: Kernel) -> Scanner {
        Scanner { kernel, ..self }
    }

    /// The parameters of this scanner.
    pub(crate) fn params(&self) -> &ChunkParams {
        &self.params
    }

    /// The position in `data`, the bytes after those seen, at which the chunk ends. The scanner is
    /// then at the start of the next chunk, which begins there. Without a result all of `data` is
    /// seen.
    ///
    /// Takes time proportional to the bytes up to the end of the chunk, not to all of `data`.
    pub(crate) fn find_end(&mut self, data: &[u8]) -> Option<usize> {
        let index_of = |position: usize| position.saturating_sub(self.seen).min(data.len());
        let mut at = index_of(self.params.min_size());
        for (limit, mask) in self.params.masks() {
            let until = index_of(limit);
            let part = &data[at..until];
            if let Some(index) = self.kernel.find(&self.tables, &mut self.hash, part, mask) {
                let end = at + index;
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

    /// The caller calls this when more bytes follow those seen. Returns whether the chunk ended
    /// before the last byte seen. In this case the scanner is in the next chunk, of which it has
    /// seen that one byte.
    pub(crate) fn resume(&mut self) -> bool {
        let ended = self.open;
        if ended {
            self.restart();
            self.seen = 1;
        }
        ended
    }

    /// Moves to the start of the next chunk.
    pub(crate) fn restart(&mut self) {
        self.hash = 0;
        self.seen = 0;
        self.open = false;
    }
}
