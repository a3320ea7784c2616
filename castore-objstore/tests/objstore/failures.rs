//! Stores that fail. The store's own error comes back each time, no incomplete blob is published,
//! and the service works again when the store does.

use bytes::Bytes;
use castore_core::{BlobService, Digest, Error, ErrorKind};
use castore_objstore::Verify;
use tokio::io::AsyncWriteExt;
use tokio::time::Instant;

use crate::support::clock::{LATENCY, round_trips};
use crate::support::data::{MIB, cut, random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken, denied, no_bucket};
use crate::support::service::{
    assert_absent, assert_from_store, assert_unavailable, builder, chunk_key, collect_until_error,
    own, put, read, read_until_error, service, service_with, try_put,
};

const BREAK: Effect = Effect::Fail(broken);

/// Puts `data` into a faulty store: closing fails, and fails again with the same error, and the
/// blob is absent. After the fault, the same service puts the blob. Returns the error.
async fn assert_fails_then_works(probe: &Probe, data: &Bytes) -> Error {
    let service = service_with(probe, tiny());
    let mut writer = service.open_write().await.unwrap();
    // The write may already fail; then the close fails with the same error.
    let written = writer.write_all(data).await;
    let error = writer.close().await.unwrap_err();
    if let Err(early) = written {
        assert_eq!(own(early).to_string(), error.to_string());
    }
    assert_from_store(&error);
    for _ in 0..2 {
        let again = writer.close().await.unwrap_err();
        assert_eq!(again.to_string(), error.to_string());
        assert_eq!(again.kind(), error.kind());
        assert_from_store(&again);
        let again = own(writer.shutdown().await.unwrap_err());
        assert_eq!(again.to_string(), error.to_string());
    }
    assert!(writer.write_all(b"more").await.is_err());
    assert!(writer.write_bytes(Bytes::from_static(b"more")).await.is_err());
    drop(writer);

    probe.heal();
    assert!(probe.objects(Part::Blobs).await.is_empty(), "no index of it is there");
    if cut(data, tiny()).len() > 1 {
        // A blob of one chunk is left out: its chunk may be stored.
        assert_absent(&service, &Digest::of(data)).await;
    }
    let digest = put(&service, data).await;
    assert_eq!(read(&service, &digest).await, *data);
    error
}

/// Few chunks (the last one may be short), so that each of them can fail.
fn few_chunks() -> Bytes {
    random("failing", 3000)
}

#[tokio::test]
async fn a_failing_put_of_any_chunk() {
    let data = few_chunks();
    let chunks = cut(&data, tiny()).len();
    assert!(chunks >= 5);
    for nth in 0..chunks {
        let probe = Probe::new();
        probe.fault(Kind::Put, Part::Chunks, nth..nth + 1, BREAK);
        let error = assert_fails_then_works(&probe, &data).await;
        assert_unavailable(&error);
        assert_eq!(error.operation(), "store chunk");
    }
}

