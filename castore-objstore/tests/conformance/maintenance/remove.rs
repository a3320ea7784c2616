//! Removing blobs.

use castore_core::{BlobService, Digest};
use futures_util::TryStreamExt;
use futures_util::future::join_all;

use super::{Stores, random};

pub(super) async fn leaves_the_chunks(Stores { main, .. }: Stores) {
    let data = random("removed", 1 << 20);
    let digest = main.put(&data).await;
    let chunks = main.chunks(&digest).await;
    let service = main.service();
    assert!(service.remove(&digest).await.expect("remove"));
    assert!(!service.remove(&digest).await.expect("remove"));
    assert!(!service.has(&digest).await.expect("has"));
    for chunk in &chunks {
        assert!(service.has_chunk(chunk).await.expect("has_chunk"), "chunk {chunk}");
    }
    // Only the index is stored again.
    assert_eq!(main.put(&data).await, digest);
    assert!(main.read(&digest).await == data);
}

pub(super) async fn many_at_once(Stores { main, .. }: Stores) {
    let mut digests = Vec::new();
    for number in 0..20 {
        digests.push(main.put(&random(&format!("blob {number}"), 1000)).await);
    }
    let service = main.service();
    let absent = Digest::of(b"absent");
    let removals = digests[..15].iter().chain([&absent]).map(|digest| service.remove(digest));
    let removed: Vec<bool> =
        join_all(removals).await.into_iter().map(|removed| removed.expect("remove")).collect();
    assert_eq!(removed, [vec![true; 15], vec![false]].concat());
    let mut left: Vec<Digest> = service.list().try_collect().await.expect("list");
    left.sort_unstable();
    digests.drain(..15);
    digests.sort_unstable();
    assert_eq!(left, digests);
}
