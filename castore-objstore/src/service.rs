//! The blob service over an object store.

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castore_chunker::ChunkParams;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobStat, BlobWriter, Digest, Error, ErrorKind, Result,
};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::path::Path;

use crate::objects::stats::Stats;
use crate::store::Store;
use crate::store::chunk::READ_CHUNK;
use crate::store::trash::StoredChunk;
use crate::{read, write};

/// Content-addressed, deduplicating blob storage over any object store.
///
/// Clones share everything: limits, what is known to be stored, and counts. Its methods, and its
/// readers and writers, need a tokio runtime.
#[derive(Debug, Clone)]
pub struct ObjectStoreBlobService {
    pub(crate) shared: Arc<Store>,
}

impl ObjectStoreBlobService {
    pub(crate) fn new(shared: Store) -> ObjectStoreBlobService {
        ObjectStoreBlobService { shared: Arc::new(shared) }
    }

    /// The blobs whose indexes lie under `prefix`. A stray object is no blob, whatever its name:
    /// only the whole key says so.
    fn blobs_under(
        &self,
        operation: &'static str,
        prefix: &Path,
    ) -> BoxStream<'static, Result<Digest>> {
        let objects = self.shared.objects(operation, prefix);
        objects.try_filter_map(|object| ready(Ok(object.digest))).boxed()
    }

    /// The blobs whose digests start with `prefix`, four hexadecimal digits or more.
    ///
    /// # Errors
    /// `InvalidInput` for a prefix that is too short or not hexadecimal.
    pub async fn find(&self, prefix: &str) -> Result<Vec<Digest>> {
        let hexadecimal = prefix.bytes().all(|byte| byte.is_ascii_hexdigit());
        if !hexadecimal || !(4..=2 * Digest::LEN).contains(&prefix.len()) {
            let message = format!("{prefix:?} is not 4 to 64 hexadecimal digits");
            return Err(Error::new(ErrorKind::InvalidInput, "find a digest", message));
        }
        let prefix = prefix.to_ascii_lowercase();
        let shard = self.shared.layout.blobs().clone().join(&prefix[..4]);
        self.blobs_under("find a digest", &shard)
            .try_filter(|digest| ready(digest.to_string().starts_with(prefix.as_str())))
            .try_collect()
            .await
    }

    /// The stored (compressed) size of the chunk in bytes, or `None` where it is not in its place:
    /// where a writer would store it. One request. [`Self::locate_chunk`] also finds what a reader
    /// would find.
    pub async fn stored_size(&self, chunk: &Digest) -> Result<Option<u64>> {
        let path = self.shared.layout.chunk(chunk);
        self.shared.requests.head("look at chunk", *chunk, path).await
    }

    /// Where a reader would find the chunk: in its place, or set aside by a collector of garbage;
    /// `None` where it is missing. One request for a chunk that is in its place.
    pub async fn locate_chunk(&self, chunk: &Digest) -> Result<Option<StoredChunk>> {
        self.shared.locate_chunk("look at chunk", chunk).await
    }

    /// Asks the store whether it is there and lets itself be listed, with one request.
    ///
    /// # Errors
    /// `Unavailable` where it is not there or cannot be reached, `PermissionDenied` where it
    /// refuses.
    pub async fn check(&self) -> Result<()> {
        let shared = &self.shared;
        let mut objects = shared.objects("reach the store", shared.layout.blobs());
        objects.next().await.transpose()?;
        Ok(())
    }

    /// Whether the place holds a store: the marker of one, or any blob or chunk.
    ///
    /// Takes one request where the marker is there, up to two listings besides where it is not. A place
    /// without a store can be written to: a blob that is stored makes it one.
    ///
    /// # Errors
    /// `StoreNotFound` where the marker's place holds something else, as with a web server that answers
    /// everything; those of the store.
    pub async fn exists(&self) -> Result<bool> {
        self.shared.exists().await
    }

    /// Writes the marker by which a store is recognised even while it holds no blob, unless the marker
    /// is there. Returns whether the place held no store before.
    ///
    /// Writing a blob does not need it; a program calls this once, before its first blob, so that a store
    /// which is not mounted or mistyped can be told from one that is empty.
    ///
    /// # Errors
    /// Those of [`exists`](Self::exists); `Unavailable` where the store confirmed the marker and does
    /// not have it.
    pub async fn create_marker(&self) -> Result<bool> {
        self.shared.create_marker().await
    }

    /// Returns once all that was stored so far survives a power cut, chunks of unfinished blobs included.
    ///
    /// [`close`](castore_core::BlobWriter::close) does this for its own blob. A program that gives up a
    /// writer calls it so that the next writer of the same data finds the chunks. Only a local store has
    /// anything to do here.
    ///
    /// # Errors
    /// `Unavailable` where the filesystem could not write everything.
    pub async fn flush(&self) -> Result<()> {
        self.shared.flush().await
    }

    /// Closes the service and its clones to new writers, waits until every open writer has ended (is
    /// closed, aborted or dropped, and has no request under way), then [flushes](Self::flush).
    ///
    /// For the orderly end of a program: afterwards no request of a writer is cut off half-way. Opening a
    /// writer fails with `InvalidInput` from the first call on. Readers and the operations of a
    /// maintainer go on; their callers hold them.
    ///
    /// A writer that its caller leaves open keeps this future waiting. Cancel safe: the service stays
    /// closed, and another call waits on.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush).
    pub async fn close(&self) -> Result<()> {
        self.shared.gate.close().await;
        self.flush().await
    }

    /// What this service and its clones have done so far.
    pub fn stats(&self) -> Stats {
        self.shared.requests.counters.stats()
    }

    /// The chunk sizes of what is written.
    pub fn chunk_params(&self) -> ChunkParams {
        self.shared.params
    }
}

