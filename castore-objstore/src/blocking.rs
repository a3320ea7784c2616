//! A blob service for programs without an async runtime.
//!
//! [`Blocking`] wraps any [`BlobService`] and a small tokio runtime of its own. Every call blocks
//! its thread until the result is there; clones share the runtime and may be used from many
//! threads.
//!
//! ```
//! use std::io::{Read, Seek, SeekFrom, Write};
//!
//! use castore_objstore::blocking::Blocking;
//! use castore_objstore::parse_url;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Blocking::new(parse_url("memory:")?.build()?)?;
//!
//! let mut writer = store.open_write()?;
//! write!(writer, "Hello {}", "World")?;
//! let digest = writer.close()?;
//!
//! let mut reader = store.open_read(&digest)?.expect("it is present");
//! reader.seek(SeekFrom::Start(6))?;
//! let mut text = String::new();
//! reader.read_to_string(&mut text)?;
//! assert_eq!(text, "World");
//! # Ok(())
//! # }
//! ```

use std::fmt;
use std::future::{Future, poll_fn};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{
    BlobReader, BlobService, BlobStat, BlobWriter, BoxStream, Digest, Error, ErrorKind, Result,
};
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncSeek, AsyncWrite, ReadBuf};
use tokio::runtime::{Builder, Runtime};

/// A blob service whose calls block: see [the module](self).
///
/// # Panics
/// Every call panics on a thread that drives an async runtime, as that thread must not block; use
/// the [`BlobService`] itself there.
#[derive(Clone)]
pub struct Blocking {
    service: Arc<dyn BlobService>,
    runtime: Arc<Runtime>,
}

impl Blocking {
    /// Wraps `service`, and starts a runtime with one thread for its timers and connections.
    ///
    /// # Errors
    /// `Other` if the system refuses the runtime its thread or its files.
    pub fn new(service: impl BlobService) -> Result<Blocking> {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.map_err(|error| {
            let message = format!("the runtime cannot be started: {error}");
            Error::new(ErrorKind::Other, "open the store", message).with_source(error)
        })?;
        Ok(Blocking { service: Arc::new(service), runtime: Arc::new(runtime) })
    }

    /// Runs any other operation to its end, such as
    /// [`gc`](crate::ObjectStoreBlobService::gc) of a clone of the service.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Whether the blob is present.
    ///
    /// # Errors
    /// Those of [`BlobService::has`]; the same holds for the further methods.
    pub fn has(&self, digest: &Digest) -> Result<bool> {
        self.block_on(self.service.has(digest))
    }

    /// The size of the blob, or `None` if the blob is absent.
    pub fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>> {
        self.block_on(self.service.stat(digest))
    }

    /// Stores `data` as one blob, and returns its digest once the blob is present.
    pub fn put_bytes(&self, data: impl Into<Bytes>) -> Result<Digest> {
        self.block_on(self.service.put_bytes(data.into()))
    }

    /// Stores the rest of `reader` as one blob, and returns its digest once the blob is present.
    ///
    /// # Errors
    /// Also `Other` with the error of `reader` as its source; the blob is not stored then.
    pub fn put_reader(&self, reader: &mut impl Read) -> Result<Digest> {
        let mut writer = self.open_write()?;
        let size = writer.writer.preferred_write_size();
        loop {
            let mut piece = Vec::with_capacity(size);
            if let Err(error) = reader.by_ref().take(size as u64).read_to_end(&mut piece) {
                self.block_on(writer.writer.abort());
                return Err(Error::of_input(error));
            }
            if piece.is_empty() {
                return writer.close();
            }
            self.block_on(writer.writer.write_bytes(piece.into()))?;
        }
    }

    /// All bytes of a blob of at most `limit` bytes, or `None` if the blob is absent.
    ///
    /// # Errors
    /// Also `InvalidInput` for a larger blob.
    pub fn get_bytes(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        self.block_on(self.service.get_bytes(digest, limit))
    }

