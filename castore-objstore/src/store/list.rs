//! Listings of the store: all its indexes, and all its chunks.

use std::collections::hash_map::DefaultHasher;
use std::error::Error as StdError;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::SystemTime;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::error::chain;
use crate::objects::client::Requests;
use crate::objects::meta::{Entry, Meta, Stray};
use crate::objects::walk::shown;
use crate::store::Store;
use crate::store::layout::{Kind, Layout};

/// An entry of a listing.
#[derive(Debug, Clone)]
pub(crate) struct Object {
    /// The digest, if this is an index or a chunk in its place; `None` for every other object,
    /// including strays and copies aside.
    pub(crate) digest: Option<Digest>,
    /// `None` for a stray: an object that no path can address, or that is not in a directory of
    /// this format.
    pub(crate) path: Option<Path>,
    /// The key for display, without control characters.
    pub(crate) key: String,
    /// The stored size in bytes.
    pub(crate) size: u64,
    /// The time at which the object was written, by the store's clock.
    pub(crate) modified: SystemTime,
}

impl Store {
    /// All objects under `prefix`, in the store's order. Fails if an object cannot be listed. Empty
    /// if nothing is under the prefix.
    pub(crate) fn objects(
        &self,
        operation: &'static str,
        prefix: &Path,
    ) -> BoxStream<'static, Result<Object>> {
        let lister = Lister {
            operation,
            requests: self.requests.clone(),
            layout: Arc::new(self.layout.clone()),
            at_once: self.limits.requests_at_once(),
        };
        let listed = lister.list(prefix);
        match self.requests.root() {
            // The walk of a directory reports every name.
            Some(_) => listed,
            None => lister.despite_odd_keys(listed, prefix),
        }
    }
}

impl Store {
    /// Whether a listing shows the object in its place, with one request. If an index or a chunk
    /// was listed and is then not found, either another process has removed it or the store's
    /// answer is wrong: a gateway whose disk is not mounted lists an object and answers "not
    /// found".
    pub(crate) async fn is_listed(
        &self,
        operation: &'static str,
        kind: Kind,
        digest: &Digest,
    ) -> Result<bool> {
        let shard = self.layout.shard(kind, digest);
        let is_it = |object: &Object| std::future::ready(object.digest == Some(*digest));
        let mut found = std::pin::pin!(self.objects(operation, &shard).try_filter(is_it));
        Ok(found.next().await.transpose()?.is_some())
    }

    /// Fails if a listing still shows an object that was just not found.
    ///
    /// # Errors
    /// `Unavailable` in that case; those of the listing.
    pub(crate) async fn confirm_absent(
        &self,
        operation: &'static str,
        kind: Kind,
        digest: &Digest,
    ) -> Result<()> {
        if !self.is_listed(operation, kind, digest).await? {
            return Ok(());
        }
        let message = "the store lists it and says that it is not there";
        Err(Error::new(ErrorKind::Unavailable, operation, message).with_digest(*digest))
    }

    /// Fails if the store's answer has another size than the one that the store states for the
    /// object. Such bytes do not show that the object is damaged. The usual case is a proxy that
    /// answers every GET with a page of its own.
    ///
    /// # Errors
    /// `Unavailable` in that case; those of the requests.
    pub(crate) async fn confirm_given(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
        max_size: u64,
    ) -> Result<()> {
        let Some(stated) = self.requests.head(operation, digest, path.clone()).await? else {
            return Ok(());
        };
        if stated > max_size {
            return Ok(());
        }
        let Some(given) = self.requests.get(operation, digest, path, max_size).await? else {
            return Ok(());
        };
        if given.size() == stated {
            return Ok(());
        }
        let message = format!("the store gives {} bytes of an object of {stated}", given.size());
        Err(Error::new(ErrorKind::Unavailable, operation, message).with_digest(digest))
    }
}

#[derive(Clone)]
struct Lister {
    operation: &'static str,
    requests: Requests,
    layout: Arc<Layout>,
    at_once: usize,
}

