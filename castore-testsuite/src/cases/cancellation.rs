//! The promises for dropped futures: a caller may drop a future at any point where it waits.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use castore_core::Digest;
use futures_util::StreamExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{
    SIZE, difference, expect_absent, expect_blob, expect_range, expect_usable, open, poll_times,
    put, try_put,
};
use crate::Harness;
use crate::data::random;
use crate::steps::Step;

/// The most polls of a future before the case drops it.
const MOST_POLLS: usize = 24;

/// Polls `future`, and drops it if it is not ready after `polls` times.
#[track_caller]
fn give_up_after<'a, T>(
    polls: usize,
    future: impl Future<Output = T> + Send + 'a,
) -> impl Future<Output = Option<T>> + Send + 'a
where
    T: Send + 'a,
{
    let given_up = async move { poll_times(pin!(future), polls).await };
    given_up.named(format!("a future that is dropped after {polls} polls"))
}

/// Futures of `has`, `chunks`, `open_read` and `open_write` may be dropped.
pub async fn dropped_questions_leave_the_service_usable(harness: Arc<dyn Harness>) {
    let stored = random("stored", 1_200_000);
    put(&harness.open().await, &stored).await;
    for digest in [Digest::of(&stored), Digest::of(b"absent")] {
        for polls in 0..MOST_POLLS {
            // A service that has remembered nothing yet waits most often.
            let service = harness.open().await;
            let has = give_up_after(polls, service.has(&digest)).await;
            let chunks = give_up_after(polls, service.chunks(&digest)).await;
            let reader = give_up_after(polls, service.open_read(&digest)).await;
            let writer = give_up_after(polls, service.open_write()).await;
            let is_stored = digest != Digest::of(b"absent");
            if is_stored {
                expect_blob(&service, &stored, "after questions were dropped").await;
            } else {
                expect_absent(&service, &digest, "after questions were dropped").await;
            }
            let (Some(has), Some(chunks), Some(reader), Some(writer)) =
                (has, chunks, reader, writer)
            else {
                continue;
            };
            assert_eq!(has.expect("has"), is_stored);
            assert_eq!(chunks.expect("chunks").is_some(), is_stored);
            assert_eq!(reader.expect("open_read").is_some(), is_stored);
            drop(writer.expect("open_write"));
            break;
        }
    }
    expect_usable(&harness.open().await, "after questions were dropped").await;
}

/// A dropped write has taken nothing, and the next one goes on where it was.
pub async fn dropped_write_takes_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for polls in 0..MOST_POLLS {
        let data = random(&format!("dropped write {polls}"), 2_500_000);
        let mut writer = service.open_write().must("open_write").await;
        let mut dropped = 0;
        for start in (0..data.len()).step_by(500_000) {
            let piece = data.slice(start..start + 500_000);
            match give_up_after(polls, writer.write_bytes(piece.clone())).await {
                Some(written) => written.expect("write_bytes"),
                None => {
                    dropped += 1;
                    writer.write_bytes(piece).must("write_bytes").await;
                }
            }
        }
        assert_eq!(writer.close().must("close").await, Digest::of(&data));
        expect_blob(&service, &data, "after writes were dropped").await;
        if dropped == 0 {
            break;
        }
    }
}

/// A dropped `close`, followed by a drop of its writer, leaves the service as usable as before. The
/// blob is absent or whole.
pub async fn dropped_close_leaves_the_service_usable(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1000, 1_500_000] {
        for polls in 0..MOST_POLLS {
            let data = random(&format!("dropped close {polls}"), size);
            let mut writer = service.open_write().must("open_write").await;
            writer.write_all(&data).must("write_all").await;
            let closed = give_up_after(polls, writer.close()).await;
            drop(writer);
            let digest = Digest::of(&data);
            if service.has(&digest).must("has").await {
                expect_blob(&service, &data, "its close was dropped, and it is there").await;
            }
            put(&service, &data).await;
            expect_blob(&service, &data, "stored after its close was dropped").await;
            if let Some(closed) = closed {
                assert_eq!(closed.expect("close"), digest);
                break;
            }
        }
    }
}

/// A dropped `close` can be called again, and goes on where it was.
pub async fn dropped_close_can_be_called_again(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1000, 1_500_000] {
        for polls in 0..MOST_POLLS {
            let data = random(&format!("close again {polls}"), size);
            let mut writer = service.open_write().must("open_write").await;
            writer.write_all(&data).must("write_all").await;
            let closed = give_up_after(polls, writer.close()).await;
            assert_eq!(writer.close().must("close").await, Digest::of(&data));
            expect_blob(&service, &data, "after a close was dropped and called again").await;
            if closed.is_some() {
                break;
            }
        }
    }
}

/// A dropped `close` does not hold up another one of the same blob, even if that one waited for
/// work that the first had begun.
pub async fn dropped_close_leaves_its_twin_alone(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1000, 600_000] {
        for polls in 0..MOST_POLLS {
            let data = random(&format!("twins {polls}"), size);
            let mut first = service.open_write().must("open_write").await;
            let mut second = service.open_write().must("open_write").await;
            first.write_bytes(data.clone()).must("write_bytes").await;
            second.write_bytes(data.clone()).must("write_bytes").await;
            let closed = give_up_after(polls, first.close()).await;
            let _ = give_up_after(polls, second.close()).await;
            drop(first);
            assert_eq!(second.close().must("close").await, Digest::of(&data));
            expect_blob(&service, &data, "the close of its twin was dropped").await;
            if closed.is_some() {
                break;
            }
        }
    }
}

