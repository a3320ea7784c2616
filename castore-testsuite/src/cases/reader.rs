//! The promises of a reader.

use std::io::SeekFrom;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobReader, BlobService, Digest, ErrorKind};
use futures_util::{StreamExt, TryStreamExt};
use tokio::io::{AsyncReadExt, AsyncSeekExt};

use super::{SIZE, difference, expect_absent, expect_blob, expect_range, open, put};
use crate::Harness;
use crate::data::{Numbers, interesting_sizes, random};
use crate::steps::Step;

/// `has` is false, `chunks` and `open_read` are `None`.
pub async fn absent_is_none_everywhere(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for digest in [Digest::of(b"absent"), Digest::from_bytes([0; 32])] {
        expect_absent(&service, &digest, "the storage is empty").await;
    }
    put(&service, &Bytes::from_static(b"something else")).await;
    expect_absent(&service, &Digest::of(b"absent"), "only another blob was stored").await;
}

/// A chunk of a longer blob is absent under its own digest until it is stored as a blob. A caller
/// that hears otherwise would not store the blob, and so would have none that stays.
pub async fn chunks_are_no_blobs(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("its chunks", SIZE);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    let chunks: Vec<Digest> = index.iter().map(|chunk| chunk.digest).collect();
    for (number, chunk) in chunks.iter().enumerate().filter(|(_, chunk)| **chunk != digest) {
        expect_absent(&service, chunk, "only a blob was stored that has such a chunk").await;
        let range = index.chunk_range(number).expect("a chunk has a range");
        let bytes = data.slice(range.start as usize..range.end as usize);
        put(&service, &bytes).await;
        expect_blob(&service, &bytes, "a chunk that was stored as a blob").await;
    }
}

/// A service that returns chunks by their digests returns these chunks, and no chunk that was never
/// stored.
pub async fn chunks_by_their_digests_are_the_chunks(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("chunks by their digests", SIZE);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    for chunk in index.iter() {
        if let Some(bytes) = service.get_chunk(&chunk.digest).must("get_chunk").await {
            assert!(chunk.verify(&bytes).is_ok(), "other bytes than those of the chunk {chunk:?}");
            let has = service.has_chunk(&chunk.digest).must("has_chunk").await;
            assert!(has, "has_chunk is false for a chunk that get_chunk returns");
        }
    }
    let absent = service.get_chunk(&Digest::of(b"no chunk")).must("get_chunk").await;
    assert!(absent.is_none(), "a chunk that was never stored");
    let absent = service.has_chunk(&Digest::of(b"no chunk")).must("has_chunk").await;
    assert!(!absent, "has_chunk is true for a chunk that was never stored");
}

/// The empty blob can be read although it was never written.
pub async fn empty_blob_is_always_there(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    expect_blob(&service, b"", "the empty blob").await;
    let index = service.chunks(&Digest::EMPTY).must("chunks").await;
    assert_eq!(index, Some(BlobIndex::empty()));
}

/// The chunks of an index add up to the blob.
pub async fn index_sums_to_size(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in interesting_sizes() {
        let data = random(&format!("index {size}"), size);
        let digest = put(&service, &data).await;
        let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
        assert_eq!(index.digest(), digest, "the digest of the index");
        assert_eq!(index.size(), size as u64, "the size in the index");
        if let Some(held) = open(&service, &digest).await.index() {
            assert_eq!(held, index, "the index that the reader holds");
        }
    }
}

/// Each chunk of an index has the digest of its bytes, in blobs of one chunk and of several.
pub async fn chunks_have_the_digests_of_their_bytes(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 1000, SIZE] {
        let data = random(&format!("chunks' digests {size}"), size);
        let digest = put(&service, &data).await;
        let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
        for piece in index.pieces(0..size as u64) {
            let bytes = &data[piece.start as usize..piece.end() as usize];
            let chunk = piece.start;
            let result = piece.meta.verify(bytes);
            result.unwrap_or_else(|error| panic!("the chunk at {chunk} of {size} bytes: {error}"));
        }
    }
}

/// Reads of any size return the same bytes.
pub async fn read_sizes(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("read sizes", SIZE);
    let digest = put(&service, &data).await;
    for size in [313, 4096, 100_000, 1 << 20, 3 << 20] {
        let mut reader = open(&service, &digest).await;
        let mut read = Vec::new();
        let mut buffer = vec![0; size];
        loop {
            let count = reader.read(&mut buffer).must("read").await;
            if count == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..count]);
        }
        assert!(read == data, "{size} bytes at a time: {}", difference(&read, &data));
    }
}

