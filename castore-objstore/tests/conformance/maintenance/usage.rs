//! Counts of the objects in a store.

use bytes::Bytes;
use castore_core::BlobService as _;
use castore_objstore::usage::Usage;
use object_store::ObjectStoreExt;

use super::{Store, Stores, random};

async fn usage(store: &Store) -> Usage {
    store.service().usage(&()).await.expect("usage")
}

pub(super) async fn matches_the_stored_blobs(Stores { main, .. }: Stores) {
    let empty = usage(&main).await;
    assert_eq!((empty.blobs, empty.objects(), empty.bytes_stored()), (0, 0, 0));

    let shared = random("shared", 1 << 20);
    let with = |seed: &str| Bytes::from([&random(seed, 300_000)[..], &shared].concat());
    let (kept, removed) = (main.put(&with("kept")).await, main.put(&with("removed")).await);
    main.put(&Bytes::from_static(b"small")).await;
    let full = usage(&main).await;
    assert_eq!((full.blobs, full.chunks_unreferenced, full.chunks_missing), (3, 0, 0));
    assert_eq!(full.logical_bytes, 2 * (300_000 + (1 << 20)) + 5);
    assert!(full.deduplication_ratio().is_some_and(|ratio| ratio > 1.3), "{full:?}");
    assert!(full.bytes_stored() > full.chunk_bytes, "random bytes do not compress");
    let (listed, removed_chunks) = (main.chunks(&kept).await, main.chunks(&removed).await);

    main.service().remove(&removed).await.expect("remove");
    let unreferenced = removed_chunks.iter().filter(|chunk| !listed.contains(chunk)).count() as u64;
    let usage = usage(&main).await;
    assert!(unreferenced > 0);
    assert_eq!((usage.blobs, usage.chunks_unreferenced), (2, unreferenced));
    assert_eq!(usage.objects(), full.objects() - 1);
    assert_eq!(usage.chunks, full.chunks - unreferenced);
}

pub(super) async fn counts_damage(Stores { main, .. }: Stores) {
    let digest = main.put(&random("damaged", 1 << 20)).await;
    let other = main.put(&random("other", 1 << 20)).await;
    let before = usage(&main).await;
    let objects = main.objects();
    let chunk = main.key("chunks", &main.chunks(&digest).await[0]);
    objects.delete(&chunk).await.expect("delete");
    let index = main.key("blobs", &other);
    objects.put(&index, Bytes::from_static(b"garbage").into()).await.expect("put");
    let usage = usage(&main).await;
    assert_eq!((usage.blobs, usage.blobs_unreadable, usage.chunks_missing), (1, 1, 1));
    assert_eq!(usage.objects(), before.objects() - 1);
}
