//! Reading a blob: a range as a stream of the chunks that cover it.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::thread;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobSource, Digest, Error, ErrorKind, Piece, Result};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::chunk::Blob;
use crate::flaw::Flaw;
use crate::groups::{Proven, proven};
use crate::records::locked;

/// The size in bytes of a page, for `GoesBackToThePageStart`.
const PAGE_SIZE: u64 = 4096;

pub(crate) struct Source {
    blob: Blob,
    shared: Arc<Shared>,
    /// The groups that the reader has proven, for `RemembersProofsOfReaders`.
    proven: Arc<Proven>,
    /// Dropped with the reader, for `RangesDieWithTheirReader`.
    reader: Arc<()>,
}

/// The state that the ranges of one reader share. A sound reader shares none: all of it is for
/// flaws.
#[derive(Default)]
struct Shared {
    /// The number of ranges begun so far.
    ranges: AtomicUsize,
    /// The start offsets of the pages read last, the most recent first.
    pages: Mutex<[Option<u64>; 2]>,
    /// The blob to which the reader is bound.
    bound_to: Mutex<Option<Arc<BlobIndex>>>,
    /// Whether a read has failed, for `ReadersStayFailed`.
    failed: AtomicBool,
}

impl Source {
    pub(crate) fn new(blob: Blob) -> Source {
        Source { blob, shared: Arc::default(), proven: Arc::default(), reader: Arc::default() }
    }

    /// The blob to read: another one with the flaw `ReadsTheBlobOpenedLast`.
    fn blob(&self) -> Blob {
        let mut blob = self.blob.clone();
        if blob.is(Flaw::ReadsTheBlobOpenedLast) {
            let mut bound_to = locked(&self.shared.bound_to);
            if bound_to.is_none() {
                let opened_last = locked(&blob.store.memory.opened_last);
                *bound_to = opened_last.get(&thread::current().id()).cloned();
            }
            blob.index = bound_to.clone().unwrap_or(blob.index);
        }
        blob
    }

    /// The range to read: another one with some flaws.
    fn range(&self, mut range: Range<u64>) -> Range<u64> {
        let index = &self.blob.index;
        let chunk_at = |offset| index.chunk_range(index.locate(offset)?.chunk);
        if self.blob.is(Flaw::SkipsTheLastByteOfAChunk)
            && range.start + 1 < index.size()
            && chunk_at(range.start).is_some_and(|held| held.end == range.start + 1)
        {
            range.start += 1;
        }
        if self.blob.is(Flaw::KeepsOffsetsIn17Bits)
            && let Some(held) = chunk_at(range.start)
        {
            range.start = held.start + ((range.start - held.start) & 0x1_ffff);
        }
        if self.blob.is(Flaw::IgnoresTheEndOfARange)
            && let Some(held) = chunk_at(range.end - 1)
        {
            range.end = held.end;
        }
        if self.blob.is(Flaw::GoesBackToThePageStart)
            && locked(&self.shared.pages)[1] == Some(page_start(range.start))
        {
            range.start = page_start(range.start);
        }
        range
    }
}

impl BlobSource for Source {
    fn size(&self) -> u64 {
        let index = &self.blob.index;
        if self.blob.is(Flaw::RoundsSmallSizesUp) && index.len() == 1 {
            return index.size().next_multiple_of(512);
        }
        index.size()
    }

    fn digest(&self) -> Digest {
        self.blob.index.digest()
    }

    fn verifies_whole(&self) -> bool {
        self.blob.is(Flaw::DoesNotVerifyTheWhole)
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        if self.blob.groups.is_some() {
            return proven(self.blob.clone(), Arc::clone(&self.proven), range);
        }
        self.read_chunks(range)
    }

    fn read_on(&self, start: u64, _: u64) -> BoxStream<'static, Result<Bytes>> {
        match self.blob.store.flaw {
            Some(Flaw::SkipsSeeks) => self.read_chunks(start..self.size()),
            _ => self.read_range(start..self.size()),
        }
    }
}

