//! Chunks that the store already has are not uploaded again.

use std::collections::HashSet;

use bytes::Bytes;
use castore_core::Digest;
use castore_objstore::ChunkParams;
use futures_util::future::join_all;
use object_store::path::Path;

use crate::support::clock::settle;
use crate::support::data::{MIB, distinct, random, zeros};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{chunk_key, put, read, service};

fn keys(chunks: impl IntoIterator<Item = Digest>) -> HashSet<Path> {
    chunks.into_iter().map(|chunk| chunk_key(&chunk)).collect()
}

/// Checks that the uploaded chunks were `expected`, each once.
fn assert_uploaded(probe: &Probe, expected: &HashSet<Path>) {
    let uploaded = probe.keys(Kind::Put, Part::Chunks);
    assert_eq!(uploaded.len(), expected.len(), "no chunk is uploaded twice");
    assert_eq!(uploaded.into_iter().collect::<HashSet<_>>(), *expected);
}

/// Puts `original`, then `edited`, by the same service or by a new one. Checks that only the chunks
/// that `original` lacks are uploaded the second time.
async fn assert_only_changed_chunks_are_uploaded(original: &Bytes, edited: &Bytes, at_most: usize) {
    let params = ChunkParams::default();
    let old = distinct(original, params);
    let changed = keys(distinct(edited, params).difference(&old).copied());
    assert!((1..=at_most).contains(&changed.len()), "{} chunks have changed", changed.len());
    for warm in [true, false] {
        let probe = Probe::new();
        let first = service(&probe);
        put(&first, original).await;
        assert_uploaded(&probe, &keys(old.iter().copied()));
        probe.forget();

        let second = if warm { first } else { service(&probe) };
        let before = second.stats();
        let digest = put(&second, edited).await;
        assert_uploaded(&probe, &changed);
        let after = second.stats();
        assert_eq!(after.chunks_new - before.chunks_new, changed.len() as u64);
        assert_eq!(read(&second, &digest).await, *edited);
    }
}

#[tokio::test]
async fn a_copy_with_one_percent_changed_uploads_only_the_changed_chunks() {
    let original = random("original", 16 * MIB);
    let mut edited = original.to_vec();
    let part = 5 * MIB..5 * MIB + 16 * MIB / 100;
    edited[part.clone()].copy_from_slice(&random("change", part.len()));
    // The change itself may span three chunks, and each end of it may move one more cut.
    assert_only_changed_chunks_are_uploaded(&original, &edited.into(), 5).await;
}

#[tokio::test]
async fn a_copy_with_bytes_inserted_in_the_middle_uploads_only_the_changed_chunks() {
    let original = random("original", 16 * MIB);
    for inserted in [1, 1000] {
        let inserted = random("insertion", inserted);
        let edited = [&original[..8 * MIB], &inserted, &original[8 * MIB..]].concat();
        assert_only_changed_chunks_are_uploaded(&original, &edited.into(), 3).await;
    }
}

#[tokio::test]
async fn a_blob_of_zeros_uploads_one_chunk() {
    let params = ChunkParams::default();
    let data = zeros(32 * params.max_size());
    let probe = Probe::new();
    let service = service(&probe);
    let digest = put(&service, &data).await;
    assert_uploaded(&probe, &keys(distinct(&data, params)));
    assert_eq!(probe.count(Kind::Put, Part::Chunks), 1);
    assert_eq!(probe.count(Kind::Put, Part::Blobs), 1);
    let stats = service.stats();
    assert_eq!((stats.chunks_new, stats.chunks_reused), (1, 31));
    assert_eq!(read(&service, &digest).await, data);
}

/// Every chunk of the second half repeats a chunk that is still being uploaded.
#[tokio::test(start_paused = true)]
async fn identical_chunks_in_flight_are_uploaded_once() {
    let half = random("half", 4 * MIB);
    let data = Bytes::from([half.clone(), half].concat());
    let expected = keys(distinct(&data, ChunkParams::default()));
    let probe = Probe::new();
    probe.hold(Kind::Put);
    let service = service(&probe);
    let watch = async {
        settle().await;
        assert_uploaded(&probe, &expected);
        probe.release();
    };
    let (digest, ()) = tokio::join!(put(&service, &data), watch);
    assert_uploaded(&probe, &expected);
    assert_eq!(read(&service, &digest).await, data);
}

async fn eight_writers_of_the_same(size: usize) {
    let data = random("shared", size);
    let probe = Probe::new();
    let service = service(&probe);
    let digests = join_all((0..8).map(|_| {
        let (service, data) = (service.clone(), data.clone());
        async move { tokio::spawn(async move { put(&service, &data).await }).await.unwrap() }
    }))
    .await;
    assert_eq!(digests, vec![Digest::of(&data); 8]);
    assert_uploaded(&probe, &keys(distinct(&data, ChunkParams::default())));
    let stats = service.stats();
    assert_eq!(stats.bytes_new, size as u64);
    assert_eq!(stats.bytes_written, 8 * size as u64);
    let chunks = crate::support::data::cut(&data, ChunkParams::default()).len() as u64;
    assert_eq!(stats.chunks_new + stats.chunks_reused, 8 * chunks, "{stats:?}");
    assert_eq!(read(&service, &digests[0]).await, data);
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_of_the_same_blob_upload_it_once() {
    eight_writers_of_the_same(4 * MIB).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn eight_writers_of_the_same_blob_of_one_chunk_upload_it_once() {
    eight_writers_of_the_same(50_000).await;
}

/// A service that has not seen a lost chunk lately uploads it again.
#[tokio::test]
async fn removed_chunks_are_uploaded_again() {
    let data = random("removed", 2 * MIB);
    let probe = Probe::new();
    let digest = put(&service(&probe), &data).await;
    let lost = keys(distinct(&data, ChunkParams::default()).into_iter().take(2));
    for key in &lost {
        probe.remove(key).await;
    }
    probe.forget();
    let service = service(&probe);
    assert_eq!(put(&service, &data).await, digest);
    assert_uploaded(&probe, &lost);
    assert_eq!(read(&service, &digest).await, data);
}
