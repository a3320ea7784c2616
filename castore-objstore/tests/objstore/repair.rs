//! Putting a blob again repairs the damage that the format lets a writer notice: objects that are
//! missing, empty, or of the wrong size.

use bytes::Bytes;

use crate::support::data::random;
use crate::support::probe::{Kind, Part};
use crate::support::service::put;
use crate::support::stored::{SHAPES, Shape, Stored};

/// Puts the blob again, by a new service, and reads it by another.
async fn assert_repaired(stored: &Stored) {
    assert_eq!(put(&stored.service(), &stored.data).await, stored.digest);
    stored.assert_good().await;
    let index = stored.probe.object(&stored.index_key()).await;
    assert_eq!(index, castore_proto::encode(&stored.index));
}

#[tokio::test]
async fn an_empty_chunk_object_is_stored_again() {
    // `Shape::One` is left out: its index vouches for the chunk, so a known blob costs one request
    // only.
    for shape in [Shape::Many, Shape::OneUnlisted] {
        let stored = Stored::new(shape).await;
        stored.probe.overwrite(&stored.bad_key(), Bytes::new()).await;
        stored.assert_chunk_is_corrupt().await;
        stored.probe.forget();
        assert_repaired(&stored).await;
        assert_eq!(stored.probe.keys(Kind::Put, Part::Chunks), [stored.bad_key()]);
    }
}

#[tokio::test]
async fn a_missing_chunk_is_stored_again() {
    for shape in [Shape::Many, Shape::OneUnlisted] {
        let stored = Stored::new(shape).await;
        stored.probe.remove(&stored.bad_key()).await;
        assert_repaired(&stored).await;
    }
}

#[tokio::test]
async fn an_index_of_a_wrong_size_is_written_again() {
    for shape in [Shape::Many, Shape::One] {
        for object in [Bytes::new(), Bytes::from_static(b"garbage"), random("garbage", 100_000)] {
            let stored = Stored::new(shape).await;
            stored.probe.overwrite(&stored.index_key(), object).await;
            stored.probe.forget();
            assert_repaired(&stored).await;
            assert_eq!(stored.probe.count(Kind::Put, Part::Chunks), 0, "the chunks are fine");
        }
    }
}

#[tokio::test]
async fn a_missing_index_is_written_again() {
    for shape in SHAPES {
        let stored = Stored::new(shape).await;
        stored.probe.remove(&stored.index_key()).await;
        assert_repaired(&stored).await;
    }
}

#[tokio::test]
async fn everything_missing_is_stored_again() {
    for shape in SHAPES {
        let stored = Stored::new(shape).await;
        for part in [Part::Blobs, Part::Chunks] {
            for key in stored.probe.objects(part).await {
                stored.probe.remove(&key).await;
            }
        }
        assert_repaired(&stored).await;
    }
}
