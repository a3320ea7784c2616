//! The quarantine: damaged objects are moved there, so that the next writer stores them again.
//!
//! An object with the key `K` under the base path is moved to `quarantine/K`, or to
//! `quarantine/K.1`, `quarantine/K.2` and so on if the quarantine already holds objects of that
//! key.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::TryStreamExt;
use object_store::path::Path;

use crate::objects::meta::Version;
use crate::store::Store;
use crate::store::layout::Kind;
use crate::store::list::Object;

const OPERATION: &str = "move to the quarantine";

/// How many objects of one key the quarantine holds at most.
const OF_ONE_KEY: usize = 1000;

/// The outcome of a move to the quarantine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moved {
    /// The object is at this key now.
    To(Path),
    /// The object is gone, or another writer has replaced it.
    Changed,
}

/// The content of the quarantine.
#[derive(Debug, Default)]
pub(crate) struct Quarantined {
    /// The number of objects.
    pub(crate) objects: u64,
    /// The blobs whose indexes are in the quarantine, with one key of each.
    pub(crate) blobs: BTreeMap<Digest, Path>,
}

impl Store {
    /// Moves the object at `path` to the quarantine if `is_bad` confirms that it is still damaged.
    ///
    /// The copy comes first and the delete last: a run that is interrupted in between loses
    /// nothing, and the next one continues. The delete is sent only if the copy is complete, and
    /// the object is still the one that `is_bad` examined. (If another writer replaces the object
    /// between that last check and the delete, two consecutive requests, the delete removes the
    /// writer's object: no store can delete on a condition.)
    ///
    /// # Errors
    /// Those of `is_bad` and of the requests; `Unavailable` if the copy is not complete. In each
    /// case the object stays in its place.
    pub(crate) async fn quarantine<F: Future<Output = Result<bool>>>(
        &self,
        digest: Digest,
        path: &Path,
        is_bad: impl FnOnce() -> F,
    ) -> Result<Moved> {
        let requests = &self.requests;
        let before = requests.version(OPERATION, digest, path.clone()).await?;
        let Some(before) = before else { return Ok(Moved::Changed) };
        if !is_bad().await? {
            return Ok(Moved::Changed);
        }
        let (to, is_there) = self.quarantine_key(digest, path, &before).await?;
        // On a local disk the copy is a hard link, and linking it once more would leave a file
        // behind.
        if !is_there && !requests.copy(OPERATION, digest, path.clone(), to.clone()).await? {
            return Ok(Moved::Changed);
        }
        let copied = requests.head(OPERATION, digest, to.clone()).await?;
        if copied != Some(before.size()) {
            let message = format!("the copy at {to} is not complete");
            return Err(Error::new(ErrorKind::Unavailable, OPERATION, message).with_digest(digest));
        }
        self.flush().await?;
        if requests.version(OPERATION, digest, path.clone()).await? != Some(before) {
            return Ok(Moved::Changed);
        }
        requests.delete(OPERATION, digest, path.clone()).await?;
        self.presence.forget(&digest);
        Ok(Moved::To(to))
    }

    /// The key in the quarantine for an object, and whether an interrupted run has already copied
    /// the object there. The key never belongs to another object, which the copy would overwrite.
    async fn quarantine_key(
        &self,
        digest: Digest,
        path: &Path,
        object: &Version,
    ) -> Result<(Path, bool)> {
        let first = self.layout.quarantined(path);
        for number in 0..OF_ONE_KEY {
            let key = match number {
                0 => first.clone(),
                _ => Path::from(format!("{first}.{number}")),
            };
            match self.requests.version(OPERATION, digest, key.clone()).await? {
                None => return Ok((key, false)),
                Some(there) if there.is_copy_of(object) => return Ok((key, true)),
                Some(_) => {}
            }
        }
        let message = format!("{OF_ONE_KEY} objects of this key lie in the quarantine already");
        Err(Error::new(ErrorKind::Other, OPERATION, message).with_digest(digest))
    }

    /// The content of the quarantine, with one listing.
    pub(crate) async fn quarantined(&self, operation: &'static str) -> Result<Quarantined> {
        let mut found = Quarantined::default();
        let mut objects = self.objects(operation, &self.layout.part("quarantine"));
        while let Some(object) = objects.try_next().await? {
            found.objects += 1;
            if let Some(path) = object.path
                && let Some((Kind::Blob, digest)) = self.layout.quarantined_at(&path)
            {
                found.blobs.entry(digest).or_insert(path);
            }
        }
        Ok(found)
    }

