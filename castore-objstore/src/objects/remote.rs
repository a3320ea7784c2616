//! Requests to a store that is reached through `object_store`: any of the clouds, WebDAV, memory, or
//! a store of the caller's own.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    GetResult, ObjectMeta, ObjectStore, ObjectStoreExt, PutPayload, Result as StoreResult,
};

use crate::exec::limits::Limits;

/// A store behind `object_store`, and how many requests to it may be under way.
///
/// Every method waits for its share of the requests; a request lasts until its bytes are here.
#[derive(Debug, Clone)]
pub(crate) struct Remote {
    store: Arc<dyn ObjectStore>,
    limits: Arc<Limits>,
}

impl Remote {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, limits: Arc<Limits>) -> Remote {
        Remote { store, limits }
    }

    pub(crate) async fn head(&self, path: &Path) -> StoreResult<ObjectMeta> {
        let _permit = self.limits.request().await;
        self.store.head(path).await
    }

    /// Starts to fetch an object, and hands the answer to `take` while the request counts.
    pub(crate) async fn get<T, F: Future<Output = T>>(
        &self,
        path: &Path,
        take: impl FnOnce(StoreResult<GetResult>) -> F,
    ) -> T {
        let _permit = self.limits.request().await;
        take(self.store.get(path).await).await
    }

    /// Puts an object if `allowed` says so when the request may be sent; returns whether it did.
    pub(crate) async fn put_if(
        &self,
        path: &Path,
        object: Bytes,
        allowed: impl FnOnce() -> bool,
    ) -> StoreResult<bool> {
        let _permit = self.limits.request().await;
        if !allowed() {
            return Ok(false);
        }
        self.store.put(path, PutPayload::from_bytes(object)).await.map(|_| true)
    }

    /// Deletes an object if `allowed` says so when the request may be sent; returns whether it did.
    pub(crate) async fn delete_if(
        &self,
        path: &Path,
        allowed: impl FnOnce() -> bool,
    ) -> StoreResult<bool> {
        let _permit = self.limits.request().await;
        if !allowed() {
            return Ok(false);
        }
        self.store.delete(path).await.map(|()| true)
    }

    pub(crate) async fn copy(&self, from: &Path, to: &Path) -> StoreResult<()> {
        let _permit = self.limits.request().await;
        self.store.copy(from, to).await
    }

    /// Lists what lies under `prefix`. A listing is not one of the requests that are limited: its
    /// caller may take the objects slowly.
    pub(crate) fn list(&self, prefix: &Path) -> BoxStream<'static, StoreResult<ObjectMeta>> {
        self.store.list(Some(prefix))
    }
}
