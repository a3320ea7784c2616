//! Moving a blob as a whole: from a reader of bytes into a writer, and from a blob into memory.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;

use bytes::{Bytes, BytesMut};
use futures_util::TryStreamExt;
use tokio::io::{AsyncRead, ReadBuf};

use crate::{BlobReader, BlobWriter, Digest, Error, ErrorKind, Result};

/// Writes everything that `reader` still has, and closes the writer.
pub(crate) async fn write_all_of(
    reader: &mut (dyn AsyncRead + Send + Unpin),
    mut writer: BlobWriter,
) -> Result<Digest> {
    let size = writer.preferred_write_size();
    loop {
        let piece = match read_up_to(reader, size).await {
            Ok(piece) => piece,
            Err(error) => {
                writer.abort().await;
                return Err(Error::of_input(error));
            }
        };
        let is_last = piece.len() < size;
        writer.write_bytes(piece).await?;
        if is_last {
            return writer.close().await;
        }
    }
}

/// The next `size` bytes of `reader`; fewer only at its end.
async fn read_up_to(reader: &mut (dyn AsyncRead + Send + Unpin), size: usize) -> io::Result<Bytes> {
    let mut bytes = vec![0; size];
    let mut filled = 0;
    while filled < size {
        let mut buf = ReadBuf::new(&mut bytes[filled..]);
        poll_fn(|cx| Pin::new(&mut *reader).poll_read(cx, &mut buf)).await?;
        match buf.filled().len() {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    Ok(bytes.into())
}

/// All bytes of a blob of at most `limit` bytes, without a copy if they come in one piece.
pub(crate) async fn read_all_of(reader: &BlobReader, limit: u64) -> Result<Bytes> {
    let size = reader.size();
    if size > limit {
        let message = format!("the blob has {size} bytes, and the limit is {limit}");
        let error = Error::new(ErrorKind::InvalidInput, "read the blob into memory", message);
        return Err(error.with_digest(reader.digest()));
    }
    let mut pieces = reader.read_range(0..size);
    let first = pieces.try_next().await?.unwrap_or_default();
    let Some(second) = pieces.try_next().await? else { return Ok(first) };
    // The size stands in the store, and may be wrong: memory is taken for the bytes that arrive.
    let mut all = BytesMut::with_capacity(first.len() + second.len());
    all.extend_from_slice(&first);
    all.extend_from_slice(&second);
    while let Some(piece) = pieces.try_next().await? {
        all.extend_from_slice(&piece);
    }
    Ok(all.freeze())
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use crate::{BlobService, MemoryBlobService};

    use super::*;

    /// Gives `left` bytes, at most 1000 at a time, and then ends or fails.
    struct Input {
        left: usize,
        fails: bool,
    }

    impl AsyncRead for Input {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            if self.left == 0 && self.fails {
                return Poll::Ready(Err(io::Error::other("the cable is out")));
            }
            let count = self.left.min(buf.remaining()).min(1000);
            buf.put_slice(&vec![7; count]);
            self.left -= count;
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn every_size_of_input_becomes_the_blob_of_its_bytes() {
        let service = MemoryBlobService::new();
        for size in [0, 1, 999, 1000, 65_535, 65_536, 65_537, 600_000] {
            let digest = service.put_reader(&mut Input { left: size, fails: false }).await.unwrap();
            let bytes = vec![7; size];
            assert_eq!(digest, Digest::of(&bytes), "{size}");
            let read = service.get_bytes(&digest, size as u64).await.unwrap().unwrap();
            assert_eq!(read, bytes, "{size}");
        }
    }

    #[tokio::test]
    async fn an_input_that_fails_stores_nothing_and_its_error_is_the_source() {
        let service = MemoryBlobService::new();
        let error =
            service.put_reader(&mut Input { left: 300_000, fails: true }).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Other);
        assert_eq!(error.to_string(), "cannot read the input: the cable is out");
        assert!(std::error::Error::source(&error).unwrap().is::<io::Error>());
        assert!(service.list().try_collect::<Vec<_>>().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_error_of_a_blob_reader_stays_what_it_is() {
        let inner = Error::new(ErrorKind::Corrupt, "read a chunk", "the digest is wrong");
        let error = Error::of_input(io::Error::from(inner.clone()));
        assert_eq!((error.kind(), error.to_string()), (inner.kind(), inner.to_string()));
    }

    #[tokio::test]
    async fn a_blob_above_the_limit_is_not_read() {
        let service = MemoryBlobService::new();
        let digest = service.put_bytes(Bytes::from_static(b"abc")).await.unwrap();
        let error = service.get_bytes(&digest, 2).await.unwrap_err();
        assert_eq!((error.kind(), error.digest()), (ErrorKind::InvalidInput, Some(digest)));
        assert_eq!(service.get_bytes(&digest, 3).await.unwrap().unwrap(), "abc");
        assert_eq!(service.get_bytes(&Digest::of(b"x"), 3).await.unwrap(), None);
        assert_eq!(service.get_bytes(&Digest::EMPTY, 0).await.unwrap().unwrap(), "");
    }
}
