//! Collecting garbage: what goes, what stays, what comes back. Whether that is safe while others
//! write is shown by the model beside the code, request by request.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, Digest, ErrorKind};
use castore_objstore::{
    GcOptions, GcReport, ObjectStoreBlobService, Roots, VerifyLevel, VerifyOptions,
};
use futures_util::stream;
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;

use crate::support::data::{random, tiny};
use crate::support::probe::{Kind, Part, Probe, broken};
use crate::support::service::{
    assert_absent, chunk_key, index_key, put, read, read_until_error, service_with,
};

/// Nothing has to be old.
fn at_once() -> GcOptions {
    GcOptions::default().grace(Duration::ZERO)
}

async fn gc(service: &ObjectStoreBlobService) -> GcReport {
    service.gc(Roots::Blobs, &at_once(), &()).await.unwrap()
}

/// A store with a blob, and the chunks of another one that was removed.
async fn with_garbage(probe: &Probe) -> (ObjectStoreBlobService, Bytes, Bytes, BlobIndex) {
    let service = service_with(probe, tiny());
    let (wanted, unwanted) = (random("wanted", 5000), random("unwanted", 6000));
    put(&service, &wanted).await;
    let digest = put(&service, &unwanted).await;
    let index = service.chunks(&digest).await.unwrap().unwrap();
    service.remove(&digest).await.unwrap();
    (service, wanted, unwanted, index)
}

#[tokio::test]
async fn what_no_index_lists_is_set_aside_and_then_removed() {
    let probe = Probe::new();
    let (service, wanted, _, garbage) = with_garbage(&probe).await;
    let all = probe.objects(Part::Chunks).await.len();
    let first = gc(&service).await;
    let count = garbage.len() as u64;
    assert_eq!(first.blobs, 1);
    assert_eq!((first.set_aside.objects, first.removed.objects), (count, 0));
    assert_eq!(first.chunks.objects, all as u64);
    assert!(first.set_aside.bytes > 0);
    let second = gc(&service).await;
    assert_eq!((second.set_aside.objects, second.removed.objects), (0, count));
    assert_eq!(second.removed.bytes, first.set_aside.bytes);
    assert_eq!(probe.objects(Part::Chunks).await.len(), all - garbage.len());
    assert_eq!(gc(&service).await.removed.objects, 0);
    assert_eq!(read(&service, &Digest::of(&wanted)).await, wanted);
}

