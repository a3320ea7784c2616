//! What is in the store: all its indexes, and all its chunks.

use std::sync::Arc;
use std::time::SystemTime;

use castore_core::{Digest, Result};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::objects::meta::{Entry, Meta, Stray};
use crate::store::Store;

/// Something in the store.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// The digest of the index or the chunk that it is, in its place; `None` for everything else, strays
    /// and copies aside among it.
    pub(crate) digest: Option<Digest>,
    /// `None` for what no path addresses, or lies where no object of ours does: a stray.
    pub(crate) path: Option<Path>,
    /// Its key, to be shown: without control characters.
    pub(crate) key: String,
    /// Its stored size in bytes.
    pub(crate) size: u64,
    /// When it was written, by the store's clock.
    pub(crate) modified: SystemTime,
}

impl Store {
    /// All objects under `prefix`, in the order of the store. An object that cannot be listed is an
    /// error, and a prefix that nothing lies under is empty.
    pub(crate) fn objects(
        &self,
        operation: &'static str,
        prefix: &Path,
    ) -> BoxStream<'static, Result<Object>> {
        let layout = Arc::new(self.layout.clone());
        let enters = Arc::clone(&layout);
        let enters = Arc::new(move |key: &str| enters.is_directory(key));
        let listed = self.requests.list(operation, prefix, enters);
        listed
            .map_ok(move |entry| match entry {
                Entry::Object(Meta { path, size, modified, .. }) => {
                    let key = path.to_string();
                    let digest = layout.blob_at(&path).or_else(|| layout.chunk_at(&path));
                    let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let path = layout.is_directory(parent).then_some(path);
                    Object { digest, path, key, size, modified }
                }
                Entry::Stray(Stray { key, size, modified }) => {
                    Object { digest: None, path: None, key, size, modified }
                }
            })
            .boxed()
    }
}