/// Each request fails only after a while, like one that is retried: the first failure ends the
/// blob, although chunks that have yet to fail hold all memory.
#[tokio::test(start_paused = true)]
async fn the_first_failure_ends_a_put_that_waits_for_memory() {
    let probe = Probe::new().with_latency(LATENCY);
    probe.fault(Kind::Head, Part::Chunks, ALWAYS, BREAK);
    let service = builder(&probe).requests(1).memory(8 * MIB).build().unwrap();
    let start = Instant::now();
    assert_unavailable(&try_put(&service, &random("failing", 32 * MIB)).await.unwrap_err());
    assert_eq!(round_trips(start), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_put_of_any_chunk_with_several_threads() {
    let data = random("failing", 4 * MIB);
    for nth in [0, 1, 5, 10] {
        let probe = Probe::new();
        probe.fault(Kind::Put, Part::Chunks, nth..nth + 1, BREAK);
        let service = service(&probe);
        assert_unavailable(&try_put(&service, &data).await.unwrap_err());
        probe.heal();
        assert_absent(&service, &Digest::of(&data)).await;
        let digest = put(&service, &data).await;
        assert_eq!(read(&service, &digest).await, data);
    }
}

#[tokio::test]
async fn all_puts_failing() {
    for data in [few_chunks(), random("one chunk", 50)] {
        for numbers in [ALWAYS, 1..usize::MAX, 2..usize::MAX] {
            let probe = Probe::new();
            probe.fault(Kind::Put, Part::Chunks, numbers, BREAK);
            probe.fault(Kind::Put, Part::Blobs, ALWAYS, BREAK);
            assert_unavailable(&assert_fails_then_works(&probe, &data).await);
        }
    }
}

#[tokio::test]
async fn a_failing_put_of_the_only_chunk() {
    let probe = Probe::new();
    probe.fault(Kind::Put, Part::Chunks, 0..1, BREAK);
    assert_unavailable(&assert_fails_then_works(&probe, &random("one chunk", 50)).await);
}

#[tokio::test]
async fn a_failing_put_of_the_index() {
    for data in [few_chunks(), random("one chunk", 50), Bytes::new()] {
        let probe = Probe::new();
        probe.fault(Kind::Put, Part::Blobs, 0..1, BREAK);
        let service = service_with(&probe, tiny());
        let mut writer = service.open_write().await.unwrap();
        writer.write_all(&data).await.unwrap();
        let error = writer.close().await.unwrap_err();
        assert_unavailable(&error);
        assert_eq!(error.digest(), Some(Digest::of(&data)));
        assert!(probe.objects(Part::Blobs).await.is_empty());
        assert_eq!(put(&service, &data).await, Digest::of(&data));
        assert_eq!(probe.objects(Part::Blobs).await.len(), 1);
    }
}

#[tokio::test]
async fn a_failing_look_for_a_chunk() {
    let data = few_chunks();
    for nth in 0..cut(&data, tiny()).len() {
        let probe = Probe::new();
        probe.fault(Kind::Head, Part::Chunks, nth..nth + 1, BREAK);
        assert_unavailable(&assert_fails_then_works(&probe, &data).await);
    }
}

#[tokio::test]
async fn a_failing_look_for_the_index() {
    let probe = Probe::new();
    probe.fault(Kind::Get, Part::Blobs, 0..1, BREAK);
    assert_unavailable(&assert_fails_then_works(&probe, &random("one chunk", 50)).await);

    // For a blob of many chunks the index is looked for only if all chunks were present.
    let data = few_chunks();
    let probe = Probe::new();
    let service = service_with(&probe, tiny());
    put(&service, &data).await;
    probe.fault(Kind::Get, Part::Blobs, 0..1, BREAK);
    assert_unavailable(&try_put(&service, &data).await.unwrap_err());
    put(&service, &data).await;
}

#[tokio::test]
async fn a_store_that_refuses() {
    for kind in [Kind::Put, Kind::Head] {
        let probe = Probe::new();
        probe.fault(kind, Part::Chunks, ALWAYS, Effect::Fail(denied));
        let error = assert_fails_then_works(&probe, &few_chunks()).await;
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
    }
}

/// A writer learns of a failure while it writes, and not only at the end.
#[tokio::test]
async fn an_endless_write_into_a_failing_store_ends() {
    let probe = Probe::new();
    probe.fault(Kind::Put, Part::Chunks, 0..1, BREAK);
    let service = service(&probe);
    let mut writer = service.open_write().await.unwrap();
    let piece = random("endless", MIB);
    let mut written = 0;
    let error = loop {
        if let Err(error) = writer.write_all(&piece).await {
            break own(error);
        }
        written += piece.len();
        assert!(written <= 2 * castore_objstore::DEFAULT_MEMORY, "it writes on and on");
    };
    assert_unavailable(&error);
    assert_eq!(writer.close().await.unwrap_err().to_string(), error.to_string());
}

/// A stored blob of this size: of many chunks, or of one.
async fn stored(size: usize) -> (Probe, Digest) {
    let probe = Probe::new();
    let digest = put(&service_with(&probe, tiny()), &random("stored", size)).await;
    (probe, digest)
}

#[tokio::test]
async fn a_failing_look_for_a_blob_is_not_absence() {
    for fail in [broken, denied, no_bucket] {
        let probe = Probe::new();
        let service = service(&probe);
        probe.fault(Kind::Head, Part::Blobs, ALWAYS, Effect::Fail(fail));
        let error = service.has(&Digest::of(b"absent")).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Corrupt);
        assert_from_store(&error);
        probe.fault(Kind::Head, Part::Chunks, ALWAYS, Effect::Fail(fail));
        let error = service.has_chunk(&Digest::of(b"absent")).await.unwrap_err();
        assert_ne!(error.kind(), ErrorKind::Corrupt);
        assert_from_store(&error);
    }
}

#[tokio::test]
async fn a_failing_get_of_the_index_is_neither_corrupt_nor_absent() {
    for size in [3000, 50] {
        let (probe, digest) = stored(size).await;
        let service = service(&probe);
        probe.fault(Kind::Get, Part::Blobs, ALWAYS, BREAK);
        assert_unavailable(&service.open_read(&digest).await.unwrap_err());
        assert_unavailable(&service.chunks(&digest).await.unwrap_err());
        assert_unavailable(&service.open_read(&Digest::of(b"absent")).await.unwrap_err());
        probe.heal();
        assert_eq!(read(&service, &digest).await.len(), size);
    }
}

#[tokio::test]
async fn a_failing_get_of_a_chunk_is_not_corrupt() {
    let data = random("stored", 3000);
    let (probe, digest) = stored(3000).await;
    let service = builder(&probe).verify(Verify::Chunks).build().unwrap();
    let index = service.chunks(&digest).await.unwrap().unwrap();
    for bad in 0..index.len() {
        let key = chunk_key(&index.get(bad).unwrap().digest);
        // The order of a reader's requests is not defined: fail the one for this chunk.
        let reader = service.open_read(&digest).await.unwrap().unwrap();
        probe.fault(Kind::Get, Part::Chunks, ALWAYS, BREAK);
        let range = index.chunk_range(bad).unwrap();
        let (bytes, error) = collect_until_error(reader.read_range(range.clone())).await;
        assert!(bytes.is_empty());
        assert_unavailable(&error.unwrap());
        assert_eq!(probe.keys(Kind::Get, Part::Chunks).last(), Some(&key));
        probe.heal();
        // The same reader continues when the store works again.
        let (bytes, error) = collect_until_error(reader.read_range(range.clone())).await;
        assert!(error.is_none(), "{error:?}");
        assert_eq!(bytes, data[range.start as usize..range.end as usize]);
    }
}

#[tokio::test]
async fn a_failing_get_of_the_nth_chunk_hands_out_the_bytes_before_it() {
    let data = random("stored", 3000);
    let (probe, digest) = stored(3000).await;
    let service = builder(&probe).verify(Verify::Chunks).build().unwrap();
    let index = service.chunks(&digest).await.unwrap().unwrap();
    for nth in 0..index.len() {
        probe.forget();
        probe.fault(Kind::Get, Part::Chunks, nth..nth + 1, BREAK);
        let (bytes, error) = read_until_error(&service, &digest).await;
        let failed = &probe.keys(Kind::Get, Part::Chunks)[nth];
        match index.iter().position(|chunk| chunk_key(&chunk.digest) == *failed) {
            Some(number) => {
                assert_unavailable(&error.unwrap());
                assert_eq!(bytes, data[..index.chunk_range(number).unwrap().start as usize]);
            }
            // The failed request was for a chunk with the digest of the blob, which a blob of
            // several chunks does not have.
            None => {
                assert!(nth == 0 && error.is_none(), "{error:?}");
                assert_eq!(bytes, data);
            }
        }
        probe.heal();
    }
}

#[tokio::test]
async fn a_failing_get_of_the_only_chunk_is_neither_corrupt_nor_absent() {
    let (probe, digest) = stored(50).await;
    for (fail, kind) in [
        (broken as fn() -> _, ErrorKind::Unavailable),
        (no_bucket as fn() -> _, ErrorKind::StoreNotFound),
    ] {
        let service = service(&probe);
        probe.fault(Kind::Get, Part::Chunks, ALWAYS, Effect::Fail(fail));
        let error = service.open_read(&digest).await.unwrap_err();
        assert_eq!(error.kind(), kind, "{error:?}");
        assert_from_store(&error);
        probe.heal();
        assert_eq!(read(&service, &digest).await.len(), 50);
    }
}

#[tokio::test]
async fn a_missing_bucket_is_not_absence() {
    let (probe, digest) = stored(3000).await;
    for (kind, part) in [(Kind::Get, Part::Blobs), (Kind::Head, Part::Blobs)] {
        probe.fault(kind, part, ALWAYS, Effect::Fail(no_bucket));
    }
    let service = service(&probe);
    for error in [
        service.has(&digest).await.unwrap_err(),
        service.open_read(&digest).await.unwrap_err(),
        service.chunks(&digest).await.unwrap_err(),
        service.remove(&digest).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::StoreNotFound, "{error:?}");
        assert_from_store(&error);
    }
}

