//! The cases: what each one checks is its name. Each panics where the service does otherwise.

use bytes::Bytes;
use castore_core::{BlobReader, BlobService, Digest};
use tokio::io::AsyncReadExt;

pub mod reader;
pub mod storage;
pub mod writer;

/// Stores `data` in one piece, and checks its digest.
pub(crate) async fn put(service: &dyn BlobService, data: &Bytes) -> Digest {
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_bytes(data.clone()).await.expect("write_bytes");
    let digest = writer.close().await.expect("close");
    assert_eq!(digest, Digest::of(data), "the digest of {} bytes", data.len());
    digest
}

pub(crate) async fn open(service: &dyn BlobService, digest: &Digest) -> BlobReader {
    service.open_read(digest).await.expect("open_read").expect("the blob is absent")
}

/// Reads the blob from start to end and compares it.
pub(crate) async fn expect_blob(service: &dyn BlobService, data: &[u8], what: &str) {
    let digest = Digest::of(data);
    assert!(service.has(&digest).await.expect("has"), "has: {what}");
    let mut reader = open(service, &digest).await;
    assert_eq!(reader.size(), data.len() as u64, "size: {what}");
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.expect("read_to_end");
    // Not assert_eq: nobody reads megabytes of bytes.
    assert!(read == data, "{} bytes were read that are not those written: {what}", read.len());
}

pub(crate) async fn expect_absent(service: &dyn BlobService, digest: &Digest) {
    assert!(!service.has(digest).await.expect("has"), "has: an absent blob");
    assert!(service.chunks(digest).await.expect("chunks").is_none(), "chunks: an absent blob");
    let reader = service.open_read(digest).await.expect("open_read");
    assert!(reader.is_none(), "open_read: an absent blob");
}
