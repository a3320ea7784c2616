//! The stored form of a chunk: FORMAT.md, "Chunk object".

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use castore_core::{Digest, MAX_CHUNK_SIZE};
use zstd::bulk::{Compressor, Decompressor};
use zstd::zstd_safe::zstd_sys::ZSTD_ErrorCode::ZSTD_error_srcSize_wrong;
use zstd::zstd_safe::{compress_bound, find_frame_compressed_size, is_error_kind};

/// Compresses and decompresses chunks, and reuses the contexts.
pub(crate) struct Codec {
    level: i32,
    /// Each compressor has an output buffer as large as the largest compressed chunk: a new buffer
    /// for each chunk would cost a page fault for every page.
    compressors: Pool<(Compressor<'static>, Vec<u8>)>,
    decompressors: Pool<Decompressor<'static>>,
}

/// The reason why a stored chunk is damaged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("it does not decompress")]
    Zstd(#[source] std::io::Error),
    #[error("it is cut short")]
    CutShort(#[source] std::io::Error),
    #[error("it has {found} bytes, not the {expected} that the index states")]
    Size { found: u64, expected: u64 },
    #[error("it is empty")]
    Empty,
    #[error("its bytes have the digest {0}")]
    Digest(Digest),
    #[error("it takes up {stored} bytes, more than a chunk of {size} may")]
    TooLarge { stored: u64, size: u64 },
}

/// The largest size in bytes of the object of a chunk of `size` bytes.
///
/// This is the only rule about object sizes. Readers, copies, verifications and repairs share it,
/// and [`Codec::decode`] enforces it, so that none of them accepts an object that another one
/// rejects. The rule bounds the memory that a hostile store can make a reader take.
///
/// Compression makes data larger by less than 1%, and a writer that flushes its encoder often adds
/// a few bytes each time. No sensible writer makes a larger object.
pub(crate) fn max_stored_size(size: u64) -> u64 {
    2 * size + 64 * 1024
}

/// Whether `stored` ends within a frame, which means that the chunk's object is truncated.
fn is_cut_short(stored: &[u8]) -> bool {
    let mut rest = stored;
    while !rest.is_empty() {
        match find_frame_compressed_size(rest) {
            Ok(size) => rest = rest.get(size.max(1)..).unwrap_or_default(),
            Err(code) => return is_error_kind(code, ZSTD_error_srcSize_wrong),
        }
    }
    false
}

impl Codec {
    pub(crate) fn new(level: i32) -> Codec {
        Codec { level, compressors: Pool::default(), decompressors: Pool::default() }
    }

    pub(crate) fn compress(&self, chunk: &[u8]) -> std::io::Result<Bytes> {
        let (mut compressor, mut buffer) = match self.compressors.take() {
            Some(in_use) => in_use,
            None => (Compressor::new(self.level)?, Vec::new()),
        };
        buffer.clear();
        buffer.reserve(compress_bound(chunk.len()));
        compressor.compress_to_buffer(chunk, &mut buffer)?;
        let stored = Bytes::copy_from_slice(&buffer);
        self.compressors.put((compressor, buffer));
        Ok(stored)
    }

    /// The verified bytes of the chunk `digest`, from its stored form.
    ///
    /// Takes no more memory than `size` if it is given, else no more than the largest possible
    /// chunk.
    pub(crate) fn decode(
        &self,
        digest: &Digest,
        size: Option<u64>,
        stored: &[u8],
    ) -> Result<Bytes, DecodeError> {
        let check = |size: u64| match stored.len() as u64 {
            stored if stored > max_stored_size(size) => Err(DecodeError::TooLarge { stored, size }),
            _ => Ok(()),
        };
        if let Some(size) = size {
            check(size)?;
        }
        let chunk = self.decode_of_any_size(digest, size, stored)?;
        check(chunk.len() as u64)?;
        Ok(chunk)
    }

    /// The same for an object that may be larger than the format allows; a repair replaces it with
    /// a valid one.
    pub(crate) fn decode_of_any_size(
        &self,
        digest: &Digest,
        size: Option<u64>,
        stored: &[u8],
    ) -> Result<Bytes, DecodeError> {
        let chunk = self.decompress(size, stored)?;
        let found = Digest::of(&chunk);
        if found != *digest {
            return Err(DecodeError::Digest(found));
        }
        Ok(chunk)
    }

    /// The bytes of a stored chunk, of which only the number is checked, if `size` is given.
    pub(crate) fn decompress(
        &self,
        size: Option<u64>,
        stored: &[u8],
    ) -> Result<Bytes, DecodeError> {
        let mut decompressor = match self.decompressors.take() {
            Some(decompressor) => decompressor,
            None => Decompressor::new().map_err(DecodeError::Zstd)?,
        };
        let chunk = match size {
            Some(size) => exactly(&mut decompressor, size, stored),
            None => at_most_the_maximum(&mut decompressor, stored),
        };
        self.decompressors.put(decompressor);
        chunk.map(Bytes::from).map_err(|error| match error {
            DecodeError::Zstd(source) if is_cut_short(stored) => DecodeError::CutShort(source),
            error => error,
        })
    }
}

fn exactly(
    decompressor: &mut Decompressor<'_>,
    size: u64,
    stored: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let mut chunk = Vec::with_capacity(size.min(MAX_CHUNK_SIZE) as usize);
    decompressor.decompress_to_buffer(stored, &mut chunk).map_err(DecodeError::Zstd)?;
    match chunk.len() as u64 {
        found if found == size => Ok(chunk),
        found => Err(DecodeError::Size { found, expected: size }),
    }
}

/// A frame need not state its content size. So this tries a likely size first, and larger ones
/// while that fails.
fn at_most_the_maximum(
    decompressor: &mut Decompressor<'_>,
    stored: &[u8],
) -> Result<Vec<u8>, DecodeError> {
    let likely = Decompressor::upper_bound(stored).unwrap_or(4 * stored.len());
    let mut capacity = (likely as u64).clamp(1024, MAX_CHUNK_SIZE);
    loop {
        let mut chunk = Vec::with_capacity(capacity as usize);
        match decompressor.decompress_to_buffer(stored, &mut chunk) {
            // No chunk is empty, and no object is either: an empty blob has no chunk at all.
            Ok(0) => return Err(DecodeError::Empty),
            Ok(_) => return Ok(chunk),
            Err(error) if capacity == MAX_CHUNK_SIZE => return Err(DecodeError::Zstd(error)),
            Err(_) => capacity = (4 * capacity).min(MAX_CHUNK_SIZE),
        }
    }
}

/// Contexts that are not in use. There are never more contexts than were once in use at the same
/// time.
struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Pool<T> {
        Pool(Mutex::new(Vec::new()))
    }
}

impl<T> Pool<T> {
    fn take(&self) -> Option<T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn put(&self, item: T) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }
}

