//! The contents of a store are counted.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;

use bytes::Bytes;
use castore_core::{BlobService as _, Digest, ErrorKind};
use castore_objstore::usage::Usage;
use castore_objstore::{ObjectStoreBlobService, Progress};

use crate::support::data::{cut, random, tiny, zeros};
use crate::support::fixtures;
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken};
use crate::support::service::{
    assert_unavailable, chunk_key, index_key, put, service, service_with,
};

async fn usage(probe: &Probe) -> Usage {
    service(probe).usage(&()).await.unwrap()
}

/// Puts blobs that share chunks, one that repeats a chunk, one of a single chunk, and the empty
/// one.
async fn filled(probe: &Probe) -> Vec<Bytes> {
    let shared = random("shared", 8000);
    let blobs = vec![
        Bytes::from([&random("a", 3000)[..], &shared].concat()),
        Bytes::from([&random("b", 3000)[..], &shared].concat()),
        zeros(50_000),
        random("one chunk", 60),
        Bytes::new(),
    ];
    let service = service_with(probe, tiny());
    for blob in &blobs {
        put(&service, blob).await;
    }
    blobs
}

/// The sizes of the chunks of `blobs`, by digest.
fn sizes(blobs: &[Bytes]) -> HashMap<Digest, u64> {
    let chunks = blobs.iter().flat_map(|blob| cut(blob, tiny()));
    chunks.map(|chunk| (Digest::of(&chunk), chunk.len() as u64)).collect()
}

#[tokio::test]
async fn everything_is_counted_as_it_is() {
    let probe = Probe::new();
    let blobs = filled(&probe).await;
    let sizes = sizes(&blobs);
    let mut stored = [0, 0];
    for (part, bytes) in [Part::Blobs, Part::Chunks].into_iter().zip(&mut stored) {
        for key in probe.objects(part).await {
            *bytes += probe.object(&key).await.len() as u64;
        }
    }
    let listed: usize = blobs.iter().map(|blob| cut(blob, tiny()).len()).sum();

    let usage = usage(&probe).await;
    assert_eq!(usage.blobs, 5);
    assert_eq!(usage.logical_bytes, blobs.iter().map(|blob| blob.len() as u64).sum::<u64>());
    assert_eq!(usage.chunks_listed, listed as u64);
    assert_eq!(usage.chunks, sizes.len() as u64);
    assert_eq!(usage.chunk_bytes, sizes.values().sum::<u64>());
    assert_eq!([usage.index_bytes_stored, usage.chunk_bytes_stored], stored);
    assert_eq!(usage.objects(), 5 + sizes.len() as u64);
    assert_eq!(usage.bytes_stored(), stored[0] + stored[1]);
    let nothing = [
        usage.blobs_unreadable,
        usage.chunks_missing,
        usage.chunks_unreferenced,
        usage.unreferenced_bytes_stored,
        usage.strays,
        usage.stray_bytes_stored,
    ];
    assert_eq!(nothing, [0; 6]);
    let ratio = usage.logical_bytes as f64 / usage.chunk_bytes as f64;
    assert_eq!(usage.deduplication_ratio(), Some(ratio));
    let ratio = usage.chunk_bytes as f64 / usage.chunk_bytes_stored as f64;
    assert_eq!(usage.compression_ratio(), Some(ratio));
    // Each blob but the empty one takes its index and a look for a chunk; and its chunks, except
    // for the blob of one chunk, whose chunk that look finds.
    assert_eq!(usage.objects_to_read, 4 * 2 + listed as u64 - 1);
    assert!(usage.bytes_to_read > usage.bytes_stored());

    let mut classes = 0;
    for class in usage.chunk_sizes.classes() {
        let within: Vec<u64> =
            sizes.values().copied().filter(|size| class.sizes.contains(size)).collect();
        assert_eq!((class.chunks, class.bytes), (within.len() as u64, within.iter().sum()));
        classes += class.chunks;
    }
    assert_eq!(classes, sizes.len() as u64);
}

#[tokio::test]
async fn an_empty_store_has_nothing() {
    let usage = usage(&Probe::new()).await;
    assert_eq!(usage, Usage::default());
    assert_eq!((usage.deduplication_ratio(), usage.compression_ratio()), (None, None));
}

#[tokio::test]
async fn usage_takes_four_listings_and_a_request_for_each_index() {
    let probe = Probe::new();
    filled(&probe).await;
    probe.forget();
    usage(&probe).await;
    assert_eq!(probe.count(Kind::List, Part::Chunks), 1);
    assert_eq!(probe.count(Kind::List, Part::Blobs), 1);
    // The empty blob needs no request.
    assert_eq!(probe.count(Kind::Get, Part::Blobs), 4);
    // The other two listings are of the objects that were moved out of the way.
    assert_eq!(probe.total(), 8);
}

