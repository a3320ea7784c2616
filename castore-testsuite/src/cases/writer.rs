//! What a writer promises.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{Digest, ErrorKind};
use futures_util::future::join_all;
use tokio::io::AsyncWriteExt;

use super::{expect_absent, expect_blob, put};
use crate::Harness;
use crate::data::{interesting_sizes, random};

/// The digest that `close` returns is BLAKE3 of the bytes.
pub async fn digest_is_blake3(harness: Arc<impl Harness>) {
    let service = harness.open();
    // The digest of "Hello World", from b3sum.
    let hex = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";
    let digest = put(&service, &Bytes::from_static(b"Hello World")).await;
    assert_eq!(digest.to_string(), hex);
}

/// Blobs of many sizes come back, however their writing was split.
pub async fn sizes_and_splits_round_trip(harness: Arc<impl Harness>) {
    let service = harness.open();
    for size in interesting_sizes() {
        let data = random("sizes", size);
        for split in [1, 7, 4096, 100_003, usize::MAX] {
            if size / split.min(size.max(1)) > 5000 {
                continue;
            }
            let what = format!("{size} bytes written {split} at a time");
            let mut writer = service.open_write().await.expect("open_write");
            for piece in data.chunks(split) {
                writer.write_all(piece).await.expect("write_all");
            }
            assert_eq!(writer.close().await.expect("close"), Digest::of(&data), "{what}");
            expect_blob(&service, &data, &what).await;
        }
    }
}

/// Bytes given whole, copied and in small pieces may be mixed.
pub async fn large_writes_round_trip(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("large writes", 5 << 20);
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_bytes(data.slice(..3_000_000)).await.expect("write_bytes");
    writer.write_all(&data[3_000_000..3_000_100]).await.expect("write_all");
    writer.flush().await.expect("flush");
    writer.write_bytes(data.slice(3_000_100..3_000_101)).await.expect("write_bytes");
    writer.write_bytes(Bytes::new()).await.expect("write_bytes of nothing");
    writer.write_all(&data[3_000_101..]).await.expect("write_all");
    assert_eq!(writer.close().await.expect("close"), Digest::of(&data));
    expect_blob(&service, &data, "written in mixed ways").await;
}

/// A writer that is closed without a byte gives the empty blob.
pub async fn empty_blob(harness: Arc<impl Harness>) {
    let service = harness.open();
    let mut writer = service.open_write().await.expect("open_write");
    assert_eq!(writer.close().await.expect("close"), Digest::EMPTY);
    expect_blob(&service, b"", "the empty blob").await;
}

/// A writer that is dropped publishes nothing.
pub async fn drop_publishes_nothing(harness: Arc<impl Harness>) {
    let service = harness.open();
    for size in [0, 1, 1000, 3 << 20] {
        let data = random("dropped", size);
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        writer.flush().await.expect("flush");
        drop(writer);
        if size > 0 {
            expect_absent(&service, &Digest::of(&data)).await;
        }
    }
}

/// A writer that is aborted publishes nothing.
pub async fn abort_publishes_nothing(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("aborted", 3 << 20);
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(&data).await.expect("write_all");
    writer.abort().await;
    expect_absent(&service, &Digest::of(&data)).await;
    drop(writer);
    put(&service, &data).await;
    expect_blob(&service, &data, "stored after it was aborted").await;
}

/// A blob is absent until its writer is closed.
pub async fn unclosed_is_absent(harness: Arc<impl Harness>) {
    let service = harness.open();
    for size in [1, 1000, 3 << 20] {
        let data = random("unclosed", size);
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        writer.flush().await.expect("flush");
        expect_absent(&service, &Digest::of(&data)).await;
        writer.close().await.expect("close");
        expect_blob(&service, &data, "closed after all").await;
    }
}

/// Closing again returns the same digest.
pub async fn close_twice_returns_the_same(harness: Arc<impl Harness>) {
    let service = harness.open();
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"twice").await.expect("write_all");
    for _ in 0..3 {
        assert_eq!(writer.close().await.expect("close"), Digest::of(b"twice"));
    }
}

