//! Copies from store to store.

use bytes::Bytes;
use castore_core::{BlobService, Digest, ErrorKind};
use castore_objstore::copy::{CopyOptions, CopyOutcome};
use futures_util::TryStreamExt;
use object_store::ObjectStoreExt;

use super::{Store, Stores, random};

/// Copies all blobs. Returns how many were copied, and how many were already there.
async fn copy_all(from: &Store, to: &Store, options: &CopyOptions) -> (usize, usize) {
    let (source, target) = (from.service(), to.service());
    let done = source.copy_to(&target, source.list(), options, &());
    let done: Vec<_> = done.try_collect().await.expect("copy_to");
    let of =
        |wanted: fn(&CopyOutcome) -> bool| done.iter().filter(|blob| wanted(&blob.outcome)).count();
    let copied = of(|outcome| matches!(outcome, CopyOutcome::Copied(_)));
    let there = of(|outcome| matches!(outcome, CopyOutcome::AlreadyThere));
    assert_eq!(copied + there, done.len(), "{done:?}");
    (copied, there)
}

async fn copies_only_missing_chunks(Stores { main, other }: Stores, options: &CopyOptions) {
    let shared = random("shared", 1 << 20);
    let with = |seed: &str| Bytes::from([&random(seed, 300_000)[..], &shared].concat());
    let blobs = [Bytes::new(), Bytes::from_static(b"x"), random("one", 100_000), with("a")];
    let mut digests = Vec::new();
    for blob in &blobs {
        digests.push(main.put(blob).await);
    }
    // The target already has most of these chunks.
    other.put(&with("b")).await;
    assert_eq!(copy_all(&main, &other, options).await, (4, 0));
    for (digest, blob) in digests.iter().zip(&blobs) {
        assert!(other.read(digest).await == *blob, "another {digest}");
    }
    assert_eq!(copy_all(&main, &other, options).await, (0, 4));

    let added = with("c");
    let digest = main.put(&added).await;
    let (source, target) = (main.service(), other.service());
    let done = source.copy_to(&target, source.list(), options, &());
    assert_eq!(done.try_collect::<Vec<_>>().await.expect("copy_to").len(), 5);
    let stats = target.stats();
    assert!(stats.bytes_new > 0 && stats.bytes_new < added.len() as u64 / 2, "{stats:?}");
    assert!(other.read(&digest).await == added);
}

pub(super) async fn moves_only_missing_chunks(stores: Stores) {
    copies_only_missing_chunks(stores, &CopyOptions::default()).await;
}

pub(super) async fn with_a_listing_moves_the_same(stores: Stores) {
    let options = CopyOptions::default().list_target(true);
    copies_only_missing_chunks(stores, &options).await;
}

pub(super) async fn of_a_damaged_blob_stops_no_other(Stores { main, other }: Stores) {
    let blobs = ["damaged", "missing", "good"].map(|seed| random(seed, 1 << 20));
    let mut digests = Vec::new();
    for blob in &blobs {
        digests.push(main.put(blob).await);
    }
    let objects = main.objects();
    let chunk = main.key("chunks", &main.chunks(&digests[0]).await[1]);
    let mut bytes = objects.get(&chunk).await.expect("get").bytes().await.expect("get").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    objects.put(&chunk, bytes.into()).await.expect("put");
    let chunk = main.key("chunks", &main.chunks(&digests[1]).await[1]);
    objects.delete(&chunk).await.expect("delete");

    let (source, target) = (main.service(), other.service());
    let options = CopyOptions::default();
    let done = source.copy_to(&target, source.list(), &options, &());
    let done: Vec<_> = done.try_collect().await.expect("copy_to");
    assert_eq!(done.len(), 3);
    for blob in done {
        let bad = digests[..2].contains(&blob.digest);
        match blob.outcome {
            CopyOutcome::Failed(error) if bad => assert_eq!(error.kind(), ErrorKind::Corrupt),
            CopyOutcome::Copied(_) if !bad => {}
            outcome => panic!("{}: {outcome:?}", blob.digest),
        }
    }
    let has = async |digest: &Digest| other.service().has(digest).await.expect("has");
    assert!(!has(&digests[0]).await && !has(&digests[1]).await);
    assert!(other.read(&digests[2]).await == blobs[2]);
}
