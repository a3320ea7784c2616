//! The part of a chunk that a range of a blob needs.

use std::ops::Range;

use bytes::Bytes;

use crate::ChunkMeta;

/// One chunk of a blob, and the part of it that a range of the blob needs.
///
/// [`BlobIndex::pieces`](crate::BlobIndex::pieces) returns the pieces of a range in order. A source
/// reads the chunk, [verifies](ChunkMeta::verify) all of it, and returns the bytes that
/// [`clip`](Piece::clip) selects:
///
/// ```
/// use bytes::Bytes;
/// use castore_core::{BlobIndex, ChunkMeta, Digest};
///
/// let chunks = [Bytes::from_static(b"Hello "), Bytes::from_static(b"World")];
/// let meta = |chunk: &Bytes| ChunkMeta { digest: Digest::of(chunk), size: chunk.len() as u64 };
/// let index = BlobIndex::new(Digest::of(b"Hello World"), chunks.iter().map(meta))?;
///
/// let mut range = 4..8;
/// let mut read = Vec::new();
/// while let Some(piece) = index.pieces(range.clone()).next() {
///     let chunk = chunks.iter().find(|chunk| piece.meta.verify(chunk).is_ok());
///     read.push(piece.clip(chunk.expect("it is stored")));
///     range.start = piece.end();
/// }
/// assert_eq!(read, ["o ", "Wo"]);
/// # Ok::<(), castore_core::IndexError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// The chunk.
    pub meta: ChunkMeta,
    /// The offset of the chunk's first byte in the blob, in bytes.
    pub start: u64,
    /// The bytes of the chunk that are in the range, as offsets in the chunk.
    pub within: Range<u64>,
}

impl Piece {
    /// The part of the chunk `meta` that `range` of a blob needs. The chunk's first byte is at
    /// `start` in the blob.
    ///
    /// For a source whose chunks are not listed in a [`BlobIndex`](crate::BlobIndex). If no byte of
    /// the chunk is in the range, [`within`](Piece::within) is empty.
    pub fn clipped(meta: ChunkMeta, start: u64, range: &Range<u64>) -> Piece {
        let offset = |position: u64| position.saturating_sub(start).min(meta.size);
        let first = offset(range.start);
        Piece { meta, start, within: first..offset(range.end).max(first) }
    }

    /// The position in the blob after the chunk's last byte in the range: a range that starts there
    /// continues after this piece.
    pub fn end(&self) -> u64 {
        self.start + self.within.end
    }

    /// Clips the bytes of the whole chunk to those in the range, without copying.
    ///
    /// `chunk` must be verified bytes. If the chunk is too short, the result is too: a
    /// [`BlobReader`](crate::BlobReader) detects missing bytes.
    pub fn clip(&self, chunk: &Bytes) -> Bytes {
        let offset = |offset: u64| offset.min(chunk.len() as u64) as usize;
        chunk.slice(offset(self.within.start)..offset(self.within.end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BlobIndex, Digest, ErrorKind};

    #[test]
    fn pieces_are_the_range_however_the_blob_is_cut() {
        let sizes = [3, 1, 4, 1, 5];
        let data = Bytes::from_static(b"abcdefghijklmn");
        let mut rest = data.clone();
        let chunks: Vec<Bytes> = sizes.iter().map(|size| rest.split_to(*size)).collect();
        let meta =
            |chunk: &Bytes| ChunkMeta { digest: Digest::of(chunk), size: chunk.len() as u64 };
        let index = BlobIndex::new(Digest::of(&data), chunks.iter().map(meta)).unwrap();
        for start in 0..=16u64 {
            for end in 0..=16u64 {
                let expected = data.get(start as usize..end.min(14) as usize).unwrap_or_default();
                let pieces: Vec<Piece> = index.pieces(start..end).collect();
                let mut read = Vec::new();
                for piece in &pieces {
                    let number = index.locate(piece.start).unwrap().chunk;
                    assert_eq!(piece.meta, index.get(number).unwrap());
                    piece.meta.verify(&chunks[number]).unwrap();
                    let clipped = piece.clip(&chunks[number]);
                    assert!(!clipped.is_empty(), "{start}..{end}");
                    read.extend_from_slice(&clipped);
                    assert_eq!(piece.end(), start + read.len() as u64);
                }
                assert_eq!(read, expected, "{start}..{end}");
                // Taking only the first piece of the rest, repeatedly, gives the same.
                let mut left = start..end;
                for piece in &pieces {
                    let next = index.pieces(left.clone()).next().unwrap();
                    assert_eq!((next.start, next.end()), (piece.start, piece.end()));
                    left.start = next.end();
                }
                assert_eq!(index.pieces(left).len(), 0);
            }
        }
    }

    #[test]
    fn a_piece_outside_of_the_range_is_empty_and_a_short_chunk_does_not_panic() {
        let meta = ChunkMeta { digest: Digest::of(b"abcdef"), size: 6 };
        for range in [0..10, 16..20, 12..12] {
            assert!(Piece::clipped(meta, 10, &range).within.is_empty(), "{range:?}");
        }
        let piece = Piece::clipped(meta, 10, &(11..u64::MAX));
        assert_eq!((piece.within.clone(), piece.end()), (1..6, 16));
        assert_eq!(piece.clip(&Bytes::from_static(b"abc")), "bc");
        assert_eq!(piece.clip(&Bytes::new()), "");
    }

    #[test]
    fn a_chunk_is_verified_by_size_and_digest() {
        let meta = ChunkMeta { digest: Digest::of(b"abc"), size: 3 };
        meta.verify(b"abc").unwrap();
        for (bytes, message) in [(&b"ab"[..], "2 bytes"), (b"abcd", "4 bytes"), (b"abx", "digest")]
        {
            let error = meta.verify(bytes).unwrap_err();
            assert_eq!((error.kind(), error.digest()), (ErrorKind::Corrupt, Some(meta.digest)));
            assert!(error.to_string().contains(message), "{error}");
        }
    }
}
