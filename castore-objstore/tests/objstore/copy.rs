//! Copies between stores: only the chunks that the target lacks, in their stored form, verified,
//! with the index last.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobService, Digest, Error, ErrorKind};
use castore_objstore::copy::{CopiedBlob, CopyOptions, CopyOutcome};
use castore_objstore::{ObjectStoreBlobService, Observer, Progress};
use futures_util::future::join;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::support::clock::{LATENCY, not_stuck, settle};
use crate::support::data::{MIB, cut, distinct, random, tiny, zeros};
use crate::support::fixtures;
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken};
use crate::support::service::{
    assert_absent, assert_unavailable, builder, chunk_key, index_key, put, read, service,
    service_with,
};
use crate::support::stored::{Shape, Stored};

/// The shapes of a blob with an index.
const INDEXED: [Shape; 3] = [Shape::Many, Shape::One, Shape::OneUnlisted];

/// Copies these blobs, and returns their outcomes in the same order.
async fn copy(
    source: &ObjectStoreBlobService,
    target: &ObjectStoreBlobService,
    blobs: &[Digest],
    options: &CopyOptions,
) -> Vec<CopyOutcome> {
    let given = stream::iter(blobs.to_vec()).map(Ok);
    let done: Vec<_> =
        source.copy_to(target, given, options, &()).try_collect().await.expect("copy");
    assert_eq!(done.len(), blobs.len());
    let outcome = |digest: &Digest| {
        let found = done.iter().find(|copy| copy.digest == *digest);
        found.expect("each blob is told of").outcome.clone()
    };
    blobs.iter().map(outcome).collect()
}

async fn copy_one(
    source: &ObjectStoreBlobService,
    target: &ObjectStoreBlobService,
    blob: Digest,
) -> CopyOutcome {
    copy(source, target, &[blob], &CopyOptions::default()).await.remove(0)
}

fn copied(outcome: CopyOutcome) -> CopiedBlob {
    match outcome {
        CopyOutcome::Copied(copied) => copied,
        other => panic!("it was not copied: {other:?}"),
    }
}

fn failed(outcome: CopyOutcome) -> Error {
    match outcome {
        CopyOutcome::Failed(error) => error,
        other => panic!("it did not fail: {other:?}"),
    }
}

fn listing() -> CopyOptions {
    CopyOptions::default().list_target(true)
}

fn trusting() -> CopyOptions {
    CopyOptions::default().trust_indexes(true)
}

fn both_ways() -> [CopyOptions; 2] {
    [CopyOptions::default(), listing()]
}

#[tokio::test]
async fn every_shape_arrives_and_its_index_is_canonical() {
    for options in both_ways() {
        for shape in INDEXED {
            let stored = Stored::new(shape).await;
            let to = Probe::new();
            let target = service(&to);
            let outcome = copy(&stored.service(), &target, &[stored.digest], &options).await;
            let copied = copied(outcome[0].clone());
            assert_eq!(copied.size, stored.data.len() as u64, "{shape:?}");
            let chunks = distinct(&stored.data, tiny()).len() as u64;
            assert_eq!((copied.chunks_new, copied.chunks_reused), (chunks, 0), "{shape:?}");

            assert_eq!(read(&service(&to), &stored.digest).await, stored.data);
            let index = to.object(&stored.index_key()).await;
            assert_eq!(index, castore_proto::encode(&stored.index), "{shape:?}");
            for key in stored.probe.objects(Part::Chunks).await {
                assert_eq!(to.object(&key).await, stored.probe.object(&key).await);
            }
        }
    }
}

#[tokio::test]
async fn the_empty_blob_is_listed_at_the_target() {
    let (from, to) = (Probe::new(), Probe::new());
    let target = service(&to);
    assert_eq!(copied(copy_one(&service(&from), &target, Digest::EMPTY).await).size, 0);
    assert_eq!(target.list().try_collect::<Vec<_>>().await.unwrap(), [Digest::EMPTY]);
    let again = copy_one(&service(&from), &target, Digest::EMPTY).await;
    assert!(matches!(again, CopyOutcome::AlreadyThere), "{again:?}");
}

