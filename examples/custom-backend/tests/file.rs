//! Tests that need a file, and promises that only this backend makes.

use std::error::Error as _;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobService, Digest, ErrorKind, Result};
use custom_backend::{BLOBS, CHUNKS, RedbBlobService, Storage, Table};
use redb::{Database, ReadableDatabase, ReadableTableMetadata};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Several batches of bytes that do not repeat.
fn data() -> Bytes {
    let mut bytes = vec![0; 10_000_000];
    blake3::Hasher::new().finalize_xof().fill(&mut bytes);
    bytes.into()
}

async fn put(service: &RedbBlobService, data: &Bytes) -> Result<Digest> {
    let mut writer = service.open_write().await?;
    writer.write_bytes(data.clone()).await?;
    writer.close().await
}

async fn read(service: &RedbBlobService, digest: &Digest) -> Result<Vec<u8>> {
    let mut reader = service.open_read(digest).await?.expect("the blob is absent");
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).await.map_err(|error| error.downcast().unwrap())?;
    Ok(bytes)
}

/// A service, and its storage for a look behind it.
fn open(path: &Path) -> (RedbBlobService, Arc<Storage>) {
    let path = path.to_owned();
    let storage = Arc::new(Storage::new(move || Database::create(&path)));
    (RedbBlobService::new(Arc::clone(&storage)), storage)
}

fn rows(storage: &Storage, table: Table) -> u64 {
    storage.with("test", |database| Ok(database.begin_read()?.open_table(table)?.len()?)).unwrap()
}

#[tokio::test]
async fn a_blob_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blobs.redb");
    let service = RedbBlobService::open(&path).await.unwrap();
    let digest = put(&service, &data()).await.unwrap();
    drop(service);
    let service = RedbBlobService::open(&path).await.unwrap();
    assert!(read(&service, &digest).await.unwrap() == data());
}

#[tokio::test]
async fn a_file_that_is_open_already_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blobs.redb");
    let service = RedbBlobService::open(&path).await.unwrap();
    let error = RedbBlobService::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    let source = error.source().unwrap().downcast_ref::<redb::Error>();
    assert!(matches!(source, Some(redb::Error::DatabaseAlreadyOpen)));
    drop(service);
    RedbBlobService::open(&path).await.unwrap();
}

#[tokio::test]
async fn a_file_that_is_no_database_is_corrupt_and_left_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("blobs.redb");
    let text = "nothing but text ".repeat(1000);
    std::fs::write(&path, &text).unwrap();
    let error = RedbBlobService::open(&path).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_unavailable() {
    let directory = tempfile::tempdir().unwrap();
    let error = RedbBlobService::open(directory.path().join("none/blobs.redb")).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test]
async fn shared_chunks_are_stored_once() {
    let directory = tempfile::tempdir().unwrap();
    let (service, storage) = open(&directory.path().join("blobs.redb"));
    put(&service, &data()).await.unwrap();
    let before = rows(&storage, CHUNKS);
    assert!(before > 20);
    put(&service, &data()).await.unwrap();
    assert_eq!((rows(&storage, CHUNKS), rows(&storage, BLOBS)), (before, 1));
    let with_a_tail = [&data()[..], b"a tail"].concat().into();
    put(&service, &with_a_tail).await.unwrap();
    assert_eq!((rows(&storage, CHUNKS), rows(&storage, BLOBS)), (before + 1, 2));
}

#[tokio::test]
async fn chunks_of_an_interrupted_put_are_reused() {
    let directory = tempfile::tempdir().unwrap();
    let (service, storage) = open(&directory.path().join("blobs.redb"));
    let mut writer = service.open_write().await.unwrap();
    writer.write_bytes(data()).await.unwrap();
    // Without the flush a transaction may be pending, and the abort would prevent it.
    writer.flush().await.unwrap();
    writer.abort().await;
    let left = rows(&storage, CHUNKS);
    assert!(left > 20);
    assert_eq!(rows(&storage, BLOBS), 0);
    let digest = put(&service, &data()).await.unwrap();
    // Only the last chunk was missing.
    assert_eq!((rows(&storage, CHUNKS), rows(&storage, BLOBS)), (left + 1, 1));
    assert!(read(&service, &digest).await.unwrap() == data());
}

#[tokio::test]
async fn storing_a_damaged_blob_again_repairs_it() {
    let directory = tempfile::tempdir().unwrap();
    let (service, storage) = open(&directory.path().join("blobs.redb"));
    let digest = put(&service, &data()).await.unwrap();
    let chunk = service.chunks(&digest).await.unwrap().unwrap().get(7).unwrap();
    for (table, damaged) in [(CHUNKS, chunk.digest), (BLOBS, digest)] {
        let damage = storage.with("test", |database| {
            let transaction = database.begin_write()?;
            transaction.open_table(table)?.insert(damaged.as_bytes(), &b"damage"[..])?;
            Ok(transaction.commit()?)
        });
        damage.unwrap();
        let error = match service.open_read(&digest).await {
            Ok(_) => read(&service, &digest).await.unwrap_err(),
            Err(error) => error,
        };
        assert_eq!((error.kind(), error.digest()), (ErrorKind::Corrupt, Some(damaged)));
        put(&service, &data()).await.unwrap();
        assert!(read(&service, &digest).await.unwrap() == data());
    }
}
