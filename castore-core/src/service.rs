//! The trait of a content-addressed blob store.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::io::AsyncRead;

use crate::{
    BlobIndex, BlobReader, BlobWriter, BoxStream, Digest, Error, ErrorKind, Result, whole,
};

/// The number of questions that [`BlobService::has_many`] asks at once by default.
const QUESTIONS_AT_ONCE: usize = 16;

/// A store of blobs, each named by its BLAKE3 digest.
///
/// # Contract
///
/// Every service keeps this contract. The crate `castore-testsuite` tests it on any service, and
/// has a table of the cases for each sentence.
///
/// ## Presence
///
/// - `false` and `None` mean that the blob is absent; an error means that the service cannot tell.
/// - `has`, `chunks` and `open_read` agree about every blob.
/// - A blob is present once [`BlobWriter::close`] has returned its digest.
/// - Every service over the same storage sees a present blob, also one that was opened before or
///   that is opened later.
/// - A writer that is dropped or aborted before it is closed publishes nothing.
/// - A `close` that fails or is given up leaves the blob absent or whole.
/// - The empty blob ([`Digest::EMPTY`]) is always present.
/// - A chunk is no blob, and neither is the beginning of a blob, until a writer stores the same
///   bytes as a blob.
///
/// ## Storing again
///
/// - Storing a present blob again succeeds, and changes nothing that a reader can see.
/// - A present blob stays whole while a writer stores it again, however that writer ends.
/// - Storing a damaged blob again repairs the damage that the service sees without reading the
///   records that it reuses: a service that is opened after the damage stores a record again that
///   is missing or empty.
/// - A service that checks the records it reuses, always or by an option, repairs every damage.
///
/// ## Damage
///
/// - No byte is returned that is not the one its chunk's digest stands for: the read fails with an
///   error of kind [`Corrupt`](crate::ErrorKind::Corrupt) instead.
/// - A read of a whole blob returns the last bytes only where the whole has the blob's digest;
///   castore-core checks that in [`BlobReader`], unless the source [does
///   so](crate::BlobSource::verifies_whole).
/// - Bytes that a service has verified before are verified again when it reads them again.
/// - A service may claim *verified ranges*: where the index of a blob has [group
///   hashes](crate::groups), no read returns a byte that is not the blob's, whatever chunks the
///   index lists. The read fails with an error of kind `Corrupt` instead. Group hashes that are not
///   those of the blob fail every read of it. A proof by one index is none for another index of the
///   same blob.
/// - Damage does no harm to a blob that shares nothing with the damaged one, and leaves no trace
///   when it is undone.
///
/// ## Failures and crashes
///
/// - A failed operation of the storage fails the call that needed it, or is made good; the error is
///   never of kind `Corrupt` or `InvalidInput`.
/// - A failure is over when the storage works again: other calls, readers and writers succeed then.
/// - A sync of the storage counts as one of its writes: a failed sync fails the `close` that needed
///   it.
/// - A blob whose `close` has returned survives a crash of the process, and, where the service
///   promises that, of the machine.
/// - A crash leaves every other blob absent or whole, and lets it be stored again.
///
/// ## Many at once
///
/// - Writers of the same bytes, in one service or in several, all succeed, and one that ends
///   otherwise takes nothing along that another relies on.
/// - Readers, ranges, writers and questions run beside each other, from any task and any thread.
/// - At least 32 writers, 32 readers and 32 ranges may be open and left alone at once, whatever
///   they have begun: they hold up no other call. A service may let more than these wait for each
///   other.
/// - Readers and writers that were given up keep nothing that others need.
/// - Readers and writers outlive the service that has opened them.
///
/// ## Futures and their runtime
///
/// - All methods are cancel safe: dropping a future at any point leaves the service as usable as
///   before.
/// - A service may require that its futures are polled within a tokio runtime that has its I/O and
///   time drivers enabled, and then documents it. castore-core requires no runtime.
/// - A runtime of one thread is enough: no future blocks its thread until another one has made
///   progress.
/// - A future may be polled by another task or thread each time, and wakes the one that polled
///   last.
///
/// ## Beyond the first four methods
///
/// - `has_many`, `stat`, `put_bytes`, `put_reader` and `get_bytes` do the same as `has`,
///   `open_read` and `open_write`, and their default implementations use these; a service overrides
///   a method only to spare requests or copies.
/// - A service that lists its blobs gives each present blob once, and no blob that is absent. The
///   empty blob, and a blob that is stored or removed during the listing, may be given or left out.
/// - A removed blob is absent until a writer stores it again; every other blob stays whole, also
///   one that shares chunks with the removed blob.
/// - A service that cannot list or cannot remove answers every such call with an error of kind
///   [`Unsupported`](crate::ErrorKind::Unsupported).
///
/// `Arc<S>`, `Box<S>` and `&'static S` are services if `S` is one.
#[async_trait]
pub trait BlobService: Debug + Send + Sync + 'static {
    /// Whether the blob is present.
    async fn has(&self, digest: &Digest) -> Result<bool>;

    /// The chunks that the blob consists of, or `None` where it is absent.
    ///
    /// The chunks add up to the blob, and each has the digest of its bytes. Two services may divide
    /// the same blob differently.
    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>>;

    /// A reader of the blob, or `None` where it is absent.
    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>>;

    /// A writer of a new blob.
    async fn open_write(&self) -> Result<BlobWriter>;

    /// Whether each of the blobs is present, in the order of `digests`.
    ///
    /// # Errors
    /// The first error of any question.
    async fn has_many(&self, digests: &[Digest]) -> Result<Vec<bool>> {
        stream::iter(digests.to_vec())
            .map(|digest| async move { self.has(&digest).await })
            .buffered(QUESTIONS_AT_ONCE)
            .try_collect()
            .await
    }

    /// The size of the blob, or `None` if the blob is absent.
    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>> {
        let index = self.chunks(digest).await?;
        Ok(index.map(|index| BlobStat::new(*digest, index.size())))
    }

    /// Stores `data` as one blob, and returns the digest of the blob once it is present.
    async fn put_bytes(&self, data: Bytes) -> Result<Digest> {
        let mut writer = self.open_write().await?;
        writer.write_bytes(data).await?;
        writer.close().await
    }

    /// Stores the rest of `reader` as one blob, and returns the digest of the blob once it is
    /// present.
    ///
    /// Cancel safe for the service: a dropped future leaves the blob absent or whole. The bytes
    /// that were taken from `reader` are lost with the future.
    ///
    /// # Errors
    /// Those of the service. An error of `reader` becomes an error of kind `Other` with the I/O
    /// error as its source, or is the service's own error again if `reader` is a [`BlobReader`].
    /// The blob is not stored in either case.
    async fn put_reader(&self, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Digest> {
        let writer = self.open_write().await?;
        whole::write_all_of(reader, writer).await
    }

    /// All bytes of the blob, or `None` if the blob is absent.
    ///
    /// # Errors
    /// `InvalidInput` for a blob of more than `limit` bytes: no chunk is read then.
    async fn get_bytes(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        match self.open_read(digest).await? {
            Some(reader) => whole::read_all_of(&reader, limit).await.map(Some),
            None => Ok(None),
        }
    }

    /// The digests of all blobs of the service, in any order. The stream ends after its first
    /// error.
    fn list(&self) -> BoxStream<Result<Digest>> {
        let error = unsupported("list the blobs", "this service cannot list them");
        stream::iter([Err(error)]).boxed()
    }

    /// Removes the blob, and returns whether it was present before. The empty blob stays present.
    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let error = unsupported("remove the blob", "this service cannot remove blobs");
        Err(error.with_digest(*digest))
    }

    /// The verified bytes of the chunk with this digest, whichever blobs list the chunk; at most
    /// [`MAX_CHUNK_SIZE`](crate::MAX_CHUNK_SIZE) bytes.
    ///
    /// `None` means that the service does not have the chunk, or does not keep chunks by their
    /// digests: the default implementation never gives a chunk.
    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        let _ = chunk;
        Ok(None)
    }

    /// Whether [`get_chunk`](Self::get_chunk) would find the chunk.
    async fn has_chunk(&self, chunk: &Digest) -> Result<bool> {
        Ok(self.get_chunk(chunk).await?.is_some())
    }
}

