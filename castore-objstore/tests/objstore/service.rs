//! The service beyond single blobs: its orderly end, its hook for metrics, its blocking form.

use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobService, Digest, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use castore_objstore::blocking::Blocking;
use castore_objstore::metrics::{Request, RequestKind, RequestOutcome};
use futures_util::{TryStreamExt, poll};
use tokio::io::AsyncWriteExt;

use crate::support::data::random;
use crate::support::probe::{Kind, Probe, broken};
use crate::support::service::{builder, put, read, service};

#[tokio::test]
async fn close_waits_for_open_writers_and_admits_no_more() {
    let probe = Probe::new();
    let service = service(&probe);
    let data = random("open", 300_000);
    let mut open = service.open_write().await.unwrap();
    open.write_all(&data).await.unwrap();
    let mut aborted = service.open_write().await.unwrap();
    aborted.write_all(&data).await.unwrap();
    let dropped = service.clone().open_write().await.unwrap();

    let mut closing = Box::pin(service.close());
    assert!(poll!(&mut closing).is_pending());
    let refused = service.clone().open_write().await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidInput);
    assert!(refused.to_string().contains("the service is closed"), "{refused}");
    assert_eq!(service.put_bytes(data.clone()).await.unwrap_err().kind(), ErrorKind::InvalidInput);

    aborted.abort().await;
    drop((aborted, dropped));
    assert!(poll!(&mut closing).is_pending(), "one writer is open still");
    let digest = open.close().await.unwrap();
    drop(open);
    closing.await.unwrap();
    assert_eq!(read(&service, &digest).await, data);
    service.close().await.unwrap();
}

#[tokio::test]
async fn close_waits_for_the_requests_of_a_dropped_writer() {
    let directory = tempfile::tempdir().unwrap();
    let service = ObjectStoreBlobService::local(directory.path()).build().unwrap();
    for round in 0..10 {
        let service = ObjectStoreBlobService::local(directory.path()).build().unwrap();
        let mut writer = service.open_write().await.unwrap();
        writer.write_all(&random(&format!("dropped {round}"), 2_000_000)).await.unwrap();
        drop(writer);
        service.close().await.unwrap();
        let files = || walk(directory.path());
        let before = files();
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(files(), before, "nothing is written after close");
    }
    assert_eq!(service.list().try_collect::<Vec<_>>().await.unwrap(), []);
}

fn walk(directory: &std::path::Path) -> Vec<(std::path::PathBuf, u64)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(walk(&entry.path())),
            _ => found.push((entry.path(), entry.metadata().map_or(0, |meta| meta.len()))),
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn metrics_see_each_request_with_its_bytes_and_its_result() {
    let seen = Arc::new(Mutex::new(Vec::<Request>::new()));
    let probe = Probe::new();
    let hook = {
        let seen = Arc::clone(&seen);
        move |request: &Request| seen.lock().unwrap().push(*request)
    };
    let service = builder(&probe).metrics(Arc::new(hook)).build().unwrap();
    let data = random("measured", 100_000);
    let digest = service.put_bytes(data.clone()).await.unwrap();
    assert!(!service.has(&Digest::of(b"absent")).await.unwrap());
    assert_eq!(read(&service, &digest).await, data);
    assert!(service.remove(&digest).await.unwrap());
    probe.fail_keys(Kind::Head, "blobs", broken);
    let error = service.has(&digest).await.unwrap_err();

    let seen = seen.lock().unwrap();
    let count = |kind| seen.iter().filter(|request| request.kind == kind).count() as u64;
    let stats = service.stats();
    assert_eq!(count(RequestKind::Head), stats.requests_head);
    assert_eq!(count(RequestKind::Get), stats.requests_get);
    assert_eq!(count(RequestKind::Put), stats.requests_put);
    assert_eq!(count(RequestKind::Delete), stats.requests_delete);
    let bytes = |kind| {
        let of_kind = seen.iter().filter(|request| request.kind == kind);
        of_kind.map(|request| request.bytes).max().unwrap()
    };
    assert_eq!(bytes(RequestKind::Put), stats.bytes_stored);
    assert_eq!(bytes(RequestKind::Get), stats.bytes_stored);
    let absent = seen.iter().any(|request| {
        request.operation == "look for blob" && request.outcome == RequestOutcome::Absent
    });
    assert!(absent, "{seen:?}");
    assert_eq!(seen.last().unwrap().outcome, RequestOutcome::Failed(error.kind()));
}

#[test]
fn a_blocking_service_reads_and_writes_without_a_runtime() {
    let directory = tempfile::tempdir().unwrap();
    let store =
        Blocking::new(ObjectStoreBlobService::local(directory.path()).build().unwrap()).unwrap();
    let data = random("blocking", 3_000_000);
    let digest = store.put_reader(&mut &data[..]).unwrap();
    assert_eq!(digest, Digest::of(&data));
    assert!(store.has(&digest).unwrap());
    assert_eq!(store.stat(&digest).unwrap().unwrap().size, 3_000_000);
    assert_eq!(store.get_bytes(&digest, 3_000_000).unwrap().unwrap(), data);

    let mut reader = store.open_read(&digest).unwrap().unwrap();
    reader.seek(SeekFrom::End(-10)).unwrap();
    let mut end = Vec::new();
    reader.read_to_end(&mut end).unwrap();
    assert_eq!(end, data[data.len() - 10..]);
    let mut part = [0; 100];
    assert_eq!(reader.read_at(1_000_000, &mut part).unwrap(), 100);
    assert_eq!(part, data[1_000_000..1_000_100]);

    let threads: Vec<_> = (0..4_u8)
        .map(|number| {
            let store = store.clone();
            std::thread::spawn(move || {
                let mut writer = store.open_write().unwrap();
                writer.write_all(&[number; 1000]).unwrap();
                writer.flush().unwrap();
                writer.close().unwrap()
            })
        })
        .collect();
    let mut expected: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
    expected.push(digest);
    expected.sort();
    let mut listed: Vec<_> = store.list().map(Result::unwrap).collect();
    listed.sort();
    assert_eq!(listed, expected);

    assert!(store.remove(&digest).unwrap());
    assert!(store.open_read(&digest).unwrap().is_none());
    let gone = store.put_reader(&mut Fails).unwrap_err();
    assert_eq!(gone.to_string(), "cannot read the input: the disk is gone");
}

struct Fails;

impl Read for Fails {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        Err(std::io::Error::other("the disk is gone"))
    }
}

#[tokio::test]
async fn the_size_of_a_blob_costs_one_request() {
    for size in [1, 100_000, 3_000_000] {
        let probe = Probe::new();
        let service = service(&probe);
        let data: Bytes = random("size", size);
        let digest = put(&service, &data).await;
        probe.forget();
        let stat = service.stat(&digest).await.unwrap().unwrap();
        assert_eq!((stat.digest, stat.size), (digest, size as u64));
        assert_eq!(probe.total(), 1, "{size}");
        assert_eq!(service.stat(&Digest::of(b"absent")).await.unwrap(), None);
    }
}