/// Frames of another encoder, without sizes, are passed on unchanged.
#[tokio::test]
async fn stores_of_other_implementations_are_copied_without_recompression() {
    for name in ["original", "later"] {
        let source = ObjectStoreBlobService::local(fixtures::directory(name)).build().unwrap();
        let to = Probe::new();
        let target = service(&to);
        let done: Vec<_> =
            source.copy_to(&target, source.list(), &listing(), &()).try_collect().await.unwrap();
        assert_eq!(done.len(), 5);
        for (data, digest) in fixtures::blobs() {
            assert_eq!(read(&service(&to), &digest).await, data, "{name}");
        }
        for key in to.objects(Part::Chunks).await {
            let path = fixtures::directory(name).join(key.as_ref());
            assert_eq!(to.object(&key).await, std::fs::read(path).unwrap());
        }
    }
}

#[tokio::test]
async fn only_chunks_that_the_target_lacks_are_copied() {
    let shared = random("shared", 10_000);
    let old = Bytes::from([&random("old", 3000)[..], &shared].concat());
    let new = Bytes::from([&random("new", 3000)[..], &shared].concat());
    let (old_chunks, new_chunks) = (distinct(&old, tiny()), distinct(&new, tiny()));
    let lacking = new_chunks.difference(&old_chunks).count();
    assert!(lacking > 0 && lacking < new_chunks.len());
    for options in [both_ways().as_slice(), &[trusting()]].concat() {
        let (from, to) = (Probe::new(), Probe::new());
        let digest = put(&service_with(&from, tiny()), &new).await;
        put(&service_with(&to, tiny()), &old).await;
        from.forget();
        to.forget();
        let target = service(&to);
        let outcome = copy(&service(&from), &target, &[digest], &options).await;
        let copied = copied(outcome[0].clone());
        assert_eq!(copied.chunks_new as usize, lacking);
        assert_eq!(copied.chunks_reused as usize, new_chunks.len() - lacking);
        // The copy digests the whole blob, unless it trusts the index.
        let fetched = if options == trusting() { lacking } else { new_chunks.len() };
        assert_eq!(from.count(Kind::Get, Part::Chunks), fetched);
        assert_eq!(from.count(Kind::Head, Part::Chunks), 0);
        assert_eq!(to.count(Kind::Put, Part::Chunks), lacking);
        assert_eq!(to.count(Kind::Get, Part::Chunks), 0);
        let looks = (to.count(Kind::Head, Part::Chunks), to.count(Kind::List, Part::Chunks));
        let expected = if options == listing() { (0, 1) } else { (new_chunks.len(), 0) };
        assert_eq!(looks, expected);
        assert_eq!(read(&service(&to), &digest).await, new);

        let stats = target.stats();
        assert_eq!(stats.chunks_new, copied.chunks_new);
        assert_eq!(stats.chunks_reused, copied.chunks_reused);
        assert_eq!(stats.bytes_stored, copied.bytes_stored);
    }
}

#[tokio::test]
async fn a_chunk_that_a_blob_repeats_is_moved_once() {
    let (from, to) = (Probe::new(), Probe::new());
    let data = zeros(100_000);
    let digest = put(&service_with(&from, tiny()), &data).await;
    from.forget();
    let copied = copied(copy_one(&service(&from), &service(&to), digest).await);
    let (listed, distinct) = (cut(&data, tiny()).len(), distinct(&data, tiny()).len());
    assert_eq!(copied.chunks_new as usize, distinct);
    assert_eq!((copied.chunks_new + copied.chunks_reused) as usize, listed);
    assert_eq!(from.count(Kind::Get, Part::Chunks), distinct);
    assert_eq!(read(&service(&to), &digest).await, data);
}

#[tokio::test]
async fn copying_again_compares_the_indexes_looks_at_the_chunks_and_moves_nothing() {
    let many = random("many", 20_000);
    let chunks = distinct(&many, tiny()).len() + 1;
    for options in both_ways() {
        let (from, to) = (Probe::new(), Probe::new());
        let source = service_with(&from, tiny());
        let mut blobs = vec![put(&source, &many).await];
        blobs.push(put(&source, &random("one", 50)).await);
        for digest in &blobs {
            copied(copy_one(&source, &service(&to), *digest).await);
        }
        from.forget();
        to.forget();
        for outcome in copy(&source, &service(&to), &blobs, &options).await {
            assert!(matches!(outcome, CopyOutcome::AlreadyThere), "{outcome:?}");
        }
        assert_eq!((from.total(), from.count(Kind::Get, Part::Blobs)), (2, 2));
        assert_eq!(to.count(Kind::Get, Part::Blobs), 2);
        assert_eq!(to.total(), if options == listing() { 3 } else { 2 + chunks });
    }
}

