//! The cases. The name of each says what it checks. A case panics if the service does otherwise.

use std::future::{Future, poll_fn};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use castore_core::{BlobReader, BlobService, BlobWriter, Digest, Error};
use futures_util::TryStreamExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::data::random;
use crate::steps::Step;

pub mod cancellation;
pub mod concurrency;
pub mod faults;
pub mod faults_and_restart;
pub mod listing;
pub mod model;
pub mod reader;
pub mod restart;
pub mod storage;
pub mod tamper;
pub mod verified_ranges;
pub mod whole;
pub mod writer;

/// A size that is no multiple of anything, and makes several chunks.
const SIZE: usize = 2_000_003;

/// Stores `data` in one piece, and checks its digest.
async fn put(service: &dyn BlobService, data: &Bytes) -> Digest {
    let digest = try_put(service, data).must("storing a blob").await;
    assert_eq!(digest, Digest::of(data), "the digest of {} bytes", data.len());
    digest
}

/// Stores `data` in one piece, or returns the error.
async fn try_put(service: &dyn BlobService, data: &Bytes) -> Result<Digest, Error> {
    let mut writer = service.open_write().named("open_write").await?;
    writer.write_bytes(data.clone()).named("write_bytes").await?;
    writer.close().named("close").await
}

async fn open(service: &dyn BlobService, digest: &Digest) -> BlobReader {
    let reader = service.open_read(digest).must("open_read").await;
    reader.unwrap_or_else(|| panic!("open_read: the blob {digest} is absent"))
}

async fn read_range(reader: &BlobReader, range: Range<u64>) -> Result<Vec<u8>, Error> {
    let step = format!("read_range {range:?}");
    Ok(reader.read_range(range).try_collect::<Vec<Bytes>>().named(step).await?.concat())
}

/// Checks that `range` of the blob has the same bytes as in `data`.
async fn expect_range(reader: &BlobReader, data: &[u8], range: Range<u64>) {
    let read = read_range(reader, range.clone()).await;
    let read = read.unwrap_or_else(|error| panic!("range {range:?}: {error}"));
    let expected = &data[range.start as usize..range.end as usize];
    assert!(read == expected, "range {range:?}: {}", difference(&read, expected));
}

/// Checks with every method that the blob is present, and reads it from start to end.
async fn expect_blob(service: &dyn BlobService, data: &[u8], what: &str) {
    let digest = Digest::of(data);
    assert!(service.has(&digest).must("has").await, "has is false: {what}");
    let mut reader = open(service, &digest).await;
    assert_eq!(reader.size(), data.len() as u64, "the size: {what}");
    let mut read = Vec::new();
    let result = reader.read_to_end(&mut read).named(format!("read_to_end: {what}")).await;
    result.unwrap_or_else(|error| panic!("read_to_end: {error}: {what}"));
    assert!(read == data, "{}: {what}", difference(&read, data));
}

async fn expect_absent(service: &dyn BlobService, digest: &Digest, what: &str) {
    assert!(!service.has(digest).must("has").await, "has is true: {what}");
    assert!(service.chunks(digest).must("chunks").await.is_none(), "chunks has some: {what}");
    let reader = service.open_read(digest).must("open_read").await;
    assert!(reader.is_none(), "open_read has a reader: {what}");
}

/// Checks that the service can still store and read a blob.
async fn expect_usable(service: &dyn BlobService, name: &str) {
    let data = random(name, 300_000);
    put(service, &data).await;
    expect_blob(service, &data, name).await;
}

/// Says at which byte two sequences differ. A dump of megabytes would be unreadable.
fn difference(read: &[u8], expected: &[u8]) -> String {
    let same = read.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let (read, expected) = (read.len(), expected.len());
    format!("{read} bytes were read of {expected}, right up to byte {same}")
}

/// Writes all of `data`, `split` bytes at a time.
async fn write_split(writer: &mut BlobWriter, data: &[u8], split: usize) {
    for piece in data.chunks(split) {
        writer.write_all(piece).must("write_all").await;
    }
}

/// Polls `future` after each wake-up until it is ready, at most `polls` times.
///
/// After that the waker wakes no task. A caller that goes on with the same work supplies another
/// waker, as another task would.
async fn poll_times<F: Future>(mut future: Pin<&mut F>, polls: usize) -> Option<F::Output> {
    if polls == 0 {
        return None;
    }
    let mut polled = 0;
    let waiting = Arc::new(Waiting::default());
    let waker = Waker::from(Arc::clone(&waiting));
    let result = poll_fn(|cx| {
        polled += 1;
        waiting.set(Some(cx.waker().clone()));
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => Poll::Ready(Some(value)),
            Poll::Pending if polled >= polls => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    waiting.set(None);
    result
}

/// Wakes the waiting task, if any.
#[derive(Default)]
struct Waiting(Mutex<Option<Waker>>);

impl Waiting {
    fn set(&self, task: Option<Waker>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = task;
    }
}

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        let task = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}
