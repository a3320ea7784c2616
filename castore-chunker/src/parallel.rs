//! The chunks of a blob that is in memory as a whole, found by several threads.
//!
//! The start of a chunk is known only once all chunks before it are known. But cut points depend on
//! the content: a search that starts at any position mostly finds a true cut point after a chunk or
//! two, and from then on all that follow. So each thread cuts a segment as if a chunk started with
//! the segment. Then the segments are joined, and the part between the last cut of one segment and
//! the first true cut of the next is cut once more.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

use crate::ChunkParams;
use crate::scanner::Scanner;

/// A segment has at least this many maximum chunks: cutting its start once more costs a chunk or
/// two.
const MIN_SEGMENT: usize = 4;

/// The number of segments for each thread: a thread that is delayed leaves segments to the others.
const SEGMENTS_PER_THREAD: usize = 4;

/// The same ranges as those of [`cut_points()`](crate::cut_points()), found by `threads` threads,
/// including the calling one.
///
/// If the data has less than a few maximum chunks per thread, fewer threads are started. Data whose
/// cut points do not depend on the content, such as zeros, is in the end cut by one thread, and
/// takes longer than with one thread alone.
///
/// ```
/// use std::num::NonZeroUsize;
///
/// use castore_chunker::{ChunkParams, cut_points, cut_points_parallel};
///
/// let numbers = 0..2_000_000_u32;
/// let data: Vec<u8> = numbers.flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
/// let params = ChunkParams::with_average(16 * 1024)?;
/// let threads = NonZeroUsize::new(4).unwrap();
/// let ranges = cut_points_parallel(&data, params, threads);
/// assert!(ranges.len() > 100);
/// assert!(ranges.into_iter().eq(cut_points(&data, params)));
/// # Ok::<(), castore_chunker::ParamsError>(())
/// ```
pub fn cut_points_parallel(
    data: &[u8],
    params: ChunkParams,
    threads: NonZeroUsize,
) -> Vec<Range<usize>> {
    let mut start = 0;
    let ends = ends(data, &Scanner::new(params), threads.get());
    ends.into_iter().map(|end| std::mem::replace(&mut start, end)..end).collect()
}

/// The ends of the chunks of `data`.
///
/// `scanner` is at the start of a chunk.
pub(crate) fn ends(data: &[u8], scanner: &Scanner, threads: usize) -> Vec<usize> {
    let segments = Segments::new(data, scanner, threads);
    let work = || segments.cut_some();
    thread::scope(|scope| {
        for _ in 1..threads.min(segments.cuts.len()) {
            // If the thread cannot be started, the other threads do its work.
            let _ = thread::Builder::new().name("cut".to_owned()).spawn_scoped(scope, work);
        }
        work();
    });
    segments.joined()
}

struct Segments<'a> {
    data: &'a [u8],
    scanner: &'a Scanner,
    /// The length of every segment but the last one.
    len: usize,
    next: AtomicUsize,
    /// For each segment the starts of chunks, assuming that a chunk starts with the segment. The
    /// last start is the first one beyond the segment.
    cuts: Vec<OnceLock<Vec<usize>>>,
}

impl<'a> Segments<'a> {
    fn new(data: &'a [u8], scanner: &'a Scanner, threads: usize) -> Segments<'a> {
        let wanted = match threads {
            1 => 1,
            _ => threads.saturating_mul(SEGMENTS_PER_THREAD),
        };
        let len = data.len().div_ceil(wanted).max(MIN_SEGMENT * scanner.params().max_size());
        let cuts = (0..data.len().div_ceil(len)).map(|_| OnceLock::new()).collect();
        Segments { data, scanner, len, next: AtomicUsize::new(0), cuts }
    }

    /// The end of the segment `number`.
    fn end(&self, number: usize) -> usize {
        self.data.len().min((number + 1) * self.len)
    }

    /// Cuts segments until all of them are taken.
    fn cut_some(&self) {
        let mut scanner = self.scanner.clone();
        loop {
            let number = self.next.fetch_add(1, Relaxed);
            let Some(cuts) = self.cuts.get(number) else { return };
            let mut at = number * self.len;
            let mut found = vec![at];
            while at < self.end(number) {
                at = self.next_cut(&mut scanner, at);
                found.push(at);
            }
            // Each number is taken once.
            let _ = cuts.set(found);
        }
    }

    /// The end of the chunk that starts at `at`.
    fn next_cut(&self, scanner: &mut Scanner, at: usize) -> usize {
        let end = scanner.find_end(&self.data[at..]).map_or(self.data.len(), |len| at + len);
        scanner.restart();
        end
    }

    /// The ends of the chunks of the whole data.
    fn joined(self) -> Vec<usize> {
        let mut scanner = self.scanner.clone();
        let mut ends = Vec::new();
        let mut at = 0;
        for (number, cuts) in self.cuts.iter().enumerate() {
            let cuts = cuts.get().map_or(&[][..], Vec::as_slice);
            while at < self.end(number) {
                match cuts.binary_search(&at) {
                    // A chunk really starts here, and so do all that follow.
                    Ok(known) => ends.extend(&cuts[known + 1..]),
                    Err(_) => ends.push(self.next_cut(&mut scanner, at)),
                }
                at = ends.last().copied().unwrap_or(at);
            }
        }
        ends
    }
}