/// An index is no proof that its chunks are present.
#[tokio::test]
async fn a_chunk_that_the_target_lacks_is_copied_although_the_index_is_there() {
    for options in [both_ways().as_slice(), &[trusting(), verifying()]].concat() {
        for shape in INDEXED {
            for empty in [false, true] {
                let stored = Stored::new(shape).await;
                let to = Probe::new();
                copied(copy_one(&stored.service(), &service(&to), stored.digest).await);
                match empty {
                    false => to.remove(&stored.bad_key()).await,
                    true => to.overwrite(&stored.bad_key(), Bytes::new()).await,
                }
                let blobs = [stored.digest];
                let done = copy(&stored.service(), &service(&to), &blobs, &options).await;
                assert_eq!(copied(done[0].clone()).chunks_new, 1, "{shape:?}");
                assert_eq!(read(&service(&to), &stored.digest).await, stored.data);
            }
        }
    }
}

#[tokio::test]
async fn a_file_of_the_target_that_was_cut_short_is_replaced() {
    for options in both_ways() {
        for shape in INDEXED {
            let stored = Stored::new(shape).await;
            let to = tempfile::tempdir().unwrap();
            let target = || ObjectStoreBlobService::local(to.path()).build().unwrap();
            copied(copy_one(&stored.service(), &target(), stored.digest).await);
            let file = to.path().join(stored.bad_key().as_ref());
            let object = std::fs::read(&file).unwrap();
            std::fs::write(&file, &object[..object.len() / 2]).unwrap();
            let done = copy(&stored.service(), &target(), &[stored.digest], &options).await;
            copied(done[0].clone());
            assert_eq!(read(&target(), &stored.digest).await, stored.data);
        }
    }
}

