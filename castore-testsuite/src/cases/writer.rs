//! The promises of a writer.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{Digest, ErrorKind};
use tokio::io::AsyncWriteExt;

use super::{expect_absent, expect_blob, expect_range, open, put, write_split};
use crate::Harness;
use crate::data::{interesting_sizes, random};
use crate::steps::Step;

/// The digest that `close` returns is BLAKE3 of the bytes.
pub async fn digest_is_blake3(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().must("open_write").await;
    writer.write_all(b"Hello World").must("write_all").await;
    // The digest of "Hello World" according to b3sum.
    let hex = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";
    assert_eq!(writer.close().must("close").await.to_string(), hex);
}

/// Blobs of many sizes can be read back.
pub async fn sizes_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in interesting_sizes() {
        let data = random(&format!("size {size}"), size);
        put(&service, &data).await;
        expect_blob(&service, &data, &format!("{size} bytes")).await;
    }
}

/// Blobs can be read back, however their writing was split.
pub async fn write_splits_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 2, 64, 1000, 65_536, 65_537, 700_000, 3 << 20] {
        for split in [1, 7, 1024, 4096, 65_535, 65_536, 100_003, 1 << 20] {
            if split > size || size / split > 5000 {
                continue;
            }
            let what = format!("{size} bytes written {split} at a time");
            // Each blob has other bytes, so that chunks stored before cannot hide a loss.
            let data = random(&what, size);
            let mut writer = service.open_write().must("open_write").await;
            write_split(&mut writer, &data, split).await;
            assert_eq!(writer.close().must("close").await, Digest::of(&data), "{what}");
            expect_blob(&service, &data, &what).await;
        }
    }
}

/// Blobs that end at, just before and just after the end of a chunk can be read back, and so can
/// blobs whose writing is split there.
pub async fn chunk_edges_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("chunk edges", 2 << 20);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    for number in 0..index.len().min(6) {
        let edge = index.chunk_range(number).expect("a chunk has a range").end as usize;
        for end in [edge - 1, edge, (edge + 1).min(data.len())] {
            let mut writer = service.open_write().must("open_write").await;
            writer.write_all(&data[..end]).must("write_all").await;
            assert_eq!(writer.close().must("close").await, Digest::of(&data[..end]));
            expect_blob(&service, &data[..end], &format!("the first {end} bytes")).await;

            let what = format!("other bytes, written in two at {end}");
            let other = random(&what, data.len());
            let mut writer = service.open_write().must("open_write").await;
            writer.write_all(&other[..end]).must("write_all").await;
            writer.flush().must("flush").await;
            writer.write_all(&other[end..]).must("write_all").await;
            assert_eq!(writer.close().must("close").await, Digest::of(&other), "{what}");
            expect_blob(&service, &other, &what).await;
        }
    }
}

/// Whole, copied and small writes may be mixed.
pub async fn large_writes_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("large writes", 7 << 20);
    let mut writer = service.open_write().must("open_write").await;
    writer.write_bytes(data.slice(..3_000_000)).must("write_bytes").await;
    writer.write_all(&data[3_000_000..3_000_100]).must("write_all").await;
    writer.flush().must("flush").await;
    writer.write_bytes(data.slice(3_000_100..3_000_101)).must("write_bytes").await;
    writer.write_bytes(Bytes::new()).must("write_bytes of nothing").await;
    writer.write_all(&data[3_000_101..4_000_000]).must("write_all").await;
    // A large write follows bytes that make no whole chunk, and may still be gathered.
    writer.write_bytes(data.slice(4_000_000..7_000_000)).must("write_bytes").await;
    writer.write_all(&data[7_000_000..]).must("write_all").await;
    assert_eq!(writer.close().must("close").await, Digest::of(&data));
    expect_blob(&service, &data, "written in mixed ways").await;
}

/// A writer closed without a byte stores the empty blob.
pub async fn empty_blob(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().must("open_write").await;
    assert_eq!(writer.close().must("close").await, Digest::EMPTY);
    expect_blob(&service, b"", "the empty blob").await;
}

/// A dropped writer publishes nothing.
pub async fn drop_publishes_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [0, 1, 1000, 3 << 20] {
        let data = random("dropped", size);
        let mut writer = service.open_write().must("open_write").await;
        writer.write_all(&data).must("write_all").await;
        writer.flush().must("flush").await;
        drop(writer);
        if size > 0 {
            expect_absent(&service, &Digest::of(&data), "its writer was dropped").await;
        }
    }
}

/// An aborted writer publishes nothing, and the blob can be stored afterwards.
pub async fn abort_publishes_nothing(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    for size in [1, 1000, 3 << 20] {
        let data = random("aborted", size);
        let mut writer = service.open_write().must("open_write").await;
        writer.write_all(&data).must("write_all").await;
        // Now the backend has all the bytes, and could publish them.
        writer.flush().must("flush").await;
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
        let mut writer = service.open_write().must("open_write").await;
        writer.write_all(&data).must("write_all").await;
        writer.flush().must("flush").await;
        expect_absent(&service, &Digest::of(&data), "its writer is not closed").await;
        writer.close().must("close").await;
        expect_blob(&service, &data, "closed after all").await;
    }
}

