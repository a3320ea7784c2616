//! The promises of listing and removing blobs, for services that can. A service that cannot answers
//! `Unsupported`, and passes.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, Digest, Error, ErrorKind};
use futures_util::TryStreamExt;

use super::{SIZE, expect_absent, expect_blob, put};
use crate::Harness;
use crate::data::random;
use crate::steps::Step;

/// The answer of a service that can, and `None` from a service that cannot.
fn supported<T>(answer: Result<T, Error>, call: &str) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) if error.kind() == ErrorKind::Unsupported => None,
        Err(error) => panic!("{call}: {error}"),
    }
}

/// The listed blobs, without the empty one.
async fn list(service: &dyn BlobService) -> Option<BTreeSet<Digest>> {
    let listed = service.list().try_collect::<Vec<Digest>>().named("list").await;
    let listed = supported(listed, "list")?;
    let set: BTreeSet<Digest> =
        listed.iter().copied().filter(|digest| *digest != Digest::EMPTY).collect();
    let empty = listed.iter().filter(|digest| **digest == Digest::EMPTY).count();
    assert_eq!(listed.len(), set.len() + empty, "a blob is listed more than once");
    assert!(empty <= 1, "the empty blob is listed more than once");
    Some(set)
}

async fn remove(service: &dyn BlobService, digest: &Digest) -> Option<bool> {
    supported(service.remove(digest).named("remove").await, "remove")
}

/// A listing has each present blob once, and nothing else: no chunk, and no unfinished blob.
pub async fn each_present_blob_is_listed_once(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let Some(listed) = list(&service).await else {
        put(&service, &random("listed", 1000)).await;
        assert!(list(&service).await.is_none(), "list is supported only after a put");
        return;
    };
    assert!(listed.is_empty(), "an empty storage lists {listed:?}");
    let mut unfinished = service.open_write().must("open_write").await;
    unfinished.write_bytes(random("unfinished", SIZE)).must("write_bytes").await;
    let mut present = BTreeSet::new();
    for size in [1, 100, 1000, SIZE] {
        let data = random(&format!("listed {size}"), size);
        for _ in 0..2 {
            present.insert(put(&service, &data).await);
        }
    }
    put(&service, &Bytes::new()).await;
    assert_eq!(list(&service).await, Some(present.clone()));
    let other = harness.open().await;
    assert_eq!(list(&other).await, Some(present), "the list of another service");
    drop(unfinished);
}

/// A removed blob is absent, for every method and every service, until it is stored again.
pub async fn removed_blobs_are_absent(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let other = harness.open().await;
    for size in [1, 1000, SIZE] {
        let data = random(&format!("removed {size}"), size);
        let digest = Digest::of(&data);
        let Some(removed) = remove(&service, &digest).await else {
            put(&service, &data).await;
            assert!(remove(&service, &digest).await.is_none(), "remove is supported only at times");
            expect_blob(&service, &data, "remove is unsupported").await;
            return;
        };
        assert!(!removed, "remove has removed an absent blob");
        put(&service, &data).await;
        assert_eq!(remove(&service, &digest).await, Some(true), "a present blob was removed");
        for service in [&service, &other] {
            expect_absent(service, &digest, "the blob was removed").await;
            if let Some(listed) = list(service).await {
                assert!(!listed.contains(&digest), "a removed blob is listed");
            }
        }
        assert_eq!(remove(&service, &digest).await, Some(false), "the blob was removed before");
        put(&service, &data).await;
        expect_blob(&other, &data, "stored again after its removal").await;
    }
    remove(&service, &Digest::EMPTY).await;
    expect_blob(&service, b"", "the empty blob after its removal").await;
}

/// The removal of a blob leaves others whole, also blobs that share chunks with it or are its
/// chunks.
pub async fn removal_leaves_other_blobs_whole(harness: Arc<dyn Harness>) {
    let service = harness.open().await;
    let data = random("shared by several", SIZE);
    let longer = Bytes::from([&data[..], b"and more"].concat());
    let digest = put(&service, &data).await;
    put(&service, &longer).await;
    let index = service.chunks(&digest).must("chunks").await.expect("the blob is absent");
    let first = data.slice(0..index.get(0).expect("a chunk").size as usize);
    put(&service, &first).await;
    if remove(&service, &digest).await.is_none() {
        return;
    }
    for service in [&service, &harness.open().await] {
        expect_blob(service, &longer, "another blob shared its chunks").await;
        expect_blob(service, &first, "a longer blob began with this chunk").await;
    }
    put(&service, &data).await;
    expect_blob(&service, &data, "stored again beside the chunks of others").await;
}
