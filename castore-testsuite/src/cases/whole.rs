//! The promises of the methods that move a blob as a whole, or ask about many blobs at once.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use castore_core::{BlobService, BlobStat, Digest, ErrorKind};
use tokio::io::{AsyncRead, ReadBuf};

use super::{SIZE, difference, expect_absent, expect_blob, open, put};
use crate::Harness;
use crate::data::{Numbers, interesting_sizes, random};
use crate::steps::Step;

/// `put_bytes` stores the blob of its bytes, and `get_bytes` returns these bytes.
pub async fn bytes_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in interesting_sizes() {
        let data = random(&format!("bytes {size}"), size);
        let digest = service.put_bytes(data.clone()).must("put_bytes").await;
        assert_eq!(digest, Digest::of(&data), "the digest of {size} bytes");
        expect_blob(&service, &data, "a blob stored by put_bytes").await;
        let read = service.get_bytes(&digest, size as u64).must("get_bytes").await;
        let read = read.unwrap_or_else(|| panic!("get_bytes: the blob {digest} is absent"));
        assert!(read == data, "get_bytes of {size} bytes: {}", difference(&read, &data));
    }
    let absent = service.get_bytes(&Digest::of(b"absent"), 1000).must("get_bytes").await;
    assert!(absent.is_none(), "get_bytes has bytes of an absent blob");
}

/// `get_bytes` refuses a blob of more bytes than its limit.
pub async fn larger_blobs_are_invalid_input(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 1000, SIZE] {
        let digest = put(&service, &random(&format!("limit {size}"), size)).await;
        for limit in [0, size as u64 - 1] {
            let read = service.get_bytes(&digest, limit).named("get_bytes").await;
            let error = read.expect_err("a blob larger than the limit was returned");
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
        }
    }
}

/// `put_reader` stores all bytes of the reader, whatever pieces the reader gives.
pub async fn readers_are_stored(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [0, 1, 1000, 65_536, SIZE] {
        let data = random(&format!("reader {size}"), size);
        let mut reader = Input { data: data.clone(), at_most: 10_007, fails: false };
        let digest = service.put_reader(&mut reader).must("put_reader").await;
        assert_eq!(digest, Digest::of(&data), "the digest of {size} bytes");
        expect_blob(&service, &data, "a blob stored by put_reader").await;
    }
    let data = random("reader of a blob", SIZE);
    let digest = put(&service, &data).await;
    let mut reader = open(&service, &digest).await;
    let again = service.put_reader(&mut reader).must("put_reader").await;
    assert_eq!(again, digest, "the digest of a blob that is read from the service itself");
}

/// A reader that fails makes `put_reader` fail, and stores nothing.
pub async fn failed_input_stores_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [0, 1000, SIZE] {
        let data = random(&format!("failing {size}"), size);
        let mut reader = Input { data: data.clone(), at_most: 10_007, fails: true };
        let put = service.put_reader(&mut reader).named("put_reader").await;
        let error = put.expect_err("put_reader succeeded although its reader failed");
        assert_eq!(error.kind(), ErrorKind::Other, "{error}");
        if !data.is_empty() {
            expect_absent(&service, &Digest::of(&data), "the reader failed after it").await;
        }
    }
}

/// `stat` returns the size of a present blob, and `None` for an absent one.
pub async fn stat_is_the_size(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in interesting_sizes() {
        let digest = put(&service, &random(&format!("stat {size}"), size)).await;
        let stat = service.stat(&digest).must("stat").await;
        assert_eq!(stat, Some(BlobStat::new(digest, size as u64)), "{size} bytes");
    }
    let empty = service.stat(&Digest::EMPTY).must("stat").await;
    assert_eq!(empty, Some(BlobStat::new(Digest::EMPTY, 0)));
    let absent = service.stat(&Digest::of(b"absent")).must("stat").await;
    assert_eq!(absent, None, "the size of an absent blob");
}

/// `has_many` answers each question, in the order of the questions.
pub async fn many_questions_have_many_answers(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    assert_eq!(service.has_many(&[]).must("has_many").await, Vec::<bool>::new());
    let mut digests = Vec::new();
    for number in 0..60_u8 {
        let data = Bytes::from(vec![number; 100]);
        digests.push(Digest::of(&data));
        if number % 3 == 0 {
            put(&service, &data).await;
        }
    }
    digests.push(Digest::EMPTY);
    digests.push(digests[0]);
    let answers = service.has_many(&digests).must("has_many").await;
    let expected: Vec<bool> = (0..digests.len()).map(|number| number % 3 == 0).collect();
    let expected = [&expected[..60], &[true, true]].concat();
    assert_eq!(answers, expected);
}

/// `read_at` fills its buffer with the bytes from an offset on, up to the end of the blob.
pub async fn reads_at_any_offset(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("read at", SIZE);
    let digest = put(&service, &data).await;
    let reader = open(&service, &digest).await;
    let mut numbers = Numbers::new("offsets of read_at");
    let ends = [0, SIZE as u64 - 1, SIZE as u64, SIZE as u64 + 1, u64::MAX];
    let random = std::iter::repeat_with(|| numbers.below(SIZE as u64)).take(30);
    for (number, offset) in ends.into_iter().chain(random).enumerate() {
        let mut buf = vec![0; number * number * 701];
        let count = reader.read_at(offset, &mut buf).must("read_at").await;
        let start = offset.min(SIZE as u64) as usize;
        let end = (start + buf.len()).min(SIZE);
        assert_eq!(count, end - start, "the count of read_at {offset} for {} bytes", buf.len());
        let expected = &data[start..end];
        let read = &buf[..count];
        assert!(read == expected, "read_at {offset}: {}", difference(read, expected));
    }
}

/// Gives its bytes in pieces of `at_most`, and then ends or fails.
struct Input {
    data: Bytes,
    at_most: usize,
    fails: bool,
}

impl AsyncRead for Input {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.data.is_empty() && self.fails {
            return Poll::Ready(Err(io::Error::other("the input failed")));
        }
        let count = self.data.len().min(self.at_most).min(buf.remaining());
        buf.put_slice(&self.data.split_to(count));
        Poll::Ready(Ok(()))
    }
}