/// At the end every read returns nothing, however often it is tried, and whether or not the reader
/// has read up to there.
pub async fn reading_at_the_end_gives_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [0, 1, SIZE] {
        let data = random("the end", size);
        let digest = put(&service, &data).await;
        for before in [0, 1000, SIZE] {
            let start = size.saturating_sub(before);
            let mut reader = open(&service, &digest).await;
            reader.seek(SeekFrom::Start(start as u64)).must("seek").await;
            let mut read = vec![0; size - start];
            reader.read_exact(&mut read).must("read_exact").await;
            assert!(read == data[start..], "{}", difference(&read, &data[start..]));
            for _ in 0..3 {
                let count = reader.read(&mut [0; 10]).must("read").await;
                assert_eq!(count, 0, "after byte {start} to the end of {size} bytes");
            }
        }
    }
}

/// Opens a reader of a blob of [`SIZE`] bytes. Returns it with the bytes and the ends of its
/// chunks.
async fn reader_of(service: &dyn BlobService, name: &str) -> (BlobReader, Bytes, Vec<u64>) {
    let data = random(name, SIZE);
    let digest = put(service, &data).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    let ends = (0..index.len()).filter_map(|number| Some(index.chunk_range(number)?.end));
    (open(service, &digest).await, data, ends.collect())
}

/// A range of no bytes returns none.
pub async fn empty_ranges(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (reader, data, ends) = reader_of(&service, "empty ranges").await;
    for at in [0, 1, ends[0], SIZE as u64] {
        expect_range(&reader, &data, at..at).await;
    }
}

/// A range of one byte returns that byte, anywhere in the blob.
pub async fn ranges_of_one_byte(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (reader, data, ends) = reader_of(&service, "ranges of one byte").await;
    expect_range(&reader, &data, 0..1).await;
    for end in ends {
        for start in [end - 1, end.min(SIZE as u64 - 1)] {
            expect_range(&reader, &data, start..start + 1).await;
        }
    }
}

/// Ranges that begin and end at, before and after the ends of chunks return their bytes.
pub async fn ranges_across_chunks(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (reader, data, ends) = reader_of(&service, "ranges across chunks").await;
    let mut start = 0;
    for end in ends {
        let after = (end + 1).min(SIZE as u64);
        let last = end - 1;
        for range in [start..end, last..end, last..after, start..after, start + 1..last, 1..after] {
            expect_range(&reader, &data, range).await;
        }
        start = end;
    }
}

/// Ranges up to the end return all bytes from their start.
pub async fn ranges_to_the_end(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (reader, data, _) = reader_of(&service, "ranges to the end").await;
    let size = SIZE as u64;
    for start in [0, 1, 1000, 1_000_000, size - 1000, size - 1, size] {
        expect_range(&reader, &data, start..size).await;
    }
}

/// Ranges with random bounds return their bytes.
pub async fn random_ranges(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (reader, data, _) = reader_of(&service, "random ranges").await;
    let size = SIZE as u64;
    let mut numbers = Numbers::new("random ranges");
    for _ in 0..50 {
        let start = numbers.below(size);
        expect_range(&reader, &data, start..start + numbers.below(size - start + 1)).await;
    }
}

/// A range that goes past the end, or ends before it starts, is `InvalidInput`.
pub async fn ranges_outside_are_invalid_input(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let digest = put(&service, &random("outside", 1000)).await;
    let reader = open(&service, &digest).await;
    for (start, end) in [(0, 1001), (1001, 1001), (1000, 1001), (5, 4), (0, u64::MAX)] {
        let read: Result<Vec<Bytes>, _> = reader.read_range(start..end).try_collect().await;
        let error = read.expect_err("a range outside of the blob");
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{start}..{end}");
    }
}

/// Seeks, and checks the position and the bytes there.
async fn expect_seek(reader: &mut BlobReader, data: &[u8], to: SeekFrom, target: u64, len: usize) {
    assert_eq!(reader.seek(to).must("seek").await, target, "the position after {to:?}");
    let expected = &data[target as usize..data.len().min(target as usize + len)];
    let mut read = vec![0; expected.len()];
    reader.read_exact(&mut read).must("read_exact").await;
    assert!(read == expected, "the {len} bytes after {to:?}: {}", difference(&read, expected));
}

/// Seeks from the start reach their bytes, forward and backward.
pub async fn seeks_from_the_start(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (mut reader, data, _) = reader_of(&service, "seeks from the start").await;
    let mut numbers = Numbers::new("seeks from the start");
    for _ in 0..60 {
        let target = numbers.below(SIZE as u64 + 1);
        expect_seek(&mut reader, &data, SeekFrom::Start(target), target, 1000).await;
    }
    expect_seek(&mut reader, &data, SeekFrom::Start(0), 0, SIZE).await;
}

/// Seeks from the end reach their bytes.
pub async fn seeks_from_the_end(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (mut reader, data, _) = reader_of(&service, "seeks from the end").await;
    let mut numbers = Numbers::new("seeks from the end");
    for _ in 0..60 {
        let target = numbers.below(SIZE as u64 + 1);
        let to = SeekFrom::End(target as i64 - SIZE as i64);
        expect_seek(&mut reader, &data, to, target, 1000).await;
    }
}

