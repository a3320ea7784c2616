//! Reading a blob: the small trait that a backend implements, and the reader that people use.

use std::fmt;
use std::io::{self, SeekFrom};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};

use crate::checked::checked;
use crate::{BlobIndex, BoxStream, Digest, Error, ErrorKind, Result};

/// The part of a reader that a backend implements: the bytes of one blob.
///
/// [`BlobReader`] keeps the rest of the protocol: it checks the ranges that callers ask for, and
/// checks the digest of the whole blob, unless the source [does so](BlobSource::verifies_whole).
pub trait BlobSource: Send + Sync + 'static {
    /// The size of the blob in bytes.
    fn size(&self) -> u64;

    /// The digest of the blob that the source reads.
    fn digest(&self) -> Digest;

    /// The chunks of the blob, if the source holds the whole list in memory.
    fn index(&self) -> Option<BlobIndex> {
        None
    }

    /// The bytes of `range`, in order, in pieces of any size but zero.
    ///
    /// The caller keeps `range.start <= range.end <= size()`. The stream ends after the last byte
    /// of the range, or after its first error. The source verifies every chunk before it yields a
    /// byte of it ([`ChunkMeta::verify`](crate::ChunkMeta::verify)). A source fetches the chunks
    /// that the range needs ([`BlobIndex::pieces`](crate::BlobIndex::pieces)), and keeps no lock,
    /// place or connection from one piece to the next that others need.
    ///
    /// A verified chunk may still be at a wrong place. A source that claims verified ranges also
    /// proves every group before it yields a byte of it, where the index has group hashes
    /// ([`GroupProof::verify`](crate::groups::GroupProof::verify)): then a range needs all chunks
    /// of the groups that it touches.
    ///
    /// The stream works without the source, and beside other streams of the same source.
    fn read_range(&self, range: Range<u64>) -> BoxStream<Result<Bytes>>;

    /// The bytes from `start` to the end of the blob, for a reader that has jumped there and wants
    /// `wanted` bytes now.
    ///
    /// The stream is like [`read_range`](Self::read_range) of `start..size()`, and verifies as
    /// much. But the reader may well jump again after these bytes: a source that reads ahead should
    /// fetch no more than them at first, and should read ahead only when the stream is polled after
    /// they were yielded. The caller keeps `start <= size()`; `wanted` may be more than there is.
    fn read_on(&self, start: u64, wanted: u64) -> BoxStream<Result<Bytes>> {
        let _ = wanted;
        self.read_range(start..self.size())
    }

    /// Whether the source itself checks the digest of the whole blob, in every stream that starts
    /// with the blob and goes on to its end.
    ///
    /// By default it does not, and [`BlobReader`] does: the reader hashes each piece where the
    /// stream is polled, at one to several gigabytes a second, and holds the last one back until
    /// the digest is right. A source that answers `true` ends such a stream with an error of kind
    /// [`Corrupt`](ErrorKind::Corrupt) where the whole is another blob, and the reader hashes
    /// nothing; the reader still holds the last piece back until the stream has ended without an
    /// error. A source answers `true` where it hashes on threads of its own, or has another proof
    /// for each piece.
    fn verifies_whole(&self) -> bool {
        false
    }
}

/// A reader of one blob: `AsyncRead`, `AsyncSeek`, and [`read_range`](BlobReader::read_range).
///
/// Reading goes on ahead of the caller, in the way of the backend. After a seek, reading starts
/// with the bytes that are asked for, and goes ahead when reads continue from there. A seek within
/// the piece that was read last fetches nothing. Seeking before the start or past the end is
/// `InvalidInput` and leaves the position as it was; seeking to the end is fine. At the end a read
/// gives no bytes, as often as it is tried.
///
/// A blob that is read from start to end without a seek is verified as a whole, and so is a range
/// that is the whole blob: the last bytes come only if all of it has the blob's digest, and a read
/// that fails has given fewer bytes than the blob has.
///
/// Errors stay. After a read has failed, each further read fails with the same error and hands out
/// no byte. A seek that succeeds clears an error, unless that is
/// [`Corrupt`](ErrorKind::Corrupt): other parts of a damaged blob can be had with
/// [`read_range`](BlobReader::read_range), or with another reader. Reads are cancel safe: a future
/// of a read that is dropped has taken no byte.
pub struct BlobReader {
    source: Arc<dyn BlobSource>,
    position: u64,
    /// The piece that was read last, and the position of its first byte.
    piece: Bytes,
    piece_start: u64,
    /// The rest of the blob from the end of `piece` on, once it was asked for. Nothing ever locks
    /// it: it is there to make the reader `Sync`, so that ranges can be read from many tasks.
    rest: Option<Mutex<BoxStream<Result<Bytes>>>>,
    /// Whether a seek has moved the position: then the next one may do so soon, too.
    has_jumped: bool,
    /// The error that a read has failed with.
    error: Option<Error>,
}

