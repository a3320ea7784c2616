//! The chunks of a blob that arrives piece by piece.

use std::fmt;
use std::num::NonZeroUsize;

use bytes::Bytes;

use crate::ChunkParams;
use crate::parallel;
use crate::rope::Rope;
use crate::scanner::Scanner;

/// Cuts blobs that arrive piece by piece into chunks.
///
/// The split of a blob into pieces does not affect its chunks: they are those of
/// [`cut_points()`](crate::cut_points()) over the whole. A chunk that lies within one piece shares
/// its memory and keeps it alive. A chunk that spans several pieces is copied into a buffer of its
/// size. Pieces may have any size. Pieces as large as several chunks need the fewest copies, and
/// those below 4 KiB need one more.
///
/// Between calls a cutter holds less than one maximum chunk of bytes. These bytes keep the whole
/// piece alive in which the unfinished chunk began.
pub struct Cutter {
    scanner: Scanner,
    /// The bytes of the unfinished chunk, all of which the scanner has seen.
    held: Rope,
}

impl Cutter {
    /// A cutter at the start of a blob.
    pub fn new(params: ChunkParams) -> Cutter {
        Cutter { scanner: Scanner::new(params), held: Rope::default() }
    }

    /// Takes the next bytes of the blob, and calls `out` with every chunk that they complete, in
    /// order.
    ///
    /// The bytes after the last of these chunks are held until later bytes or [`Cutter::finish`]
    /// complete their chunk. Pushing no bytes does nothing.
    pub fn push(&mut self, mut data: Bytes, mut out: impl FnMut(Bytes)) {
        if data.is_empty() {
            return;
        }
        self.resume(&mut out);
        while let Some(end) = self.scanner.find_end(&data) {
            self.held.push(data.split_to(end));
            out(self.held.take());
        }
        self.held.push(data);
    }

    /// The same as [`Cutter::push`], on `threads` threads, including the calling one.
    ///
    /// More threads are faster if `data` is many chunks long: see
    /// [`cut_points_parallel`](crate::cut_points_parallel).
    pub fn push_parallel(
        &mut self,
        mut data: Bytes,
        threads: NonZeroUsize,
        mut out: impl FnMut(Bytes),
    ) {
        if threads.get() > 1 && !data.is_empty() {
            self.resume(&mut out);
            let Some(end) = self.scanner.find_end(&data) else { return self.held.push(data) };
            self.held.push(data.split_to(end));
            out(self.held.take());
            let ends = parallel::ends(&data, &self.scanner, threads.get());
            // The last end is the end of the data, which may not be the end of a chunk.
            let mut start = 0;
            for end in ends.into_iter().filter(|end| *end < data.len()) {
                out(data.slice(start..end));
                start = end;
            }
            data = data.split_off(start);
        }
        self.push(data, out);
    }

    /// Continues after bytes at whose end the scanner left open whether a chunk ends there.
    fn resume(&mut self, out: &mut impl FnMut(Bytes)) {
        if self.scanner.resume() {
            let next = self.held.pop();
            out(self.held.take());
            self.held.push(next.unwrap_or_default());
        }
    }

    /// Ends the blob, and returns its last chunk, or `None` if no bytes are held: the blob is
    /// empty, or its last chunk was complete already.
    ///
    /// The cutter is then at the start of the next blob.
    #[must_use = "the last chunk is part of the blob"]
    pub fn finish(&mut self) -> Option<Bytes> {
        self.scanner.restart();
        let last = self.held.take();
        (!last.is_empty()).then_some(last)
    }

    /// How many bytes of the unfinished chunk are held: less than the maximum chunk size.
    pub fn buffered(&self) -> usize {
        self.held.len()
    }
}

impl fmt::Debug for Cutter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The output does not show the bytes, because there may be megabytes of them.
        f.debug_struct("Cutter")
            .field("scanner", &self.scanner)
            .field("buffered", &self.buffered())
            .finish()
    }
}