/// Seeks from the current position reach their bytes.
pub async fn seeks_from_the_position(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (mut reader, data, _) = reader_of(&service, "seeks from the position").await;
    let mut numbers = Numbers::new("seeks from the position");
    let mut position = 0;
    for _ in 0..60 {
        let target = numbers.below(SIZE as u64 + 1);
        let to = SeekFrom::Current(target as i64 - position as i64);
        expect_seek(&mut reader, &data, to, target, 1000).await;
        position = (target + 1000).min(SIZE as u64);
        assert_eq!(reader.stream_position().must("stream_position").await, position);
    }
}

/// A seek before the start is `InvalidInput`, and moves nothing.
pub async fn seeks_before_the_start_are_invalid_input(harness: Arc<dyn Harness>) {
    let outside = [SeekFrom::End(-1001), SeekFrom::Current(-11), SeekFrom::Current(i64::MIN)];
    seeks_are_invalid_input(&*harness, &outside).await;
}

/// A seek past the end is `InvalidInput`, and moves nothing.
pub async fn seeks_past_the_end_are_invalid_input(harness: Arc<dyn Harness>) {
    let outside = [
        SeekFrom::Start(1001),
        SeekFrom::Start(u64::MAX),
        SeekFrom::End(1),
        SeekFrom::Current(991),
        SeekFrom::Current(i64::MAX),
    ];
    seeks_are_invalid_input(&*harness, &outside).await;
}

async fn seeks_are_invalid_input(harness: &dyn Harness, outside: &[SeekFrom]) {
    let service = harness.open().await;
    let data = random("outside", 1000);
    let digest = put(&service, &data).await;
    let mut reader = open(&service, &digest).await;
    reader.seek(SeekFrom::Start(10)).must("seek").await;
    for seek in outside {
        let error = reader.seek(*seek).await.expect_err("a seek outside of the blob");
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{seek:?}");
        assert_eq!(reader.stream_position().must("stream_position").await, 10, "{seek:?}");
    }
    expect_seek(&mut reader, &data, SeekFrom::Current(0), 10, 1000).await;
}

/// Seeks back and forth over bytes just read reach their bytes.
pub async fn seeks_within_what_was_read(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (mut reader, data, _) = reader_of(&service, "seeks within what was read").await;
    for start in [0, 1_000_000] {
        expect_seek(&mut reader, &data, SeekFrom::Start(start), start, 5000).await;
        let mut position = start + 5000;
        for offset in [0, 100, 50, 4000, 3000, 3001, 1999, 4999] {
            let target = start + offset;
            let step = target as i64 - position as i64;
            expect_seek(&mut reader, &data, SeekFrom::Current(step), target, 1).await;
            position = target + 1;
        }
    }
}

/// A reader goes on after the service that opened it is dropped.
pub async fn readers_outlive_their_service(harness: Arc<dyn Harness>) {
    let data = random("a reader without its service", SIZE);
    let digest = put(&harness.open().await, &data).await;
    let mut reader = open(&harness.open().await, &digest).await;
    let mut read = vec![0; 1000];
    reader.read_exact(&mut read).must("read_exact").await;
    reader.read_to_end(&mut read).must("read_to_end").await;
    assert!(read == data, "{}", difference(&read, &data));
}

/// A range goes on after the reader that began it is dropped.
pub async fn ranges_outlive_their_reader(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let (reader, data, _) = reader_of(&service, "a range without its reader").await;
    let (unread, mut begun) = (reader.read_range(1..1_000_000), reader.read_range(0..SIZE as u64));
    let first = begun.try_next().must("read_range").await.expect("there is more");
    drop(reader);
    let rest = begun.try_collect::<Vec<Bytes>>().must("read_range").await.concat();
    let read = [&first[..], &rest].concat();
    assert!(read == data, "begun before: {}", difference(&read, &data));
    let read = unread.try_collect::<Vec<Bytes>>().must("read_range").await.concat();
    assert!(read == data[1..1_000_000], "begun after: {}", difference(&read, &data[1..1_000_000]));
}

/// Each piece of a range holds at least one byte.
pub async fn pieces_are_never_empty(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 1000, 1_300_000] {
        let digest = put(&service, &random("pieces", size)).await;
        let reader = open(&service, &digest).await;
        let size = size as u64;
        for range in [0..size, size / 3..size, size - 1..size] {
            let mut pieces = reader.read_range(range.clone());
            while let Some(piece) = pieces.next().await {
                let piece = piece.unwrap_or_else(|error| panic!("range {range:?}: {error}"));
                assert!(!piece.is_empty(), "range {range:?} has an empty piece");
            }
        }
    }
}