/// A second `close` returns the same digest.
pub async fn close_twice_returns_the_same(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().must("open_write").await;
    writer.write_all(b"twice").must("write_all").await;
    for _ in 0..3 {
        assert_eq!(writer.close().must("close").await, Digest::of(b"twice"));
    }
}

/// `shutdown` publishes as `close` does.
pub async fn shutdown_is_close(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().must("open_write").await;
    writer.write_all(b"shutdown").must("write_all").await;
    writer.shutdown().must("shutdown").await;
    expect_blob(&service, b"shutdown", "shut down").await;
    assert_eq!(writer.close().must("close").await, Digest::of(b"shutdown"));
}

/// Writing to a closed writer is `InvalidInput`, and changes nothing.
pub async fn write_after_close_is_invalid_input(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().must("open_write").await;
    writer.write_all(b"before").must("write_all").await;
    writer.close().must("close").await;
    let error = writer.write_bytes(Bytes::from_static(b"after")).await.expect_err("write_bytes");
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    let error = writer.write_all(b"after").await.expect_err("write_all");
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(writer.close().must("close").await, Digest::of(b"before"));
    expect_blob(&service, b"before", "written to after close").await;
    expect_absent(&service, &Digest::of(b"beforeafter"), "written after close").await;
}

/// An aborted writer refuses to write and to close.
pub async fn write_after_abort_fails(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let mut writer = service.open_write().must("open_write").await;
    writer.write_all(b"before").must("write_all").await;
    writer.flush().must("flush").await;
    writer.abort().await;
    writer.write_all(b"after").await.expect_err("write_all");
    writer.close().await.expect_err("close");
    expect_absent(&service, &Digest::of(b"before"), "its writer was aborted").await;
}

/// A writer goes on after the service that opened it is dropped.
pub async fn writers_outlive_their_service(harness: Arc<dyn Harness>) {
    for size in [1000, 2 << 20] {
        let data = random("a writer without its service", size);
        let mut writer = harness.open().await.open_write().must("open_write").await;
        writer.write_all(&data).must("write_all").await;
        assert_eq!(writer.close().must("close").await, Digest::of(&data));
        expect_blob(&harness.open().await, &data, "closed without its service").await;
    }
}

/// One write of 20 MiB makes one blob.
pub async fn one_write_of_twenty_mebibytes(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("twenty mebibytes", 20 << 20);
    put(&service, &data).await;
    expect_blob(&harness.open().await, &data, "written in one piece").await;
}

/// A blob with more chunks than a byte can count can be read back whole, and so can its index.
pub async fn many_chunks_round_trip(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    // The blob has 306 chunks of 256 KiB, or more smaller ones.
    let data = random("many chunks", 80_300_001);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    assert_eq!(index.size(), data.len() as u64, "the chunks' sizes do not sum to the blob's");
    let reader = open(&service, &digest).await;
    let len = data.len() as u64;
    for start in [0, len / 5, len / 2, len - 3_000_000] {
        expect_range(&reader, &data, start..start + 2_000_000).await;
    }
    expect_blob(&service, &data, "of many chunks").await;
}

/// Repetitive data can be read back whole: the same chunk follows itself, or occurs again after
/// others.
pub async fn repetitive_data_round_trips(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let period = |length: usize, of: usize| {
        let one = random(&format!("a period of {length}"), length);
        one.iter().copied().cycle().take(of).collect::<Bytes>()
    };
    let mut blobs: Vec<Bytes> = Vec::new();
    for byte in [0, 0xff] {
        for len in [1000, 1 << 20, (2 << 20) + 1, 24 << 20] {
            blobs.push(vec![byte; len].into());
        }
    }
    for length in [1, 3, 4096, 100_000, 1_000_000] {
        blobs.push(period(length, 3_500_000));
    }
    for blob in &blobs {
        put(&service, blob).await;
    }
    for (number, blob) in blobs.iter().enumerate() {
        expect_blob(&service, blob, &format!("repetitive blob {number}")).await;
    }
}

/// Data that looks compressed, or is, is stored like any other data.
pub async fn data_that_looks_compressed_round_trips(harness: Arc<dyn Harness>) {
    const MAGICS: [(&str, &[u8]); 5] = [
        ("zstd", &[0x28, 0xb5, 0x2f, 0xfd]),
        ("gzip", &[0x1f, 0x8b, 0x08, 0x00]),
        ("lz4", &[0x04, 0x22, 0x4d, 0x18]),
        ("xz", &[0xfd, b'7', b'z', b'X', b'Z', 0x00]),
        ("a skippable frame", &[0x50, 0x2a, 0x4d, 0x18, 0x04, 0x00, 0x00, 0x00]),
    ];
    let service = harness.open().await;
    // "hello" in a zstd frame, and an empty frame.
    let frame =
        [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x05, 0x29, 0x00, 0x00, 0x68, 0x65, 0x6c, 0x6c, 0x6f];
    let empty = [0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00, 0x00];
    let mut blobs = vec![Bytes::copy_from_slice(&frame), Bytes::copy_from_slice(&empty)];
    for (name, magic) in MAGICS {
        blobs.push(Bytes::from_static(magic));
        for len in [1000, 1_300_000] {
            blobs.push([magic, &random(name, len)[..]].concat().into());
        }
    }
    for (number, blob) in blobs.iter().enumerate() {
        put(&service, blob).await;
        expect_blob(&service, blob, &format!("compressed-looking blob {number}")).await;
    }
}
