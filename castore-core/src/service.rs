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
/// - `None` and `false` mean that the blob is absent; `Err` means that it could not be told.
/// - A blob is present once [`BlobWriter::close`] has returned its digest. A writer that is not
///   closed, or is dropped or aborted before, publishes nothing; where `close` fails or is given
///   up, the blob is absent or whole.
/// - The empty blob ([`Digest::EMPTY`]) is always present.
/// - Writing what is there already succeeds and changes nothing that a reader can see.
/// - No byte is returned that is not the one its chunk's digest stands for, and no read of a whole
///   blob ends well that does not have the blob's digest: what does not match is an error of kind
///   [`Corrupt`](crate::ErrorKind::Corrupt).
/// - All methods are cancel safe: dropping a future leaves the service as usable as before.
///
/// `Arc<S>`, `Box<S>` and `&'static S` are services where `S` is one.
#[async_trait]
pub trait BlobService: Debug + Send + Sync + 'static {
    /// Whether the blob is present.
    async fn has(&self, digest: &Digest) -> Result<bool>;

    /// The chunks that the blob consists of, or `None` where it is absent.
    ///
    /// How a blob is divided is the service's own business; two services may differ.
    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>>;

    /// A reader of the blob, or `None` where it is absent.
    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>>;

    /// A writer of a new blob.
    async fn open_write(&self) -> Result<BlobWriter>;

    /// The verified bytes of the chunk with this digest, whichever blobs list the chunk; at most
    /// [`MAX_CHUNK_SIZE`](crate::MAX_CHUNK_SIZE) bytes.
    ///
    /// `None` where the service does not have the chunk, or does not keep chunks by their digests:
    /// that is the default. A chunk is no blob: a chunk that is there may belong to none.
    ///
    /// # Errors
    /// `Corrupt` where the stored bytes are not the chunk; else those of the store.
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