impl Lister {
    fn list(&self, prefix: &Path) -> BoxStream<'static, Result<Object>> {
        let enters = Arc::clone(&self.layout);
        let enters = Arc::new(move |key: &str| enters.is_directory(key));
        let layout = Arc::clone(&self.layout);
        self.requests
            .list(self.operation, prefix, enters)
            .map_ok(move |entry| match entry {
                Entry::Object(Meta { path, size, modified, .. }) => {
                    let key = path.to_string();
                    let digest = layout.blob_at(&path).or_else(|| layout.chunk_at(&path));
                    let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
                    let path = layout.is_directory(parent).then_some(path);
                    Object { digest, path, key: shown(&key), size, modified }
                }
                Entry::Stray(Stray { key, size, modified }) => {
                    Object { digest: None, path: None, key, size, modified }
                }
            })
            .boxed()
    }

    /// `object_store` cannot express some keys (with `//`, or control characters), and a listing
    /// that meets one fails. All objects of the store are in shards, so the shards are then listed
    /// one by one, without the objects that were listed before.
    fn despite_odd_keys(
        self,
        listed: BoxStream<'static, Result<Object>>,
        prefix: &Path,
    ) -> BoxStream<'static, Result<Object>> {
        let place = self.sharded(prefix);
        let told = Vec::new();
        let state = (self, listed, place, told, false);
        let step = |(lister, mut listed, place, mut told, again): (
            Lister,
            BoxStream<'static, _>,
            Option<Path>,
            Vec<u64>,
            bool,
        )| async move {
            loop {
                match listed.next().await {
                    None => return Ok(None),
                    Some(Ok(object)) => {
                        let object: Object = object;
                        let hash = hash_of(&object.key);
                        match again {
                            true if told.binary_search(&hash).is_ok() => continue,
                            true => {}
                            false => told.push(hash),
                        }
                        return Ok(Some((object, (lister, listed, place, told, again))));
                    }
                    Some(Err(error)) => {
                        let Some(key) = odd_key(&error).map(shown) else { return Err(error) };
                        let Some(place) = place.filter(|_| !again) else {
                            return Err(cannot_list(&lister, &key, error));
                        };
                        tracing::warn!(key, "this key cannot be listed; listing shard by shard");
                        told.sort_unstable();
                        let listed = lister.shards(&place);
                        let stray = Object {
                            digest: None,
                            path: None,
                            key,
                            size: 0,
                            modified: SystemTime::UNIX_EPOCH,
                        };
                        return Ok(Some((stray, (lister, listed, Some(place), told, true))));
                    }
                }
            }
        };
        stream::try_unfold(state, step).boxed()
    }

    /// The prefix that contains the shards of all objects under `prefix`; `None` if they are not in
    /// shards.
    fn sharded(&self, prefix: &Path) -> Option<Path> {
        let layout = &self.layout;
        if [layout.all_aside(Kind::Blob), layout.all_aside(Kind::Chunk)].contains(prefix) {
            return Some(prefix.clone());
        }
        let part = |name: &'static str, kind: Kind| {
            let all = layout.all(kind);
            (prefix == all || *prefix == layout.part(name)).then(|| all.clone())
        };
        part("blobs", Kind::Blob).or_else(|| part("chunks", Kind::Chunk))
    }

    fn shards(&self, place: &Path) -> BoxStream<'static, Result<Object>> {
        let (lister, place) = (self.clone(), place.clone());
        stream::iter(0..=0xffff_u32)
            .map(move |shard| {
                let shard = place.clone().join(format!("{shard:04x}"));
                lister.list(&shard).try_collect::<Vec<_>>()
            })
            .buffered(self.at_once)
            .map_ok(|objects| stream::iter(objects.into_iter().map(Ok)))
            .try_flatten()
            .boxed()
    }
}

fn cannot_list(lister: &Lister, key: &str, error: Error) -> Error {
    let message =
        format!("the object {key:?} is in the way: a key of this form cannot be listed; remove it");
    Error::new(ErrorKind::Other, lister.operation, message).with_source(error)
}

