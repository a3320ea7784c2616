//! Pointers to a service, which are services themselves, and the methods with a default.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobStat, BlobWriter, BoxStream, Digest, Error, ErrorKind,
    MemoryBlobService, Result,
};
use futures_util::stream::{self, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A service with a recognisable answer to every call that has a default.
#[derive(Debug, Clone, Default)]
struct Own(MemoryBlobService);

const OWN: &[u8] = b"an answer that no default gives";

fn own() -> Digest {
    Digest::of(OWN)
}

#[async_trait]
impl BlobService for Own {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        self.0.has(digest).await
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        self.0.chunks(digest).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        self.0.open_read(digest).await
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        self.0.open_write().await
    }

    async fn has_many(&self, _: &[Digest]) -> Result<Vec<bool>> {
        Ok(vec![true; 7])
    }

    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>> {
        Ok(Some(BlobStat::new(*digest, 7)))
    }

    async fn put_bytes(&self, _: Bytes) -> Result<Digest> {
        Ok(own())
    }

    async fn put_reader(&self, _: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Digest> {
        Ok(own())
    }

    async fn get_bytes(&self, _: &Digest, _: u64) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::from_static(OWN)))
    }

    fn list(&self) -> BoxStream<Result<Digest>> {
        stream::iter([Ok(own())]).boxed()
    }

    async fn remove(&self, _: &Digest) -> Result<bool> {
        Ok(true)
    }

    async fn get_chunk(&self, _: &Digest) -> Result<Option<Bytes>> {
        Ok(Some(Bytes::from_static(OWN)))
    }

    async fn has_chunk(&self, _: &Digest) -> Result<bool> {
        Ok(true)
    }
}

/// Makes every call of `pointer`, which points to `service`.
async fn is_that_service(pointer: impl BlobService, service: &Own) {
    let absent = Digest::of(b"absent");
    assert!(!pointer.has(&absent).await.unwrap());
    assert!(pointer.chunks(&absent).await.unwrap().is_none());
    assert!(pointer.open_read(&absent).await.unwrap().is_none());

    let mut writer = pointer.open_write().await.unwrap();
    writer.write_bytes(Bytes::from_static(b"blob")).await.unwrap();
    let digest = writer.close().await.unwrap();
    assert!(service.has(&digest).await.unwrap());
    assert!(pointer.has(&digest).await.unwrap());
    let expected = service.chunks(&digest).await.unwrap();
    assert_eq!(pointer.chunks(&digest).await.unwrap(), expected);
    assert_eq!(expected.unwrap().size(), 4);
    let mut reader = pointer.open_read(&digest).await.unwrap().unwrap();
    let mut read = Vec::new();
    reader.read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"blob");

    let bytes = Bytes::from_static(OWN);
    assert_eq!(pointer.has_many(&[]).await.unwrap(), [true; 7]);
    assert_eq!(pointer.stat(&absent).await.unwrap(), Some(BlobStat::new(absent, 7)));
    assert_eq!(pointer.put_bytes(Bytes::new()).await.unwrap(), own());
    assert_eq!(pointer.put_reader(&mut &b""[..]).await.unwrap(), own());
    assert_eq!(pointer.get_bytes(&absent, 0).await.unwrap(), Some(bytes.clone()));
    assert_eq!(pointer.list().try_collect::<Vec<_>>().await.unwrap(), [own()]);
    assert!(pointer.remove(&absent).await.unwrap());
    assert_eq!(pointer.get_chunk(&absent).await.unwrap(), Some(bytes));
    assert!(pointer.has_chunk(&absent).await.unwrap());
}

#[tokio::test]
async fn a_pointer_to_a_service_answers_as_the_service_does() {
    let service = Own::default();
    is_that_service(Arc::new(service.clone()), &service).await;
    let service = Own::default();
    is_that_service(Box::new(service.clone()), &service).await;
    let service = Own::default();
    is_that_service(&*Box::leak(Box::new(service.clone())), &service).await;
    let service = Own::default();
    let object: Arc<dyn BlobService> = Arc::new(service.clone());
    is_that_service(object, &service).await;
}

/// A service that implements nothing but the methods without a default, and cannot answer a
/// question about one blob.
#[derive(Debug, Clone, Default)]
struct Least(MemoryBlobService);

fn refused() -> Digest {
    Digest::of(b"refused")
}

#[async_trait]
impl BlobService for Least {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        if *digest == refused() {
            return Err(Error::new(ErrorKind::Unavailable, "look", "the line is cut"));
        }
        self.0.has(digest).await
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        self.0.chunks(digest).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        self.0.open_read(digest).await
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        self.0.open_write().await
    }
}

#[tokio::test]
async fn defaults_rest_on_the_methods_without_one() {
    let service = Least::default();
    let data = Bytes::from(vec![7; 600_000]);
    let digest = service.put_bytes(data.clone()).await.unwrap();
    assert_eq!(service.put_reader(&mut &data[..]).await.unwrap(), digest);
    assert_eq!(service.get_bytes(&digest, 600_000).await.unwrap(), Some(data));
    assert_eq!(service.stat(&digest).await.unwrap(), Some(BlobStat::new(digest, 600_000)));
    let absent = Digest::of(b"absent");
    assert_eq!(service.stat(&absent).await.unwrap(), None);
    assert_eq!(service.has_many(&[absent, digest]).await.unwrap(), [false, true]);
    assert_eq!(service.get_chunk(&digest).await.unwrap(), None);
    assert!(!service.has_chunk(&digest).await.unwrap());
    for error in [
        service.list().try_collect::<Vec<_>>().await.unwrap_err(),
        service.remove(&digest).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Unsupported);
    }
}

#[tokio::test]
async fn the_first_failed_question_fails_has_many() {
    let error = Least::default().has_many(&[Digest::EMPTY, refused()]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}
