//! Chunks that a garbage collector has set aside: how a reader finds them, and how they are put
//! back. docs/gc.md says why this is needed, and why it is enough.

use std::collections::HashSet;

use bytes::Bytes;
use castore_core::{Digest, Error, Result};
use futures_util::TryStreamExt;
use object_store::path::Path;

use crate::error::is_corrupt;
use crate::store::Store;
use crate::store::chunk::Verified;
use crate::store::layout::{Kind, aside_of};
use crate::store::list::Object;

/// How many times a reader looks. Each further look is needed only if another process has put the
/// chunk back and set it aside again since the last one.
const LOOKS: usize = 4;

/// A chunk's object, or the copy of it that a garbage collector has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredChunk {
    /// The stored (compressed) size in bytes.
    pub size: u64,
    /// Whether this is only a copy that is set aside. The garbage collector puts the chunk back if
    /// an index lists the chunk.
    pub aside: bool,
}

/// A copy of an index or a chunk that is set aside.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) path: Path,
    /// The stored size in bytes.
    pub(crate) size: u64,
}

/// The reasons why no good object of a chunk was found.
#[derive(Default)]
struct Failures {
    corrupt: Option<Error>,
    not_known: Option<Error>,
}

impl Failures {
    fn add(&mut self, error: Error) {
        let first = match is_corrupt(&error) {
            true => &mut self.corrupt,
            false => &mut self.not_known,
        };
        first.get_or_insert(error);
    }

    /// The error of an unreadable object takes precedence over that of a damaged one: an object
    /// that cannot be read may be good.
    fn into_result<T>(self) -> Result<Option<T>> {
        self.not_known.or(self.corrupt).map_or(Ok(None), Err)
    }
}

impl Store {
    /// A chunk that an index lists, verified: from its place or, if it is missing or damaged there,
    /// from a copy that a collector has set aside. `None` if the chunk is missing.
    ///
    /// A good chunk in its place takes one request.
    ///
    /// # Errors
    /// `Corrupt` if objects of the chunk exist and all of them are damaged. Another kind if one of
    /// them cannot be read and no other is good: then the state of the chunk is not known.
    pub(crate) async fn get_listed(
        &self,
        operation: &'static str,
        digest: Digest,
        size: Option<u64>,
    ) -> Result<Option<Verified>> {
        let in_place = self.get_verified(operation, digest, size, self.layout.chunk(&digest)).await;
        match in_place {
            Ok(Some(found)) => Ok(Some(found)),
            Ok(None) => self.get_elsewhere(operation, digest, size, None).await,
            Err(error) => self.get_elsewhere(operation, digest, size, Some(error)).await,
        }
    }

    /// The same for a chunk whose object in its place was missing a moment ago or, if `bad` is
    /// given, was not good. An error `bad` that is not `Corrupt` is returned unchanged.
    pub(crate) async fn get_elsewhere(
        &self,
        operation: &'static str,
        digest: Digest,
        size: Option<u64>,
        bad: Option<Error>,
    ) -> Result<Option<Verified>> {
        let mut failures = Failures::default();
        if let Some(error) = bad {
            match is_corrupt(&error) && self.safeguards.reader_looks_aside() {
                true => failures.add(error),
                false => return Err(error),
            }
        }
        if !self.safeguards.reader_looks_aside() {
            return Ok(None);
        }
        let mut tried = HashSet::new();
        for look in 0..LOOKS {
            let copies = self.copies_aside(operation, Kind::Chunk, &digest).await?;
            let mut new = 0;
            for Copy { path: copy, .. } in copies {
                if tried.insert(copy.clone()) {
                    new += 1;
                    match self.get_verified(operation, digest, size, copy).await {
                        Ok(Some(found)) => return Ok(Some(found)),
                        Ok(None) => {}
                        Err(error) => failures.add(error),
                    }
                }
            }
            if new == 0 && look > 0 || !self.safeguards.reader_looks_again() {
                break;
            }
            // A copy may have been put back since it was listed, or before the listing.
            let path = self.layout.chunk(&digest);
            match self.get_verified(operation, digest, size, path).await {
                Ok(Some(found)) => return Ok(Some(found)),
                Ok(None) => {}
                Err(error) => failures.add(error),
            }
        }
        failures.into_result()
    }

    /// A copy of the chunk that is set aside, verified: its key, and the stored bytes of its
    /// object. `None` if there is no copy, or all copies are damaged.
    ///
    /// Tries all copies in the order of the listing. The object's memory does not count towards any
    /// limit.
    ///
    /// # Errors
    /// Those of the listing. If no copy is good and one of them cannot be read, that one's error: a
    /// good copy may exist. Never `Corrupt`.
    pub(crate) async fn good_copy(
        &self,
        operation: &'static str,
        digest: &Digest,
    ) -> Result<Option<(Path, Bytes)>> {
        let mut not_known = None;
        for Copy { path: location, .. } in self.copies_aside(operation, Kind::Chunk, digest).await?
        {
            match self.get_verified(operation, *digest, None, location.clone()).await {
                Ok(Some(found)) => return Ok(Some((location, found.stored))),
                Ok(None) => {}
                Err(error) if is_corrupt(&error) => {}
                Err(error) => not_known = Some(error),
            }
        }
        not_known.map_or(Ok(None), Err)
    }

