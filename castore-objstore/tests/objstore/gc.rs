//! Garbage collection: which objects go, stay and come back. The model beside the code shows,
//! request by request, that this is safe while others write.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, Digest, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use castore_objstore::gc::{GcOptions, GcRefusal, GcReport, Roots};
use castore_objstore::verify::{VerifyLevel, VerifyOptions};
use futures_util::stream;
use object_store::ObjectStoreExt;
use object_store::local::LocalFileSystem;

use crate::support::data::{random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken};
use crate::support::service::{
    assert_absent, chunk_key, index_key, put, read, read_until_error, service_with,
};

/// Options without a grace period and without a limit of the share.
fn at_once() -> GcOptions {
    GcOptions::default().grace(Duration::ZERO).max_fraction(1.0)
}

/// Roots that keep these blobs.
fn keep(digests: &[Digest]) -> Roots {
    let digests: Vec<_> = digests.iter().copied().map(Ok).collect();
    Roots::keep(stream::iter(digests))
}

/// The number of objects of each part.
async fn counts(probe: &Probe) -> [usize; 2] {
    [probe.objects(Part::Blobs).await.len(), probe.objects(Part::Chunks).await.len()]
}

async fn gc(service: &ObjectStoreBlobService) -> GcReport {
    service.gc(Roots::Blobs, &at_once(), &()).await.unwrap()
}

