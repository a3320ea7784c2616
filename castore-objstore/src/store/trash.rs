//! Chunks that a collector of garbage has set aside: where a reader finds them, and how they come
//! back. docs/gc.md says why this is needed, and that it is enough.

use std::collections::HashSet;

use castore_core::{Digest, Result};
use futures_util::TryStreamExt;
use object_store::path::Path;

use crate::objects::client::Fetched;
use crate::store::Store;
use crate::store::layout::{Kind, aside_of};
use crate::store::list::Object;

/// How often a reader looks: each further time somebody has to have put the chunk back and set it
/// aside again since the last one.
const LOOKS: usize = 4;

/// A chunk's object, or the copy of it that a collector of garbage has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredChunk {
    /// The stored (compressed) size in bytes.
    pub size: u64,
    /// Whether it is only set aside. A run of the collector puts it back if an index lists it.
    pub aside: bool,
}

/// A copy of an index or a chunk that is set aside.
#[derive(Debug, Clone)]
pub(crate) struct Copy {
    pub(crate) path: Path,
    /// Its stored size in bytes.
    pub(crate) size: u64,
}

impl Store {
    /// A chunk that an index lists, from where it belongs or from aside; `None` where it is missing.
    ///
    /// One that is where it belongs takes one request.
    pub(crate) async fn fetch_listed_chunk(
        &self,
        operation: &'static str,
        digest: &Digest,
        max_size: u64,
    ) -> Result<Option<Fetched>> {
        let fetch = |path: Path| self.requests.get(operation, *digest, path, max_size);
        if let Some(found) = fetch(self.layout.chunk(digest)).await? {
            return Ok(Some(found));
        }
        self.fetch_from_aside(operation, digest, max_size).await
    }

    /// The same, for a chunk that was not where it belongs a moment ago.
    pub(crate) async fn fetch_from_aside(
        &self,
        operation: &'static str,
        digest: &Digest,
        max_size: u64,
    ) -> Result<Option<Fetched>> {
        if !self.rules.reader_looks_aside {
            return Ok(None);
        }
        let fetch = |path: Path| self.requests.get(operation, *digest, path, max_size);
        let mut tried = HashSet::new();
        for look in 0..LOOKS {
            let copies = self.copies_aside(operation, Kind::Chunk, digest).await?;
            let mut new = 0;
            for Copy { path: copy, .. } in copies {
                if tried.insert(copy.clone()) {
                    new += 1;
                    if let Some(found) = fetch(copy).await? {
                        return Ok(Some(found));
                    }
                }
            }
            if new == 0 && look > 0 || !self.rules.reader_looks_again {
                break;
            }
            // A copy that was there a moment ago, or before we looked, was put back.
            if let Some(found) = fetch(self.layout.chunk(digest)).await? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Whether an index or a chunk is where it belongs, with one request.
    pub(crate) async fn is_in_place(
        &self,
        operation: &'static str,
        kind: Kind,
        digest: &Digest,
    ) -> Result<bool> {
        let path = self.layout.object(kind, digest);
        let size = self.requests.head(operation, *digest, path).await?;
        // A chunk of no bytes is what a power cut leaves of one.
        Ok(size.is_some_and(|size| size > 0 || kind == Kind::Blob))
    }

    /// Where a reader would find a chunk.
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
            // Once more: a copy that was there before we listed them may have been put back.
        }
        Ok(None)
    }

    /// Sees to it that a chunk is where it belongs, with a copy from aside where need be. Returns
    /// whether it is.
    pub(crate) async fn ensure_in_place(
        &self,
        operation: &'static str,
        digest: &Digest,
    ) -> Result<bool> {
        let path = self.layout.chunk(digest);
        for look in 0..LOOKS {
            if self.is_in_place(operation, Kind::Chunk, digest).await? {
                return Ok(true);
            }
            let copies = self.copies_aside(operation, Kind::Chunk, digest).await?;
            if copies.is_empty() && look > 0 {
                break;
            }
            for copy in copies {
                if self.requests.copy(operation, *digest, copy.path, path.clone()).await? {
                    return Ok(true);
                }
            }
        }
        Ok(false)
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
