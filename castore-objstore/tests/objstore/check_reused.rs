//! A service that checks the objects that it reuses: a bad object never prevents its own repair.

use bytes::Bytes;
use castore_core::Digest;
use castore_objstore::ObjectStoreBlobService;

use crate::support::data::{MIB, random, tiny};
use crate::support::probe::{ALWAYS, Effect, Kind, Part, Probe, broken};
use crate::support::service::{builder, chunk_key, index_key, put, read, try_put};
use crate::support::stored::{SHAPES, Shape, Stored};

fn checking(probe: &Probe) -> ObjectStoreBlobService {
    builder(probe).chunk_params(tiny()).check_reused(true).build().unwrap()
}

type Damage = fn(&Bytes) -> Bytes;

const DAMAGES: [Damage; 5] = [
    |_| Bytes::new(),
    |object| object.slice(..object.len() / 2),
    |object| {
        let mut flipped = object.to_vec();
        flipped[object.len() / 2] ^= 1;
        flipped.into()
    },
    |_| zstd::bulk::compress(b"another chunk", 3).unwrap().into(),
    |_| vec![0; 5 * MIB].into(),
];

#[tokio::test]
async fn a_bad_chunk_is_stored_again() {
    for shape in SHAPES {
        for damage in DAMAGES {
            let stored = Stored::new(shape).await;
            let key = stored.bad_key();
            let object = stored.probe.object(&key).await;
            stored.probe.overwrite(&key, damage(&object)).await;
            stored.assert_chunk_is_corrupt().await;
            let service = checking(&stored.probe);
            assert_eq!(put(&service, &stored.data).await, stored.digest);
            stored.assert_good().await;
            let stats = service.stats();
            assert_eq!((stats.chunks_new, stats.chunks_replaced), (1, 1), "{shape:?}");
        }
    }
}

#[tokio::test]
async fn without_the_check_a_bad_chunk_stays() {
    let stored = Stored::new(Shape::Many).await;
    stored.probe.overwrite(&stored.bad_key(), "garbage").await;
    put(&stored.service(), &stored.data).await;
    stored.assert_chunk_is_corrupt().await;
}

#[tokio::test]
async fn a_chunk_that_cannot_be_read_is_stored_again() {
    for shape in SHAPES {
        let stored = Stored::new(shape).await;
        stored.probe.fault(Kind::Get, Part::Chunks, 0..1, Effect::Fail(broken));
        let service = checking(&stored.probe);
        assert_eq!(put(&service, &stored.data).await, stored.digest);
        assert_eq!(service.stats().chunks_replaced, 1);
    }
}

#[tokio::test]
async fn an_index_that_is_not_the_right_one_is_written_again() {
    for shape in [Shape::Many, Shape::One] {
        let stored = Stored::new(shape).await;
        let good = stored.probe.object(&stored.index_key()).await;
        // The other index has the length of the right one, so that its size does not give it away.
        let mut other = good.to_vec();
        other[10] ^= 1;
        stored.probe.overwrite(&stored.index_key(), other).await;
        let service = checking(&stored.probe);
        assert_eq!(put(&service, &stored.data).await, stored.digest);
        stored.assert_good().await;
        assert_eq!(stored.probe.object(&stored.index_key()).await, good);
        assert_eq!(service.stats().chunks_new, 0);
    }
}

#[tokio::test]
async fn good_objects_are_read_once_and_not_written() {
    for shape in [Shape::Many, Shape::One] {
        let stored = Stored::new(shape).await;
        stored.probe.forget();
        let service = checking(&stored.probe);
        for _ in 0..3 {
            put(&service, &stored.data).await;
        }
        let mut read = stored.probe.keys(Kind::Get, Part::Chunks);
        assert_eq!(read.len(), stored.index.len());
        read.sort();
        read.dedup();
        assert_eq!(read.len(), stored.index.len());
        assert_eq!(stored.probe.count(Kind::Put, Part::Chunks), 0);
        assert_eq!(stored.probe.count(Kind::Put, Part::Blobs), 0);
        assert_eq!(service.stats().chunks_new, 0);
    }
}

#[tokio::test]
async fn missing_chunks_are_stored() {
    let probe = Probe::new();
    let data = random("new", 20_000);
    let service = checking(&probe);
    let digest = put(&service, &data).await;
    assert_eq!(digest, Digest::of(&data));
    probe.remove(&index_key(&digest)).await;
    let chunk = probe.objects(Part::Chunks).await.remove(0);
    probe.remove(&chunk).await;
    put(&checking(&probe), &data).await;
    assert!(!probe.object(&chunk).await.is_empty());
    assert_eq!(read(&service, &digest).await, data);
}

#[tokio::test]
async fn a_bad_chunk_that_cannot_be_stored_again_is_an_error() {
    let stored = Stored::new(Shape::One).await;
    stored.probe.overwrite(&chunk_key(&stored.digest), "garbage").await;
    stored.probe.fault(Kind::Put, Part::Chunks, ALWAYS, Effect::Fail(broken));
    try_put(&checking(&stored.probe), &stored.data).await.unwrap_err();
}