    /// Whether an index or a chunk is in its place, with one request.
    pub(crate) async fn is_in_place(
        &self,
        operation: &'static str,
        kind: Kind,
        digest: &Digest,
    ) -> Result<bool> {
        let path = self.layout.object(kind, digest);
        let size = self.requests.head(operation, *digest, path).await?;
        // A chunk's object without bytes is the result of a power cut.
        Ok(size.is_some_and(|size| size > 0 || kind == Kind::Blob))
    }

    /// The object in which a reader would find a chunk.
    pub(crate) async fn locate_chunk(
        &self,
        operation: &'static str,
        digest: &Digest,
    ) -> Result<Option<StoredChunk>> {
        for _ in 0..2 {
            let path = self.layout.chunk(digest);
            if let Some(size) = self.requests.head(operation, *digest, path).await? {
                return Ok(Some(StoredChunk { size, aside: false }));
            }
            let copies = self.copies_aside(operation, Kind::Chunk, digest).await?;
            if let Some(Copy { size, .. }) = copies.first() {
                return Ok(Some(StoredChunk { size: *size, aside: true }));
            }
            // Once more: a copy may have been put back before the listing.
        }
        Ok(None)
    }

    /// Puts a missing chunk back in its place if a good copy is set aside. Returns whether the
    /// chunk is in its place.
    ///
    /// The bytes put back are those that were verified, even if the copy changes meanwhile.
    ///
    /// # Errors
    /// Those of [`Self::good_copy`], and of the requests.
    pub(crate) async fn ensure_in_place(
        &self,
        operation: &'static str,
        digest: &Digest,
    ) -> Result<bool> {
        for _ in 0..2 {
            if self.is_in_place(operation, Kind::Chunk, digest).await? {
                return Ok(true);
            }
            if let Some((_, stored)) = self.good_copy(operation, digest).await? {
                self.requests.put(operation, *digest, self.layout.chunk(digest), stored).await?;
                return Ok(true);
            }
            // A copy that has vanished may have been put back.
        }
        self.is_in_place(operation, Kind::Chunk, digest).await
    }

    /// The copies of an index or a chunk that are set aside, with one listing.
    pub(crate) async fn copies_aside(
        &self,
        operation: &'static str,
        kind: Kind,
        digest: &Digest,
    ) -> Result<Vec<Copy>> {
        let shard = self.layout.aside_shard(kind, digest);
        self.objects(operation, &shard)
            .try_filter_map(|Object { path, size, .. }| async move {
                let named = path.filter(|path| aside_of(path).is_some_and(|(of, _)| of == *digest));
                Ok(named.map(|path| Copy { path, size }))
            })
            .try_collect()
            .await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;
    use object_store::{ObjectStore, ObjectStoreExt};

    use super::*;
    use crate::ObjectStoreBlobService;

    const OPERATION: &str = "test";

    async fn store_with(copies: &[(&str, Bytes)], digest: &Digest) -> (Arc<InMemory>, Arc<Store>) {
        let objects = Arc::new(InMemory::new());
        let builder = ObjectStoreBlobService::builder(Arc::clone(&objects) as Arc<dyn ObjectStore>);
        let store = builder.build().unwrap().shared;
        for (batch, copy) in copies {
            let path = store.layout.aside(Kind::Chunk, digest, batch);
            objects.put(&path, copy.clone().into()).await.unwrap();
        }
        (objects, store)
    }

    fn chunk() -> (Digest, Bytes) {
        let stored = zstd::bulk::compress(b"a chunk", 3).unwrap();
        (Digest::of(b"a chunk"), stored.into())
    }

    #[tokio::test]
    async fn the_good_copy_is_found_and_put_back_and_never_junk() {
        let (digest, good) = chunk();
        let junk = Bytes::from_static(b"junk");
        for (first, last) in [(&good, &junk), (&junk, &good), (&good, &good)] {
            let copies = [("batch-1", first.clone()), ("batch-2", last.clone())];
            let (objects, store) = store_with(&copies, &digest).await;
            let (path, stored) = store.good_copy(OPERATION, &digest).await.unwrap().unwrap();
            assert_eq!(stored, good);
            assert_eq!(objects.get(&path).await.unwrap().bytes().await.unwrap(), good);
            assert!(store.ensure_in_place(OPERATION, &digest).await.unwrap());
            let in_place = objects.get(&store.layout.chunk(&digest)).await.unwrap();
            assert_eq!(in_place.bytes().await.unwrap(), good);
        }
    }

    #[tokio::test]
    async fn junk_alone_is_no_copy_and_stays_aside() {
        let (digest, _) = chunk();
        for copies in [&[][..], &[("batch-1", Bytes::from_static(b"junk")), ("b", Bytes::new())]] {
            let (objects, store) = store_with(copies, &digest).await;
            assert!(store.good_copy(OPERATION, &digest).await.unwrap().is_none());
            assert!(!store.ensure_in_place(OPERATION, &digest).await.unwrap());
            assert!(objects.head(&store.layout.chunk(&digest)).await.is_err());
        }
    }
}
