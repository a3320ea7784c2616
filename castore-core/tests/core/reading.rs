//! The reader, over a source that has an opinion on the digest of the whole.

use std::ops::Range;

use bytes::Bytes;
use castore_core::{BlobReader, BlobSource, Digest, ErrorKind, Result};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use tokio::io::AsyncReadExt as _;

/// Serves `data` as one piece, and says that it is another blob.
struct Another {
    data: &'static [u8],
    verifies_whole: bool,
}

impl BlobSource for Another {
    fn size(&self) -> u64 {
        self.data.len() as u64
    }

    fn digest(&self) -> Digest {
        Digest::of(b"another blob")
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let piece = &self.data[range.start as usize..range.end as usize];
        stream::iter([Ok(Bytes::from_static(piece))]).boxed()
    }

    fn verifies_whole(&self) -> bool {
        self.verifies_whole
    }
}

#[tokio::test]
async fn the_digest_of_the_whole_is_checked_unless_the_source_does_that() {
    for verifies_whole in [false, true] {
        let mut reader = BlobReader::new(Another { data: b"blob", verifies_whole });
        let mut read = Vec::new();
        let result = reader.read_to_end(&mut read).await;
        match verifies_whole {
            true => assert_eq!((result.unwrap(), &read[..]), (4, &b"blob"[..])),
            false => {
                let error = result.unwrap_err().downcast::<castore_core::Error>().unwrap();
                assert_eq!((error.kind(), &read[..]), (ErrorKind::Corrupt, &b""[..]));
            }
        }
    }
}
