//! Pointers to a service, which are services themselves.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobWriter, Digest, MemoryBlobService, Result,
};
use tokio::io::AsyncReadExt as _;

/// A service that answers every call, also those that have a default.
#[derive(Debug, Clone, Default)]
struct Whole(MemoryBlobService);

const CHUNK: &[u8] = b"a chunk";

#[async_trait]
impl BlobService for Whole {
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

    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        Ok((*chunk == Digest::of(CHUNK)).then(|| Bytes::from_static(CHUNK)))
    }
}

/// Asks `pointer` everything that a service can be asked; `service` is what it points to.
async fn is_that_service(pointer: impl BlobService, service: &Whole) {
    let absent = Digest::of(b"absent");
    assert!(!pointer.has(&absent).await.unwrap());
    assert!(pointer.chunks(&absent).await.unwrap().is_none());
    assert!(pointer.open_read(&absent).await.unwrap().is_none());
    assert!(pointer.get_chunk(&absent).await.unwrap().is_none());

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
    let chunk = pointer.get_chunk(&Digest::of(CHUNK)).await.unwrap();
    assert_eq!(chunk.as_deref(), Some(CHUNK));
}

#[tokio::test]
async fn a_pointer_to_a_service_answers_as_the_service_does() {
    let service = Whole::default();
    is_that_service(Arc::new(service.clone()), &service).await;
    let service = Whole::default();
    is_that_service(Box::new(service.clone()), &service).await;
    let service = Whole::default();
    is_that_service(&*Box::leak(Box::new(service.clone())), &service).await;
}

#[tokio::test]
async fn a_service_keeps_no_chunks_by_their_digests_unless_it_says_so() {
    let service = MemoryBlobService::new();
    let mut writer = service.open_write().await.unwrap();
    writer.write_bytes(Bytes::from_static(CHUNK)).await.unwrap();
    let digest = writer.close().await.unwrap();
    assert_eq!(service.get_chunk(&digest).await.unwrap(), None);
}
