//! Whether a stored chunk is complete, according to the headers of its zstd frames (RFC 8878,
//! 3.1.1).
//!
//! A file that a crash has truncated, or whose end was never written, is not a complete sequence of
//! frames. The walk reads a few bytes of each frame and each block and decompresses nothing.

use std::io;

const FRAME: u32 = 0xFD2F_B528;
/// The last four bits of a skippable frame's magic number are free.
const SKIPPABLE: u32 = 0x184D_2A50;

/// The longest header of a frame: magic number, descriptor, window, dictionary, content size.
const MAX_FRAME_HEADER: usize = 4 + 1 + 1 + 4 + 8;
const BLOCK_HEADER: u64 = 3;

/// The walk calls an object with more frames and blocks than this damaged; a chunk of 16 MiB has
/// 128 blocks. A writer stores such a chunk again.
const MAX_HEADERS: usize = 1 << 16;

/// Whether an object of `len` bytes is a complete sequence of zstd frames that state no other
/// content size than `size`, in bytes. `read_at` fills a buffer with the bytes of the object from
/// an offset on.
///
/// # Errors
/// Those of `read_at`.
pub(crate) fn is_complete(
    mut read_at: impl FnMut(&mut [u8], u64) -> io::Result<()>,
    len: u64,
    size: u64,
) -> io::Result<bool> {
    let mut walk = Walk { read_at: &mut read_at, len, at: 0, headers: 0 };
    let (mut stated, mut all_state) = (0_u64, true);
    while walk.at < len {
        match walk.frame()? {
            None => return Ok(false),
            Some(Content::Stated(bytes)) => stated = stated.saturating_add(bytes),
            Some(Content::Unstated) => all_state = false,
            Some(Content::Skippable) => {}
        }
    }
    let fits = if all_state { stated == size } else { stated <= size };
    Ok(len > 0 && walk.at == len && fits)
}

/// The content size that a frame states.
enum Content {
    Stated(u64),
    Unstated,
    Skippable,
}

struct Walk<'a> {
    read_at: &'a mut dyn FnMut(&mut [u8], u64) -> io::Result<()>,
    len: u64,
    at: u64,
    headers: usize,
}

