//! What the storage promises, from one service to the next.

use std::sync::Arc;

use castore_core::Digest;
use tokio::io::AsyncWriteExt;

use super::{expect_absent, expect_blob, put};
use crate::Harness;
use crate::data::random;

/// Closed blobs are there when the storage is opened again.
pub async fn closed_blobs_survive_reopening(harness: Arc<dyn Harness>) {
    let blobs = [random("survivor 1", 1000), random("survivor 2", 2 << 20)];
    {
        let service = harness.open().await;
        for blob in &blobs {
            put(&service, blob).await;
        }
    }
    let service = harness.open().await;
    for blob in &blobs {
        expect_blob(&service, blob, "after reopening").await;
    }
}

/// What was not closed is not there when the storage is opened again.
pub async fn unclosed_blobs_do_not_survive(harness: Arc<dyn Harness>) {
    let data = random("unclosed", 2 << 20);
    {
        let service = harness.open().await;
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        writer.flush().await.expect("flush");
    }
    let service = harness.open().await;
    expect_absent(&service, &Digest::of(&data), "it was never closed").await;
}

/// A service sees the blobs that another one stores, also after it found them absent.
pub async fn blobs_are_seen_by_other_services(harness: Arc<dyn Harness>) {
    let (one, other) = (harness.open().await, harness.open().await);
    let data = random("seen", 2 << 20);
    expect_absent(&other, &Digest::of(&data), "it is not stored yet").await;
    put(&one, &data).await;
    expect_blob(&other, &data, "stored by another service").await;
}

/// Blobs that share most of their bytes are as independent as others.
pub async fn deduplication_is_invisible(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let original = random("original", 3 << 20);
    let zeros = vec![0; 2 << 20];
    let inserted = [&original[..1_000_000], b"an insertion", &original[1_000_000..]].concat();
    let doubled = [&original[..], &original[..]].concat();
    let part = original.slice(500_000..2_500_000);
    let blobs = [original.clone(), inserted.into(), doubled.into(), part, zeros.into()];
    for blob in &blobs {
        put(&service, blob).await;
    }
    for (number, blob) in blobs.iter().enumerate() {
        expect_blob(&service, blob, &format!("similar blob {number}")).await;
    }
}

/// A blob that is stored again is the same blob, and an abandoned attempt does not harm it.
pub async fn storing_again_changes_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [0, 1, 1000, 2 << 20] {
        let data = random("again", size);
        for _ in 0..3 {
            put(&service, &data).await;
            expect_blob(&service, &data, "stored again").await;
        }
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        writer.abort().await;
        expect_blob(&service, &data, "after an attempt was aborted").await;
    }
}
