//! The service: answers questions, and opens readers and writers.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use castore_core::{BlobIndex, BlobReader, BlobService, BlobWriter, Digest, Result};
use redb::Database;

use crate::read::{Source, load_index};
use crate::storage::Storage;
use crate::write::Sink;

/// The size of redb's cache, in bytes. redb keeps the changes of a transaction in up to half of the
/// cache, so a few batches of a writer should fit.
const CACHE_SIZE: usize = 64 * 1024 * 1024;

/// Blobs in a redb database. Clones share the database.
#[derive(Debug, Clone)]
pub struct RedbBlobService {
    storage: Arc<Storage>,
}

impl RedbBlobService {
    /// Opens a service over the database file at `path`, and creates the file if needed.
    ///
    /// # Errors
    /// `Unavailable` if the file is already open, in this process or another, or cannot be created;
    /// `Corrupt` if it is no database.
    pub async fn open(path: impl Into<PathBuf>) -> Result<RedbBlobService> {
        const OPEN: &str = "open the database";
        let path = path.into();
        let opener = move || Database::builder().set_cache_size(CACHE_SIZE).create(&path);
        let storage = Arc::new(Storage::new(opener));
        // Opens the database now, so that the caller learns of a bad file at once.
        storage.run(OPEN, |storage| storage.with(OPEN, |_| Ok(()))).await?;
        Ok(RedbBlobService::new(storage))
    }

    /// A service over `storage`, which other services may share.
    pub fn new(storage: Arc<Storage>) -> RedbBlobService {
        RedbBlobService { storage }
    }
}

#[async_trait]
impl BlobService for RedbBlobService {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        Ok(self.chunks(digest).await?.is_some())
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        let digest = *digest;
        self.storage.run("read an index", move |storage| load_index(storage, &digest)).await
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        let index = self.chunks(digest).await?;
        Ok(index.map(|index| BlobReader::new(Source::new(Arc::clone(&self.storage), index))))
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        Ok(BlobWriter::new(Sink::new(Arc::clone(&self.storage))))
    }
}