/// An `abort` ends a `close` that was dropped before: once it returns, the state of the blob no
/// longer changes, and closing again fails.
pub async fn abort_ends_a_dropped_close(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1000, 1_500_000] {
        for polls in 0..MOST_POLLS {
            let data = random(&format!("aborted close {polls}"), size);
            let digest = Digest::of(&data);
            let mut writer = service.open_write().must("open_write").await;
            writer.write_all(&data).must("write_all").await;
            let closed = give_up_after(polls, writer.close()).await;
            writer.abort().await;
            let is_there = service.has(&digest).must("has").await;
            if let Some(closed) = closed {
                assert_eq!(closed.expect("close"), digest);
                assert!(is_there, "it was closed before it was aborted");
                break;
            }
            assert!(writer.close().await.is_err(), "closed after an abort");
            // Background work, if any, has time during this put.
            put(&service, &random(&format!("meanwhile {polls}"), 300_000)).await;
            match is_there {
                true => expect_blob(&service, &data, "it was there after the abort").await,
                false => expect_absent(&service, &digest, "it was not, after the abort").await,
            }
            put(&service, &data).await;
            expect_blob(&service, &data, "stored after its close was aborted").await;
        }
    }
}

/// A dropped `abort` publishes nothing and leaves the service usable, whether or not the writes
/// before it were still under way.
pub async fn dropped_abort_leaves_the_service_usable(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for flushed in [false, true] {
        for polls in 0..MOST_POLLS {
            let data = random(&format!("dropped abort {flushed} {polls}"), 1_500_000);
            let mut writer = service.open_write().must("open_write").await;
            writer.write_bytes(data.clone()).must("write_bytes").await;
            if flushed {
                writer.flush().must("flush").await;
            }
            let aborted = give_up_after(polls, writer.abort()).await;
            drop(writer);
            expect_absent(&service, &Digest::of(&data), "its abort was dropped").await;
            put(&service, &data).await;
            expect_blob(&service, &data, "stored after its abort was dropped").await;
            if aborted.is_some() {
                break;
            }
        }
    }
}

/// Dropped reads lose no byte: the next read goes on where the last one ended.
pub async fn dropped_read_loses_no_byte(harness: Arc<dyn Harness>) {
    let data = random("dropped read", SIZE);
    put(&harness.open().await, &data).await;
    for polls in 0..8 {
        let service = harness.open().await;
        let mut reader = open(&service, &Digest::of(&data)).await;
        let mut read = Vec::new();
        let mut buffer = vec![0; 300_000];
        loop {
            let count = match give_up_after(polls, reader.read(&mut buffer)).await {
                Some(count) => count.expect("read"),
                None => {
                    let position = reader.stream_position().must("stream_position").await;
                    assert_eq!(position, read.len() as u64, "after a read was dropped");
                    reader.read(&mut buffer).must("read").await
                }
            };
            if count == 0 {
                break;
            }
            read.extend_from_slice(&buffer[..count]);
        }
        assert!(read == data, "reads dropped after {polls} polls: {}", difference(&read, &data));
    }
}

/// Dropped streams of ranges leave the reader and the service usable.
pub async fn dropped_range_leaves_the_reader_usable(harness: Arc<dyn Harness>) {
    let data = random("dropped range", SIZE);
    let digest = put(&harness.open().await, &data).await;
    for polls in 0..MOST_POLLS {
        let service = harness.open().await;
        let reader = open(&service, &digest).await;
        let mut range = reader.read_range(0..reader.size());
        for _ in 0..polls {
            match give_up_after(polls, range.next()).await {
                Some(Some(piece)) => drop(piece.expect("read_range")),
                Some(None) => break,
                None => {}
            }
        }
        drop(range);
        expect_range(&reader, &data, 999_000..1_500_000).await;
        expect_blob(&service, &data, "after a range was dropped").await;
    }
    expect_usable(&harness.open().await, "after ranges were dropped").await;
}

/// A dropped range does not hold up another one of the same bytes, even if that one waited for work
/// that the first had begun.
pub async fn dropped_range_leaves_its_twin_alone(harness: Arc<dyn Harness>) {
    let data = random("twin ranges", 1_000_000);
    let digest = put(&harness.open().await, &data).await;
    for polls in 0..MOST_POLLS {
        let service = harness.open().await;
        let reader = open(&service, &digest).await;
        let mut first = reader.read_range(0..reader.size());
        let mut second = reader.read_range(0..reader.size());
        let begun = give_up_after(polls, first.next()).await;
        let mut read = match give_up_after(polls, second.next()).await {
            Some(piece) => piece.expect("there is more").expect("read_range").to_vec(),
            None => Vec::new(),
        };
        drop(first);
        while let Some(piece) = second.next().await {
            read.extend_from_slice(&piece.expect("read_range"));
        }
        assert!(read == data, "its twin was dropped: {}", difference(&read, &data));
        if begun.is_some() {
            break;
        }
    }
}

/// A put of a present blob may be dropped at any point: the blob stays whole all the time.
pub async fn dropped_puts_leave_a_present_blob_whole(harness: Arc<dyn Harness>) {
    for size in [1000, 1_300_000] {
        let data = random("present", size);
        put(&harness.open().await, &data).await;
        for polls in 0..MOST_POLLS {
            let service = harness.open().await;
            let stored = give_up_after(polls, try_put(&service, &data)).await;
            let what = format!("storing it again was given up after {polls} steps");
            expect_blob(&harness.open().await, &data, &what).await;
            if let Some(stored) = stored {
                stored.expect("storing it again");
                break;
            }
        }
    }
}
