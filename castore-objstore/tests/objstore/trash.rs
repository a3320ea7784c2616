//! Readers find the chunks that a garbage collector has set aside, and use only good copies.

use bytes::Bytes;
use castore_core::{BlobService, ErrorKind};
use object_store::path::Path;

use crate::support::probe::{Kind, Part, broken};
use crate::support::service::read_until_error;
use crate::support::stored::{Shape, Stored};

/// The shapes of a blob with an index.
const LISTED: [Shape; 3] = [Shape::Many, Shape::One, Shape::OneUnlisted];

impl Stored {
    fn copy_key(&self, batch: &str) -> Path {
        Path::parse(format!("gc/{}.{batch}", self.bad_key())).unwrap()
    }

    /// A blob with `in_place` as the object of one chunk, and with these `copies` of the chunk
    /// aside. `None` stands for the real bytes of the chunk.
    async fn with_copies(shape: Shape, in_place: Option<&str>, copies: &[Option<&str>]) -> Stored {
        let stored = Stored::new(shape).await;
        let good = stored.probe.object(&stored.bad_key()).await;
        for (number, copy) in copies.iter().enumerate() {
            let copy = copy.map_or(good.clone(), |junk| Bytes::copy_from_slice(junk.as_bytes()));
            stored.probe.overwrite(&stored.copy_key(&format!("batch-{number}")), copy).await;
        }
        match in_place {
            Some(junk) => stored.probe.overwrite(&stored.bad_key(), junk.to_owned()).await,
            None => stored.probe.remove(&stored.bad_key()).await,
        }
        stored
    }
}

#[tokio::test]
async fn all_copies_are_tried_until_one_is_good() {
    for shape in LISTED {
        for good in 0..3 {
            let mut copies = [Some("junk"), Some(""), Some("more junk")];
            copies[good] = None;
            let stored = Stored::with_copies(shape, None, &copies).await;
            stored.assert_good().await;
            let chunks = stored.service().chunks(&stored.digest).await.unwrap();
            assert_eq!(chunks, Some(stored.index));
        }
    }
}

#[tokio::test]
async fn a_damaged_chunk_in_its_place_sends_readers_to_the_copies() {
    for shape in LISTED {
        for junk in ["", "junk"] {
            let stored = Stored::with_copies(shape, Some(junk), &[Some("junk"), None]).await;
            stored.assert_good().await;
        }
        // An object too large to be fetched sends readers to the copies, too.
        let stored = Stored::with_copies(shape, Some(&"junk".repeat(9 << 20)), &[None]).await;
        stored.assert_good().await;
    }
}

#[tokio::test]
async fn a_blob_is_corrupt_if_all_copies_are_junk() {
    for shape in LISTED {
        for in_place in [None, Some("junk")] {
            let copies = [Some("junk"), Some("")];
            let stored = Stored::with_copies(shape, in_place, &copies).await;
            stored.assert_chunk_is_corrupt().await;
        }
    }
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_leaves_the_chunk_not_known() {
    for shape in LISTED {
        for in_place in [None, Some("junk")] {
            let stored = Stored::with_copies(shape, in_place, &[Some("junk"), None]).await;
            stored.probe.fail_keys(Kind::Get, "batch-1", broken);
            let (_, error) = read_until_error(&stored.service(), &stored.digest).await;
            let error = error.expect("the good copy cannot be read");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{shape:?}: {error:?}");
        }
    }
}

#[tokio::test]
async fn a_good_chunk_in_its_place_costs_no_look_aside() {
    for shape in LISTED {
        let stored = Stored::new(shape).await;
        stored.probe.forget();
        stored.assert_good().await;
        assert_eq!(stored.probe.count(Kind::List, Part::Chunks), 0);
    }
}
