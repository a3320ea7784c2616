//! The trait of a content-addressed blob store.

use std::fmt::Debug;
use std::ops::Deref;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{BlobIndex, BlobReader, BlobWriter, Digest, Result};

/// A store of blobs, each named by its BLAKE3 digest.
///
/// # Contract
///
/// Every service keeps this contract. The crate `castore-testsuite` tests it on any service, and has a
/// table of the cases for each sentence.
///
/// ## Presence
///
/// - `false` and `None` mean that the blob is absent; an error means that the service cannot tell.
/// - `has`, `chunks` and `open_read` agree about every blob.
/// - A blob is present once [`BlobWriter::close`] has returned its digest.
/// - Every service over the same storage sees a present blob, also one that was opened before or that
///   is opened later.
/// - A writer that is dropped or aborted before it is closed publishes nothing.
/// - A `close` that fails or is given up leaves the blob absent or whole.
/// - The empty blob ([`Digest::EMPTY`]) is always present.
/// - A chunk is no blob, and neither is the beginning of a blob, until a writer stores the same bytes as
///   a blob.
///
/// ## Storing again
///
/// - Storing a present blob again succeeds, and changes nothing that a reader can see.
/// - A present blob stays whole while a writer stores it again, however that writer ends.
/// - Storing a damaged blob again repairs the damage that the service sees without reading the records
///   that it reuses: a service that is opened after the damage stores a record again that is missing or
///   empty.
/// - A service that checks the records it reuses, always or by an option, repairs every damage.
///
/// ## Damage
///
/// - No byte is returned that is not the one its chunk's digest stands for: the read fails with an error
///   of kind [`Corrupt`](crate::ErrorKind::Corrupt) instead.
/// - A read of a whole blob returns the last bytes only where the whole has the blob's digest; castore-core
///   checks that in [`BlobReader`], unless the source [does so](crate::BlobSource::verifies_whole).
/// - Bytes that a service has verified before are verified again when it reads them again.
/// - Damage does no harm to a blob that shares nothing with the damaged one, and leaves no trace when it
///   is undone.
///
/// ## Failures and crashes
///
/// - A failed operation of the storage fails the call that needed it, or is made good; the error is never
///   of kind `Corrupt` or `InvalidInput`.
/// - A failure is over when the storage works again: other calls, readers and writers succeed then.
/// - A sync of the storage counts as one of its writes: a failed sync fails the `close` that needed it.
/// - A blob whose `close` has returned survives a crash of the process, and, where the service promises
///   that, of the machine.
/// - A crash leaves every other blob absent or whole, and lets it be stored again.
///
/// ## Many at once
///
/// - Writers of the same bytes, in one service or in several, all succeed, and one that ends otherwise
///   takes nothing along that another relies on.
/// - Readers, ranges, writers and questions run beside each other, from any task and any thread.
/// - At least 32 writers, 32 readers and 32 ranges may be open and left alone at once, whatever they have
///   begun: they hold up no other call. A service may let more than these wait for each other.
/// - Readers and writers that were given up keep nothing that others need.
/// - Readers and writers outlive the service that has opened them.
///
/// ## Futures and their runtime
///
/// - All methods are cancel safe: dropping a future at any point leaves the service as usable as before.
/// - A service may require that its futures are polled within a tokio runtime that has its I/O and time
///   drivers enabled, and then documents it. castore-core requires no runtime.
/// - A runtime of one thread is enough: no future blocks its thread until another one has made progress.
/// - A future may be polled by another task or thread each time, and wakes the one that polled last.
///
/// `Arc<S>`, `Box<S>` and `&'static S` are services where `S` is one.
#[async_trait]
pub trait BlobService: Debug + Send + Sync + 'static {
    /// Whether the blob is present.
    async fn has(&self, digest: &Digest) -> Result<bool>;

    /// The chunks that the blob consists of, or `None` where it is absent.
    ///
    /// The chunks add up to the blob, and each has the digest of its bytes. Two services may divide the
    /// same blob differently.
    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>>;

    /// A reader of the blob, or `None` where it is absent.
    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>>;

    /// A writer of a new blob.
    async fn open_write(&self) -> Result<BlobWriter>;

    /// The verified bytes of the chunk with this digest, whichever blobs list the chunk; at most
    /// [`MAX_CHUNK_SIZE`](crate::MAX_CHUNK_SIZE) bytes.
    ///
    /// `None` where the service does not have the chunk, or does not keep chunks by their digests:
    /// that is the default.
    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        let _ = chunk;
        Ok(None)
    }
}

#[async_trait]
impl<P> BlobService for P
where
    P: Deref<Target: BlobService> + Debug + Send + Sync + 'static,
{
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

    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        (**self).get_chunk(chunk).await
    }
}