impl BlobReader {
    /// A reader at the start of the blob that `source` reads.
    pub fn new(source: impl BlobSource) -> BlobReader {
        let error = wrongly_empty(&source);
        BlobReader {
            source: Arc::new(source),
            position: 0,
            piece: Bytes::new(),
            piece_start: 0,
            rest: None,
            has_jumped: false,
            error,
        }
    }

    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.source.size()
    }

    /// The digest of the blob.
    pub fn digest(&self) -> Digest {
        self.source.digest()
    }

    /// The chunks of the blob, if the reader holds the whole list in memory; a reader of a very
    /// large blob may not. [`BlobService::chunks`](crate::BlobService::chunks) reads the list of
    /// any blob.
    pub fn index(&self) -> Option<BlobIndex> {
        self.source.index()
    }

    /// Fills `buf` with the bytes of the blob from `offset` (in bytes) on; the position is not
    /// moved.
    ///
    /// Returns the number of bytes, which is less than `buf` has room for only at the end of the
    /// blob; from the end on it is 0, as with `read_at` of a file. Every call fetches the chunks
    /// that cover its bytes: for many small reads in a row, [seek and read](AsyncSeek). Cancel
    /// safe.
    ///
    /// # Errors
    /// Those of [`read_range`](Self::read_range); `buf` may have changed then.
    pub async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let size = self.size();
        let start = offset.min(size);
        let end = start.saturating_add(buf.len() as u64).min(size);
        let mut pieces = self.read_range(start..end);
        let mut filled = 0;
        while let Some(piece) = pieces.try_next().await? {
            buf[filled..filled + piece.len()].copy_from_slice(&piece);
            filled += piece.len();
        }
        Ok(filled)
    }

    /// The bytes of `range` (offsets in bytes), in order, in pieces; the position is not moved.
    ///
    /// Fetches only the chunks that cover the range. The stream ends after its first error, and
    /// works without the reader.
    ///
    /// # Errors
    /// `InvalidInput`, as the stream's only item, where the range ends before it starts or past
    /// the end of the blob; else those of the backend.
    pub fn read_range(&self, range: Range<u64>) -> BoxStream<Result<Bytes>> {
        let size = self.size();
        let Range { start, end } = range;
        if start > end || end > size {
            let message = format!("{start}..{end} is not a range of a blob of {size} bytes");
            let error = Error::new(ErrorKind::InvalidInput, "read a range", message);
            return stream::iter([Err(error)]).boxed();
        }
        if start == end {
            return stream::iter(wrongly_empty(&*self.source).map(Err)).boxed();
        }
        self.check(self.source.read_range(range), start..end)
    }

    /// The rest of the blob from the position on, of which `wanted` bytes are wanted now.
    fn read_rest(&self, wanted: usize) -> BoxStream<Result<Bytes>> {
        let (position, size) = (self.position, self.size());
        let rest = match self.has_jumped {
            true => self.source.read_on(position, wanted as u64),
            false => self.source.read_range(position..size),
        };
        self.check(rest, position..size)
    }

    /// Holds the backend to its word for the bytes of `range`.
    fn check(
        &self,
        pieces: BoxStream<Result<Bytes>>,
        range: Range<u64>,
    ) -> BoxStream<Result<Bytes>> {
        let whole = (range == (0..self.size())).then(|| self.source.digest());
        checked(pieces, range.end - range.start, whole, self.source.verifies_whole())
    }

    fn piece_end(&self) -> u64 {
        self.piece_start + self.piece.len() as u64
    }

    /// The rest of the last piece from the current position on.
    fn buffered(&self) -> &[u8] {
        if (self.piece_start..self.piece_end()).contains(&self.position) {
            &self.piece[(self.position - self.piece_start) as usize..]
        } else {
            &[]
        }
    }
}

/// The error of a source that has no bytes, but not the digest of no bytes: no stream is asked for
/// that could tell.
fn wrongly_empty(source: &dyn BlobSource) -> Option<Error> {
    let digest = source.digest();
    (source.size() == 0 && digest != Digest::EMPTY).then(|| {
        let error = Error::new(ErrorKind::Corrupt, "read a blob", "it has no bytes");
        error.with_digest(digest)
    })
}