/// `shutdown` publishes as `close` does.
pub async fn shutdown_is_close(harness: Arc<impl Harness>) {
    let service = harness.open();
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"shutdown").await.expect("write_all");
    writer.shutdown().await.expect("shutdown");
    expect_blob(&service, b"shutdown", "shut down").await;
    assert_eq!(writer.close().await.expect("close"), Digest::of(b"shutdown"));
}

/// Writing to a closed writer is `InvalidInput`, and changes nothing.
pub async fn write_after_close_is_invalid_input(harness: Arc<impl Harness>) {
    let service = harness.open();
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"before").await.expect("write_all");
    writer.close().await.expect("close");
    let error = writer.write_bytes(Bytes::from_static(b"after")).await.expect_err("write_bytes");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = writer.write_all(b"after").await.expect_err("write_all");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(writer.close().await.expect("close"), Digest::of(b"before"));
    expect_blob(&service, b"before", "written to after close").await;
    expect_absent(&service, &Digest::of(b"beforeafter")).await;
}

/// An aborted writer neither writes nor closes.
pub async fn write_after_abort_fails(harness: Arc<impl Harness>) {
    let service = harness.open();
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"before").await.expect("write_all");
    writer.abort().await;
    writer.write_all(b"after").await.expect_err("write_all");
    writer.close().await.expect_err("close");
    expect_absent(&service, &Digest::of(b"before")).await;
}

/// Two writers of the same bytes at the same time both succeed.
pub async fn same_blob_by_two_writers(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("two writers", 2 << 20);
    let mut first = service.open_write().await.expect("open_write");
    let mut second = service.open_write().await.expect("open_write");
    for piece in data.chunks(100_000) {
        first.write_all(piece).await.expect("write_all");
        second.write_all(piece).await.expect("write_all");
    }
    let (first, second) = tokio::join!(first.close(), second.close());
    assert_eq!(first.expect("close"), second.expect("close"));
    expect_blob(&service, &data, "written twice at once").await;
}

/// Sixteen writers, fed in turn and closed together, all succeed.
pub async fn sixteen_writers_at_once(harness: Arc<impl Harness>) {
    let service = harness.open();
    let blobs: Vec<Bytes> =
        (0..16).map(|n| random(&format!("writer {n}"), 1_000_000 + n * 1000)).collect();
    let mut writers = Vec::new();
    for _ in &blobs {
        writers.push(service.open_write().await.expect("open_write"));
    }
    for start in (0..1_100_000).step_by(50_000) {
        for (writer, blob) in writers.iter_mut().zip(&blobs) {
            let piece = start.min(blob.len())..(start + 50_000).min(blob.len());
            writer.write_all(&blob[piece]).await.expect("write_all");
        }
    }
    let closed = join_all(writers.iter_mut().map(|writer| writer.close())).await;
    for (digest, blob) in closed.into_iter().zip(&blobs) {
        assert_eq!(digest.expect("close"), Digest::of(blob));
    }
    for blob in &blobs {
        expect_blob(&service, blob, "one of sixteen").await;
    }
}

/// A `close` that is given up at any point leaves the service usable, and can be done again.
pub async fn dropped_close_leaves_the_service_usable(harness: Arc<impl Harness>) {
    let service = harness.open();
    let data = random("dropped close", 1_500_000);
    for polls in 0..12 {
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        {
            let mut close = Box::pin(writer.close());
            for _ in 0..polls {
                if futures_util::poll!(&mut close).is_ready() {
                    break;
                }
                tokio::task::yield_now().await;
            }
        }
        if polls % 2 == 0 {
            assert_eq!(writer.close().await.expect("close"), Digest::of(&data));
        }
        drop(writer);
        put(&service, &data).await;
        expect_blob(&service, &data, "stored after a close was dropped").await;
    }
}
