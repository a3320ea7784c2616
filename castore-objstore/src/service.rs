//! The blob service over an object store.

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castore_chunker::ChunkParams;
use castore_core::groups::GroupHashes;
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
use crate::write::Pacing;
use crate::{read, write};

/// Content-addressed, deduplicating blob storage over any object store.
///
/// Clones share everything: the limits, the memory of stored chunks, and the counts. The methods of
/// the service, its readers and its writers need a tokio runtime.
#[derive(Debug, Clone)]
pub struct ObjectStoreBlobService {
    pub(crate) shared: Arc<Store>,
    pub(crate) pacing: Arc<Pacing>,
}

impl ObjectStoreBlobService {
    pub(crate) fn new(shared: Store, pacing: Pacing) -> ObjectStoreBlobService {
        ObjectStoreBlobService { shared: Arc::new(shared), pacing: Arc::new(pacing) }
    }

    /// The blobs whose indexes lie under `prefix`. The whole key decides whether an object is an
    /// index: a stray object with a similar name is none.
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

    /// The stored (compressed) size in bytes of the chunk's object at its own key, or `None` if the
    /// store has no object there. One request. [`Self::locate_chunk`] also finds the copies that
    /// only readers use.
    pub async fn stored_size(&self, chunk: &Digest) -> Result<Option<u64>> {
        let path = self.shared.layout.chunk(chunk);
        self.shared.requests.head("look at chunk", *chunk, path).await
    }

    /// The place from which a reader would take the chunk: the chunk's own key, or a copy that a
    /// garbage collection has set aside; `None` if the chunk is missing. One request for a chunk at
    /// its own key.
    pub async fn locate_chunk(&self, chunk: &Digest) -> Result<Option<StoredChunk>> {
        self.shared.locate_chunk("look at chunk", chunk).await
    }

    /// The [group hashes](castore_core::groups) of a blob, which prove any range of it by itself,
    /// and of which [`GroupHashes::outboard`] makes an outboard of bao; `None` if the blob is
    /// absent. One request if the index has them; otherwise the whole blob is read and its digest
    /// verified.
    ///
    /// Takes the memory of the index and 32 bytes for each 256 KiB of the blob.
    ///
    /// # Errors
    /// `Corrupt` if the index is malformed, or if a blob that has to be read is damaged;
    /// `Unsupported` for a blob of more than 4 TiB.
    pub async fn group_hashes(&self, blob: &Digest) -> Result<Option<GroupHashes>> {
        read::group_hashes(&self.shared, blob).await
    }

    /// Checks with one request that the store can be reached and allows listings.
    ///
    /// # Errors
    /// `StoreNotFound` if the bucket or directory does not exist, `Unavailable` if the store cannot
    /// be reached, `PermissionDenied` if the store refuses.
    pub async fn check(&self) -> Result<()> {
        let shared = &self.shared;
        let mut objects = shared.objects("reach the store", shared.layout.blobs());
        objects.next().await.transpose()?;
        Ok(())
    }

    /// Whether the place holds a store: the marker of one, or any blob or chunk.
    ///
    /// One request finds the marker; without a marker, up to two listings follow. A writer may
    /// write to a place without a store: the first stored blob makes the place a store.
    ///
    /// # Errors
    /// `StoreNotFound` if another object lies at the marker's key, as with a web server that
    /// answers every request; those of the store.
    pub async fn exists(&self) -> Result<bool> {
        self.shared.exists().await
    }

    /// Writes the marker, unless the store has one: programs recognise a store without blobs by its
    /// marker. Returns whether the place held no store before.
    ///
    /// Writers do not need the marker. A program calls this once, before its first blob, so that
    /// later programs can distinguish an empty store from a directory that is not mounted, or a
    /// mistyped URL.
    ///
    /// # Errors
    /// Those of [`exists`](Self::exists); `Unavailable` if the store confirmed the marker and does
    /// not have it.
    pub async fn create_marker(&self) -> Result<bool> {
        self.shared.create_marker().await
    }

    /// Returns once every object stored so far survives a power cut, chunks of unfinished blobs
    /// included.
    ///
    /// [`BlobWriter::close`] does this for its own blob. A program that gives up a writer calls
    /// `flush` so that the next writer of the same data finds the chunks. Only a local store has
    /// anything to flush.
    ///
    /// # Errors
    /// `Unavailable` if the filesystem could not write everything.
    pub async fn flush(&self) -> Result<()> {
        self.shared.flush().await
    }

    /// Closes the service and its clones to new writers, waits until every open writer has ended
    /// (is closed, aborted or dropped, and has no request under way), then [flushes](Self::flush).
    ///
    /// For the orderly end of a program: afterwards no request of a writer is cut off half-way.
    /// Opening a writer fails with `InvalidInput` from the first call on. Readers and the
    /// operations of a maintainer go on; their callers hold them.
    ///
    /// A writer that its caller leaves open keeps this future waiting. Cancel safe: the service
    /// stays closed, and another call waits on.
    ///
    /// # Errors
    /// Those of [`flush`](Self::flush).
    pub async fn close(&self) -> Result<()> {
        self.shared.gate.close().await;
        self.flush().await
    }

    /// Counts of the work that this service and its clones have done so far.
    pub fn stats(&self) -> Stats {
        self.shared.requests.counters.stats()
    }

    /// The chunk sizes that writers use.
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
        write::open(&self.shared, &self.pacing)
    }

    /// The size, which the index states. One request, unless the index is one that another
    /// implementation has written for a blob of one chunk: it states no size, and the chunk is
    /// read.
    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>> {
        let size = read::size(&self.shared, digest).await?;
        Ok(size.map(|size| BlobStat::new(*digest, size)))
    }

    /// The digests of all blobs in the store, in the order of the store. The empty blob is listed
    /// only if a writer has stored it.
    fn list(&self) -> BoxStream<'static, Result<Digest>> {
        self.blobs_under("list the store", self.shared.layout.blobs())
    }

    /// Removes the index of the blob, and so the blob. The chunks stay, as other blobs may list
    /// them; [`gc`](Self::gc) collects them.
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

    /// Does not read the chunk: one request for a chunk at its own key.
    async fn has_chunk(&self, chunk: &Digest) -> Result<bool> {
        self.shared.has_chunk("look for chunk", chunk).await
    }

    /// The verified bytes of a chunk, from its own key or from a copy that a garbage collection has
    /// set aside; `None` if the store has neither.
    ///
    /// No writer may rely on a chunk that no index lists, as a garbage collection removes such a
    /// chunk.
    ///
    /// Cancel safe. One request for a chunk at its own key.
    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        let (shared, digest) = (Arc::clone(&self.shared), *chunk);
        let get = async move { shared.get_any_chunk(digest).await };
        self.shared.requests.spawn_unit(READ_CHUNK, get).await
    }
}
