//! Garbage collection.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use castore_core::{BlobService as _, Digest};
use castore_objstore::gc::{GcOptions, GcReport, Roots};
use castore_objstore::verify::VerifyLevel;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt};

use super::{Store, Stores, random};
use crate::damaged::verify;

/// One run without a grace period.
async fn gc(store: &Store) -> GcReport {
    let at_once = GcOptions::default().grace(Duration::ZERO).max_fraction(1.0);
    store.service().gc(Roots::Blobs, &at_once, &()).await.expect("gc")
}

/// Runs the collector until nothing is left to do, and adds up the objects that were set aside,
/// removed and put back.
///
/// The store's clock may give whole seconds only; objects of the present second are not old yet.
async fn gc_to_the_end(store: &Store) -> [u64; 3] {
    let mut sum = [0; 3];
    loop {
        let report = gc(store).await;
        sum[0] += report.set_aside.objects;
        sum[1] += report.removed.objects;
        sum[2] += report.put_back.objects;
        let aside = keys(store, "gc").await.into_iter().filter(|key| *key != clock(store));
        if report.young.objects + report.set_aside.objects == 0 && aside.count() == 0 {
            return sum;
        }
    }
}

/// Returns when the store's clock has reached the time of every chunk.
async fn until_all_is_old(store: &Store) {
    let (objects, clock) = (store.objects(), clock(store));
    let chunks = objects.list(Some(&prefix(store, "chunks")));
    let times = chunks.map_ok(|chunk| chunk.last_modified).try_collect::<Vec<_>>();
    let last = times.await.expect("list").into_iter().max().expect("there are chunks");
    let mut now = None;
    while now.is_none_or(|now| now < last) {
        objects.put(&clock, Vec::new().into()).await.expect("put");
        now = Some(objects.head(&clock).await.expect("head").last_modified);
    }
}

fn prefix(store: &Store, part: &str) -> Path {
    Path::from(format!("{}/{part}", store.base_path()).trim_matches('/'))
}

/// The object that a collector writes to learn the time.
fn clock(store: &Store) -> Path {
    prefix(store, "gc/clock")
}

async fn keys(store: &Store, part: &str) -> BTreeSet<Path> {
    let objects = store.objects();
    let listed = objects.list(Some(&prefix(store, part)));
    listed.map_ok(|object| object.location).try_collect().await.expect("list")
}

/// Checks that blobs list all chunks, and that verification finds nothing.
async fn assert_clean(store: &Store) {
    let (report, findings) = verify(&store.service(), VerifyLevel::Index).await;
    assert!(findings.is_empty(), "{findings:?}");
    assert_eq!(report.unlisted_chunks, 0);
}

async fn is_in_place(store: &Store, chunk: &Digest) -> bool {
    match store.objects().head(&store.key("chunks", chunk)).await {
        Ok(_) => true,
        Err(Error::NotFound { .. }) => false,
        Err(error) => panic!("{error}"),
    }
}

pub(super) async fn goes_and_nothing_else(Stores { main, .. }: Stores) {
    let shared = random("shared", 1 << 20);
    let with = |seed: &str| Bytes::from([&random(seed, 1 << 20)[..], &shared].concat());
    let kept = [Bytes::new(), Bytes::from_static(b"x"), random("one", 1000), with("a"), with("b")];
    let mut listed = BTreeSet::new();
    let mut digests = Vec::new();
    for blob in &kept {
        let digest = main.put(blob).await;
        listed.extend(main.chunks(&digest).await);
        digests.push(digest);
    }
    let mut garbage = BTreeSet::new();
    for unwanted in [with("removed"), random("small, removed", 1000)] {
        let digest = main.put(&unwanted).await;
        garbage.extend(main.chunks(&digest).await);
        assert!(main.service().remove(&digest).await.expect("remove"));
    }
    garbage.retain(|chunk| !listed.contains(chunk));
    assert!(garbage.len() > 2, "{garbage:?}");

    let before = keys(&main, "").await;
    let dry = GcOptions::default().grace(Duration::ZERO).max_fraction(1.0).dry_run(true);
    main.service().gc(Roots::Blobs, &dry, &()).await.expect("gc");
    assert_eq!(keys(&main, "").await, before);

    let count = garbage.len() as u64;
    assert_eq!(gc_to_the_end(&main).await, [count, count, 0]);
    for chunk in &garbage {
        assert!(!is_in_place(&main, chunk).await, "{chunk}");
    }
    assert_clean(&main).await;
    for (digest, blob) in digests.iter().zip(&kept) {
        assert!(main.read(digest).await == *blob, "another {digest}");
    }
}

pub(super) async fn comes_back_if_it_is_used_after_all(Stores { main, .. }: Stores) {
    let data = random("used after all", 1 << 20);
    let digest = main.put(&data).await;
    let chunks = main.chunks(&digest).await;
    let index = main.key("blobs", &digest);
    let stored = main.objects().get(&index).await.expect("get").bytes().await.expect("get");
    assert!(main.service().remove(&digest).await.expect("remove"));
    let count = chunks.len() as u64;
    until_all_is_old(&main).await;
    assert_eq!(gc(&main).await.set_aside.objects, count);
    for chunk in &chunks {
        assert!(!is_in_place(&main, chunk).await, "{chunk}");
    }

    // A writer that had found all chunks writes its index.
    main.objects().put(&index, stored.into()).await.expect("put");
    assert!(main.read(&digest).await == data, "from aside");
    assert_eq!(gc_to_the_end(&main).await, [0, 0, count]);
    for chunk in &chunks {
        assert!(is_in_place(&main, chunk).await, "{chunk}");
    }
    assert_clean(&main).await;
    assert!(main.read(&digest).await == data);
}