/// The key at which a listing failed, if the key is the reason.
fn odd_key(error: &Error) -> Option<&str> {
    use object_store::path::Error as PathError;

    let error: &(dyn StdError + 'static) = error;
    chain(error).find_map(|error| match error.downcast_ref()? {
        PathError::EmptySegment { path } | PathError::BadSegment { path, .. } => Some(&**path),
        _ => None,
    })
}

fn hash_of(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::fmt;

    use async_trait::async_trait;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
        ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    };

    use super::*;
    use crate::ObjectStoreBlobService;

    /// A store with an object whose key `object_store` cannot express: the listings that meet it
    /// fail after some objects. Requests for some keys panic.
    #[derive(Debug)]
    struct Odd {
        inner: InMemory,
        key: &'static str,
    }

    impl fmt::Display for Odd {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("Odd")
        }
    }

    type Listed<T> = object_store::Result<T>;

    #[async_trait]
    impl ObjectStore for Odd {
        async fn put_opts(
            &self,
            location: &Path,
            payload: PutPayload,
            opts: PutOptions,
        ) -> Listed<PutResult> {
            self.inner.put_opts(location, payload, opts).await
        }

        async fn put_multipart_opts(
            &self,
            location: &Path,
            opts: PutMultipartOptions,
        ) -> Listed<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(location, opts).await
        }

        async fn get_opts(&self, location: &Path, options: GetOptions) -> Listed<GetResult> {
            assert!(!location.as_ref().contains("panic"), "a bug below");
            self.inner.get_opts(location, options).await
        }

        fn delete_stream(
            &self,
            locations: BoxStream<'static, Listed<Path>>,
        ) -> BoxStream<'static, Listed<Path>> {
            self.inner.delete_stream(locations)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Listed<ObjectMeta>> {
            let listed = self.inner.list(prefix);
            if prefix.is_some_and(|prefix| prefix.as_ref().contains("panic")) {
                return listed.chain(stream::once(async { panic!("a bug below") })).boxed();
            }
            let prefix = prefix.map_or(String::new(), |prefix| format!("{prefix}/"));
            if !self.key.starts_with(&prefix) {
                return listed;
            }
            let error = Path::parse(self.key).unwrap_err();
            listed.take(2).chain(stream::iter([Err(error.into())])).boxed()
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Listed<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Listed<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }

    async fn service(key: &'static str) -> (ObjectStoreBlobService, Vec<Digest>) {
        let inner = InMemory::new();
        let layout = Layout::new(&Path::default());
        let mut digests: Vec<_> = (0..5_u8).map(|number| Digest::of(&[number])).collect();
        digests.sort();
        for digest in &digests {
            inner.put(&layout.chunk(digest), "x".into()).await.unwrap();
        }
        let store = Arc::new(Odd { inner, key });
        (ObjectStoreBlobService::builder(store).build().unwrap(), digests)
    }

    #[tokio::test]
    async fn keys_that_cannot_be_expressed_are_strays_and_hide_nothing() {
        for key in ["chunks/b3//x", "chunks/b3/a\nb", "chunks/b3/0000/../x"] {
            let (service, digests) = service(key).await;
            let store = &service.shared;
            let listed: Result<Vec<_>> =
                store.objects("test", store.layout.all(Kind::Chunk)).try_collect().await;
            if key.contains("0000") {
                let error = listed.unwrap_err().to_string();
                assert!(error.contains(key), "{error}");
                continue;
            }
            let listed = listed.unwrap();
            let mut found: Vec<_> = listed.iter().filter_map(|object| object.digest).collect();
            found.sort();
            assert_eq!(found, digests, "each is told once");
            let strays = listed.iter().filter(|object| object.digest.is_none());
            let strays: Vec<_> = strays.map(|object| object.key.as_str()).collect();
            assert_eq!(strays, [shown(key)]);
        }
    }

    #[tokio::test]
    async fn a_panic_of_the_store_is_an_error_that_names_the_object() {
        let (service, _) = service("x").await;
        let store = &service.shared;
        let path = Path::from("a/panic");
        let digest = Digest::EMPTY;
        let get = store.requests.get("test", digest, path.clone(), 1).await.err().unwrap();
        let listed: Result<Vec<_>> = store.objects("test", &path).try_collect().await;
        for error in [get, listed.err().unwrap()] {
            assert_eq!(error.kind(), ErrorKind::Other);
            let text = error.to_string();
            assert!(text.contains("a/panic") && text.contains("a bug below"), "{text}");
        }
    }
}
