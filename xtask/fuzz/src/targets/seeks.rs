//! A reader of a blob, beside the bytes of the blob: any sequence of seeks, reads and ranges.

use std::io::SeekFrom;
use std::sync::Arc;

use castore_chunker::ChunkParams;
use castore_core::{BlobReader, BlobService, Digest, ErrorKind, MemoryBlobService};
use castore_objstore::ObjectStoreBlobService;
use futures_util::{FutureExt, TryStreamExt};
use object_store::memory::InMemory;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::runtime;

/// Reads the blob that the input describes in the ways that the input describes, through the
/// reference and through castore-objstore with small chunks.
pub(super) fn check(input: &[u8]) {
    let mut input = Input(input);
    let blob = blob(&mut input);
    let chunked = ObjectStoreBlobService::builder(Arc::new(InMemory::new()))
        .chunk_params(ChunkParams::new(64, 256, 1024).unwrap())
        .build()
        .unwrap();
    runtime().block_on(async {
        read_through(&MemoryBlobService::new(), &blob, input).await;
        read_through(&chunked, &blob, input).await;
    });
}

/// The bytes of the input, one number after another; zeros in the end.
#[derive(Clone, Copy)]
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number up to `end`, and sometimes beyond it.
    fn position(&mut self, end: u64) -> u64 {
        let fraction = u64::from(u16::from_le_bytes([self.byte(), self.byte()]));
        // The last values stand for positions around the end.
        match fraction {
            0xfff0.. => (end + (fraction - 0xfff0)).saturating_sub(8),
            _ => (u128::from(end) * u128::from(fraction) / 0xfff0) as u64,
        }
    }
}

/// A blob of up to 300 KiB: two chunks of the reference, and hundreds of small ones.
fn blob(input: &mut Input<'_>) -> Vec<u8> {
    let len = match input.byte() {
        0 => 0,
        kind @ 1..=15 => usize::from(kind),
        kind @ 16..=239 => usize::from(kind) * 37,
        kind => (usize::from(kind) - 239) * 18_750,
    };
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&[input.byte()]).finalize_xof().fill(&mut bytes);
    // The second half repeats the first, so that chunks occur twice.
    if input.byte() % 2 == 1 {
        bytes.copy_within(..len / 2, len - len / 2);
    }
    bytes
}

async fn read_through(service: &impl BlobService, blob: &[u8], mut input: Input<'_>) {
    let mut writer = service.open_write().await.unwrap();
    writer.write_all(blob).await.unwrap();
    let digest = writer.close().await.unwrap();
    assert_eq!(digest, Digest::of(blob));
    let mut reader = service.open_read(&digest).await.unwrap().expect("it was just written");
    let size = blob.len() as u64;
    assert_eq!((reader.size(), reader.digest()), (size, digest));

    let mut position = 0_u64;
    while !input.0.is_empty() {
        match input.byte() % 8 {
            0 | 1 => seek(&mut reader, &mut position, size, &mut input).await,
            2 | 3 => {
                let wanted = usize::from(u16::from_le_bytes([input.byte(), input.byte() % 8]));
                let mut read = vec![0; wanted];
                let len = reader.read(&mut read).await.unwrap();
                let rest = &blob[position as usize..];
                assert!(len <= wanted && read[..len] == rest[..len]);
                assert!(len > 0 || wanted == 0 || rest.is_empty(), "an early end");
                position += len as u64;
            }
            4 => {
                let wanted = input.position(size).min(size - position) as usize;
                let mut read = vec![0; wanted];
                reader.read_exact(&mut read).await.unwrap();
                assert!(read == blob[position as usize..][..wanted]);
                position += wanted as u64;
            }
            5 | 6 => {
                let (start, end) = (input.position(size), input.position(size));
                let read = reader.read_range(start..end).try_collect::<Vec<_>>().await;
                if start <= end && end <= size {
                    assert!(read.unwrap().concat() == blob[start as usize..end as usize]);
                } else {
                    assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidInput);
                }
            }
            // A read that is given up after one poll has taken no byte, or has ended.
            _ => {
                let mut read = [0; 300];
                if let Some(len) = reader.read(&mut read).now_or_never() {
                    let len = len.unwrap();
                    assert!(read[..len] == blob[position as usize..][..len]);
                    position += len as u64;
                }
            }
        }
        assert_eq!(reader.stream_position().await.unwrap(), position);
    }
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert!(rest == blob[position as usize..]);
}

/// A seek moves the position of the reader and of the model, or neither.
async fn seek(reader: &mut BlobReader, position: &mut u64, size: u64, input: &mut Input<'_>) {
    let kind = input.byte();
    let target = input.position(size);
    let to = match kind % 4 {
        0 | 1 => SeekFrom::Start(target),
        2 => SeekFrom::End(target as i64 - size as i64),
        _ => SeekFrom::Current(target as i64 - *position as i64),
    };
    // Of the far ones, some are not even a number of 64 bits.
    let (to, target) = match kind {
        250..=252 => (SeekFrom::Current(i64::MIN), u64::MAX),
        253 => (SeekFrom::End(i64::MAX), u64::MAX),
        254.. => (SeekFrom::Start(u64::MAX), u64::MAX),
        _ => (to, target),
    };
    match reader.seek(to).await {
        Ok(reached) => {
            assert!(target <= size, "{to:?} of {size}");
            assert_eq!(reached, target);
            *position = target;
        }
        Err(error) => {
            assert!(target > size, "{to:?} of {size}: {error}");
            assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        }
    }
}
