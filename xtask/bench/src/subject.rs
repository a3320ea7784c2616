//! The subject of a measurement: castore or the reference, with the same calls.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{BlobService, Digest};
use castore_objstore::ObjectStoreBlobService;
use futures_util::{StreamExt, TryStreamExt};

use crate::job::{Requests, Who};
use crate::reference::Reference;
use crate::store::Store;

/// The number of reads or puts that castore gets at a time, if there are many.
pub(crate) const AT_A_TIME: usize = 16;

/// The size of the pieces of a blob: those of a program that reads a file by 1 MiB.
pub(crate) const PIECE: usize = 1 << 20;

/// The calls that scenarios consist of.
#[async_trait]
pub(crate) trait Subject: Send + Sync + 'static {
    /// Stores the pieces as one blob, and returns its digest.
    async fn put(&self, pieces: Box<dyn Iterator<Item = Bytes> + Send>) -> Result<Digest>;

    /// Reads all of the blob, and compares it with `expected`.
    async fn read(&self, digest: Digest, expected: &[u8]) -> Result<()>;

    /// Opens a blob for reading, so that its index is known.
    async fn open(&self, digest: Digest) -> Result<Box<dyn Opened>>;

    /// The number of the blob's chunks.
    async fn chunks(&self, digest: Digest) -> Result<u64>;

    /// The requests so far.
    fn requests(&self) -> Requests;
}

/// A blob whose index is known.
#[async_trait]
pub(crate) trait Opened: Send + Sync {
    async fn read_range(&self, range: Range<u64>, expected: &[u8]) -> Result<()>;
}

/// Opens `store` as `who` does.
pub(crate) fn open(who: Who, store: &Store) -> Result<Arc<dyn Subject>> {
    Ok(match who {
        Who::Castore => Arc::new(Castore(store.service()?)),
        Who::Reference => Arc::new(Reference::new(store.objects()?)),
    })
}

/// Splits `data` into pieces, as a program would.
pub(crate) fn pieces(data: Bytes) -> Box<dyn Iterator<Item = Bytes> + Send> {
    let starts = (0..data.len()).step_by(PIECE);
    Box::new(starts.map(move |start| data.slice(start..data.len().min(start + PIECE))))
}

struct Castore(ObjectStoreBlobService);

#[async_trait]
impl Subject for Castore {
    async fn put(&self, pieces: Box<dyn Iterator<Item = Bytes> + Send>) -> Result<Digest> {
        let mut writer = self.0.open_write().await?;
        for piece in pieces {
            writer.write_bytes(piece).await?;
        }
        Ok(writer.close().await?)
    }

    async fn read(&self, digest: Digest, expected: &[u8]) -> Result<()> {
        let reader = self.0.open_read(&digest).await?.context("the blob is absent")?;
        compare(reader.read_range(0..reader.size()), expected).await
    }

    async fn open(&self, digest: Digest) -> Result<Box<dyn Opened>> {
        Ok(Box::new(self.0.open_read(&digest).await?.context("the blob is absent")?))
    }

    async fn chunks(&self, digest: Digest) -> Result<u64> {
        Ok(self.0.chunks(&digest).await?.context("the blob is absent")?.len() as u64)
    }

    fn requests(&self) -> Requests {
        let stats = self.0.stats();
        Requests { head: stats.requests_head, get: stats.requests_get, put: stats.requests_put }
    }
}

#[async_trait]
impl Opened for castore_core::BlobReader {
    async fn read_range(&self, range: Range<u64>, expected: &[u8]) -> Result<()> {
        compare(castore_core::BlobReader::read_range(self, range), expected).await
    }
}

/// Compares a stream with the expected bytes: cheaper than a digest, and as strict.
async fn compare(
    mut pieces: futures_util::stream::BoxStream<'static, castore_core::Result<Bytes>>,
    mut expected: &[u8],
) -> Result<()> {
    while let Some(piece) = pieces.try_next().await? {
        let (head, tail) = expected.split_at(piece.len().min(expected.len()));
        ensure!(piece == head, "other bytes came back");
        expected = tail;
    }
    ensure!(expected.is_empty(), "{} bytes too few came back", expected.len());
    Ok(())
}

/// Runs `work` on all of `items`, with a limited number at a time.
pub(crate) async fn at_a_time<T, F>(
    items: impl IntoIterator<Item = T>,
    limit: usize,
    work: impl Fn(T) -> F,
) -> Result<Vec<Digest>>
where
    F: Future<Output = Result<Digest>> + Send + 'static,
{
    // Each item is a task, as in a server. The results keep their order, because they are compared.
    futures_util::stream::iter(items)
        .map(|item| {
            let task = tokio::spawn(work(item));
            async move { task.await? }
        })
        .buffered(limit)
        .try_collect()
        .await
}
