//! A future that is dropped at any point leaves the service, its readers and its writers usable.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobService, Digest};
use castore_objstore::ObjectStoreBlobService;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::support::clock::{LATENCY, not_stuck, settle};
use crate::support::data::{MIB, random};
use crate::support::probe::{Part, Probe};
use crate::support::service::{put, read, service};

/// Two moments in each round trip, but never the moment at which a request is answered: then it
/// would be undecided whether the put was cancelled or done.
fn moment(number: u32) -> Duration {
    LATENCY / 2 * number + LATENCY / 4
}

/// Polls `future`, whenever it asks for that, until it is ready or was pending `polls` times.
async fn polled<T>(future: impl Future<Output = T>, polls: usize) -> Option<T> {
    let mut future = pin!(future);
    let mut left = polls;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending if left == 0 => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Puts the blob of a cancelled writer again, and reads it back.
async fn assert_usable(service: &ObjectStoreBlobService, data: &Bytes) {
    let digest = not_stuck(put(service, data)).await;
    assert_eq!(not_stuck(read(service, &digest)).await, *data);
}

#[tokio::test(start_paused = true)]
async fn a_close_given_up_after_any_number_of_polls() {
    for size in [100, 3 * MIB] {
        let data = random("given up", size);
        let mut polls = 0;
        loop {
            let probe = Probe::new().with_latency(LATENCY);
            let service = service(&probe);
            let mut writer = service.open_write().await.unwrap();
            not_stuck(writer.write_all(&data)).await.unwrap();
            let closed = polled(writer.close(), polls).await;
            drop(writer);
            assert_usable(&service, &data).await;
            if closed.is_some() {
                break;
            }
            polls += 1;
            assert!(polls < 100, "closing does not end");
        }
        assert!(polls >= 2, "closing waits");
    }
}

/// Work under way in the background is cancelled at any point.
#[tokio::test(start_paused = true)]
async fn a_writer_given_up_at_any_time() {
    for size in [100, 3 * MIB] {
        let data = random("given up", size);
        let mut moments = 0;
        loop {
            let probe = Probe::new().with_latency(LATENCY);
            let service = service(&probe);
            let put_given_up = timeout(moment(moments), put(&service, &data)).await;
            if put_given_up.is_err() {
                // No work goes on in the background, and nothing was published.
                settle().await;
                assert!(probe.objects(Part::Blobs).await.is_empty());
            }
            assert_usable(&service, &data).await;
            if put_given_up.is_ok() {
                break;
            }
            moments += 1;
            assert!(moments < 100, "putting does not end");
        }
        assert!(moments >= 4, "putting waits");
    }
}

/// Like [`a_writer_given_up_at_any_time`], but the next put does not wait for work that may still
/// go on.
#[tokio::test(start_paused = true)]
async fn a_writer_given_up_and_put_again_at_once() {
    let data = random("given up", 3 * MIB);
    let probe = Probe::new().with_latency(LATENCY);
    let service = service(&probe);
    for half_trips in 0..4 {
        timeout(LATENCY / 2 * half_trips, put(&service, &data)).await.expect_err("it waits longer");
    }
    assert_usable(&service, &data).await;
}

/// One writer uploads a chunk that another one waits for, and is cancelled.
#[tokio::test(start_paused = true)]
async fn a_writer_given_up_while_another_waits_for_its_chunks() {
    let data = random("shared", 3 * MIB);
    for half_trips in 0..8 {
        let probe = Probe::new().with_latency(LATENCY);
        let service = service(&probe);
        let first = timeout(LATENCY / 2 * half_trips, put(&service, &data));
        let (_, second) = not_stuck(async { tokio::join!(first, put(&service, &data)) }).await;
        assert_eq!(second, Digest::of(&data));
        assert_eq!(read(&service, &second).await, data);
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_that_was_dropped_goes_on_when_called_again() {
    for size in [100, 3 * MIB] {
        let data = random("dropped", size);
        let service = service(&Probe::new().with_latency(LATENCY));
        let mut writer = service.open_write().await.unwrap();
        not_stuck(writer.write_all(&data)).await.unwrap();
        let digest = not_stuck(async {
            loop {
                if let Ok(digest) = timeout(LATENCY / 2, writer.close()).await {
                    break digest.unwrap();
                }
            }
        })
        .await;
        assert_eq!(digest, Digest::of(&data));
        assert_eq!(read(&service, &digest).await, data);
    }
}

#[tokio::test(start_paused = true)]
async fn reads_that_were_dropped_lose_no_byte() {
    let data = random("dropped", 3 * MIB);
    let service = service(&Probe::new().with_latency(LATENCY));
    let digest = put(&service, &data).await;
    // Opening is cancelled at every point, then the reading.
    let mut given_up = 0;
    let mut reader = loop {
        match timeout(LATENCY / 2 * given_up, service.open_read(&digest)).await {
            Ok(reader) => break reader.unwrap().unwrap(),
            Err(_) => given_up += 1,
        }
    };
    assert!(given_up >= 2);
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 10_000];
    let mut given_up = 0;
    loop {
        match timeout(LATENCY / 3, reader.read(&mut buffer)).await {
            Ok(Ok(0)) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count.unwrap()]),
            Err(_) => given_up += 1,
        }
    }
    assert_eq!(bytes, data);
    assert!(given_up >= 2);
}
