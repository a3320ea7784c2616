//! Memory and requests are bounded, and nothing waits for ever.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobService, Digest};
use castore_objstore::ObjectStoreBlobService;
use futures_util::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::probe::Probe;
use crate::support::{MIB, put, random, read, service};

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirty_two_writers_keep_within_the_limits() {
    let probe = Arc::new(Probe::with_delay(Duration::from_millis(2)));
    let memory = 16 * MIB;
    let service =
        ObjectStoreBlobService::builder(probe.clone()).memory(memory).requests(20).build().unwrap();
    let blobs: Vec<Bytes> = (0..32).map(|n| random(&format!("limit {n}"), 3 * MIB)).collect();
    for digest in join_all(blobs.iter().map(|blob| put(&service, blob))).await {
        digest.unwrap();
    }
    println!("peaks: {} requests, {} bytes", probe.peak_requests(), probe.peak_bytes());
    assert!(probe.peak_requests() <= 20);
    assert!(probe.peak_bytes() <= memory);
    assert!(probe.peak_requests() > 2, "nothing was concurrent");
    for blob in &blobs {
        assert!(read(&service, &Digest::of(blob)).await.unwrap().unwrap() == *blob);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_store_slows_the_writer_down() {
    let probe = Arc::new(Probe::gated());
    let service = service(probe.clone());
    let data = random("endless", 128 * MIB);
    let mut writer = service.open_write().await.unwrap();
    let mut accepted = 0;
    // No put ends. What is accepted while nothing has moved for a while is all there will be.
    for piece in data.chunks(MIB).map(|piece| data.slice_ref(piece)) {
        let size = piece.len();
        if timeout(Duration::from_millis(500), writer.write_bytes(piece)).await.is_err() {
            break;
        }
        accepted += size;
    }
    assert!(accepted < 64 * MIB, "{accepted} bytes were accepted of what goes nowhere");
    probe.gate.as_ref().unwrap().add_permits(10_000);
    writer.write_bytes(data.slice(accepted..)).await.unwrap();
    assert_eq!(writer.close().await.unwrap(), Digest::of(&data));
}

#[tokio::test]
async fn many_writers_fed_in_turn_do_not_block_each_other() {
    let service =
        ObjectStoreBlobService::builder(Arc::new(Probe::new())).memory(MIB).build().unwrap();
    let all = async {
        let data = random("in turn", MIB);
        let mut writers = Vec::new();
        for _ in 0..100 {
            writers.push(service.open_write().await.unwrap());
        }
        for piece in data.chunks(200_000) {
            for (number, writer) in writers.iter_mut().enumerate() {
                writer.write_all(&[number as u8]).await.unwrap();
                writer.write_all(piece).await.unwrap();
            }
        }
        for writer in &mut writers {
            writer.close().await.unwrap();
        }
    };
    timeout(LONG, all).await.expect("deadlock");
}

#[tokio::test]
async fn copying_beside_idle_readers_does_not_deadlock() {
    let service =
        ObjectStoreBlobService::builder(Arc::new(Probe::new())).memory(2 * MIB).build().unwrap();
    let data = random("copied", 8 * MIB);
    let all = async {
        let digest = put(&service, &data).await.unwrap();
        let mut idle = Vec::new();
        for _ in 0..20 {
            let mut reader = service.open_read(&digest).await.unwrap().unwrap();
            reader.read_u8().await.unwrap();
            idle.push(reader);
        }
        let mut reader = service.open_read(&digest).await.unwrap().unwrap();
        let mut writer = service.open_write().await.unwrap();
        writer.write_all(b"another blob: ").await.unwrap();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
        writer.close().await.unwrap();
    };
    timeout(LONG, all).await.expect("deadlock");
}
