//! A service of your own around another one: this one refuses blobs that a list forbids.

use std::collections::HashSet;
use std::error::Error;

use async_trait::async_trait;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobWriter, Digest, ErrorKind, MemoryBlobService, Result,
};
use tokio::io::AsyncWriteExt;

/// Hides the forbidden blobs of `inner`, whichever service that is.
#[derive(Debug)]
struct Filtered<S> {
    inner: S,
    forbidden: HashSet<Digest>,
}

impl<S> Filtered<S> {
    fn check(&self, digest: &Digest) -> Result<()> {
        match self.forbidden.contains(digest) {
            true => Err(castore_core::Error::new(ErrorKind::PermissionDenied, "read", "forbidden")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl<S: BlobService> BlobService for Filtered<S> {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.chunks(digest).await?.is_some())
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        self.check(digest)?;
        self.inner.chunks(digest).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        self.check(digest)?;
        self.inner.open_read(digest).await
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        self.inner.open_write().await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let forbidden = HashSet::from([Digest::of(b"a secret")]);
    let service = Filtered { inner: MemoryBlobService::new(), forbidden };
    for text in ["a letter", "a secret"] {
        let mut writer = service.open_write().await?;
        writer.write_all(text.as_bytes()).await?;
        let digest = writer.close().await?;
        match service.open_read(&digest).await {
            Ok(reader) => println!("{text}: {} bytes", reader.map_or(0, |reader| reader.size())),
            Err(error) => println!("{text}: {error}"),
        }
    }
    Ok(())
}
