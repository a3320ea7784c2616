//! The promises of the storage, from one service to the next.

use std::pin::pin;
use std::sync::Arc;

use castore_core::Digest;
use tokio::io::AsyncWriteExt;

use super::{expect_absent, expect_blob, expect_usable, poll_times, put, try_put};
use crate::Harness;
use crate::data::random;
use crate::steps::Step;

/// Closed blobs are present after the storage is opened again.
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

/// Blobs that were not closed are absent after the storage is opened again.
pub async fn unclosed_blobs_do_not_survive(harness: Arc<dyn Harness>) {
    let data = random("unclosed", 2 << 20);
    {
        let service = harness.open().await;
        let mut writer = service.open_write().must("open_write").await;
        writer.write_all(&data).must("write_all").await;
        writer.flush().must("flush").await;
    }
    let service = harness.open().await;
    expect_absent(&service, &Digest::of(&data), "it was never closed").await;
}

/// A service sees the blobs that another one stores, even after it found them absent.
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

/// A service tells apart blobs of one size that differ in a single byte, and blobs of which one
/// lacks the last byte, at each position where it may look to recognise stored data.
pub async fn blobs_that_differ_in_one_byte(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [100, 1000, 300_000, 1_300_000] {
        let original = random(&format!("one byte of {size}"), size);
        let mut blobs = vec![original.clone(), original.slice(..size - 1), original.slice(1..)];
        for place in [0, 1, size / 3, size / 2, size - 2, size - 1] {
            let mut other = original.to_vec();
            other[place] ^= 0x10;
            blobs.push(other.into());
        }
        for blob in &blobs {
            put(&service, blob).await;
        }
        for (number, blob) in blobs.iter().enumerate() {
            expect_blob(&service, blob, &format!("variant {number} of {size} bytes")).await;
        }
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
        let mut writer = service.open_write().must("open_write").await;
        writer.write_all(&data).must("write_all").await;
        writer.abort().await;
        expect_blob(&service, &data, "after an attempt was aborted").await;
    }
}

/// Opening a service leaves the work of others alone: a writer in the middle of its blob can close.
pub async fn opening_leaves_the_work_of_others_alone(harness: Arc<dyn Harness>) {
    for polls in [1, 2, 4, 7, 12, 20, 40] {
        let data = random(&format!("half stored {polls}"), 2 << 20);
        let service = harness.open().await;
        let closed = {
            let mut put = pin!(try_put(&service, &data));
            let before = poll_times(put.as_mut(), polls).await;
            let other = harness.open().await;
            expect_usable(&other, &format!("another service, opened after {polls} steps")).await;
            match before {
                Some(closed) => closed,
                None => put.await,
            }
        };
        assert_eq!(closed.expect("storing a blob"), Digest::of(&data));
        expect_blob(&harness.open().await, &data, "others were opened while it was stored").await;
    }
}

/// The beginnings of a blob, up to the end of each chunk, are not blobs, neither while the blob is
/// being written nor afterwards.
pub async fn beginnings_of_a_blob_are_absent(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("beginnings", 2 << 20);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    let ends: Vec<usize> = (0..index.len())
        .filter_map(|number| index.chunk_range(number))
        .map(|range| range.end as usize)
        .filter(|end| *end < data.len())
        .collect();
    // With another first byte, none of the blob is stored yet.
    let other = [b"x", &data[..]].concat();
    let mut writer = service.open_write().must("open_write").await;
    writer.write_all(&other).must("write_all").await;
    writer.flush().must("flush").await;
    for length in ends.iter().copied().chain([CHUNK_OF_SOME, 1 << 20]) {
        for (blob, when) in [(&data[..], "the blob is closed"), (&other, "the blob is written")] {
            let what = format!("the first {length} bytes, while {when}");
            expect_absent(&service, &Digest::of(&blob[..length]), &what).await;
        }
    }
    writer.abort().await;
}

/// A size of chunks that simple backends use, in bytes.
const CHUNK_OF_SOME: usize = 192 * 1024;