impl Source {
    /// The bytes of a range, with no proof but that of each chunk.
    fn read_chunks(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let reading = Reading::new(self, self.range(range));
        stream::unfold(Some(reading), |reading| async {
            let mut reading = reading?;
            match reading.next().await {
                Ok(Some(piece)) => Some((Ok(piece), Some(reading))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

/// A range that is being read.
struct Reading {
    blob: Blob,
    range: Range<u64>,
    /// Whether the range is the whole blob.
    is_whole: bool,
    /// The positions of the chunks not read yet.
    chunks: Range<usize>,
    /// The bytes of the last chunk that are not returned yet, for `GoesBackToThePageStart`.
    left: Bytes,
    /// The digest of the bytes so far, for `TakesTailsForWholes`.
    hasher: Option<blake3::Hasher>,
    shared: Arc<Shared>,
    reader: Weak<()>,
    /// The number of this range among the reader's ranges.
    number: usize,
    place: Option<OwnedSemaphorePermit>,
    /// For `GivesEmptyPieces`.
    gave_empty: bool,
}

impl Reading {
    fn new(source: &Source, range: Range<u64>) -> Reading {
        let blob = source.blob();
        let size = blob.index.size();
        let is_whole = range == (0..size);
        let is_hashed = range.end == size && blob.is(Flaw::TakesTailsForWholes);
        let chunks = blob.index.covering(range.clone());
        if blob.is(Flaw::ReadersShareAPosition) {
            locked(&blob.store.memory.positions).insert(blob.index.digest(), chunks.start);
        }
        Reading {
            blob,
            range,
            is_whole,
            chunks,
            left: Bytes::new(),
            hasher: is_hashed.then(blake3::Hasher::new),
            shared: Arc::clone(&source.shared),
            reader: Arc::downgrade(&source.reader),
            number: source.shared.ranges.fetch_add(1, Ordering::Relaxed) + 1,
            place: None,
            gave_empty: false,
        }
    }

    fn is(&self, flaw: Flaw) -> bool {
        self.blob.is(flaw)
    }

    /// The next piece.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let takes_place = self.is(Flaw::ReadsHoldPlaces)
            || self.is(Flaw::ReadersAndWritersSharePlaces)
            || self.is(Flaw::DroppedReadKeepsItsPlace);
        if takes_place && self.place.is_none() {
            let permits = Arc::clone(&self.blob.store.memory.permits);
            self.place = permits.acquire_owned().await.ok();
        }
        if self.is(Flaw::RangesDieWithTheirReader) && self.reader.strong_count() == 0 {
            return Ok(None);
        }
        if self.is(Flaw::OneRangePerReader)
            && self.number != self.shared.ranges.load(Ordering::Relaxed)
        {
            return Ok(None);
        }
        if self.is(Flaw::GoesBackToThePageStart) {
            return self.next_page().await;
        }
        self.next_chunk().await
    }

    /// The part of the next chunk that lies in the range.
    async fn next_chunk(&mut self) -> Result<Option<Bytes>> {
        if self.is(Flaw::GivesEmptyPieces) && !std::mem::replace(&mut self.gave_empty, true) {
            return Ok(Some(Bytes::new()));
        }
        let index = Arc::clone(&self.blob.index);
        if self.is(Flaw::ReadersShareAPosition) {
            let mut positions = locked(&self.blob.store.memory.positions);
            let position = positions.entry(index.digest()).or_default();
            self.chunks.start = *position;
            *position += 1;
        }
        let Some(number) = self.chunks.next() else { return Ok(None) };
        let (Some(meta), Some(held)) = (index.get(number), index.chunk_range(number)) else {
            return Ok(None);
        };
        if self.is(Flaw::ReadsTheWholeForARange) {
            for chunk in index.iter() {
                self.blob.read_chunk(chunk, self.is_whole).await?;
            }
        }
        let failed = &self.shared.failed;
        if self.is(Flaw::ReadersStayFailed) && failed.load(Ordering::Relaxed) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "read a chunk",
                "the reader has failed",
            ));
        }
        let read = self.blob.read_chunk(meta, self.is_whole).await;
        let is_failure = |error: &Error| error.kind() != ErrorKind::Corrupt && self.is_whole;
        let bytes = read.inspect_err(|error| failed.store(is_failure(error), Ordering::Relaxed))?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
            if self.chunks.is_empty()
                && Digest::from_bytes(*hasher.finalize().as_bytes()) != index.digest()
            {
                let error = Error::new(ErrorKind::Corrupt, "read a blob", "it has another digest");
                return Err(error.with_digest(index.digest()));
            }
        }
        let mut piece = Piece::clipped(meta, held.start, &self.range);
        if self.is(Flaw::ServesLongChunksWhole) && piece.within.end == meta.size {
            piece.within.end = bytes.len() as u64;
        }
        Ok(Some(piece.clip(&bytes)))
    }

    /// The part of the next page that lies in the range. Records the page.
    async fn next_page(&mut self) -> Result<Option<Bytes>> {
        if self.left.is_empty() {
            match self.next_chunk().await? {
                Some(piece) => self.left = piece,
                None => return Ok(None),
            }
        }
        let page = page_start(self.range.start);
        let rest_of_page = (page + PAGE_SIZE - self.range.start) as usize;
        let mut pages = locked(&self.shared.pages);
        if pages[0] != Some(page) {
            *pages = [Some(page), pages[0]];
        }
        let piece = self.left.split_to(self.left.len().min(rest_of_page));
        self.range.start += piece.len() as u64;
        Ok(Some(piece))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.is(Flaw::DroppedReadKeepsItsPlace) && !self.chunks.is_empty() {
            let _ = self.place.take().map(OwnedSemaphorePermit::forget);
        }
    }
}

fn page_start(offset: u64) -> u64 {
    offset / PAGE_SIZE * PAGE_SIZE
}