impl std::fmt::Debug for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Codec").field("level", &self.level).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn text(len: usize) -> Vec<u8> {
        (0..).flat_map(|n: u32| format!("{n}\n").into_bytes()).take(len).collect()
    }

    #[test]
    fn compressed_chunks_decompress_with_and_without_the_size() {
        let codec = Codec::new(3);
        for len in [1, 2, 1000, 131_072, 131_073, 524_288, 3_000_000] {
            let chunk = text(len);
            let digest = Digest::of(&chunk);
            let stored = codec.compress(&chunk).unwrap();
            assert!(stored.len() as u64 <= max_stored_size(len as u64));
            assert_eq!(codec.decode(&digest, Some(len as u64), &stored).unwrap(), chunk);
            assert_eq!(codec.decode(&digest, None, &stored).unwrap(), chunk);
        }
    }

    #[test]
    fn frames_without_a_size_and_several_frames_are_accepted() {
        let chunk = text(400_000);
        let digest = Digest::of(&chunk);
        let mut stored = Vec::new();
        for part in chunk.chunks(150_000) {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            encoder.write_all(part).unwrap();
            stored.extend(encoder.finish().unwrap());
        }
        let codec = Codec::new(3);
        assert_eq!(codec.decode(&digest, Some(400_000), &stored).unwrap(), chunk);
        assert_eq!(codec.decode(&digest, None, &stored).unwrap(), chunk);
    }

    #[test]
    fn truncated_objects_are_recognised() {
        let codec = Codec::new(3);
        let stored = codec.compress(&text(300_000)).unwrap();
        for len in [1, 3, 5, 17, stored.len() / 2, stored.len() - 1] {
            assert!(is_cut_short(&stored[..len]), "{len}");
        }
        let twice = [&stored[..], &stored].concat();
        assert!(!is_cut_short(&stored) && !is_cut_short(&twice) && !is_cut_short(b""));
        assert!(is_cut_short(&twice[..twice.len() - 1]));
        assert!(!is_cut_short(b"this is no frame"));
    }

    #[test]
    fn a_frame_that_expands_further_than_allowed_is_refused() {
        let codec = Codec::new(3);
        let bomb = codec.compress(&vec![0; 64 << 20]).unwrap();
        let digest = Digest::of(&[0; 100]);
        assert!(matches!(codec.decode(&digest, Some(100), &bomb), Err(DecodeError::Zstd(_))));
        assert!(matches!(codec.decode(&digest, None, &bomb), Err(DecodeError::Zstd(_))));
    }

    #[test]
    fn wrong_sizes_and_wrong_bytes_are_refused() {
        let codec = Codec::new(3);
        let stored = codec.compress(b"hello").unwrap();
        let digest = Digest::of(b"hello");
        let size = codec.decode(&digest, Some(6), &stored);
        assert!(matches!(size, Err(DecodeError::Size { found: 5, expected: 6 })));
        let other = codec.decode(&Digest::of(b"other"), Some(5), &stored);
        assert!(matches!(other, Err(DecodeError::Digest(found)) if found == digest));
        assert!(codec.decode(&digest, Some(5), &stored[..stored.len() - 1]).is_err());
        assert!(codec.decode(&digest, None, &stored[..stored.len() - 1]).is_err());
        assert!(matches!(codec.decode(&Digest::EMPTY, None, b""), Err(DecodeError::Empty)));
    }

    /// The rule about sizes is the same with and without a known size. Skippable and empty frames
    /// belong to a valid object.
    #[test]
    fn an_object_is_too_large_with_and_without_the_size() {
        let codec = Codec::new(3);
        let chunk = text(1000);
        let digest = Digest::of(&chunk);
        let mut stored = codec.compress(&chunk).unwrap().to_vec();
        let empty = codec.compress(b"").unwrap();
        stored.extend_from_slice(&empty);
        let rest = max_stored_size(1000) - stored.len() as u64 - 8;
        let skippable = [&0x184d_2a50_u32.to_le_bytes()[..], &(rest as u32).to_le_bytes()].concat();
        stored.extend(skippable);
        stored.resize(max_stored_size(1000) as usize, 0);
        for size in [Some(1000), None] {
            assert_eq!(codec.decode(&digest, size, &stored).unwrap(), chunk, "{size:?}");
        }
        stored.extend_from_slice(&empty);
        for size in [Some(1000), None] {
            let refused = codec.decode(&digest, size, &stored);
            assert!(matches!(refused, Err(DecodeError::TooLarge { .. })), "{refused:?}");
            assert_eq!(codec.decode_of_any_size(&digest, size, &stored).unwrap(), chunk);
        }
    }

    #[test]
    fn a_context_is_used_again() {
        let codec = Codec::new(3);
        let chunk = text(1000);
        let stored = codec.compress(&chunk).unwrap();
        for _ in 0..3 {
            codec.decode(&Digest::of(&chunk), None, &stored).unwrap();
            codec.compress(&chunk).unwrap();
        }
        assert_eq!(codec.decompressors.0.lock().unwrap().len(), 1);
        assert_eq!(codec.compressors.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn the_debug_form_shows_the_level() {
        assert_eq!(format!("{:?}", Codec::new(7)), "Codec { level: 7, .. }");
    }
}