/// A store with a blob, and the chunks of another blob that was removed.
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
async fn chunks_that_no_index_lists_are_set_aside_and_then_removed() {
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
async fn young_objects_stay() {
    let probe = Probe::new();
    let (service, _, _, garbage) = with_garbage(&probe).await;
    let hour = at_once().grace(Duration::from_secs(3600));
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
async fn chunks_that_are_listed_again_are_read_from_aside_and_put_back() {
    let probe = Probe::new();
    let (service, _, unwanted, index) = with_garbage(&probe).await;
    gc(&service).await;
    let digest = index.digest();
    assert_absent(&service, &digest).await;
    // A writer that found all chunks before they were set aside writes its index.
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
async fn a_blob_that_is_put_again_is_whole() {
    let probe = Probe::new();
    let (service, _, unwanted, index) = with_garbage(&probe).await;
    gc(&service).await;
    // The same service remembered that the chunks were stored.
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
async fn a_chunk_neither_in_place_nor_aside_is_missing() {
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
async fn only_kept_blobs_and_their_chunks_stay() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let (a, b) = (random("a", 5000), random("b", 5000));
    let (a_digest, b_digest) = (put(&service, &a).await, put(&service, &b).await);
    let absent = Digest::of(b"absent");
    let kept = [a_digest, absent, Digest::EMPTY];
    let allowed = at_once().allow_absent(true);
    let report = service.gc(keep(&kept), &allowed, &()).await.unwrap();
    assert_eq!(report.absent, [absent]);
    assert_eq!((report.named, report.blobs, report.young_blobs), (3, 1, 0));
    assert_eq!(report.blobs_set_aside.objects, 1);
    assert_absent(&service, &b_digest).await;
    assert_eq!(read(&service, &a_digest).await, a);

    let report = service.gc(keep(&[b_digest]), &at_once(), &()).await.unwrap();
    assert_eq!(report.absent, []);
    assert_eq!(read(&service, &b_digest).await, b, "it was put back");
    assert_absent(&service, &a_digest).await;

    let day = GcOptions::default();
    let report = service.gc(keep(&[Digest::EMPTY]), &day, &()).await.unwrap();
    assert_eq!(read(&service, &b_digest).await, b, "it is young, and so it stays");
    assert_eq!((report.named, report.young_blobs), (1, 1));
}

#[tokio::test]
async fn a_chunk_without_an_index_is_no_blob_that_can_be_kept() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    put(&service, &random("a", 5000)).await;
    let bare = put(&service, &random("bare", 60)).await;
    service.remove(&bare).await.unwrap();
    let before = counts(&probe).await;
    let error = service.gc(keep(&[bare]), &at_once(), &()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(counts(&probe).await, before);
}

fn refusal(error: &castore_core::Error) -> &GcRefusal {
    std::error::Error::source(error).and_then(|source| source.downcast_ref()).expect("a refusal")
}

#[tokio::test]
async fn a_list_that_does_not_fit_the_store_changes_nothing() {
    let probe = Probe::new();
    let (service, wanted, ..) = with_garbage(&probe).await;
    let before = counts(&probe).await;
    let [one, two] = [Digest::of(b"absent"), Digest::of(b"absent, too")];
    let allowed = at_once().allow_absent(true);
    for list in [&[][..], &[one, two]] {
        let error = service.gc(keep(list), &allowed, &()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let named = list.len() as u64;
        assert_eq!(*refusal(&error), GcRefusal::NoneOfTheNamed { named });
    }
    let list = [Digest::of(&wanted), one];
    let error = service.gc(keep(&list), &at_once(), &()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(*refusal(&error), GcRefusal::Absent { named: 2, absent: vec![one] });
    assert_eq!(counts(&probe).await, before);
}

#[tokio::test]
async fn a_run_that_would_take_more_than_its_share_changes_nothing() {
    let probe = Probe::new();
    let (service, _, _, garbage) = with_garbage(&probe).await;
    let before = counts(&probe).await;
    // More than half of the bytes are garbage.
    let default = GcOptions::default().grace(Duration::ZERO);
    for options in [default.clone(), default.clone().dry_run(true)] {
        let error = service.gc(Roots::Blobs, &options, &()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(error.to_string().contains("max-fraction"), "{error}");
        let GcRefusal::TooManyChunks { unwanted, chunks, .. } = refusal(&error) else {
            panic!("{error}")
        };
        assert_eq!(unwanted.objects, garbage.len() as u64);
        assert_eq!(chunks.objects, before[1] as u64);
    }
    let wrong = default.clone().max_fraction(1.5);
    let error = service.gc(Roots::Blobs, &wrong, &()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert_eq!(counts(&probe).await, before);
    let report = service.gc(Roots::Blobs, &default.max_fraction(0.7), &()).await.unwrap();
    assert_eq!(report.set_aside.objects, garbage.len() as u64);
}

#[tokio::test]
async fn two_of_three_blobs_are_set_aside_only_if_allowed() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let mut digests = Vec::new();
    for name in ["a", "b", "c"] {
        digests.push(put(&service, &random(name, 5000)).await);
    }
    let before = counts(&probe).await;
    let options = GcOptions::default().grace(Duration::ZERO);
    let error = service.gc(keep(&digests[..1]), &options, &()).await.unwrap_err();
    let max_fraction = 0.5;
    assert_eq!(*refusal(&error), GcRefusal::TooManyBlobs { unwanted: 2, blobs: 3, max_fraction });
    assert_eq!(counts(&probe).await, before);
}

#[tokio::test]
async fn a_store_without_an_index_keeps_its_chunks_and_its_copies() {
    let probe = Probe::new();
    let (service, wanted, ..) = with_garbage(&probe).await;
    gc(&service).await;
    let digest = Digest::of(&wanted);
    let index = probe.object(&index_key(&digest)).await;
    probe.remove(&index_key(&digest)).await;
    let options = GcOptions::default().grace(Duration::ZERO);
    let before = counts(&probe).await;
    for _ in 0..2 {
        let error = service.gc(Roots::Blobs, &options, &()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert!(matches!(refusal(&error), GcRefusal::NoIndex { .. }), "{error}");
    }
    assert_eq!(counts(&probe).await, before);
    probe.overwrite(&index_key(&digest), index).await;
    assert_eq!(read(&service, &digest).await, wanted);
}

#[tokio::test]
async fn an_index_in_another_directory_keeps_nothing() {
    let probe = Probe::new();
    let (service, _, _, garbage) = with_garbage(&probe).await;
    let key = index_key(&garbage.digest());
    let stray = key.as_ref().replacen("blobs/b3/", "blobs/b3/backup/", 1);
    probe.overwrite(&stray.as_str().into(), castore_proto::encode(&garbage)).await;
    // A chunk in another directory is no chunk of the store, either.
    let chunk = chunk_key(&garbage.get(0).unwrap().digest);
    let stray_chunk = chunk.as_ref().replacen("chunks/b3/", "chunks/b3/backup/", 1);
    probe.overwrite(&stray_chunk.as_str().into(), "not ours").await;
    let report = gc(&service).await;
    assert_eq!(report.blobs, 1);
    assert_eq!(report.set_aside.objects, garbage.len() as u64);
    probe.object(&stray_chunk.as_str().into()).await;
}

/// The key of the copy of a chunk that the batch `batch` has made.
fn aside_key(chunk: &Digest, batch: &str) -> object_store::path::Path {
    format!("gc/chunks/b3/{chunk:.4}/{chunk}.{batch}").into()
}

/// Moves a chunk aside: as good copies of some batches, and as junk of others.
async fn with_copies(probe: &Probe, chunk: &Digest, good: &[&str], junk: &[&str]) {
    let stored = probe.object(&chunk_key(chunk)).await;
    for batch in good.iter().chain(junk) {
        for record in ["begun", "done"] {
            probe.overwrite(&format!("gc/batches/{batch}.{record}").into(), Bytes::new()).await;
        }
    }
    for batch in good {
        probe.overwrite(&aside_key(chunk, batch), stored.clone()).await;
    }
    for batch in junk {
        probe.overwrite(&aside_key(chunk, batch), "junk").await;
    }
    probe.remove(&chunk_key(chunk)).await;
}

#[tokio::test]
async fn a_junk_copy_is_never_put_back() {
    for (good, junk) in [("batch-1", "batch-2"), ("batch-2", "batch-1")] {
        let probe = Probe::new();
        let service = service_with(&probe, tiny());
        let data = random("copies", 5000);
        let digest = put(&service, &data).await;
        let chunk = service.chunks(&digest).await.unwrap().unwrap().get(0).unwrap().digest;
        with_copies(&probe, &chunk, &[good], &[junk]).await;
        let report = gc(&service).await;
        assert_eq!((report.put_back.objects, report.damaged.as_slice()), (1, &[][..]));
        assert_eq!(read(&service_with(&probe, tiny()), &digest).await, data);
    }
}

#[tokio::test]
async fn copies_that_are_all_junk_stay_aside_and_are_reported() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let digest = put(&service, &random("copies", 5000)).await;
    let chunk = service.chunks(&digest).await.unwrap().unwrap().get(0).unwrap().digest;
    with_copies(&probe, &chunk, &[], &["batch-1", "batch-2"]).await;
    for _ in 0..2 {
        let report = gc(&service).await;
        assert_eq!((report.put_back.objects, report.removed.objects), (0, 0));
        assert_eq!(report.damaged, [chunk]);
        for batch in ["batch-1", "batch-2"] {
            assert_eq!(probe.object(&aside_key(&chunk, batch)).await, "junk");
        }
    }
    assert!(!probe.objects(Part::Chunks).await.contains(&chunk_key(&chunk)));
}

#[tokio::test]
async fn the_last_good_copy_replaces_a_damaged_chunk_before_it_goes() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let data = random("copies", 5000);
    let digest = put(&service, &data).await;
    let chunk = service.chunks(&digest).await.unwrap().unwrap().get(0).unwrap().digest;
    with_copies(&probe, &chunk, &["batch-1"], &[]).await;
    probe.overwrite(&chunk_key(&chunk), "damaged").await;
    let report = gc(&service).await;
    assert_eq!((report.put_back.objects, report.damaged.len()), (1, 0));
    assert_eq!(read(&service_with(&probe, tiny()), &digest).await, data);
}

#[tokio::test]
async fn an_index_is_put_back_from_a_copy_that_can_be_decoded() {
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    let data = random("named", 5000);
    let digest = put(&service, &data).await;
    let stored = probe.object(&index_key(&digest)).await;
    for (batch, bytes) in [("batch-1", Bytes::from("junk")), ("batch-2", stored)] {
        let key = format!("gc/blobs/b3/{digest:.4}/{digest}.{batch}");
        probe.overwrite(&key.into(), bytes).await;
        let record = format!("gc/batches/{batch}.done");
        probe.overwrite(&record.into(), Bytes::new()).await;
    }
    probe.remove(&index_key(&digest)).await;
    let report = service.gc(keep(&[digest]), &at_once(), &()).await.unwrap();
    assert_eq!((report.put_back.objects, report.blobs), (1, 1));
    assert_eq!(read(&service_with(&probe, tiny()), &digest).await, data);
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
                let effect = Effect::Fail(broken);
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
async fn an_original_stays_whose_copy_is_not_complete() {
    let probe = Probe::new();
    let (service, ..) = with_garbage(&probe).await;
    let before = probe.objects(Part::Chunks).await;
    probe.fault(Kind::Other, Part::Chunks, ALWAYS, Effect::CutCopy);
    let error = service.gc(Roots::Blobs, &at_once(), &()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("copy"), "{error}");
    for chunk in before {
        probe.object(&chunk).await;
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
async fn unfinished_files_of_a_killed_run_are_removed_when_they_are_old() {
    let directory = tempfile::tempdir().unwrap();
    let service = ObjectStoreBlobService::local(directory.path()).build().unwrap();
    put(&service, &random("a", 60)).await;
    let name = format!("gc/chunks/b3/1234/{}.batch#1", Digest::of(b"x"));
    std::fs::create_dir_all(directory.path().join("gc/chunks/b3/1234")).unwrap();
    std::fs::write(directory.path().join(&name), "cut off").unwrap();
    gc(&service).await;
    assert!(directory.path().join(&name).exists(), "another run may be writing it");
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
async fn chunks_that_are_only_aside_count_as_present() {
    let probe = Probe::new();
    let (service, _, unwanted, garbage) = with_garbage(&probe).await;
    gc(&service).await;
    let aside = service.usage(&()).await.unwrap();
    assert!(aside.beside as usize > garbage.len(), "the records of the batch, too");
    assert_eq!((aside.chunks_missing, aside.chunks_unreferenced), (0, 0));
    // A writer that found the chunks earlier writes its index now.
    let key = index_key(&garbage.digest());
    probe.overwrite(&key, castore_proto::encode(&garbage)).await;
    let usage = service.usage(&()).await.unwrap();
    assert_eq!(usage.chunks_missing, 0);
    assert_eq!(usage.chunks, aside.chunks + garbage.len() as u64);
    assert_eq!(usage.beside, aside.beside - garbage.len() as u64);
    assert_eq!(usage.objects(), aside.objects() + 1);
    let level = VerifyOptions::default().level(VerifyLevel::Blob);
    let report = service.verify(&level, &(), |_| {}).await.unwrap();
    assert!(report.is_good() && report.blobs == 2, "{report:?}");
    assert_eq!(read(&service, &garbage.digest()).await, unwanted);
}