#[tokio::test]
async fn what_is_young_stays() {
    let probe = Probe::new();
    let (service, _, _, garbage) = with_garbage(&probe).await;
    let hour = GcOptions::default().grace(Duration::from_secs(3600));
    let report = service.gc(Roots::Blobs, &hour, &()).await.unwrap();
    assert_eq!(report.set_aside.objects, 0);
    assert_eq!(report.young.objects, garbage.len() as u64);

    gc(&service).await;
    let report = service.gc(Roots::Blobs, &hour, &()).await.unwrap();
    assert_eq!(report.removed.objects, 0);
    assert_eq!(report.waiting.objects, garbage.len() as u64);
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_nothing() {
    let probe = Probe::new();
    let (service, _, _, garbage) = with_garbage(&probe).await;
    let dry = at_once().dry_run(true);
    probe.forget();
    let report = service.gc(Roots::Blobs, &dry, &()).await.unwrap();
    assert_eq!(report.set_aside.objects, garbage.len() as u64);
    gc(&service).await;
    probe.forget();
    let report = service.gc(Roots::Blobs, &dry, &()).await.unwrap();
    assert_eq!(report.removed.objects, garbage.len() as u64);
    for part in [Part::Blobs, Part::Chunks] {
        for kind in [Kind::Put, Kind::Delete, Kind::Other] {
            assert_eq!(probe.count(kind, part), 0, "{kind:?}");
        }
    }
}

#[tokio::test]
async fn what_is_listed_again_is_read_from_aside_and_put_back() {
    let probe = Probe::new();
    let (service, _, unwanted, index) = with_garbage(&probe).await;
    gc(&service).await;
    let digest = index.digest();
    assert_absent(&service, &digest).await;
    // A writer that found all chunks there before they were set aside.
    probe.overwrite(&index_key(&digest), castore_proto::encode(&index)).await;
    assert_eq!(read(&service_with(&probe, tiny()), &digest).await, unwanted);
    let report = gc(&service).await;
    assert_eq!(report.put_back.objects, index.len() as u64);
    for chunk in index.iter() {
        probe.object(&chunk_key(&chunk.digest)).await;
    }
    assert_eq!(read(&service_with(&probe, tiny()), &digest).await, unwanted);
    assert_eq!(gc(&service).await.put_back.objects, 0);
}

#[tokio::test]
async fn what_is_put_again_is_simply_there() {
    let probe = Probe::new();
    let (service, _, unwanted, index) = with_garbage(&probe).await;
    gc(&service).await;
    // The same service knew the chunks to be stored.
    assert_eq!(put(&service, &unwanted).await, index.digest());
    for chunk in index.iter() {
        probe.object(&chunk_key(&chunk.digest)).await;
    }
    gc(&service).await;
    gc(&service).await;
    assert_eq!(read(&service_with(&probe, tiny()), &index.digest()).await, unwanted);
}

#[tokio::test]
async fn a_blob_of_one_chunk_is_read_from_aside_however_it_is_listed() {
    for listed in [true, false] {
        let probe = Probe::new();
        let service = service_with(&probe, tiny());
        let data = random("one", 60);
        let digest = put(&service, &data).await;
        let index = probe.object(&index_key(&digest)).await;
        service.remove(&digest).await.unwrap();
        assert_eq!(gc(&service).await.set_aside.objects, 1);
        let index = if listed { index } else { Bytes::new() };
        probe.overwrite(&index_key(&digest), index).await;
        assert_eq!(read(&service_with(&probe, tiny()), &digest).await, data);
        assert_eq!(gc(&service).await.put_back.objects, 1, "an empty index lists its own chunk");
        assert_eq!(gc(&service).await.set_aside.objects, 0);
    }
}

#[tokio::test]
async fn a_chunk_that_is_nowhere_is_missing() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let data = random("lost", 5000);
    let digest = put(&service, &data).await;
    let index = service.chunks(&digest).await.unwrap().unwrap();
    probe.remove(&chunk_key(&index.get(3).unwrap().digest)).await;
    let (bytes, error) = read_until_error(&service_with(&probe, tiny()), &digest).await;
    assert_eq!(error.unwrap().kind(), ErrorKind::Corrupt);
    assert_eq!(bytes, data[..bytes.len()]);
}

#[tokio::test]
async fn only_what_is_kept_stays_and_its_chunks() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let (a, b, bare) = (random("a", 5000), random("b", 5000), random("bare", 60));
    let (a_digest, b_digest) = (put(&service, &a).await, put(&service, &b).await);
    let bare_digest = put(&service, &bare).await;
    service.remove(&bare_digest).await.unwrap();
    let absent = Digest::of(b"absent");
    let keep = |digests: &[Digest]| {
        let digests: Vec<_> = digests.iter().copied().map(Ok).collect();
        Roots::keep(stream::iter(digests))
    };
    let kept = [a_digest, bare_digest, absent, Digest::EMPTY];
    let report = service.gc(keep(&kept), &at_once(), &()).await.unwrap();
    assert_eq!(report.absent, [absent]);
    assert_eq!(report.blobs, 2);
    assert_eq!(report.blobs_set_aside.objects, 1);
    assert_absent(&service, &b_digest).await;
    assert_eq!(read(&service, &a_digest).await, a);
    let chunk = service.get_chunk(&bare_digest).await.unwrap();
    assert_eq!(chunk, Some(bare), "a chunk that was named is kept");

    let report = service.gc(keep(&[b_digest]), &at_once(), &()).await.unwrap();
    assert_eq!(report.absent, []);
    assert_eq!(read(&service, &b_digest).await, b, "it was put back");
    assert_absent(&service, &a_digest).await;

    let day = GcOptions::default();
    service.gc(keep(&[Digest::EMPTY]), &day, &()).await.unwrap();
    assert_eq!(read(&service, &b_digest).await, b, "it is young, and so it stays");
}

