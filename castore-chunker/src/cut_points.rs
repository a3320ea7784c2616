//! The chunks of a blob that is in memory as a whole.

use std::iter::FusedIterator;
use std::ops::Range;

use crate::scanner::Scanner;
use crate::{ChunkParams, Kernel};

/// The ranges of `data`, in bytes, that are the chunks of the blob `data`, in order.
///
/// No range is empty, and together they are all of `data`. No bytes are copied.
///
/// ```
/// use castore_chunker::{ChunkParams, cut_points};
///
/// let params = ChunkParams::with_average(512)?;
/// let ranges: Vec<_> = cut_points(&[0; 2500], params).collect();
/// assert_eq!(ranges, [0..1024, 1024..2048, 2048..2500]);
/// # Ok::<(), castore_chunker::ParamsError>(())
/// ```
pub fn cut_points(data: &[u8], params: ChunkParams) -> CutPoints<'_> {
    CutPoints { data, start: 0, scanner: Scanner::new(params) }
}

/// The iterator that [`cut_points()`] returns.
#[derive(Debug)]
pub struct CutPoints<'a> {
    data: &'a [u8],
    /// The position at which the next chunk starts.
    start: usize,
    scanner: Scanner,
}

impl CutPoints<'_> {
    /// The same ranges, found by `kernel`, to compare kernels.
    #[must_use]
    pub fn with_kernel(self, kernel: Kernel) -> Self {
        CutPoints { scanner: self.scanner.with_kernel(kernel), ..self }
    }
}

impl Iterator for CutPoints<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        let rest = &self.data[self.start..];
        if rest.is_empty() {
            return None;
        }
        let start = self.start;
        self.start += self.scanner.find_end(rest).unwrap_or(rest.len());
        Some(start..self.start)
    }
}

impl FusedIterator for CutPoints<'_> {}
