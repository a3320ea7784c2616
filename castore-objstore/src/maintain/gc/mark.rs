//! A run begins by looking at all indexes, to learn which chunks are listed.

use std::sync::Arc;
use std::time::SystemTime;

use castore_core::{Digest, ErrorKind, Result};
use futures_util::{StreamExt, TryStreamExt, stream};
use object_store::path::Path;

use super::digest_set::DigestSet;
use super::{OPERATION, Roots, Run};
use crate::error::{corrupt, store_error};
use crate::exec::context::{in_own_task, run_blocking};
use crate::maintain::observer::Phase;
use crate::store::Store;
use crate::store::layout::Kind;

/// The blobs and chunks that are kept, and the blobs that are not.
pub(super) struct Found {
    /// The chunks that a kept blob lists.
    pub(super) listed: DigestSet,
    /// The blobs that the caller named, if any.
    pub(super) kept: Option<DigestSet>,
    /// The indexes of the blobs that are not kept.
    pub(super) unwanted: Vec<Unwanted>,
    /// The number of indexes in the store.
    pub(super) indexes: u64,
}

/// An object to set aside.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unwanted {
    pub(super) digest: Digest,
    /// The stored size of the object in bytes.
    pub(super) size: u64,
    pub(super) modified: SystemTime,
}

impl Run<'_> {
    /// Looks at all indexes. An index that cannot be read or decoded is an error, since its chunks
    /// are unknown.
    pub(super) async fn look(&mut self, roots: Roots) -> Result<Found> {
        let kept = match roots {
            Roots::Blobs => None,
            Roots::Keep(mut digests) => {
                let mut kept = DigestSet::new();
                while let Some(digest) = digests.next().await {
                    kept.insert(digest?);
                }
                kept.sort();
                Some(kept)
            }
        };
        let (listed, unwanted) = (DigestSet::new(), Vec::new());
        let mut found = Found { listed, kept, unwanted, indexes: 0 };
        self.report.named = found.kept.as_ref().map_or(0, DigestSet::len);
        let mut in_place = DigestSet::new();
        let mut phase = Phase::new(self.observer, "read the indexes", None);
        let (shared, at_once, age) = (self.shared, self.at_once(), self.age());
        let (kept, unwanted, count) = (&found.kept, &mut found.unwanted, &mut found.indexes);
        let wanted = shared.objects(OPERATION, shared.layout.blobs()).try_filter_map(|object| {
            // A stray object, such as a copy of a shard in another directory, is no blob.
            let digest = object.digest;
            *count += u64::from(digest.is_some());
            let wanted = digest.filter(|digest| {
                let kept = kept.as_ref().is_none_or(|kept| kept.contains(digest));
                let kept = kept || !age.is_old(object.modified);
                if !kept {
                    let (digest, size, modified) = (*digest, object.size, object.modified);
                    unwanted.push(Unwanted { digest, size, modified });
                }
                kept
            });
            let path = |digest| (digest, shared.layout.blob(&digest), object.size);
            std::future::ready(Ok(wanted.map(path)))
        });
        let mut indexes = wanted
            .map_ok(|(digest, path, size)| {
                let chunks = shared.listed_chunks(digest, path, size);
                async move {
                    let listed = chunks.await?;
                    if listed.is_none() {
                        // A blob removed since it was listed is no root. Any other blob is one.
                        shared.confirm_absent(OPERATION, Kind::Blob, &digest).await?;
                    }
                    Ok((digest, listed))
                }
            })
            .try_buffer_unordered(at_once);
        while let Some((digest, chunks)) = indexes.try_next().await? {
            if let Some(chunks) = chunks {
                chunks.into_iter().for_each(|chunk| found.listed.insert(chunk));
                self.report.blobs += 1;
                if let Some(kept) = kept {
                    self.report.young_blobs += u64::from(!kept.contains(&digest));
                    in_place.insert(digest);
                }
            }
            phase.step();
        }
        drop(indexes);
        if let Some(kept) = &found.kept {
            in_place.sort();
            let others = kept.iter().filter(|digest| !in_place.contains(digest));
            let others: Vec<Digest> = others.copied().collect();
            self.look_aside(others, &mut found.listed).await?;
            self.refuse_absent()?;
        }
        found.listed.sort();
        self.report.chunks_listed = found.listed.len();
        Ok(found)
    }

    /// Looks for the indexes of named blobs that have none in its place: it may be set aside.
    async fn look_aside(&mut self, digests: Vec<Digest>, listed: &mut DigestSet) -> Result<()> {
        let (shared, at_once) = (self.shared, self.at_once());
        let mut others = stream::iter(digests)
            .map(|digest| {
                let shared = Arc::clone(shared);
                let look = in_own_task(OPERATION, async move { shared.chunks_aside(digest).await });
                async move { Ok((digest, look.await?)) }
            })
            .buffer_unordered(at_once);
        while let Some((digest, chunks)) = others.try_next().await? {
            match chunks {
                Some(chunks) => {
                    chunks.into_iter().for_each(|chunk| listed.insert(chunk));
                    self.report.blobs += 1;
                }
                None if digest == Digest::EMPTY => {}
                None => self.report.absent.push(digest),
            }
        }
        self.report.absent.sort_unstable();
        Ok(())
    }
}

impl Store {
    /// The chunks of a kept blob whose index is only set aside. All copies are tried.
    ///
    /// # Errors
    /// `Corrupt` if copies exist, but none of them can be decoded.
    async fn chunks_aside(self: &Arc<Store>, digest: Digest) -> Result<Option<Vec<Digest>>> {
        let mut malformed = None;
        for copy in self.copies_aside(OPERATION, Kind::Blob, &digest).await? {
            match self.listed_chunks(digest, copy.path, copy.size).await {
                Ok(Some(chunks)) => return Ok(Some(chunks)),
                Ok(None) => {}
                Err(error) if error.kind() == ErrorKind::Corrupt => malformed = Some(error),
                Err(error) => return Err(error),
            }
        }
        malformed.map_or(Ok(None), Err)
    }

    /// The chunks that the index at `path` lists, or `None` if the index is absent. `size` is the
    /// size of the index in bytes.
    pub(super) async fn listed_chunks(
        self: &Arc<Store>,
        digest: Digest,
        path: Path,
        size: u64,
    ) -> Result<Option<Vec<Digest>>> {
        let shared = Arc::clone(self);
        in_own_task(OPERATION, async move {
            // The permit covers the decoding only: afterwards only the digests remain in memory.
            let _permit = shared.limits.for_index(size).await;
            let max_size = castore_proto::MAX_INDEX_SIZE;
            let object = shared.requests.get(OPERATION, digest, path, max_size).await?;
            let Some(object) = object else { return Ok(None) };
            let decoded = run_blocking(OPERATION, move || {
                let bytes = object.read()?;
                Ok::<_, std::io::Error>(castore_proto::decode(&digest, &bytes))
            });
            let decoded = decoded.await?.map_err(|source| {
                let source = Box::new(source);
                let error = object_store::Error::Generic { store: "LocalFileSystem", source };
                store_error(OPERATION, Some(digest), error)
            })?;
            match decoded {
                Ok(Some(index)) => Ok(Some(index.iter().map(|chunk| chunk.digest).collect())),
                // Some writers leave the index of a blob of one chunk empty.
                Ok(None) => Ok(Some(vec![digest])),
                Err(error) => {
                    let message = "its index is malformed, so that its chunks are not known; \
                                   repair or remove the blob first";
                    Err(corrupt(OPERATION, digest, message).with_source(error))
                }
            }
        })
        .await
    }
}