/// The connection broke, but the stored data may be fine.
#[tokio::test]
async fn a_body_that_ends_early_is_unavailable_and_not_corrupt() {
    for (size, part) in
        [(3000, Part::Blobs), (3000, Part::Chunks), (50, Part::Blobs), (50, Part::Chunks)]
    {
        for len in [0, 1, 20] {
            let (probe, digest) = stored(size).await;
            let service = service(&probe);
            probe.fault(Kind::Get, part, ALWAYS, Effect::CutBody(len));
            let (bytes, error) = read_until_error(&service, &digest).await;
            let error = error.expect("there is an error");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{part:?} {len}: {error:?}");
            assert!(bytes.is_empty());
            probe.heal();
            assert_eq!(read(&service, &digest).await.len(), size);
        }
    }
}

#[tokio::test]
async fn a_body_altered_on_its_way_is_corrupt() {
    for size in [3000, 50] {
        let (probe, digest) = stored(size).await;
        let service = service(&probe);
        probe.fault(Kind::Get, Part::Chunks, ALWAYS, Effect::FlipBit);
        let (bytes, error) = read_until_error(&service, &digest).await;
        assert_eq!(error.unwrap().kind(), ErrorKind::Corrupt);
        assert!(bytes.is_empty());
        probe.heal();
        assert_eq!(read(&service, &digest).await.len(), size);
    }
}

#[tokio::test]
async fn failing_lists_and_deletes() {
    use futures_util::TryStreamExt;

    let (probe, digest) = stored(3000).await;
    let service = service(&probe);
    probe.fault(Kind::Delete, Part::Blobs, ALWAYS, BREAK);
    assert_unavailable(&service.remove(&digest).await.unwrap_err());
    assert!(service.has(&digest).await.unwrap());
    probe.fault(Kind::List, Part::Blobs, ALWAYS, BREAK);
    assert_unavailable(&service.list().try_collect::<Vec<_>>().await.unwrap_err());
    assert_unavailable(&service.check().await.unwrap_err());
    assert_unavailable(&service.find(&digest.to_string()).await.unwrap_err());
    probe.heal();
    assert_eq!(service.find(&digest.to_string()).await.unwrap(), [digest]);
    assert!(service.remove(&digest).await.unwrap());
}
