//! Data, and short ways to store and read it.

use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, Digest, Result};
use castore_objstore::ObjectStoreBlobService;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

pub(crate) const MIB: usize = 1 << 20;

/// `len` seeded bytes that do not compress.
pub(crate) fn random(name: &str, len: usize) -> Bytes {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(name.as_bytes()).finalize_xof().fill(&mut bytes);
    bytes.into()
}

pub(crate) fn service(store: Arc<dyn ObjectStore>) -> ObjectStoreBlobService {
    ObjectStoreBlobService::builder(store).build().unwrap()
}

pub(crate) async fn put(service: &dyn BlobService, data: &Bytes) -> Result<Digest> {
    let mut writer = service.open_write().await?;
    writer.write_bytes(data.clone()).await?;
    writer.close().await
}

/// The whole blob, verified; `None` where it is absent.
pub(crate) async fn read(service: &dyn BlobService, digest: &Digest) -> Result<Option<Vec<u8>>> {
    let Some(reader) = service.open_read(digest).await? else { return Ok(None) };
    let pieces: Vec<Bytes> = reader.read_range(0..reader.size()).try_collect().await?;
    Ok(Some(pieces.concat()))
}

pub(crate) fn blob_path(digest: &Digest) -> Path {
    let hex = digest.to_string();
    Path::from(format!("blobs/b3/{}/{hex}", &hex[..4]))
}

pub(crate) fn chunk_path(digest: &Digest) -> Path {
    let hex = digest.to_string();
    Path::from(format!("chunks/b3/{}/{hex}", &hex[..4]))
}

pub(crate) async fn object(store: &dyn ObjectStore, path: &Path) -> Bytes {
    store.get(path).await.unwrap().bytes().await.unwrap()
}

/// The digests of the chunks that the fastcdc crate cuts `data` into.
pub(crate) fn oracle(data: &[u8]) -> Vec<Digest> {
    fastcdc::v2020::FastCDC::new(data, 128 << 10, 256 << 10, 512 << 10)
        .map(|chunk| Digest::of(&data[chunk.offset..chunk.offset + chunk.length]))
        .collect()
}