    /// The keys of the objects of this digest in the quarantine, with one listing.
    pub(crate) async fn quarantined_keys(
        &self,
        operation: &'static str,
        kind: Kind,
        digest: &Digest,
    ) -> Result<Vec<Path>> {
        let shard = self.layout.quarantine_shard(kind, digest);
        let is_it = |path: &Path| self.layout.quarantined_at(path) == Some((kind, *digest));
        let key = |object: Object| std::future::ready(Ok(object.path.filter(is_it)));
        self.objects(operation, &shard).try_filter_map(key).try_collect().await
    }

    /// The blobs whose indexes are in the quarantine and not in their places: blobs that are lost,
    /// and that a repair can restore as long as their chunks exist. A garbage collector stops if
    /// there is one.
    ///
    /// Takes one listing, and a request for each blob in the quarantine.
    ///
    /// # Errors
    /// Those of the requests.
    pub(crate) async fn quarantined_blobs(
        &self,
        operation: &'static str,
    ) -> Result<BTreeSet<Digest>> {
        let mut lost = BTreeSet::new();
        for digest in self.quarantined(operation).await?.blobs.into_keys() {
            if !self.is_in_place(operation, Kind::Blob, &digest).await? {
                lost.insert(digest);
            }
        }
        Ok(lost)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::ObjectStoreBlobService;

    fn store() -> (Arc<InMemory>, Arc<Store>) {
        let objects = Arc::new(InMemory::new());
        let builder = ObjectStoreBlobService::builder(Arc::clone(&objects) as Arc<dyn ObjectStore>);
        (objects, builder.base_path("base").build().unwrap().shared)
    }

    #[tokio::test]
    async fn a_second_object_of_the_same_key_does_not_replace_the_first() {
        let (objects, store) = store();
        let digest = Digest::of(b"a chunk");
        let path = store.layout.chunk(&digest);
        let mut keys = Vec::new();
        for junk in ["one", "two", "three"] {
            objects.put(&path, junk.into()).await.unwrap();
            let moved = store.quarantine(digest, &path, || async { Ok(true) }).await.unwrap();
            let Moved::To(key) = moved else { panic!("{moved:?}") };
            assert!(objects.head(&path).await.is_err());
            keys.push((key, junk));
        }
        for (key, junk) in &keys {
            assert_eq!(objects.get(key).await.unwrap().bytes().await.unwrap(), junk.as_bytes());
            assert_eq!(store.layout.quarantined_at(key), Some((Kind::Chunk, digest)));
        }
        assert_eq!(keys[0].0, store.layout.quarantined(&path));
        let listed = store.quarantined_keys("test", Kind::Chunk, &digest).await.unwrap();
        assert_eq!(listed.len(), 3);
    }

    #[tokio::test]
    async fn an_object_that_may_be_good_stays_in_its_place() {
        let (objects, store) = store();
        let digest = Digest::of(b"a chunk");
        let path = store.layout.chunk(&digest);
        objects.put(&path, "junk".into()).await.unwrap();
        let failed = Error::new(ErrorKind::Unavailable, "test", "it cannot be read");
        let error = store.quarantine(digest, &path, || async { Err(failed) }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        let good = store.quarantine(digest, &path, || async { Ok(false) }).await.unwrap();
        assert_eq!(good, Moved::Changed);
        objects.head(&path).await.expect("it stays");
    }

    #[tokio::test]
    async fn a_blob_is_quarantined_while_no_index_is_in_its_place() {
        let (objects, store) = store();
        let (lost, restored) = (Digest::of(b"lost"), Digest::of(b"restored"));
        for digest in [lost, restored] {
            let path = store.layout.blob(&digest);
            objects.put(&path, "junk".into()).await.unwrap();
            store.quarantine(digest, &path, || async { Ok(true) }).await.unwrap();
        }
        objects.put(&store.layout.blob(&restored), Bytes::new().into()).await.unwrap();
        assert_eq!(store.quarantined_blobs("test").await.unwrap(), [lost].into());
        let found = store.quarantined("test").await.unwrap();
        assert_eq!((found.objects, found.blobs.len()), (2, 2));
    }
}