#[tokio::test]
async fn chunks_that_no_index_lists_are_unreferenced() {
    let probe = Probe::new();
    let blobs = filled(&probe).await;
    service(&probe).remove(&Digest::of(&blobs[0])).await.unwrap();
    let (kept, all) = (sizes(&blobs[1..]), sizes(&blobs));
    let mut bytes = 0;
    for digest in all.keys().filter(|digest| !kept.contains_key(digest)) {
        bytes += probe.object(&chunk_key(digest)).await.len() as u64;
    }
    let usage = usage(&probe).await;
    assert_eq!((usage.blobs, usage.chunks), (4, kept.len() as u64));
    assert_eq!(usage.chunks_unreferenced, (all.len() - kept.len()) as u64);
    assert_eq!(usage.unreferenced_bytes_stored, bytes);
    assert!(bytes > 0);
}

#[tokio::test]
async fn damaged_objects_are_counted_and_hide_nothing() {
    let probe = Probe::new();
    let blobs = filled(&probe).await;
    let whole = usage(&probe).await;
    probe.overwrite(&index_key(&Digest::of(&blobs[2])), Bytes::from_static(b"garbage")).await;
    // One chunk of each of these blobs is missing or empty.
    let [a, b] = [0, 1].map(|n| Digest::of(&cut(&blobs[n], tiny())[0]));
    probe.remove(&chunk_key(&a)).await;
    probe.overwrite(&chunk_key(&b), Bytes::new()).await;
    for stray in ["chunks/b3/stray", "chunks/b3/abcd/ABCD", "blobs/b3/README"] {
        probe.overwrite(&stray.into(), Bytes::from_static(b"stray")).await;
    }
    let usage = usage(&probe).await;
    assert_eq!((usage.blobs, usage.blobs_unreadable), (4, 1));
    assert_eq!(usage.chunks_missing, 2);
    let zeros = cut(&blobs[2], tiny()).iter().map(|c| Digest::of(c)).collect::<HashSet<_>>().len();
    assert_eq!(usage.chunks_unreferenced as usize, zeros);
    assert_eq!(usage.chunks, whole.chunks - 2 - zeros as u64);
    // The fourth stray is the chunk without bytes.
    assert_eq!((usage.strays, usage.stray_bytes_stored), (4, 15));
    assert_eq!(usage.objects(), whole.objects() + 3 - 1);
}

/// A chunk is stored, and listed by an index, after the listing has passed its place.
#[tokio::test(flavor = "multi_thread")]
async fn chunks_stored_meanwhile_are_not_missing() {
    let probe = Probe::new();
    filled(&probe).await;
    let listed = service(&probe);
    let data = random("meanwhile", 5000);
    let writer = service_with(&probe, tiny());
    let put_once = Mutex::new(Some((writer, data.clone())));
    let observer = |progress: &Progress| {
        if progress.phase == "list the blobs"
            && let Some((writer, data)) = put_once.lock().unwrap().take()
        {
            // The memory store lists all objects of the moment of the call. A new index is read
            // only if it replaces one that was listed.
            tokio::task::block_in_place(|| {
                tokio::runtime::Handle::current().block_on(async {
                    put(&writer, &data).await;
                });
            });
        }
    };
    let before = probe.objects(Part::Blobs).await.len();
    // The index is listed while its chunks are still missing.
    probe.overwrite(&index_key(&Digest::of(&data)), index_of(&data)).await;
    let usage = listed.usage(&observer).await.unwrap();
    assert_eq!(usage.blobs as usize, before + 1);
    assert_eq!(usage.chunks_missing, 0);
    assert_eq!(probe.count(Kind::List, Part::Chunks), 2);
}

fn index_of(data: &Bytes) -> Bytes {
    let chunks = cut(data, tiny()).into_iter().map(|chunk| castore_core::ChunkMeta {
        digest: Digest::of(&chunk),
        size: chunk.len() as u64,
    });
    let index = castore_core::BlobIndex::new(Digest::of(data), chunks).unwrap();
    castore_proto::encode(&index)
}

#[tokio::test]
async fn a_store_that_fails_is_not_a_damaged_one() {
    for (kind, part) in
        [(Kind::List, Part::Chunks), (Kind::List, Part::Blobs), (Kind::Get, Part::Blobs)]
    {
        let probe = Probe::new();
        filled(&probe).await;
        probe.fault(kind, part, ALWAYS, Effect::Fail(broken));
        assert_unavailable(&service(&probe).usage(&()).await.unwrap_err());
    }
}

#[tokio::test]
async fn stores_of_other_implementations_are_counted() {
    for name in ["original", "later"] {
        let service = ObjectStoreBlobService::local(fixtures::directory(name)).build().unwrap();
        let usage = service.usage(&()).await.unwrap();
        let sizes: u64 = fixtures::blobs().iter().map(|(data, _)| data.len() as u64).sum();
        assert_eq!((usage.blobs, usage.logical_bytes), (5, sizes), "{name}");
        assert_eq!((usage.chunks, usage.chunk_bytes), (12, sizes), "{name}");
        assert_eq!(usage.chunks_unreferenced + usage.chunks_missing, 0, "{name}");
    }
}

#[test]
fn prices_of_nonsense_are_invalid_input() {
    let error = "gold=1".parse::<castore_objstore::usage::Prices>().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(error.to_string().contains("gib-month"), "{error}");
}
