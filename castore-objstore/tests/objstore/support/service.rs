//! Services over stores, and short ways to use them.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, Digest, Error, ErrorKind};
use castore_objstore::{Builder, ChunkParams, ObjectStoreBlobService};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use tokio::io::AsyncReadExt;

use super::probe::Probe;

/// A new service that knows nothing yet of the store's objects.
pub(crate) fn service(probe: &Probe) -> ObjectStoreBlobService {
    service_with(probe, ChunkParams::default())
}

pub(crate) fn service_with(probe: &Probe, params: ChunkParams) -> ObjectStoreBlobService {
    builder(probe).chunk_params(params).build().unwrap()
}

pub(crate) fn builder(probe: &Probe) -> Builder {
    ObjectStoreBlobService::builder(Arc::new(probe.clone()))
}

pub(crate) async fn put(service: &ObjectStoreBlobService, data: &Bytes) -> Digest {
    try_put(service, data).await.unwrap()
}

pub(crate) async fn try_put(
    service: &ObjectStoreBlobService,
    data: &Bytes,
) -> Result<Digest, Error> {
    let mut writer = service.open_write().await?;
    writer.write_bytes(data.clone()).await?;
    writer.close().await
}

pub(crate) async fn read(service: &ObjectStoreBlobService, digest: &Digest) -> Vec<u8> {
    let (bytes, error) = read_until_error(service, digest).await;
    assert!(error.is_none(), "{error:?}");
    bytes
}

/// The bytes that a read of the whole blob returns, and the error that ends the read, if any.
pub(crate) async fn read_until_error(
    service: &ObjectStoreBlobService,
    digest: &Digest,
) -> (Vec<u8>, Option<Error>) {
    let mut bytes = Vec::new();
    let mut reader = match service.open_read(digest).await {
        Ok(reader) => reader.expect("the blob is not absent"),
        Err(error) => return (bytes, Some(error)),
    };
    let error = reader.read_to_end(&mut bytes).await.err().map(own);
    (bytes, error)
}

/// The bytes that a stream of pieces returns, and the error that ends the stream, if any.
pub(crate) async fn collect_until_error(
    mut pieces: BoxStream<'static, Result<Bytes, Error>>,
) -> (Vec<u8>, Option<Error>) {
    let mut bytes = Vec::new();
    let mut error = None;
    while let Some(piece) = pieces.next().await {
        assert!(error.is_none(), "nothing comes after an error");
        match piece {
            Ok(piece) => bytes.extend_from_slice(&piece),
            Err(found) => error = Some(found),
        }
    }
    (bytes, error)
}

/// The castore error inside an error of a tokio trait.
pub(crate) fn own(error: io::Error) -> Error {
    error.downcast().expect("it wraps an error of ours")
}

/// Checks that the blob is absent by every way of asking.
pub(crate) async fn assert_absent(service: &ObjectStoreBlobService, digest: &Digest) {
    assert!(!service.has(digest).await.unwrap());
    assert_eq!(service.chunks(digest).await.unwrap(), None);
    assert!(service.open_read(digest).await.unwrap().is_none());
}

pub(crate) fn assert_unavailable(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error:?}");
    assert_from_store(error);
}

/// Checks that the store's own error is the source.
pub(crate) fn assert_from_store(error: &Error) {
    let source = std::error::Error::source(error).expect("there is a source");
    assert!(source.is::<object_store::Error>(), "{source:?}");
}

/// The key of a blob's index.
pub(crate) fn index_key(digest: &Digest) -> Path {
    key("blobs", digest)
}

pub(crate) fn chunk_key(digest: &Digest) -> Path {
    key("chunks", digest)
}

fn key(kind: &str, digest: &Digest) -> Path {
    Path::from(format!("{kind}/b3/{digest:.4}/{digest}"))
}