impl AsyncRead for BlobReader {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if let Some(error) = &this.error {
            return Poll::Ready(Err(error.clone().into()));
        }
        while this.buffered().is_empty() {
            // The stream's own end, not the count of bytes, is the end of a blob: a source may fail
            // after its last byte.
            if this.rest.is_none() || this.position != this.piece_end() {
                if this.position == this.size() {
                    return Poll::Ready(Ok(()));
                }
                this.rest = Some(Mutex::new(this.read_rest(buf.remaining())));
                this.piece = Bytes::new();
                this.piece_start = this.position;
            }
            let Some(rest) = &mut this.rest else { continue };
            let rest = rest.get_mut().unwrap_or_else(PoisonError::into_inner);
            match ready!(rest.poll_next_unpin(cx)) {
                Some(Ok(piece)) => {
                    this.piece_start = this.piece_end();
                    this.piece = piece;
                }
                Some(Err(error)) => {
                    this.rest = None;
                    this.error = Some(error.clone());
                    return Poll::Ready(Err(error.into()));
                }
                None => {
                    this.rest = None;
                    return Poll::Ready(Ok(()));
                }
            }
        }
        let buffered = this.buffered();
        let count = buffered.len().min(buf.remaining());
        buf.put_slice(&buffered[..count]);
        this.position += count as u64;
        Poll::Ready(Ok(()))
    }
}

impl AsyncSeek for BlobReader {
    fn start_seek(self: Pin<&mut Self>, to: SeekFrom) -> io::Result<()> {
        let this = self.get_mut();
        let size = this.size();
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => size.checked_add_signed(offset),
            SeekFrom::Current(offset) => this.position.checked_add_signed(offset),
        };
        match target.filter(|target| *target <= size) {
            Some(target) => {
                this.has_jumped |= target != this.position;
                this.position = target;
                this.error.take_if(|error| error.kind() != ErrorKind::Corrupt);
            }
            None => {
                let message = format!("{to:?} is outside of a blob of {size} bytes");
                return Err(Error::new(ErrorKind::InvalidInput, "seek", message).into());
            }
        }
        Ok(())
    }

    fn poll_complete(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Poll::Ready(Ok(self.position))
    }
}