#[tokio::test]
async fn an_index_that_cannot_be_decoded_stops_everything() {
    let probe = Probe::new();
    let (service, wanted, _, _) = with_garbage(&probe).await;
    let digest = Digest::of(&wanted);
    probe.overwrite(&index_key(&digest), "garbage").await;
    let chunks = probe.objects(Part::Chunks).await;
    let error = service.gc(Roots::Blobs, &at_once(), &()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(error.digest(), Some(digest));
    assert_eq!(probe.objects(Part::Chunks).await, chunks);
}

#[tokio::test]
async fn a_run_that_fails_anywhere_is_finished_by_another() {
    for kind in [Kind::Head, Kind::Put, Kind::Get, Kind::List, Kind::Delete, Kind::Other] {
        for number in [0, 1, 5] {
            let probe = Probe::new();
            let (service, wanted, _, garbage) = with_garbage(&probe).await;
            for part in [Part::Blobs, Part::Chunks] {
                let effect = crate::support::probe::Effect::Fail(broken);
                probe.fault(kind, part, number..number + 1, effect);
            }
            let _ = service.gc(Roots::Blobs, &at_once(), &()).await;
            let _ = service.gc(Roots::Blobs, &at_once(), &()).await;
            probe.heal();
            gc(&service).await;
            let in_place = probe.objects(Part::Chunks).await;
            for chunk in garbage.iter() {
                assert!(!in_place.contains(&chunk_key(&chunk.digest)), "{kind:?} {number}");
            }
            assert_eq!(read(&service_with(&probe, tiny()), &Digest::of(&wanted)).await, wanted);
        }
    }
}

#[tokio::test]
async fn an_object_of_no_bytes_is_left_alone() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let digest = Digest::of(b"cut off by a power cut");
    probe.overwrite(&chunk_key(&digest), Bytes::new()).await;
    let report = gc(&service).await;
    assert_eq!(report.set_aside.objects, 0, "a writer may be storing it anew");
}

#[tokio::test]
async fn on_local_disk_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let open = || {
        let builder = ObjectStoreBlobService::local(directory.path());
        builder.chunk_params(tiny()).build().unwrap()
    };
    let service = open();
    let (wanted, unwanted) = (random("wanted", 5000), random("unwanted", 6000));
    let digest = put(&service, &wanted).await;
    let other = put(&service, &unwanted).await;
    let index = service.chunks(&other).await.unwrap().unwrap();
    service.remove(&other).await.unwrap();
    let count = index.len() as u64;
    assert_eq!(gc(&service).await.set_aside.objects, count);
    let store = Arc::new(LocalFileSystem::new_with_prefix(directory.path()).unwrap());
    store.put(&index_key(&other), castore_proto::encode(&index).into()).await.unwrap();
    assert_eq!(read(&open(), &other).await, unwanted);
    assert_eq!(gc(&service).await.put_back.objects, count);
    service.remove(&other).await.unwrap();
    assert_eq!(gc(&service).await.set_aside.objects, count);
    assert_eq!(gc(&service).await.removed.objects, count);
    assert_eq!(read(&open(), &digest).await, wanted);
    let left = std::fs::read_dir(directory.path().join("gc/batches")).unwrap().count();
    assert_eq!(left, 0);
}

#[tokio::test]
async fn what_is_only_aside_is_there_for_whoever_asks() {
    let probe = Probe::new();
    let (service, _, unwanted, garbage) = with_garbage(&probe).await;
    gc(&service).await;
    let aside = service.usage(&()).await.unwrap();
    assert!(aside.beside as usize > garbage.len(), "the records of the batch, too");
    assert_eq!((aside.chunks_missing, aside.chunks_unreferenced), (0, 0));
    // A writer that has seen the chunks before writes the index now.
    let key = index_key(&garbage.digest());
    probe.overwrite(&key, castore_proto::encode(&garbage)).await;
    let usage = service.usage(&()).await.unwrap();
    assert_eq!(usage.chunks_missing, 0);
    assert_eq!(usage.chunks, aside.chunks + garbage.len() as u64);
    assert_eq!(usage.beside, aside.beside - garbage.len() as u64);
    assert_eq!(usage.objects(), aside.objects() + 1);
    let level = VerifyOptions::new(VerifyLevel::Blob);
    let report = service.verify(&level, &(), |_| {}).await.unwrap();
    assert!(report.is_good() && report.blobs == 2, "{report:?}");
    assert_eq!(read(&service, &garbage.digest()).await, unwanted);
}