/// The properties of a blob that a service knows without reading the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct BlobStat {
    /// The digest of the blob.
    pub digest: Digest,
    /// The size of the blob in bytes.
    pub size: u64,
}

impl BlobStat {
    /// The properties of the blob `digest` of `size` bytes.
    pub const fn new(digest: Digest, size: u64) -> BlobStat {
        BlobStat { digest, size }
    }
}

fn unsupported(operation: &'static str, message: &str) -> Error {
    Error::new(ErrorKind::Unsupported, operation, message)
}

/// Forwards every method, also those with a default implementation: a service's own is used.
///
/// One blanket implementation for all `P: Deref` would cover the user's own wrapper types as well,
/// and would silently pass by the methods that such a wrapper overrides.
macro_rules! forward {
    ($($pointer:ty),+) => {$(
        #[async_trait]
        impl<S: BlobService + ?Sized> BlobService for $pointer {
            async fn has(&self, digest: &Digest) -> Result<bool> {
                (**self).has(digest).await
            }

            async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
                (**self).chunks(digest).await
            }

            async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
                (**self).open_read(digest).await
            }

            async fn open_write(&self) -> Result<BlobWriter> {
                (**self).open_write().await
            }

            async fn has_many(&self, digests: &[Digest]) -> Result<Vec<bool>> {
                (**self).has_many(digests).await
            }

            async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>> {
                (**self).stat(digest).await
            }

            async fn put_bytes(&self, data: Bytes) -> Result<Digest> {
                (**self).put_bytes(data).await
            }

            async fn put_reader(
                &self,
                reader: &mut (dyn AsyncRead + Send + Unpin),
            ) -> Result<Digest> {
                (**self).put_reader(reader).await
            }

            async fn get_bytes(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
                (**self).get_bytes(digest, limit).await
            }

            fn list(&self) -> BoxStream<Result<Digest>> {
                (**self).list()
            }

            async fn remove(&self, digest: &Digest) -> Result<bool> {
                (**self).remove(digest).await
            }

            async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
                (**self).get_chunk(chunk).await
            }

            async fn has_chunk(&self, chunk: &Digest) -> Result<bool> {
                (**self).has_chunk(chunk).await
            }
        }
    )+};
}

forward!(Arc<S>, Box<S>, &'static S);