impl fmt::Debug for BlobReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlobReader")
            .field("size", &self.size())
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::TryStreamExt;
    use tokio::io::{AsyncReadExt, AsyncSeekExt};

    use super::*;

    /// Serves `data` in pieces of 10 bytes and keeps the ranges that it was asked for.
    #[derive(Clone, Default)]
    struct Pieces {
        data: Vec<u8>,
        asked: Arc<Mutex<Vec<Range<u64>>>>,
        /// The bytes that were wanted of each range that was read on after a seek.
        wanted: Arc<Mutex<Vec<u64>>>,
        /// The digest that the source should have read, where that is another one.
        digest: Option<Digest>,
        /// The fault of the backend: bytes too many (or too few) at the end of each range.
        excess: i64,
        /// The error that comes instead of the piece with this byte of the blob.
        fails: Option<(u64, ErrorKind)>,
    }

    impl BlobSource for Pieces {
        fn size(&self) -> u64 {
            self.data.len() as u64
        }

        fn digest(&self) -> Digest {
            self.digest.unwrap_or_else(|| Digest::of(&self.data))
        }

        fn read_range(&self, range: Range<u64>) -> BoxStream<Result<Bytes>> {
            self.asked.lock().unwrap().push(range.clone());
            let end = range.end.checked_add_signed(self.excess).unwrap() as usize;
            let mut data = self.data.clone();
            data.resize(data.len().max(end), 0);
            let fails = self.fails;
            let pieces: Vec<_> = data[range.start as usize..end]
                .chunks(10)
                .zip((range.start..).step_by(10))
                .map(|(piece, start)| match fails {
                    Some((at, kind)) if (start..start + piece.len() as u64).contains(&at) => {
                        Err(Error::new(kind, "read", format!("byte {at} is bad")))
                    }
                    _ => Ok(Bytes::copy_from_slice(piece)),
                })
                .collect();
            stream::iter(pieces).boxed()
        }

        fn read_on(&self, start: u64, wanted: u64) -> BoxStream<Result<Bytes>> {
            self.wanted.lock().unwrap().push(wanted);
            self.read_range(start..self.size())
        }
    }

    fn hundred() -> (Pieces, BlobReader) {
        let pieces = Pieces { data: (0..100).collect(), ..Pieces::default() };
        (pieces.clone(), BlobReader::new(pieces))
    }

    #[tokio::test]
    async fn reads_everything_with_one_request() {
        let (pieces, mut reader) = hundred();
        let mut read = Vec::new();
        reader.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, pieces.data);
        assert_eq!(*pieces.asked.lock().unwrap(), vec![0..100]);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn a_seek_within_the_buffer_fetches_nothing() {
        let (pieces, mut reader) = hundred();
        assert_eq!(reader.read_u8().await.unwrap(), 0);
        for target in [9, 3, 0, 7] {
            assert_eq!(reader.seek(SeekFrom::Start(target)).await.unwrap(), target);
            assert_eq!(u64::from(reader.read_u8().await.unwrap()), target);
        }
        assert_eq!(pieces.asked.lock().unwrap().len(), 1);
        // Out to the end and back, without reading there, is still nothing.
        reader.seek(SeekFrom::End(0)).await.unwrap();
        reader.seek(SeekFrom::Start(8)).await.unwrap();
        let mut rest = Vec::new();
        reader.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, pieces.data[8..]);
        assert_eq!(pieces.asked.lock().unwrap().len(), 1);
    }

    #[tokio::test]
    async fn any_order_of_seeks_reads_the_right_bytes() {
        let (pieces, mut reader) = hundred();
        for start in [50, 95, 10, 11, 99, 0, 60, 20] {
            reader.seek(SeekFrom::Start(start)).await.unwrap();
            let mut read = Vec::new();
            (&mut reader).take(15).read_to_end(&mut read).await.unwrap();
            let end = (start as usize + 15).min(100);
            assert_eq!(read, pieces.data[start as usize..end]);
        }
        reader.seek(SeekFrom::End(-3)).await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), 97);
        reader.seek(SeekFrom::Current(-2)).await.unwrap();
        assert_eq!(reader.read_u8().await.unwrap(), 96);
    }

    #[tokio::test]
    async fn seeks_outside_are_invalid_input_and_move_nothing() {
        let (_, mut reader) = hundred();
        reader.seek(SeekFrom::Start(5)).await.unwrap();
        let bad = [
            SeekFrom::Start(101),
            SeekFrom::End(1),
            SeekFrom::End(-101),
            SeekFrom::Current(-6),
            SeekFrom::Current(i64::MAX),
        ];
        for to in bad {
            let error = reader.seek(to).await.unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{to:?}");
        }
        assert_eq!(reader.stream_position().await.unwrap(), 5);
        assert_eq!(reader.seek(SeekFrom::End(0)).await.unwrap(), 100);
        assert_eq!(reader.read(&mut [0; 8]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn read_at_fills_the_buffer_up_to_the_end_of_the_blob() {
        let (pieces, mut reader) = hundred();
        reader.read_exact(&mut [0; 5]).await.unwrap();
        for (offset, len) in
            [(0, 100), (5, 20), (9, 1), (95, 10), (100, 4), (200, 4), (u64::MAX, 1), (7, 0)]
        {
            let mut buf = vec![255; len];
            let count = reader.read_at(offset, &mut buf).await.unwrap();
            let start = offset.min(100) as usize;
            let end = (start + len).min(100);
            assert_eq!(count, end - start, "{offset} {len}");
            assert_eq!(buf[..count], pieces.data[start..end]);
            assert!(buf[count..].iter().all(|byte| *byte == 255));
        }
        assert_eq!(reader.read_u8().await.unwrap(), 5);
        let (mut pieces, _) = hundred();
        pieces.fails = Some((55, ErrorKind::Corrupt));
        let error = BlobReader::new(pieces).read_at(50, &mut [0; 10]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn ranges_are_checked_and_exact() {
        let (pieces, reader) = hundred();
        for range in [0..100, 0..0, 100..100, 7..8, 5..25, 99..100] {
            let read: Vec<Bytes> = reader.read_range(range.clone()).try_collect().await.unwrap();
            assert_eq!(read.concat(), pieces.data[range.start as usize..range.end as usize]);
        }
        #[expect(clippy::reversed_empty_ranges, reason = "that is what is being tested")]
        for range in [0..101, 101..101, 5..4, u64::MAX - 1..u64::MAX] {
            let error = reader.read_range(range).try_collect::<Vec<_>>().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }

    #[tokio::test]
    async fn an_error_stays_until_a_seek_and_damage_stays_for_ever() {
        for kind in [ErrorKind::Unavailable, ErrorKind::Corrupt] {
            let (mut pieces, _) = hundred();
            pieces.fails = Some((55, kind));
            let mut reader = BlobReader::new(pieces.clone());
            let mut read = Vec::new();
            let first = reader.read_to_end(&mut read).await.unwrap_err();
            assert_eq!(read, pieces.data[..50]);
            for _ in 0..3 {
                let error = reader.read(&mut [0; 8]).await.unwrap_err();
                assert_eq!((error.kind(), error.to_string()), (first.kind(), first.to_string()));
            }
            // A seek that fails moves nothing, and clears nothing.
            reader.seek(SeekFrom::Start(101)).await.unwrap_err();
            assert_eq!(reader.read(&mut [0; 8]).await.unwrap_err().to_string(), first.to_string());

            reader.seek(SeekFrom::Start(60)).await.unwrap();
            let mut rest = Vec::new();
            match (reader.read_to_end(&mut rest).await, kind) {
                (Ok(_), ErrorKind::Unavailable) => assert_eq!(rest, pieces.data[60..]),
                (Err(error), ErrorKind::Corrupt) => {
                    assert_eq!(error.to_string(), first.to_string());
                    assert!(rest.is_empty());
                }
                (result, _) => panic!("{kind:?}: {result:?}"),
            }
        }
    }

    #[tokio::test]
    async fn a_whole_read_of_another_blob_is_corrupt_before_its_end() {
        let digest = Some(Digest::of(b"another blob"));
        let pieces = Pieces { digest, ..hundred().0 };
        let mut reader = BlobReader::new(pieces.clone());
        let mut read = Vec::new();
        let error = reader.read_to_end(&mut read).await.unwrap_err().downcast::<Error>().unwrap();
        assert_eq!((error.kind(), error.digest()), (ErrorKind::Corrupt, digest));
        assert_eq!(read, pieces.data[..90]);

        let mut range = reader.read_range(0..100);
        let mut read = Vec::new();
        while let Some(Ok(piece)) = range.next().await {
            read.extend_from_slice(&piece);
        }
        assert_eq!(read, pieces.data[..90]);
        // Less than the whole has no digest to be checked against.
        let part: Vec<Bytes> = reader.read_range(1..100).try_collect().await.unwrap();
        assert_eq!(part.concat(), pieces.data[1..]);
        // A jump back to the start reads the whole as well.
        let mut reader = BlobReader::new(pieces);
        reader.seek(SeekFrom::Start(50)).await.unwrap();
        reader.seek(SeekFrom::Start(0)).await.unwrap();
        reader.read_to_end(&mut Vec::new()).await.unwrap_err();
    }

    #[tokio::test]
    async fn no_bytes_are_corrupt_for_any_blob_but_the_empty_one() {
        let mut empty = BlobReader::new(Pieces::default());
        assert_eq!(empty.read(&mut [0; 8]).await.unwrap(), 0);
        let digest = Some(Digest::of(b"a"));
        let mut other = BlobReader::new(Pieces { digest, ..Pieces::default() });
        other.read(&mut [0; 8]).await.unwrap_err();
        let error = other.read_range(0..0).try_collect::<Vec<_>>().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt);
    }

    #[tokio::test]
    async fn only_after_a_seek_the_source_is_told_how_much_is_wanted() {
        let (pieces, mut reader) = hundred();
        reader.seek(SeekFrom::Start(0)).await.unwrap();
        reader.read_exact(&mut [0; 30]).await.unwrap();
        assert!(pieces.wanted.lock().unwrap().is_empty());
        reader.seek(SeekFrom::Start(50)).await.unwrap();
        reader.read_exact(&mut [0; 30]).await.unwrap();
        reader.seek(SeekFrom::Start(0)).await.unwrap();
        reader.read_exact(&mut [0; 3]).await.unwrap();
        assert_eq!(*pieces.wanted.lock().unwrap(), [30, 3]);
    }

    #[tokio::test]
    async fn a_backend_that_gives_too_much_or_too_little_is_an_error() {
        for excess in [-1, 1] {
            let data = (0..100).collect();
            let reader = BlobReader::new(Pieces { data, excess, ..Pieces::default() });
            let read = reader.read_range(20..60).try_collect::<Vec<_>>().await;
            assert_eq!(read.unwrap_err().kind(), ErrorKind::Other);
        }
    }
}
