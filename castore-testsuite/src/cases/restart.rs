//! The promises for a crash of the storage: a blob whose `close` has returned is present, and any
//! other is whole or absent.

use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use castore_core::Digest;
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use super::{expect_absent, expect_blob, poll_times, put, try_put};
use crate::Restart;
use crate::data::random;
use crate::steps::Step;

/// A closed blob is present after a crash, and after a second one.
pub async fn closed_blobs_survive(harness: Arc<dyn Restart>) {
    let mut blobs = Vec::new();
    for size in [1000, 2 << 20] {
        let data = random(&format!("closed before the crash {size}"), size);
        put(&harness.open().await, &data).await;
        blobs.push(data);
        harness.restart().await;
        let service = harness.open().await;
        for blob in &blobs {
            expect_blob(&service, blob, "stored before the crash").await;
        }
    }
}

/// A blob whose writer was open during a crash is absent, and can be stored.
pub async fn unclosed_blobs_do_not_survive(harness: Arc<dyn Restart>) {
    let data = random("open during the crash", 2 << 20);
    let before = harness.open().await;
    let mut writer = before.open_write().must("open_write").await;
    writer.write_all(&data).must("write_all").await;
    writer.flush().must("flush").await;
    harness.restart().await;
    drop(writer);
    let service = harness.open().await;
    expect_absent(&service, &Digest::of(&data), "its writer was open during the crash").await;
    put(&service, &data).await;
    expect_blob(&service, &data, "stored after the crash").await;
}

/// Stores blobs until a crash after `polls` steps. Returns the acknowledged blobs, and the others.
async fn interrupted(harness: &dyn Restart, polls: usize) -> (Vec<Bytes>, Vec<Bytes>) {
    let service = harness.open().await;
    let first = random(&format!("acknowledged {polls}"), 200_000);
    put(&service, &first).await;
    let blobs: Vec<Bytes> = (0..3usize)
        .map(|number| random(&format!("interrupted {polls} {number}"), 200_000 * number + 1000))
        .collect();
    let results = {
        let mut puts = pin!(join_all(blobs.iter().map(|blob| try_put(&service, blob))));
        let results = poll_times(puts.as_mut(), polls).await;
        harness.restart().await;
        results
    };
    match results {
        Some(results) => {
            assert!(results.iter().all(Result::is_ok), "nothing failed before the crash");
            ([&[first], &blobs[..]].concat(), Vec::new())
        }
        None => (vec![first], blobs),
    }
}

/// Chooses the steps after which a crash interrupts storing: each one, until storing is done. If a
/// crash takes long, as with a server that has to start, it skips more and more of the later steps.
struct Steps {
    next: usize,
    begun: Instant,
}

impl Steps {
    fn new() -> Steps {
        Steps { next: 0, begun: Instant::now() }
    }

    /// The next number of steps.
    fn next(&mut self) -> usize {
        let late = self.begun.elapsed().as_secs() / 4;
        self.next += 1 << late.min(20);
        self.next
    }
}

/// Blobs that were being stored during a crash are whole or absent.
pub async fn interrupted_blobs_are_whole_or_absent(harness: Arc<dyn Restart>) {
    let mut steps = Steps::new();
    loop {
        let (acknowledged, others) = interrupted(&*harness, steps.next()).await;
        let service = harness.open().await;
        for blob in &acknowledged {
            expect_blob(&service, blob, "acknowledged before the crash").await;
        }
        for blob in &others {
            if service.has(&Digest::of(blob)).must("has").await {
                expect_blob(&service, blob, "interrupted, and there").await;
            } else {
                expect_absent(&service, &Digest::of(blob), "interrupted, and not there").await;
            }
        }
        if others.is_empty() {
            break;
        }
    }
}

/// Blobs that were being stored during a crash can be stored afterwards, despite any remains.
pub async fn interrupted_blobs_can_be_stored_again(harness: Arc<dyn Restart>) {
    let mut steps = Steps::new();
    loop {
        let (acknowledged, others) = interrupted(&*harness, steps.next()).await;
        let service = harness.open().await;
        for blob in &others {
            put(&service, blob).await;
        }
        for blob in acknowledged.iter().chain(&others) {
            expect_blob(&service, blob, "stored again after the crash").await;
            expect_blob(&harness.open().await, blob, "stored again after the crash").await;
        }
        if others.is_empty() {
            break;
        }
    }
}

/// An abandoned put leaves chunks behind that are not durable yet. Another service that stores the
/// blob and relies on these chunks makes them durable before it acknowledges the blob.
pub async fn blobs_stored_over_remains_survive(harness: Arc<dyn Restart>) {
    for size in [1000, 700_000] {
        let mut steps = Steps::new();
        loop {
            let polls = steps.next();
            let data = random(&format!("remains of {size} after {polls}"), size);
            let first = harness.open().await;
            let stored = poll_times(pin!(try_put(&first, &data)), polls).await;
            put(&harness.open().await, &data).await;
            harness.restart().await;
            let what = format!("stored over what a put left that was given up after {polls} steps");
            expect_blob(&harness.open().await, &data, &what).await;
            if stored.is_some() {
                break;
            }
        }
    }
}
