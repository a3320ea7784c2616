//! The marker of a store: a small object that distinguishes an empty store from a place that is no
//! store, such as a directory whose disk is not mounted or a mistyped base path.

use castore_core::{Error, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt};

use super::Store;
use super::layout::Kind;

const OPERATION: &str = "recognise the store";

/// The content of the marker: FORMAT.md, "Marker".
const MARKER: &[u8] = b"castore store, format 1\n";

impl Store {
    /// Whether the place holds a store: a marker, or any blob or chunk.
    pub(crate) async fn exists(&self) -> Result<bool> {
        Ok(self.has_marker().await? || self.has_objects().await?)
    }

    /// Writes the marker unless the store has one. Returns whether the place held no store before.
    pub(crate) async fn create_marker(&self) -> Result<bool> {
        if self.has_marker().await? {
            return Ok(false);
        }
        let is_new = !self.has_objects().await?;
        let marker = bytes::Bytes::from_static(MARKER);
        self.requests.put(OPERATION, None, self.layout.marker(), marker).await?;
        self.flush().await?;
        // A misconfigured server may confirm every request and store nothing.
        match self.has_marker().await? {
            true => Ok(is_new),
            false => {
                let message = "the store confirmed an object and does not have it";
                Err(Error::new(ErrorKind::Unavailable, OPERATION, message))
            }
        }
    }

    /// Whether the store has the marker. The size of the object decides: the marker's content never
    /// changes within a format.
    async fn has_marker(&self) -> Result<bool> {
        let key = self.layout.marker();
        match self.requests.head(OPERATION, None, key.clone()).await? {
            None => Ok(false),
            Some(size) if size == MARKER.len() as u64 => Ok(true),
            Some(size) => {
                let message = format!(
                    "the object {key} is not the marker of a castore store: it has {size} bytes, \
                     not {}",
                    MARKER.len()
                );
                Err(Error::new(ErrorKind::StoreNotFound, OPERATION, message))
            }
        }
    }

    /// Whether the store has any blob or chunk. Makes one or two listings, and fetches one page of
    /// each.
    async fn has_objects(&self) -> Result<bool> {
        for kind in [Kind::Blob, Kind::Chunk] {
            let objects = self.objects(OPERATION, self.layout.all(kind));
            let named = objects.try_filter(|object| std::future::ready(object.digest.is_some()));
            if std::pin::pin!(named).next().await.transpose()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use castore_core::BlobService;
    use object_store::memory::InMemory;
    use object_store::path::Path;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::ObjectStoreBlobService;

    fn service() -> (Arc<InMemory>, ObjectStoreBlobService) {
        let store = Arc::new(InMemory::new());
        let builder = ObjectStoreBlobService::builder(Arc::clone(&store) as Arc<dyn ObjectStore>);
        (store, builder.base_path("base").build().unwrap())
    }

    #[tokio::test]
    async fn a_store_is_new_once_and_exists_from_then_on() {
        let (store, service) = service();
        assert!(!service.exists().await.unwrap());
        assert!(service.create_marker().await.unwrap());
        assert!(!service.create_marker().await.unwrap());
        assert!(service.exists().await.unwrap());
        let marker = store.get(&Path::from("base/castore-format")).await.unwrap();
        assert_eq!(marker.bytes().await.unwrap(), MARKER);
    }

    #[tokio::test]
    async fn a_store_without_a_marker_is_recognised_by_its_objects() {
        let (_, service) = service();
        let mut writer = service.open_write().await.unwrap();
        writer.write_bytes(bytes::Bytes::from_static(b"a blob")).await.unwrap();
        writer.close().await.unwrap();
        assert!(service.exists().await.unwrap());
        assert!(!service.create_marker().await.unwrap(), "the store was there before");
    }

    #[tokio::test]
    async fn objects_of_others_do_not_make_a_store() {
        let (store, service) = service();
        for path in ["base/other", "base/blobs/b3/notes", "other/castore-format"] {
            store.put(&Path::from(path), "x".into()).await.unwrap();
        }
        assert!(!service.exists().await.unwrap());
        store.put(&Path::from("base/castore-format"), "<html>".into()).await.unwrap();
        for error in
            [service.exists().await.unwrap_err(), service.create_marker().await.unwrap_err()]
        {
            assert_eq!(error.kind(), ErrorKind::StoreNotFound);
            assert!(error.to_string().contains("base/castore-format"), "{error}");
        }
    }
}
