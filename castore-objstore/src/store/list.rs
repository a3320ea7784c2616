//! What is in the store: all its indexes, and all its chunks.

use std::time::SystemTime;

use castore_core::{Digest, Result};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::store::Store;

/// An object of the store.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// The digest of the blob or chunk at its key; `None` for a stray, whose whole key is not of the
    /// store's form.
    pub(crate) digest: Option<Digest>,
    pub(crate) path: Path,
    /// Its stored size in bytes.
    pub(crate) size: u64,
    /// When it was written, by the store's clock.
    pub(crate) modified: SystemTime,
}

impl Store {
    /// All objects under `prefix`, in the order of the store.
    pub(crate) fn objects(
        &self,
        operation: &'static str,
        prefix: &Path,
    ) -> BoxStream<'static, Result<Object>> {
        let listed = self.requests.list(operation, prefix);
        let layout = self.layout.clone();
        let object = move |meta: object_store::ObjectMeta| Object {
            digest: layout.blob_at(&meta.location).or_else(|| layout.chunk_at(&meta.location)),
            path: meta.location,
            size: meta.size,
            modified: meta.last_modified.into(),
        };
        listed.map_ok(object).boxed()
    }
}
