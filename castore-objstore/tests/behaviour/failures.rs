//! Stores that fail: the error arrives, nothing is published, and trying again works.

use std::error::Error as _;
use std::sync::Arc;

use castore_core::{BlobService, Digest, ErrorKind};

use crate::probe::{Kind, Probe};
use crate::support::{MIB, oracle, put, random, read, service};

async fn put_fails(kind: Kind, prefix: &'static str, after: usize) {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    let data = random("failing", 4 * MIB);
    let digest = Digest::of(&data);
    probe.fail(kind, prefix, after);
    let mut writer = service.open_write().await.unwrap();
    let written = writer.write_bytes(data.clone()).await;
    let first = writer.close().await.unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Unavailable);
    let source = first.source().unwrap().downcast_ref::<object_store::Error>().unwrap();
    assert!(source.to_string().contains("injected"));
    if let Err(error) = written {
        assert_eq!(error.to_string(), first.to_string());
    }
    for _ in 0..2 {
        assert_eq!(writer.close().await.unwrap_err().to_string(), first.to_string());
    }
    probe.heal();
    assert!(!service.has(&digest).await.unwrap());
    assert_eq!(read(&service, &digest).await.unwrap(), None);
    assert_eq!(put(&service, &data).await.unwrap(), digest);
    assert!(read(&service, &digest).await.unwrap().unwrap() == data);
}

#[tokio::test]
async fn a_failing_put_of_any_chunk_reaches_close() {
    let chunks = oracle(&random("failing", 4 * MIB)).len();
    for after in 0..chunks {
        put_fails(Kind::Put, "chunks", after).await;
    }
}

#[tokio::test]
async fn a_failing_look_for_a_chunk_reaches_close() {
    put_fails(Kind::Head, "chunks", 3).await;
}

#[tokio::test]
async fn a_failing_put_of_the_index_reaches_close() {
    put_fails(Kind::Put, "blobs", 0).await;
}

#[tokio::test]
async fn one_chunk_blobs_fail_as_well() {
    for (kind, prefix) in [(Kind::Head, "blobs"), (Kind::Put, "chunks"), (Kind::Put, "blobs")] {
        let probe = Arc::new(Probe::new());
        let service = service(probe.clone());
        let data = random("small", 1000);
        probe.fail(kind, prefix, 0);
        assert_eq!(put(&service, &data).await.unwrap_err().kind(), ErrorKind::Unavailable);
        probe.heal();
        assert_eq!(put(&service, &data).await.unwrap(), Digest::of(&data));
        assert!(read(&service, &Digest::of(&data)).await.unwrap().unwrap() == data);
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_asked_is_not_an_absent_blob() {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    let data = random("unreadable", 2 * MIB);
    let digest = put(&service, &data).await.unwrap();
    let kind = |result: castore_core::Result<bool>| result.unwrap_err().kind();

    probe.fail(Kind::Head, "blobs", 0);
    assert_eq!(kind(service.has(&digest).await), ErrorKind::Unavailable);
    probe.fail(Kind::Get, "blobs", 0);
    assert_eq!(kind(service.chunks(&digest).await.map(|_| true)), ErrorKind::Unavailable);
    assert_eq!(kind(service.open_read(&digest).await.map(|_| true)), ErrorKind::Unavailable);
    // The chunk that is asked for beside the index fails, and does not matter.
    probe.fail(Kind::Get, "chunks", 0);
    let reader = service.open_read(&digest).await.unwrap().unwrap();
    assert_eq!(reader.size(), data.len() as u64);
    assert_eq!(kind(read(&service, &digest).await.map(|_| true)), ErrorKind::Unavailable);
    probe.heal();
    assert!(read(&service, &digest).await.unwrap().unwrap() == data);
}

#[tokio::test]
async fn a_dropped_writer_publishes_nothing() {
    let probe = Arc::new(Probe::new());
    let service = service(probe.clone());
    let data = random("dropped", 8 * MIB);
    let mut writer = service.open_write().await.unwrap();
    writer.write_bytes(data.clone()).await.unwrap();
    drop(writer);
    assert!(!service.has(&Digest::of(&data)).await.unwrap());
    assert_eq!(probe.count(Kind::Put, "blobs"), 0);
}
