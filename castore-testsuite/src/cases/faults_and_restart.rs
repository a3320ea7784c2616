//! The promises for failing operations followed by a crash: every acknowledged blob is present.

use std::sync::Arc;

use castore_core::Digest;

use super::{expect_absent, expect_blob, try_put};
use crate::data::random;
use crate::steps::Step;
use crate::{Fault, FaultsAndRestart, Operation};

/// More operations than any blob of this module takes.
const MOST_OPERATIONS: usize = 500;

/// A blob that is acknowledged although a change failed survives a crash. Any other blob is whole
/// or absent.
pub async fn blobs_acknowledged_despite_failures_survive(harness: Arc<dyn FaultsAndRestart>) {
    for size in [1000, 1_300_000] {
        for (lasting, done) in [(false, false), (false, true), (true, false)] {
            for after in 0..MOST_OPERATIONS {
                let what = format!("change {after} failed, and then the storage crashed");
                let data = random(&format!("{what} {size} {lasting} {done}"), size);
                let operation = Operation::Write;
                let service = harness.open().await;
                harness.fail(Fault { operation, after, lasting, done }).await;
                let result = try_put(&service, &data).await;
                let struck = harness.heal().await;
                harness.restart().await;
                let service = harness.open().await;
                if result.is_ok() || service.has(&Digest::of(&data)).must("has").await {
                    expect_blob(&service, &data, &what).await;
                } else {
                    expect_absent(&service, &Digest::of(&data), &what).await;
                }
                if !struck {
                    break;
                }
            }
        }
    }
}

/// A blob survives a crash if its first writer failed, and the same service or another one then
/// stored it again: a service does not take the remains of the failed attempt for safe.
pub async fn blobs_stored_after_a_failure_survive(harness: Arc<dyn FaultsAndRestart>) {
    for same in [false, true] {
        for after in 0..MOST_OPERATIONS {
            let what = format!("stored again after change {after} failed, by the same: {same}");
            let data = random(&what, 700_000);
            let operation = Operation::Write;
            let mut service = harness.open().await;
            harness.fail(Fault { operation, after, lasting: false, done: false }).await;
            let _ = try_put(&service, &data).await;
            let struck = harness.heal().await;
            if !same {
                service = harness.open().await;
            }
            let result = try_put(&service, &data).await;
            assert!(same || result.is_ok(), "another service cannot store it: {what}");
            harness.restart().await;
            if result.is_ok() {
                expect_blob(&harness.open().await, &data, &what).await;
            }
            if !struck {
                break;
            }
        }
    }
}
