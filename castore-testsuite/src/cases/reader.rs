//! What a reader promises.

use std::io::SeekFrom;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, Digest, ErrorKind};
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{expect_absent, expect_blob, open, put};
use crate::Harness;
use crate::data::{Numbers, interesting_sizes, random};

/// `has` is false, `chunks` and `open_read` are `None`.
pub async fn absent_is_none_everywhere(harness: Arc<impl Harness>) {
    let service = harness.open();
    for digest in [Digest::of(b"absent"), Digest::from_bytes([0; 32])] {
        expect_absent(&service, &digest).await;
    }
    put(&service, &Bytes::from_static(b"something else")).await;
    expect_absent(&service, &Digest::of(b"absent")).await;
}

/// The empty blob can be read without ever having been written.
pub async fn empty_blob_is_always_there(harness: Arc<impl Harness>) {
    let service = harness.open();
    expect_blob(&service, b"", "the empty blob").await;
    let index = service.chunks(&Digest::EMPTY).await.expect("chunks");
    assert_eq!(index, Some(BlobIndex::empty()));
}

/// The chunks of an index add up to the blob.
pub async fn index_sums_to_size(harness: Arc<impl Harness>) {
    let service = harness.open();
    for size in interesting_sizes() {
        let data = random("index", size);
        let digest = put(&service, &data).await;
        let index = service.chunks(&digest).await.expect("chunks").expect("it is there");
        assert_eq!(index.digest(), digest);
        assert_eq!(index.size(), size as u64);
        for (number, chunk) in index.iter().enumerate() {
            let range = index.chunk_range(number).expect("a chunk has a range");
            let bytes = &data[range.start as usize..range.end as usize];
            assert_eq!(chunk.digest, Digest::of(bytes), "chunk {number} of {size} bytes");
        }
    }
}

/// Reading in any sizes gives the same bytes.
pub async fn read_sizes(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("read sizes", 2_000_003);
    let digest = put(&service, &data).await;
    for size in [313, 4096, 100_000, 1 << 20, 3 << 20] {
        let mut reader = open(&service, &digest).await;
        let mut read = Vec::new();
        let mut buffer = vec![0; size];
        loop {
            let count = reader.read(&mut buffer).await.expect("read");
            if count == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..count]);
        }
        assert!(read == data, "read {size} bytes at a time");
    }
}

/// Ranges give exactly their bytes.
pub async fn ranges(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("ranges", 2_000_003);
    let digest = put(&service, &data).await;
    let reader = open(&service, &digest).await;
    let size = data.len() as u64;
    let mut all = vec![0..0, size..size, 0..1, 0..size, size - 1..size, 1..size - 1, 5..5];
    let index = service.chunks(&digest).await.expect("chunks").expect("it is there");
    for number in 0..index.len() {
        let chunk = index.chunk_range(number).expect("a chunk has a range");
        all.push(chunk.clone());
        all.push(chunk.start.saturating_sub(1)..(chunk.start + 1).min(size));
    }
    let mut numbers = Numbers::new("ranges");
    for _ in 0..50 {
        let start = numbers.below(size);
        all.push(start..start + numbers.below(size - start + 1));
    }
    for range in all {
        let read: Vec<Bytes> = reader.read_range(range.clone()).try_collect().await.expect("read");
        let expected = &data[range.start as usize..range.end as usize];
        assert!(read.concat() == expected, "range {range:?}");
    }
}

/// A range past the end, or that ends before it starts, is `InvalidInput`.
pub async fn ranges_outside_are_invalid_input(harness: Arc<impl Harness>) {
    let service = harness.open();
    let digest = put(&service, &random("outside", 1000)).await;
    let reader = open(&service, &digest).await;
    for (start, end) in [(0, 1001), (1001, 1001), (1000, 1001), (5, 4), (0, u64::MAX)] {
        let read: Result<Vec<Bytes>, _> = reader.read_range(start..end).try_collect().await;
        let error = read.expect_err("a range outside of the blob");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{start}..{end}");
    }
}

/// Seeks from the start, from the end and from where one is, in any order.
pub async fn seeks(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("seeks", 2_000_003);
    let size = data.len() as u64;
    let digest = put(&service, &data).await;
    let mut reader = open(&service, &digest).await;
    let mut numbers = Numbers::new("seeks");
    let mut position = 0;
    for step in 0..200 {
        let target = numbers.below(size + 1);
        let seek = match step % 3 {
            0 => SeekFrom::Start(target),
            1 => SeekFrom::End(target as i64 - size as i64),
            _ => SeekFrom::Current(target as i64 - position as i64),
        };
        assert_eq!(reader.seek(seek).await.expect("seek"), target, "{seek:?}");
        let length = numbers.below(1000).min(size - target) as usize;
        let mut read = vec![0; length];
        reader.read_exact(&mut read).await.expect("read_exact");
        let expected = &data[target as usize..target as usize + length];
        assert!(read == expected, "{length} bytes at {target}, in step {step}");
        position = target + length as u64;
    }
    reader.seek(SeekFrom::End(0)).await.expect("seek");
    assert_eq!(reader.read(&mut [0; 10]).await.expect("read"), 0, "a read at the end");
    reader.rewind().await.expect("rewind");
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.expect("read_to_end");
    assert!(read == data, "all of it, after many seeks");
}

/// A seek before the start or past the end is `InvalidInput`, and moves nothing.
pub async fn seeks_outside_are_invalid_input(harness: Arc<impl Harness>) {
    let service = harness.open();
    let digest = put(&service, &random("outside", 1000)).await;
    let mut reader = open(&service, &digest).await;
    reader.seek(SeekFrom::Start(10)).await.expect("seek");
    let outside =
        [SeekFrom::Start(1001), SeekFrom::End(1), SeekFrom::End(-1001), SeekFrom::Current(-11)];
    for seek in outside {
        let error = reader.seek(seek).await.expect_err("a seek outside of the blob");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{seek:?}");
    }
    assert_eq!(reader.stream_position().await.expect("position"), 10);
}

/// Two readers of one blob do not disturb each other.
pub async fn two_readers_at_once(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("two readers", 2_000_003);
    let digest = put(&service, &data).await;
    let mut first = open(&service, &digest).await;
    let mut second = open(&service, &digest).await;
    second.seek(SeekFrom::Start(1_000_000)).await.expect("seek");
    let mut buffers = (vec![0; 1000], vec![0; 1000]);
    for start in (0..1_000_000).step_by(1000) {
        let (one, two) =
            tokio::join!(first.read_exact(&mut buffers.0), second.read_exact(&mut buffers.1));
        one.expect("read_exact");
        two.expect("read_exact");
        assert!(buffers.0 == data[start..start + 1000], "the first reader at {start}");
        let start = start + 1_000_000;
        assert!(buffers.1 == data[start..start + 1000], "the second reader at {start}");
    }
}

/// Readers that are dropped in the middle leave the service usable.
pub async fn dropped_reader_leaves_the_service_usable(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("dropped reader", 2_000_003);
    let digest = put(&service, &data).await;
    for polls in 0..20 {
        let mut reader = open(&service, &digest).await;
        let mut sink = Vec::new();
        let mut read = Box::pin(reader.read_to_end(&mut sink));
        for _ in 0..polls {
            if futures_util::poll!(&mut read).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    expect_blob(&service, &data, "after readers were dropped").await;
}
