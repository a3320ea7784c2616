//! A store that refuses to return certain objects, omits them from listings, or loses them.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use futures_util::future::ready;
use futures_util::stream::{BoxStream, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

#[derive(Debug, Clone)]
pub(crate) struct Refusing {
    inner: Arc<dyn ObjectStore>,
    refused: Arc<Mutex<HashSet<Path>>>,
    hidden: Arc<Mutex<HashSet<Path>>>,
    vanishing: Arc<Mutex<HashSet<Path>>>,
}

impl Refusing {
    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Refusing {
        let (refused, hidden, vanishing) = Default::default();
        Refusing { inner, refused, hidden, vanishing }
    }

    /// Refuses reads of the object from now on, until it is written again.
    pub(crate) fn refuse(&self, key: &Path) {
        self.refused.lock().unwrap().insert(key.clone());
    }

    /// Omits the object from listings, as if it were younger than the listing.
    pub(crate) fn hide(&self, key: &Path) {
        self.hidden.lock().unwrap().insert(key.clone());
    }

    /// Removes the object as soon as it was read, as if by another process.
    pub(crate) fn vanish(&self, key: &Path) {
        self.vanishing.lock().unwrap().insert(key.clone());
    }
}

impl fmt::Display for Refusing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Refusing({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Refusing {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let stored = self.inner.put_opts(location, payload, opts).await?;
        self.refused.lock().unwrap().remove(location);
        Ok(stored)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !options.head && self.refused.lock().unwrap().contains(location) {
            let path = location.to_string();
            return Err(Error::PermissionDenied { path, source: "not for you".into() });
        }
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        if !head && self.vanishing.lock().unwrap().remove(location) {
            self.inner.delete(location).await?;
        }
        Ok(result)
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let hidden = self.hidden.lock().unwrap().clone();
        let listed = self.inner.list(prefix);
        listed.try_filter(move |object| ready(!hidden.contains(&object.location))).boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