    /// A reader of the blob, or `None` if the blob is absent.
    pub fn open_read(&self, digest: &Digest) -> Result<Option<BlockingReader>> {
        let reader = self.block_on(self.service.open_read(digest))?;
        Ok(reader.map(|reader| BlockingReader { reader, runtime: Arc::clone(&self.runtime) }))
    }

    /// A writer of a new blob.
    pub fn open_write(&self) -> Result<BlockingWriter> {
        let writer = self.block_on(self.service.open_write())?;
        Ok(BlockingWriter { writer, runtime: Arc::clone(&self.runtime) })
    }

    /// The digests of all blobs of the service, in any order. The iterator ends after its first
    /// error.
    pub fn list(&self) -> BlockingList {
        BlockingList { digests: self.service.list(), runtime: Arc::clone(&self.runtime) }
    }

    /// Removes the blob, and returns whether it was present before.
    pub fn remove(&self, digest: &Digest) -> Result<bool> {
        self.block_on(self.service.remove(digest))
    }
}

impl fmt::Debug for Blocking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Blocking").field("service", &self.service).finish_non_exhaustive()
    }
}

/// A reader of one blob: `Read` and `Seek`, with the promises of [`BlobReader`].
#[derive(Debug)]
pub struct BlockingReader {
    reader: BlobReader,
    runtime: Arc<Runtime>,
}

impl BlockingReader {
    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.reader.size()
    }

    /// The digest of the blob.
    pub fn digest(&self) -> Digest {
        self.reader.digest()
    }

    /// Fills `buf` from `offset` (in bytes) on, as [`BlobReader::read_at`] does.
    ///
    /// # Errors
    /// Those of [`BlobReader::read_at`].
    pub fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.runtime.block_on(self.reader.read_at(offset, buf))
    }
}

impl Read for BlockingReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let BlockingReader { reader, runtime } = self;
        let mut buf = ReadBuf::new(buf);
        runtime.block_on(poll_fn(|cx| Pin::new(&mut *reader).poll_read(cx, &mut buf)))?;
        Ok(buf.filled().len())
    }
}

impl Seek for BlockingReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let BlockingReader { reader, runtime } = self;
        Pin::new(&mut *reader).start_seek(to)?;
        runtime.block_on(poll_fn(|cx| Pin::new(&mut *reader).poll_complete(cx)))
    }
}

/// A writer of one blob: `Write`, then [`close`](BlockingWriter::close), which names the blob.
///
/// Nothing is published before `close`; dropping the writer gives the blob up.
#[derive(Debug)]
pub struct BlockingWriter {
    writer: BlobWriter,
    runtime: Arc<Runtime>,
}

impl BlockingWriter {
    /// Publishes the blob, and returns its digest once the blob is present.
    ///
    /// # Errors
    /// The first error of the store since the writer was opened.
    pub fn close(mut self) -> Result<Digest> {
        self.runtime.block_on(self.writer.close())
    }
}

impl Write for BlockingWriter {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let BlockingWriter { writer, runtime } = self;
        runtime.block_on(poll_fn(|cx| Pin::new(&mut *writer).poll_write(cx, buf)))
    }

    /// Hands the bytes to the store; publishes nothing.
    fn flush(&mut self) -> io::Result<()> {
        let BlockingWriter { writer, runtime } = self;
        runtime.block_on(poll_fn(|cx| Pin::new(&mut *writer).poll_flush(cx)))
    }
}

/// The digests of a service's blobs, one by one.
pub struct BlockingList {
    digests: BoxStream<Result<Digest>>,
    runtime: Arc<Runtime>,
}

impl Iterator for BlockingList {
    type Item = Result<Digest>;

    fn next(&mut self) -> Option<Result<Digest>> {
        self.runtime.block_on(self.digests.next())
    }
}

impl fmt::Debug for BlockingList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockingList").finish_non_exhaustive()
    }
}
