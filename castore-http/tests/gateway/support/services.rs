//! Services that fail, or that tell what is done with them.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobSink, BlobSource, BlobWriter, BoxStream, Digest, Error,
    ErrorKind, MemoryBlobService, Result,
};
use futures_util::stream::{self, StreamExt};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// The way in which a writer has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Closed,
    Aborted,
    Dropped,
}

/// A service in memory that tells how each of its writers has ended.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pub(crate) inner: MemoryBlobService,
    ended: UnboundedSender<Ended>,
    /// The digest that `close` returns instead of the right one.
    pub(crate) lie: Option<Digest>,
}

impl Watched {
    pub(crate) fn new() -> (Watched, UnboundedReceiver<Ended>) {
        let (ended, receiver) = unbounded_channel();
        (Watched { inner: MemoryBlobService::new(), ended, lie: None }, receiver)
    }
}

#[async_trait]
impl BlobService for Watched {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        self.inner.has(digest).await
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        self.inner.chunks(digest).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        self.inner.open_read(digest).await
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        let inner = self.inner.open_write().await?;
        let (ended, lie) = (self.ended.clone(), self.lie);
        Ok(BlobWriter::new(WatchedSink { inner, ended, end: Ended::Dropped, lie }))
    }
}

struct WatchedSink {
    inner: BlobWriter,
    ended: UnboundedSender<Ended>,
    end: Ended,
    lie: Option<Digest>,
}

#[async_trait]
impl BlobSink for WatchedSink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.inner.write_bytes(data).await
    }

    async fn close(&mut self) -> Result<Digest> {
        let digest = self.inner.close().await?;
        self.end = Ended::Closed;
        Ok(self.lie.unwrap_or(digest))
    }

    async fn abort(&mut self) {
        self.inner.abort().await;
        self.end = Ended::Aborted;
    }
}

impl Drop for WatchedSink {
    fn drop(&mut self) {
        // The test may have ended already.
        let _ = self.ended.send(self.end);
    }
}

/// A service of one blob, read in pieces of 64 KiB, that fails at a byte.
#[derive(Debug, Clone)]
pub(crate) struct Breaking {
    pub(crate) blob: Bytes,
    pub(crate) at: u64,
    /// The number of bytes that its readers have given.
    pub(crate) given: Arc<AtomicU64>,
}

impl Breaking {
    pub(crate) fn new(blob: Bytes, at: u64) -> Breaking {
        Breaking { blob, at, given: Arc::default() }
    }
}

const PIECE: u64 = 64 * 1024;

impl BlobSource for Breaking {
    fn size(&self) -> u64 {
        self.blob.len() as u64
    }

    fn digest(&self) -> Digest {
        Digest::of(&self.blob)
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<Result<Bytes>> {
        let this = self.clone();
        let pieces = stream::unfold(range.start, move |start| {
            let end = range.end.min(start + PIECE);
            let item = (start < end).then(|| {
                if end > this.at {
                    let error = Error::new(ErrorKind::Corrupt, "read a chunk", "it is\ntorn");
                    return (Err(error), range.end);
                }
                this.given.fetch_add(end - start, Ordering::Relaxed);
                (Ok(this.blob.slice(start as usize..end as usize)), end)
            });
            // The server sends the pieces before while it waits, also the head of the response.
            async move {
                tokio::task::yield_now().await;
                item
            }
        });
        pieces.boxed()
    }
}

#[async_trait]
impl BlobService for Breaking {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(*digest == BlobSource::digest(self))
    }

    async fn chunks(&self, _: &Digest) -> Result<Option<BlobIndex>> {
        Err(Error::new(ErrorKind::Unsupported, "list chunks", "this service has none"))
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        Ok(self.has(digest).await?.then(|| BlobReader::new(self.clone())))
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        Err(Error::new(ErrorKind::Unsupported, "write", "this service cannot write"))
    }
}

/// A service that fails every call with an error, or, if told so, only the closing of a writer.
#[derive(Debug, Clone)]
pub(crate) struct Broken {
    pub(crate) error: Error,
    pub(crate) only_close: bool,
}

#[async_trait]
impl BlobService for Broken {
    async fn has(&self, _: &Digest) -> Result<bool> {
        if self.only_close { Ok(false) } else { Err(self.error.clone()) }
    }

    async fn chunks(&self, _: &Digest) -> Result<Option<BlobIndex>> {
        Err(self.error.clone())
    }

    async fn open_read(&self, _: &Digest) -> Result<Option<BlobReader>> {
        Err(self.error.clone())
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        match self.only_close {
            true => Ok(BlobWriter::new(BrokenSink(self.error.clone()))),
            false => Err(self.error.clone()),
        }
    }
}

struct BrokenSink(Error);

#[async_trait]
impl BlobSink for BrokenSink {
    async fn write(&mut self, _: Bytes) -> Result<()> {
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        Err(self.0.clone())
    }
}

/// A service that only has the index of one blob.
#[derive(Debug, Clone)]
pub(crate) struct Listed(pub(crate) BlobIndex);

#[async_trait]
impl BlobService for Listed {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(*digest == self.0.digest())
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        Ok(self.has(digest).await?.then(|| self.0.clone()))
    }

    async fn open_read(&self, _: &Digest) -> Result<Option<BlobReader>> {
        Err(Error::new(ErrorKind::Unsupported, "read", "this service cannot read"))
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        Err(Error::new(ErrorKind::Unsupported, "write", "this service cannot write"))
    }
}