#[tokio::test]
async fn a_chunk_without_an_index_is_no_blob() {
    let stored = Stored::new(Shape::One).await;
    stored.probe.remove(&stored.index_key()).await;
    let to = Probe::new();
    let outcome = copy_one(&stored.service(), &service(&to), stored.digest).await;
    assert!(matches!(outcome, CopyOutcome::Absent), "{outcome:?}");
    assert!(to.objects(Part::Blobs).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_blob_that_is_removed_at_the_source_meanwhile_is_absent() {
    for shape in [Shape::Many, Shape::One] {
        let stored = Stored::new(shape).await;
        let to = Probe::new();
        to.hold(Kind::Head);
        let (source, target, digest) = (stored.service(), service(&to), stored.digest);
        let copying =
            tokio::spawn(
                async move { copy(&source, &target, &[digest], &trusting()).await.remove(0) },
            );
        settle().await;
        stored.probe.remove(&stored.index_key()).await;
        for chunk in stored.probe.objects(Part::Chunks).await {
            stored.probe.remove(&chunk).await;
        }
        to.release();
        let outcome = not_stuck(copying).await.unwrap();
        assert!(matches!(outcome, CopyOutcome::Absent), "{outcome:?}");
    }
}

/// The index lists the chunks in another order, lacks one, or lists those of another blob.
#[tokio::test]
async fn an_index_that_lists_other_chunks_is_not_passed_on_unless_it_is_trusted() {
    for case in 0..3 {
        let stored = Stored::new(Shape::Many).await;
        let other = random("another", 5000);
        put(&stored.service(), &other).await;
        let other = stored.service().chunks(&Digest::of(&other)).await.unwrap().unwrap();
        let mut chunks: Vec<_> = stored.index.iter().collect();
        match case {
            0 => chunks.swap(0, 1),
            1 => drop(chunks.pop()),
            _ => chunks = other.iter().collect(),
        }
        let index = castore_core::BlobIndex::new(stored.digest, chunks).unwrap();
        stored.probe.overwrite(&stored.index_key(), castore_proto::encode(&index)).await;
        let to = Probe::new();
        for options in both_ways() {
            let done = copy(&stored.service(), &service(&to), &[stored.digest], &options).await;
            let error = failed(done[0].clone());
            assert_eq!((error.kind(), error.digest()), (ErrorKind::Corrupt, Some(stored.digest)));
            assert!(to.objects(Part::Blobs).await.is_empty());
        }
        let done = copy(&stored.service(), &service(&to), &[stored.digest], &trusting()).await;
        copied(done[0].clone());
    }
}

#[tokio::test]
async fn a_blob_in_neither_store_is_absent() {
    let (from, to) = (Probe::new(), Probe::new());
    let absent = Digest::of(b"absent");
    let outcome = copy_one(&service(&from), &service(&to), absent).await;
    assert!(matches!(outcome, CopyOutcome::Absent), "{outcome:?}");
    assert_eq!(to.count(Kind::Put, Part::Blobs), 0);
}

/// In each attempt, the target fails after ten chunks. The next attempt reuses the chunks that were
/// copied before, and the index appears only when all chunks are stored.
#[tokio::test]
async fn a_failed_copy_is_resumed() {
    let (from, to) = (Probe::new(), Probe::new());
    let data = random("resumed", 20_000);
    let digest = put(&service_with(&from, tiny()), &data).await;
    let chunks = distinct(&data, tiny()).len();
    let mut attempts = 0;
    loop {
        let before = to.objects(Part::Chunks).await.len();
        to.heal();
        from.forget();
        to.fault(Kind::Put, Part::Chunks, 10..usize::MAX, Effect::Fail(broken));
        match copy_one(&service(&from), &service(&to), digest).await {
            CopyOutcome::Failed(error) => assert_unavailable(&error),
            outcome => {
                let copied = copied(outcome);
                assert_eq!(copied.chunks_reused as usize, before);
                assert_eq!(from.count(Kind::Get, Part::Chunks), chunks);
                break;
            }
        }
        assert_absent(&service(&to), &digest).await;
        assert_eq!(to.objects(Part::Chunks).await.len(), before + 10);
        attempts += 1;
    }
    assert!(attempts >= 3, "{attempts}");
    assert_eq!(read(&service(&to), &digest).await, data);
}

#[tokio::test(start_paused = true)]
async fn the_index_waits_for_the_last_chunk() {
    let (from, to) = (Probe::new(), Probe::new());
    let data = random("waits", 20_000);
    let digest = put(&service_with(&from, tiny()), &data).await;
    let source = service(&from);
    let target = service(&to);
    to.hold(Kind::Put);
    let copying = tokio::spawn(async move { copy_one(&source, &target, digest).await });
    settle().await;
    assert!(to.count(Kind::Put, Part::Chunks) > 0);
    assert_eq!(to.count(Kind::Put, Part::Blobs), 0);
    to.release();
    not_stuck(copying).await.unwrap();
    let keys = [Part::Blobs, Part::Chunks].map(|part| to.keys(Kind::Put, part).len());
    assert_eq!(keys, [1, distinct(&data, tiny()).len()]);
}

#[tokio::test]
async fn a_damaged_blob_fails_alone_and_leaves_nothing_damaged() {
    let good = random("good", 20_000);
    for shape in INDEXED {
        for damage in 0..5 {
            let stored = Stored::new(shape).await;
            let key = stored.bad_key();
            let object = stored.probe.object(&key).await;
            match damage {
                0 => stored.probe.remove(&key).await,
                1 => stored.probe.overwrite(&key, object.slice(..object.len() / 2)).await,
                2 => {
                    let mut flipped = object.to_vec();
                    flipped[object.len() / 2] ^= 1;
                    stored.probe.overwrite(&key, flipped).await;
                }
                3 => stored.probe.overwrite(&key, Bytes::new()).await,
                _ => {
                    // The object of another chunk.
                    let other = put(&stored.service(), &random("another", 60)).await;
                    let other = stored.probe.object(&chunk_key(&other)).await;
                    stored.probe.overwrite(&key, other).await;
                }
            }
            let other = put(&stored.service(), &good).await;
            let to = Probe::new();
            let blobs = [stored.digest, other];
            let outcome =
                copy(&stored.service(), &service(&to), &blobs, &CopyOptions::default()).await;
            copied(outcome[1].clone());
            assert_eq!(read(&service(&to), &other).await, good);
            let error = failed(outcome[0].clone());
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{shape:?} {damage}: {error:?}");
            assert_absent(&service(&to), &stored.digest).await;
            assert!(!to.objects(Part::Chunks).await.contains(&key), "{shape:?} {damage}");
        }
    }
}

#[tokio::test]
async fn an_index_that_states_a_wrong_size_is_not_copied() {
    let stored = Stored::new(Shape::Many).await;
    let chunks = stored.index.iter().enumerate().map(|(number, mut chunk)| {
        chunk.size += u64::from(number == stored.bad);
        chunk
    });
    let index = castore_core::BlobIndex::new(stored.digest, chunks).unwrap();
    stored.probe.overwrite(&stored.index_key(), castore_proto::encode(&index)).await;
    let to = Probe::new();
    let error = failed(copy_one(&stored.service(), &service(&to), stored.digest).await);
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_absent(&service(&to), &stored.digest).await;
}

fn verifying() -> CopyOptions {
    CopyOptions::default().verify(true)
}

#[tokio::test]
async fn every_shape_is_verified_on_request() {
    for shape in INDEXED {
        let stored = Stored::new(shape).await;
        let to = Probe::new();
        let target = service(&to);
        let done = copy(&stored.service(), &target, &[stored.digest], &verifying()).await;
        copied(done[0].clone());
        // The target was read once, whole.
        assert_eq!(target.stats().bytes_read, stored.data.len() as u64);
    }
    let (source, target) = (service(&Probe::new()), service(&Probe::new()));
    let done = copy(&source, &target, &[Digest::EMPTY], &verifying()).await;
    copied(done[0].clone());
}

/// The chunks are good, but they are those of another blob.
#[tokio::test]
async fn the_index_of_another_blob_is_noticed_by_verification() {
    let stored = Stored::new(Shape::Many).await;
    let other = random("another", 5000);
    put(&stored.service(), &other).await;
    let chunks = stored.service().chunks(&Digest::of(&other)).await.unwrap().unwrap();
    let index = castore_core::BlobIndex::new(stored.digest, chunks.iter()).unwrap();
    stored.probe.overwrite(&stored.index_key(), castore_proto::encode(&index)).await;
    let to = Probe::new();
    let done = copy(&stored.service(), &service(&to), &[stored.digest], &verifying()).await;
    assert_eq!(failed(done[0].clone()).kind(), ErrorKind::Corrupt);
    assert_absent(&service(&to), &stored.digest).await;
}

#[tokio::test]
async fn a_damaged_chunk_of_the_target_is_noticed_by_verification() {
    for shape in INDEXED {
        let stored = Stored::new(shape).await;
        let to = Probe::new();
        to.overwrite(&stored.bad_key(), Bytes::from_static(b"garbage")).await;
        let done = copy(&stored.service(), &service(&to), &[stored.digest], &verifying()).await;
        let error = failed(done[0].clone());
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{shape:?}: {error:?}");
        assert!(to.objects(Part::Blobs).await.is_empty());
    }
}

#[tokio::test]
async fn a_damaged_index_at_the_target_is_replaced() {
    let stored = Stored::new(Shape::Many).await;
    let canonical = castore_proto::encode(&stored.index);
    let mut flipped = canonical.to_vec();
    flipped[0] ^= 0xff;
    // An index of no entries would stand for one chunk, which is absent.
    for damaged in [canonical.slice(..canonical.len() - 1), flipped.into(), Bytes::new()] {
        let to = Probe::new();
        to.overwrite(&stored.index_key(), damaged).await;
        copied(copy_one(&stored.service(), &service(&to), stored.digest).await);
        assert_eq!(read(&service(&to), &stored.digest).await, stored.data);
    }
}

/// The empty object that a power cut can leave is no chunk.
#[tokio::test]
async fn a_chunk_of_no_bytes_at_the_target_is_replaced() {
    for options in both_ways() {
        let stored = Stored::new(Shape::Many).await;
        let to = Probe::new();
        to.overwrite(&stored.bad_key(), Bytes::new()).await;
        let blobs = [stored.digest];
        let outcome = copy(&stored.service(), &service(&to), &blobs, &options).await;
        assert_eq!(copied(outcome[0].clone()).chunks_reused, 0);
        assert_eq!(read(&service(&to), &stored.digest).await, stored.data);
    }
}

#[tokio::test]
async fn failures_of_the_stores_fail_the_blob_and_come_back_whole() {
    for (at_source, kind, part) in [
        (true, Kind::Get, Part::Blobs),
        (true, Kind::Get, Part::Chunks),
        (false, Kind::Get, Part::Blobs),
        (false, Kind::Head, Part::Chunks),
        (false, Kind::Put, Part::Chunks),
        (false, Kind::Put, Part::Blobs),
    ] {
        for shape in INDEXED {
            let stored = Stored::new(shape).await;
            let to = Probe::new();
            let (source, target) = (stored.service(), service(&to));
            let failing = if at_source { &stored.probe } else { &to };
            failing.fault(kind, part, ALWAYS, Effect::Fail(broken));
            let error = failed(copy_one(&source, &target, stored.digest).await);
            assert_unavailable(&error);
            assert!(to.objects(Part::Blobs).await.is_empty());
            failing.heal();
            copied(copy_one(&source, &target, stored.digest).await);
            assert_eq!(read(&target, &stored.digest).await, stored.data);
        }
    }
}

#[tokio::test]
async fn a_failing_listing_ends_the_copy() {
    let (from, to) = (Probe::new(), Probe::new());
    put(&service(&from), &random("x", 100)).await;
    let (source, target) = (service(&from), service(&to));
    to.fault(Kind::List, Part::Chunks, ALWAYS, Effect::Fail(broken));
    let all: Result<Vec<_>, Error> =
        source.copy_to(&target, source.list(), &listing(), &()).try_collect().await;
    assert_unavailable(&all.unwrap_err());
    from.fault(Kind::List, Part::Blobs, ALWAYS, Effect::Fail(broken));
    let all: Result<Vec<_>, Error> =
        source.copy_to(&target, source.list(), &CopyOptions::default(), &()).try_collect().await;
    assert_unavailable(&all.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn requests_and_memory_of_both_stores_stay_within_their_limits() {
    let (memory, requests) = (8 * MIB, 20);
    let (from, to) = (Probe::new().with_latency(LATENCY), Probe::new().with_latency(LATENCY));
    let limited = |probe: &Probe| builder(probe).memory(memory).requests(requests).build().unwrap();
    let blobs: Vec<_> = (0..32).map(|n| random(&format!("copied {n}"), 2 * MIB)).collect();
    let mut digests = Vec::new();
    for blob in &blobs {
        digests.push(not_stuck(put(&service(&from), blob)).await);
    }
    from.forget();
    let (source, target) = (limited(&from), limited(&to));
    let options = CopyOptions::default();
    for outcome in not_stuck(copy(&source, &target, &digests, &options)).await {
        copied(outcome);
    }
    for probe in [&from, &to] {
        let in_flight = probe.peak_in_flight();
        assert!((4..=requests).contains(&in_flight), "{in_flight} requests at once");
    }
    let put_bytes = to.peak_put_bytes();
    // Half of the memory is for writing, and five eighths of that half are for chunks.
    assert!(put_bytes <= memory / 2 * 5 / 8, "{put_bytes} bytes of PUTs at once");
    assert!(put_bytes >= memory / 32, "{put_bytes} bytes of PUTs at once");
    assert_eq!(not_stuck(read(&service(&to), &digests[31])).await, blobs[31]);
}

/// Each chunk takes all the memory of both stores. Meanwhile, writers put the blobs that are
/// copied.
#[tokio::test(start_paused = true)]
async fn copies_in_opposite_directions_and_writers_do_not_wait_for_each_other() {
    let probes = [0, 1].map(|_| Probe::new().with_latency(LATENCY));
    let blobs = ["a", "b"].map(|name| random(name, 8 * MIB));
    let mut digests = Vec::new();
    for (probe, blob) in probes.iter().zip(&blobs) {
        digests.push(not_stuck(put(&service(probe), blob)).await);
    }
    let [a, b] = [0, 1].map(|n| builder(&probes[n]).memory(MIB).requests(2).build().unwrap());
    let there = copy_one(&a, &b, digests[0]);
    let back = copy_one(&b, &a, digests[1]);
    let writers = join(put(&b, &blobs[0]), put(&a, &blobs[1]));
    not_stuck(join(join(there, back), writers)).await;
    for probe in &probes {
        for (digest, blob) in digests.iter().zip(&blobs) {
            assert_eq!(not_stuck(read(&service(probe), digest)).await, *blob);
        }
    }
}

/// The copy finds a chunk at the target and then makes no progress for half a day, in which another
/// process removes the chunk. The copy looks for the chunk again before it writes the index.
#[tokio::test(start_paused = true)]
async fn chunks_seen_long_ago_are_looked_for_again() {
    let (from, to) = (Probe::new(), Probe::new());
    let data = random("long ago", 20_000);
    let source = service_with(&from, tiny());
    let digest = put(&source, &data).await;
    let chunks: Vec<Digest> = cut(&data, tiny()).iter().map(|chunk| Digest::of(chunk)).collect();
    let seen = chunk_key(&chunks[0]);
    to.overwrite(&seen, from.object(&seen).await).await;
    to.hold(Kind::Put);
    let target = service(&to);
    let copying = tokio::spawn(async move { copy_one(&source, &target, digest).await });
    tokio::time::sleep(Duration::from_secs(13 * 3600)).await;
    to.remove(&seen).await;
    to.release();
    let copied = copied(not_stuck(copying).await.unwrap());
    assert_eq!(copied.chunks_new as usize, chunks.len());
    assert_eq!(read(&service(&to), &digest).await, data);
}

#[tokio::test(start_paused = true)]
async fn a_listing_is_not_trusted_for_long() {
    let (from, to) = (Probe::new(), Probe::new());
    let source = service_with(&from, tiny());
    let data = ["first", "second"].map(|name| random(name, 5000));
    let digests = [put(&source, &data[0]).await, put(&source, &data[1]).await];
    let target = service(&to);
    let late = stream::iter(digests).then(|digest| async move {
        tokio::time::sleep(Duration::from_secs(2000)).await;
        Ok(digest)
    });
    let options = listing();
    let mut done = source.copy_to(&target, late, &options, &());
    done.try_next().await.unwrap().unwrap();
    assert_eq!(to.count(Kind::Head, Part::Chunks), 0);
    done.try_next().await.unwrap().unwrap();
    assert_eq!(to.count(Kind::Head, Part::Chunks), distinct(&data[1], tiny()).len());
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_dropped_ends_and_gives_everything_back() {
    let (from, to) = (Probe::new(), Probe::new());
    let data = random("dropped", 4 * MIB);
    let digest = put(&service(&from), &data).await;
    let source = builder(&from).memory(MIB).requests(1).build().unwrap();
    let target = builder(&to).memory(MIB).requests(1).build().unwrap();
    for kind in [Kind::Get, Kind::Head, Kind::Put] {
        from.hold(kind);
        to.hold(kind);
        {
            let copying = copy_one(&source, &target, digest);
            tokio::time::timeout(LATENCY, copying).await.expect_err("it is held");
        }
        from.release();
        to.release();
        settle().await;
        assert_eq!((from.in_flight(), to.in_flight()), (0, 0));
    }
    copied(not_stuck(copy_one(&source, &target, digest)).await);
    assert_eq!(not_stuck(read(&target, &digest)).await, data);
}

#[tokio::test]
async fn the_observer_hears_of_every_chunk() {
    #[derive(Default)]
    struct Steps(AtomicU64);
    impl Observer for Steps {
        fn progress(&self, progress: &Progress) {
            assert_eq!(progress.phase, "copy chunks");
            assert_eq!(progress.done, self.0.fetch_add(1, Relaxed) + 1);
        }
    }

    let (from, to) = (Probe::new(), Probe::new());
    let source = service_with(&from, tiny());
    let data = random("observed", 20_000);
    put(&source, &data).await;
    put(&source, &random("observed, too", 50)).await;
    let (steps, target, options) = (Steps::default(), service(&to), CopyOptions::default());
    let done: Vec<_> =
        source.copy_to(&target, source.list(), &options, &steps).try_collect().await.unwrap();
    assert_eq!(done.len(), 2);
    assert_eq!(steps.0.into_inner() as usize, cut(&data, tiny()).len() + 1);
}

#[tokio::test]
async fn a_blob_goes_from_directory_to_directory() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let source = ObjectStoreBlobService::local(from.path()).build().unwrap();
    let target = ObjectStoreBlobService::local(to.path()).build().unwrap();
    let data = random("directory", 3 * MIB);
    let digest = put(&source, &data).await;
    copied(copy_one(&source, &target, digest).await);
    drop(from);
    assert!(target.has(&digest).await.unwrap());
    assert_eq!(read(&target, &digest).await, data);
    assert!(index_key(&digest).as_ref().starts_with("blobs/"));
}