#[async_trait]
impl BlobService for ObjectStoreBlobService {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        if *digest == Digest::EMPTY {
            return Ok(true);
        }
        let Store { requests, layout, .. } = &*self.shared;
        let index = requests.head("look for blob", *digest, layout.blob(digest)).await?;
        Ok(index.is_some())
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        read::chunks(&self.shared, digest).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        read::open(&self.shared, digest).await
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        write::open(&self.shared)
    }

    /// The size, which the index states. One request, unless the index is one that another implementation
    /// has written for a blob of one chunk: it states no size, and the chunk is read.
    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>> {
        let size = read::size(&self.shared, digest).await?;
        Ok(size.map(|size| BlobStat::new(*digest, size)))
    }

    /// The digests of all blobs in the store, in the order of the store. The empty blob is listed
    /// only if a writer has stored it.
    fn list(&self) -> BoxStream<'static, Result<Digest>> {
        self.blobs_under("list the store", self.shared.layout.blobs())
    }

    /// Removes the index of the blob, and so the blob. The chunks stay, as other blobs may list them;
    /// [`gc`](Self::gc) collects them.
    async fn remove(&self, digest: &Digest) -> Result<bool> {
        const OPERATION: &str = "remove blob";
        let path = self.shared.layout.blob(digest);
        let requests = &self.shared.requests;
        if requests.head(OPERATION, *digest, path.clone()).await?.is_none() {
            return Ok(false);
        }
        requests.delete(OPERATION, *digest, path).await?;
        Ok(true)
    }

    /// Without reading the chunk: one request for a chunk that is in its place.
    async fn has_chunk(&self, chunk: &Digest) -> Result<bool> {
        self.shared.has_chunk("look for chunk", chunk).await
    }

    /// The verified bytes of a chunk, from its place or from a copy that a collector of garbage has
    /// set aside; `None` where the store has neither.
    ///
    /// No writer may count on a chunk that no index lists, as a collector of garbage removes it.
    ///
    /// Cancel safe. One request for a chunk that is in its place.
    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        let (shared, digest) = (Arc::clone(&self.shared), *chunk);
        let get = async move { shared.fetch_chunk_of_any_size(digest).await };
        self.shared.requests.begin(READ_CHUNK, get).await
    }
}
