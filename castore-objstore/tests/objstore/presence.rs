//! Presence is not proof: a stored object is reused only with a reason to trust it, and is
//! otherwise stored again from the bytes in hand.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{BlobService, ErrorKind};
use castore_objstore::ObjectStoreBlobService;
use futures_util::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::support::data::{MIB, random, tiny};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{put, read, service_with, try_put};
use crate::support::stored::{Shape, Stored};

/// The shapes of a blob with an index.
const INDEXED: [Shape; 3] = [Shape::Many, Shape::One, Shape::OneUnlisted];

#[tokio::test]
async fn a_chunk_that_is_missing_or_certainly_damaged_is_stored_again() {
    for shape in INDEXED {
        for damage in 0..4 {
            let stored = Stored::new(shape).await;
            let key = stored.bad_key();
            match damage {
                0 => stored.probe.remove(&key).await,
                1 => stored.probe.overwrite(&key, Bytes::new()).await,
                2 => stored.probe.overwrite(&key, vec![0; 5 * MIB]).await,
                _ => {
                    let aside = Path::from(format!("gc/{key}.batch-1"));
                    stored.probe.overwrite(&aside, stored.probe.object(&key).await).await;
                    stored.probe.remove(&key).await;
                }
            }
            let service = stored.service();
            assert_eq!(put(&service, &stored.data).await, stored.digest);
            stored.assert_good().await;
            assert!(!stored.probe.object(&key).await.is_empty(), "{shape:?} {damage}");
            let replaced = u64::from(damage == 1 || damage == 2);
            let stats = service.stats();
            assert_eq!((stats.chunks_new, stats.chunks_replaced), (1, replaced), "{shape:?}");
        }
    }
}

/// The bad index states another size in the same number of bytes, so that only its contents differ.
#[tokio::test]
async fn an_index_that_states_another_size_is_written_again() {
    for shape in [Shape::Many, Shape::One] {
        let stored = Stored::new(shape).await;
        let good = stored.probe.object(&stored.index_key()).await;
        let chunks = stored.index.iter().enumerate().map(|(number, mut chunk)| {
            chunk.size -= u64::from(number == 0);
            chunk
        });
        let index = castore_core::BlobIndex::new(stored.digest, chunks).unwrap();
        let bad = castore_proto::encode(&index);
        assert_eq!(bad.len(), good.len());
        stored.probe.overwrite(&stored.index_key(), bad).await;
        assert_eq!(put(&stored.service(), &stored.data).await, stored.digest);
        assert_eq!(stored.probe.object(&stored.index_key()).await, good);
        stored.assert_good().await;
    }
}

/// The object in the index's place is no index: the chunks are read before the right index is
/// written.
#[tokio::test]
async fn an_object_that_is_no_index_casts_doubt_on_the_chunks() {
    let stored = Stored::new(Shape::Many).await;
    let good = stored.probe.object(&stored.index_key()).await;
    stored.probe.overwrite(&stored.index_key(), vec![0xff; good.len()]).await;
    put(&stored.service(), &stored.data).await;
    stored.assert_good().await;

    stored.probe.overwrite(&stored.index_key(), vec![0xff; good.len()]).await;
    stored.probe.overwrite(&stored.bad_key(), "garbage").await;
    let error = try_put(&stored.service(), &stored.data).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");

    // For a blob of one chunk, the writer has the bytes in hand.
    let stored = Stored::new(Shape::One).await;
    stored.probe.overwrite(&stored.index_key(), "no index").await;
    stored.probe.overwrite(&stored.bad_key(), "garbage").await;
    put(&stored.service(), &stored.data).await;
    stored.assert_good().await;
}

#[tokio::test]
async fn a_file_that_was_cut_short_is_stored_again() {
    for size in [50, 20_000] {
        let data = random("cut short", size);
        let directory = tempfile::tempdir().unwrap();
        let service = || {
            let local = ObjectStoreBlobService::local(directory.path()).chunk_params(tiny());
            local.build().unwrap()
        };
        let digest = put(&service(), &data).await;
        let index = service().chunks(&digest).await.unwrap().unwrap();
        let chunk = index.get(index.len() / 2).unwrap().digest;
        let file = directory.path().join(format!("chunks/b3/{chunk:.4}/{chunk}"));
        let object = std::fs::read(&file).unwrap();
        let end = object.len();
        for len in [0, 1, 7, 9, end / 2, end - 1] {
            std::fs::write(&file, &object[..len]).unwrap();
            let service = service();
            assert_eq!(put(&service, &data).await, digest);
            assert_eq!(std::fs::read(&file).unwrap(), object, "{len} of {end}");
            let stats = service.stats();
            assert_eq!((stats.chunks_new, stats.chunks_replaced), (1, 1));
            assert_eq!(read(&service, &digest).await, data);
        }
        // A whole file is reused.
        let last = service();
        put(&last, &data).await;
        assert_eq!(last.stats().chunks_new, 0);
    }
}

/// After an hour the service asks the store again.
#[tokio::test(start_paused = true)]
async fn a_chunk_that_has_another_size_than_this_service_stored_is_stored_again() {
    for size in [50, 20_000] {
        let probe = Probe::new();
        let data = random("other size", size);
        let service = service_with(&probe, tiny());
        let digest = put(&service, &data).await;
        let key = probe.objects(Part::Chunks).await.remove(0);
        let object = probe.object(&key).await;
        for (damaged, puts) in [(object.slice(..object.len() / 2), 1), (object, 0)] {
            probe.overwrite(&key, damaged).await;
            tokio::time::sleep(Duration::from_secs(3700)).await;
            probe.forget();
            put(&service, &data).await;
            assert_eq!(probe.count(Kind::Put, Part::Chunks), puts);
            assert_eq!(read(&service, &digest).await, data);
        }
    }
}

/// A server that answers every request with the same page.
#[derive(Debug)]
struct WebPage;

impl std::fmt::Display for WebPage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a web page")
    }
}

const PAGE: usize = 1234;

#[async_trait]
impl ObjectStore for WebPage {
    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Ok(PutResult { e_tag: None, version: None, extensions: Default::default() })
    }

    async fn put_multipart_opts(
        &self,
        _: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        unreachable!("castore puts objects whole")
    }

    async fn get_opts(&self, location: &Path, _: GetOptions) -> Result<GetResult> {
        let mut page = b"<!doctype html>".to_vec();
        page.resize(PAGE, b' ');
        let meta = ObjectMeta {
            location: location.clone(),
            last_modified: std::time::SystemTime::UNIX_EPOCH.into(),
            size: PAGE as u64,
            e_tag: None,
            version: None,
        };
        let payload = GetResultPayload::Stream(stream::iter([Ok(page.into())]).boxed());
        let (attributes, extensions) = Default::default();
        Ok(GetResult { payload, meta, range: 0..PAGE as u64, attributes, extensions })
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        locations
    }

    fn list(&self, _: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        stream::empty().boxed()
    }

    async fn list_with_delimiter(&self, _: Option<&Path>) -> Result<ListResult> {
        Err(Error::NotImplemented { operation: "list".to_owned(), implementer: self.to_string() })
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_web_page_acknowledges_nothing() {
    for size in [1, 50, 5000, 50_000] {
        let store = std::sync::Arc::new(WebPage);
        let service = ObjectStoreBlobService::builder(store).chunk_params(tiny()).build().unwrap();
        let error = try_put(&service, &random("web page", size)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
    }
}