impl Walk<'_> {
    /// Skips a frame; `None` if no complete frame follows.
    fn frame(&mut self) -> io::Result<Option<Content>> {
        let mut buffer = [0; MAX_FRAME_HEADER];
        let there = (self.len - self.at).min(MAX_FRAME_HEADER as u64) as usize;
        if there < 8 || !self.count() {
            return Ok(None);
        }
        (self.read_at)(&mut buffer[..there], self.at)?;
        let number = |from: usize, bytes: usize| {
            let mut number = [0; 8];
            number[..bytes].copy_from_slice(&buffer[from..from + bytes]);
            u64::from_le_bytes(number)
        };
        let magic = number(0, 4) as u32;
        if magic & !0xF == SKIPPABLE {
            return Ok(self.skip(8 + number(4, 4)).then_some(Content::Skippable));
        }
        if magic != FRAME {
            return Ok(None);
        }
        let descriptor = buffer[4];
        let single_segment = descriptor & 0x20 != 0;
        let window_bytes = usize::from(!single_segment);
        let dictionary_bytes = [0, 1, 2, 4][usize::from(descriptor & 3)];
        let size_bytes = match descriptor >> 6 {
            0 => usize::from(single_segment),
            flag => 1 << flag,
        };
        let size_at = 5 + window_bytes + dictionary_bytes;
        let content = match (size_bytes, number(size_at, size_bytes)) {
            (0, _) => Content::Unstated,
            (2, size) => Content::Stated(size + 256),
            (_, size) => Content::Stated(size),
        };
        if !self.skip((size_at + size_bytes) as u64) || !self.blocks()? {
            return Ok(None);
        }
        let checksum = if descriptor & 4 != 0 { 4 } else { 0 };
        Ok(self.skip(checksum).then_some(content))
    }

    /// Skips the blocks of a frame; `false` if they are not complete.
    fn blocks(&mut self) -> io::Result<bool> {
        loop {
            if self.len - self.at < BLOCK_HEADER || !self.count() {
                return Ok(false);
            }
            let mut header = [0; 4];
            (self.read_at)(&mut header[..3], self.at)?;
            let header = u32::from_le_bytes(header);
            let bytes = match header >> 1 & 3 {
                // One byte, repeated.
                1 => 1,
                3 => return Ok(false),
                _ => u64::from(header >> 3),
            };
            if !self.skip(BLOCK_HEADER + bytes) {
                return Ok(false);
            }
            if header & 1 == 1 {
                return Ok(true);
            }
        }
    }

    /// Skips `bytes` bytes; `false` if the object ends before.
    fn skip(&mut self, bytes: u64) -> bool {
        self.at += bytes.min(self.len - self.at + 1);
        self.at <= self.len
    }

    fn count(&mut self) -> bool {
        self.headers += 1;
        self.headers <= MAX_HEADERS
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn complete(object: &[u8], size: usize) -> bool {
        let read_at = |buffer: &mut [u8], at: u64| {
            let at = at as usize;
            buffer.copy_from_slice(&object[at..at + buffer.len()]);
            Ok(())
        };
        is_complete(read_at, object.len() as u64, size as u64).unwrap()
    }

    fn noise(len: usize) -> Vec<u8> {
        let mut noise = vec![0; len];
        blake3::Hasher::new().update(b"frames").finalize_xof().fill(&mut noise);
        noise
    }

    fn text(len: usize) -> Vec<u8> {
        (0..).flat_map(|n: u32| format!("{n}\n").into_bytes()).take(len).collect()
    }

    /// Several encodings: frames with and without a content size, with checksums, and several
    /// frames.
    fn forms(chunk: &[u8]) -> Vec<Vec<u8>> {
        let streamed = |checksum: bool, flush: bool| {
            let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
            encoder.include_checksum(checksum).unwrap();
            for part in chunk.chunks(chunk.len().div_ceil(7)) {
                encoder.write_all(part).unwrap();
                if flush {
                    encoder.flush().unwrap();
                }
            }
            encoder.finish().unwrap()
        };
        let parts = chunk.chunks(chunk.len().div_ceil(2));
        let two = parts.map(|part| zstd::bulk::compress(part, 3).unwrap()).collect::<Vec<_>>();
        let skippable = [&SKIPPABLE.to_le_bytes()[..], &5_u32.to_le_bytes(), b"12345"].concat();
        vec![
            zstd::bulk::compress(chunk, 1).unwrap(),
            zstd::bulk::compress(chunk, 19).unwrap(),
            streamed(false, false),
            streamed(true, false),
            streamed(true, true),
            two.concat(),
            [skippable, two.concat()].concat(),
        ]
    }

    #[test]
    fn all_forms_of_a_chunk_are_complete_and_none_that_is_cut_or_continued() {
        for chunk in
            [noise(1), noise(300), noise(100_000), text(70_000), text(400_000), vec![7; 9000]]
        {
            for form in forms(&chunk) {
                assert!(complete(&form, chunk.len()));
                let cuts = (1..form.len()).step_by(1 + form.len() / 100);
                for cut in cuts.chain([form.len() - 1]) {
                    // The first of two frames is complete by itself, but has another content size.
                    assert!(!complete(&form[..cut], chunk.len()), "{cut} of {}", form.len());
                }
                assert!(!complete(&[&form[..], b"more bytes"].concat(), chunk.len()));
                let mut ends_in_zeros = form.clone();
                ends_in_zeros[form.len() / 2..].fill(0);
                let whole = zstd::bulk::decompress(&ends_in_zeros, chunk.len() + 1).is_ok();
                assert!(whole || chunk.len() < 200_000 || !complete(&ends_in_zeros, chunk.len()));
            }
        }
    }

    #[test]
    fn a_stated_size_is_compared() {
        let chunk = noise(1000);
        let form = zstd::bulk::compress(&chunk, 3).unwrap();
        assert!(!complete(&form, 999) && !complete(&form, 1001));
    }

    #[test]
    fn other_bytes_are_not_complete_and_end_the_walk() {
        for object in [vec![], vec![0; 5000], b"<!doctype html><html></html>".to_vec(), noise(5000)]
        {
            assert!(!complete(&object, 5000));
        }
        // An endless sequence of empty blocks.
        let header = zstd::bulk::compress(&noise(1000), 3).unwrap()[..7].to_vec();
        assert!(!complete(&[header, vec![0; 1 << 20]].concat(), 1000));
    }
}
