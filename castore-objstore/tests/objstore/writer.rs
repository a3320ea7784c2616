//! A writer that is not closed publishes nothing. A closed writer accepts nothing more.

use bytes::Bytes;
use castore_core::{BlobService, BlobWriter, Digest, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use tokio::io::AsyncWriteExt;

use crate::support::clock::{LATENCY, settle};
use crate::support::data::{MIB, random};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{assert_absent, put, read, service};

async fn half_written(service: &ObjectStoreBlobService, data: &Bytes) -> BlobWriter {
    let mut writer = service.open_write().await.unwrap();
    writer.write_all(data).await.unwrap();
    writer
}

async fn assert_nothing_published(probe: &Probe, data: &Bytes) {
    settle().await;
    assert!(probe.objects(Part::Blobs).await.is_empty());
    assert_absent(&service(probe), &Digest::of(data)).await;
}

#[tokio::test(start_paused = true)]
async fn dropping_a_writer_midway_publishes_nothing() {
    let data = random("dropped", 6 * MIB);
    for flush in [false, true] {
        let probe = Probe::new().with_latency(LATENCY);
        let service = service(&probe);
        let mut writer = half_written(&service, &data).await;
        if flush {
            writer.flush().await.unwrap();
        }
        drop(writer);
        assert_nothing_published(&probe, &data).await;
        let digest = put(&service, &data).await;
        assert_eq!(read(&service, &digest).await, data);
    }
}

#[tokio::test(start_paused = true)]
async fn dropping_a_writer_before_its_index_is_stored_publishes_nothing() {
    for size in [6 * MIB, 100] {
        let data = random("dropped", size);
        let probe = Probe::new();
        let service = service(&probe);
        let mut writer = half_written(&service, &data).await;
        // All chunks are stored, and then the index is held.
        let chunks = tokio::time::timeout(LATENCY, async {
            probe.hold(Kind::Put);
            writer.close().await
        });
        chunks.await.expect_err("its PUTs are held");
        drop(writer);
        probe.release();
        settle().await;
        assert!(probe.objects(Part::Blobs).await.is_empty());
        put(&service, &data).await;
    }
}

#[tokio::test(start_paused = true)]
async fn flushing_publishes_nothing() {
    let data = random("flushed", 3 * MIB);
    let probe = Probe::new();
    let service = service(&probe);
    let mut writer = half_written(&service, &data).await;
    writer.flush().await.unwrap();
    assert_nothing_published(&probe, &data).await;
    assert_eq!(writer.close().await.unwrap(), Digest::of(&data));
    assert!(service.has(&Digest::of(&data)).await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn aborting_a_writer_publishes_nothing() {
    let data = random("aborted", 6 * MIB);
    let probe = Probe::new().with_latency(LATENCY);
    let service = service(&probe);
    let mut writer = half_written(&service, &data).await;
    writer.abort().await;
    probe.forget();
    assert_nothing_published(&probe, &data).await;
    assert_eq!(probe.count(Kind::Put, Part::Chunks), 0, "nothing is under way any more");
    assert_eq!(writer.close().await.unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(writer.write_all(b"more").await.is_err());
    put(&service, &data).await;
}

#[tokio::test]
async fn writing_after_close_is_an_error() {
    let service = service(&Probe::new());
    for size in [0, 100, 3 * MIB] {
        let data = random("closed", size);
        let mut writer = half_written(&service, &data).await;
        let digest = writer.close().await.unwrap();
        let error = writer.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        let error = writer.write_bytes(Bytes::from_static(b"more")).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(writer.close().await.unwrap(), digest);
        assert_eq!(read(&service, &digest).await, data);
    }
}

#[tokio::test]
async fn closing_again_gives_the_same_digest_and_asks_nothing() {
    let probe = Probe::new();
    let service = service(&probe);
    let data = random("closed", 3 * MIB);
    let mut writer = half_written(&service, &data).await;
    writer.shutdown().await.unwrap();
    probe.forget();
    for _ in 0..3 {
        assert_eq!(writer.close().await.unwrap(), Digest::of(&data));
        writer.shutdown().await.unwrap();
        writer.flush().await.unwrap();
    }
    assert_eq!(probe.total(), 0);
}

/// The index is the commit record: the writer sends it last, when everything else is stored.
#[tokio::test(start_paused = true)]
async fn the_index_is_written_after_every_chunk() {
    for size in [100, 6 * MIB] {
        let probe = Probe::new().with_latency(LATENCY);
        let service = service(&probe);
        let data = random("order", size);
        probe.hold(Kind::Put);
        let chunks = crate::support::data::distinct(&data, service.chunk_params()).len();
        let watch = async {
            settle().await;
            assert_eq!(probe.count(Kind::Put, Part::Chunks), chunks);
            assert_eq!(probe.count(Kind::Put, Part::Blobs), 0);
            probe.release();
        };
        let (digest, ()) = tokio::join!(put(&service, &data), watch);
        assert_eq!(probe.count(Kind::Put, Part::Blobs), 1);
        assert_eq!(read(&service, &digest).await, data);
    }
}

#[tokio::test]
async fn many_writers_take_smaller_batches_down_to_64_kib() {
    let service = service(&Probe::new());
    let mut writers = Vec::new();
    let mut batches = Vec::new();
    for _ in 0..200 {
        let writer = service.open_write().await.unwrap();
        batches.push(writer.preferred_write_size());
        writers.push(writer);
    }
    let batch = batches[3];
    assert_eq!(batches[1..4], [batch; 3]);
    assert_eq!(batches[7], batch / 2);
    assert!(batches[4..].is_sorted_by(|before, after| before >= after));
    assert_eq!(batches[199], 64 * 1024);
    // The next one has its full share once they are gone.
    drop(writers);
    assert_eq!(service.open_write().await.unwrap().preferred_write_size(), batches[0]);
}
