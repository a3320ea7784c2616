//! What a writer promises.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{Digest, ErrorKind};
use tokio::io::AsyncWriteExt;

use super::{expect_absent, expect_blob, put, write_split};
use crate::Harness;
use crate::data::{interesting_sizes, random};

/// The digest that `close` returns is BLAKE3 of the bytes.
pub async fn digest_is_blake3(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"Hello World").await.expect("write_all");
    // The digest of "Hello World", from b3sum.
    let hex = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";
    assert_eq!(writer.close().await.expect("close").to_string(), hex);
}

/// Blobs of many sizes come back.
pub async fn sizes_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in interesting_sizes() {
        let data = random(&format!("size {size}"), size);
        put(&service, &data).await;
        expect_blob(&service, &data, &format!("{size} bytes")).await;
    }
}

/// Blobs come back however their writing was split.
pub async fn write_splits_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 2, 64, 1000, 65_536, 65_537, 700_000, 3 << 20] {
        for split in [1, 7, 1024, 4096, 65_535, 65_536, 100_003, 1 << 20] {
            if split > size || size / split > 5000 {
                continue;
            }
            let what = format!("{size} bytes written {split} at a time");
            // Other bytes for each, so that what is stored already cannot hide a loss.
            let data = random(&what, size);
            let mut writer = service.open_write().await.expect("open_write");
            write_split(&mut writer, &data, split).await;
            assert_eq!(writer.close().await.expect("close"), Digest::of(&data), "{what}");
            expect_blob(&service, &data, &what).await;
        }
    }
}

/// Blobs that end at, just before and just after the end of a chunk come back, as do those whose
/// writing is split there.
pub async fn chunk_edges_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("chunk edges", 2 << 20);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).await.expect("chunks").expect("the blob is absent");
    for number in 0..index.len().min(6) {
        let edge = index.chunk_range(number).expect("a chunk has a range").end as usize;
        for end in [edge - 1, edge, (edge + 1).min(data.len())] {
            let mut writer = service.open_write().await.expect("open_write");
            writer.write_all(&data[..end]).await.expect("write_all");
            assert_eq!(writer.close().await.expect("close"), Digest::of(&data[..end]));
            expect_blob(&service, &data[..end], &format!("the first {end} bytes")).await;

            let what = format!("other bytes, written in two at {end}");
            let other = random(&what, data.len());
            let mut writer = service.open_write().await.expect("open_write");
            writer.write_all(&other[..end]).await.expect("write_all");
            writer.flush().await.expect("flush");
            writer.write_all(&other[end..]).await.expect("write_all");
            assert_eq!(writer.close().await.expect("close"), Digest::of(&other), "{what}");
            expect_blob(&service, &other, &what).await;
        }
    }
}

/// Bytes given whole, copied and in small pieces may be mixed.
pub async fn large_writes_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("large writes", 7 << 20);
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_bytes(data.slice(..3_000_000)).await.expect("write_bytes");
    writer.write_all(&data[3_000_000..3_000_100]).await.expect("write_all");
    writer.flush().await.expect("flush");
    writer.write_bytes(data.slice(3_000_100..3_000_101)).await.expect("write_bytes");
    writer.write_bytes(Bytes::new()).await.expect("write_bytes of nothing");
    writer.write_all(&data[3_000_101..4_000_000]).await.expect("write_all");
    // A large one with something before it that is no whole chunk, and may still be gathered.
    writer.write_bytes(data.slice(4_000_000..7_000_000)).await.expect("write_bytes");
    writer.write_all(&data[7_000_000..]).await.expect("write_all");
    assert_eq!(writer.close().await.expect("close"), Digest::of(&data));
    expect_blob(&service, &data, "written in mixed ways").await;
}

/// A writer that is closed without a byte gives the empty blob.
pub async fn empty_blob(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().await.expect("open_write");
    assert_eq!(writer.close().await.expect("close"), Digest::EMPTY);
    expect_blob(&service, b"", "the empty blob").await;
}

/// A writer that is dropped publishes nothing.
pub async fn drop_publishes_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [0, 1, 1000, 3 << 20] {
        let data = random("dropped", size);
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        writer.flush().await.expect("flush");
        drop(writer);
        if size > 0 {
            expect_absent(&service, &Digest::of(&data), "its writer was dropped").await;
        }
    }
}

/// A writer that is aborted publishes nothing, and the blob can be stored afterwards.
pub async fn abort_publishes_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 1000, 3 << 20] {
        let data = random("aborted", size);
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        // The backend has all the bytes, and could publish them.
        writer.flush().await.expect("flush");
        writer.abort().await;
        expect_absent(&service, &Digest::of(&data), "its writer was aborted").await;
        drop(writer);
        expect_absent(&service, &Digest::of(&data), "its aborted writer was dropped").await;
        put(&service, &data).await;
        expect_blob(&service, &data, "stored after it was aborted").await;
    }
}

/// A blob is absent until its writer is closed.
pub async fn unclosed_is_absent(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 1000, 3 << 20] {
        let data = random("unclosed", size);
        let mut writer = service.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        writer.flush().await.expect("flush");
        expect_absent(&service, &Digest::of(&data), "its writer is not closed").await;
        writer.close().await.expect("close");
        expect_blob(&service, &data, "closed after all").await;
    }
}

/// Closing again returns the same digest.
pub async fn close_twice_returns_the_same(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"twice").await.expect("write_all");
    for _ in 0..3 {
        assert_eq!(writer.close().await.expect("close"), Digest::of(b"twice"));
    }
}

/// `shutdown` publishes as `close` does.
pub async fn shutdown_is_close(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"shutdown").await.expect("write_all");
    writer.shutdown().await.expect("shutdown");
    expect_blob(&service, b"shutdown", "shut down").await;
    assert_eq!(writer.close().await.expect("close"), Digest::of(b"shutdown"));
}

/// Writing to a closed writer is `InvalidInput`, and changes nothing.
pub async fn write_after_close_is_invalid_input(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"before").await.expect("write_all");
    writer.close().await.expect("close");
    let error = writer.write_bytes(Bytes::from_static(b"after")).await.expect_err("write_bytes");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = writer.write_all(b"after").await.expect_err("write_all");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(writer.close().await.expect("close"), Digest::of(b"before"));
    expect_blob(&service, b"before", "written to after close").await;
    expect_absent(&service, &Digest::of(b"beforeafter"), "written after close").await;
}

/// An aborted writer neither writes nor closes.
pub async fn write_after_abort_fails(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_all(b"before").await.expect("write_all");
    writer.flush().await.expect("flush");
    writer.abort().await;
    writer.write_all(b"after").await.expect_err("write_all");
    writer.close().await.expect_err("close");
    expect_absent(&service, &Digest::of(b"before"), "its writer was aborted").await;
}

/// A writer goes on when the service that opened it is gone.
pub async fn writers_outlive_their_service(harness: Arc<dyn Harness>) {
    for size in [1000, 2 << 20] {
        let data = random("a writer without its service", size);
        let mut writer = harness.open().await.open_write().await.expect("open_write");
        writer.write_all(&data).await.expect("write_all");
        assert_eq!(writer.close().await.expect("close"), Digest::of(&data));
        expect_blob(&harness.open().await, &data, "closed without its service").await;
    }
}
