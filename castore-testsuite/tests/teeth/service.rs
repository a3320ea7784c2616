//! The blob service: fetches the index of a blob, and opens readers and writers.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{
    BlobIndex, BlobReader, BlobService, BlobStat, BlobWriter, BoxStream, ChunkMeta, Digest, Error,
    ErrorKind, Result,
};
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::chunk::Blob;
use crate::flaw::Flaw;
use crate::harness::Kind;
use crate::index::{ENTRY_SIZE, decode};
use crate::records::{Records, blob_name, chunk_name, locked};
use crate::sink::Sink;
use crate::source::Source;
use crate::store::Store;

/// The service. The readers and writers work without it, through their [`Store`].
#[derive(Debug)]
pub(crate) struct Service {
    store: Store,
    /// Dropped with the service, for `WritersDieWithTheirService` and `ReadersDieWithTheirService`.
    handle: Arc<()>,
}

impl Service {
    pub(crate) fn open(kind: Kind, records: Arc<Records>) -> Service {
        let store = Store::new(kind, records);
        if store.is(Flaw::RecoversUnclosed) {
            store.publish_all_of("unclosed");
        }
        if store.is(Flaw::OpeningCleansUp) {
            store.delete_unlisted();
        }
        Service { store, handle: Arc::new(()) }
    }
}

#[async_trait]
impl BlobService for Service {
    async fn has(&self, digest: &Digest) -> Result<bool> {
        let store = &self.store;
        if store.is(Flaw::ShowsUnclosed) && locked(&store.memory.digests).contains(digest) {
            return Ok(true);
        }
        Ok(store.index(digest).await?.is_some())
    }

    async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        let index = self.store.index(digest).await?;
        if self.store.is(Flaw::PanicsOnAbsent) {
            assert!(index.is_some(), "the blob {digest} is absent");
        }
        match index {
            Some(index) if self.store.is(Flaw::ListsWrongDigests) && index.len() > 1 => {
                let wrong = index.iter().map(|chunk| {
                    let digest = Digest::of(chunk.digest.as_bytes());
                    ChunkMeta { digest, ..chunk }
                });
                Ok(BlobIndex::new(*digest, wrong).ok())
            }
            Some(index) if self.store.is(Flaw::ListsTheLastChunkTwice) && index.len() > 1 => {
                let chunks = index.iter().chain(index.iter().next_back());
                Ok(BlobIndex::new(*digest, chunks).ok())
            }
            index => Ok(index),
        }
    }

    async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
        let Some(index) = self.store.index(digest).await? else {
            if self.store.is(Flaw::FailsWhereNothingIsStored) && self.store.records.all().is_empty()
            {
                return Err(Error::new(ErrorKind::Other, "open a blob", "nothing is stored"));
            }
            return Ok(None);
        };
        let index = Arc::new(index);
        let mut opened_last = locked(&self.store.memory.opened_last);
        opened_last.insert(thread::current().id(), Arc::clone(&index));
        let service = Arc::downgrade(&self.handle);
        let groups = self.store.groups(&index)?.map(Arc::new);
        let blob = Blob { store: self.store.clone(), service, index, groups };
        Ok(Some(BlobReader::new(Source::new(blob))))
    }

    async fn open_write(&self) -> Result<BlobWriter> {
        let store = &self.store;
        store.turn().await;
        if store.is(Flaw::AbortLeavesTheClose) {
            store.publish_all_of("left");
        }
        if store.is(Flaw::DroppedAbortKeepsTheLock) {
            drop(store.memory.permits.acquire().await);
        }
        let place = match store.flaw {
            Some(
                Flaw::WritersHoldPlaces
                | Flaw::ReadersAndWritersSharePlaces
                | Flaw::DroppedWriterKeepsItsPlace,
            ) => Arc::clone(&store.memory.permits).acquire_owned().await.ok(),
            _ => None,
        };
        let number = store.memory.writers.fetch_add(1, Ordering::Relaxed);
        let service = Arc::downgrade(&self.handle);
        Ok(BlobWriter::new(Sink::new(store.clone(), service, number, place)))
    }

    async fn has_many(&self, digests: &[Digest]) -> Result<Vec<bool>> {
        let mut answers = Vec::new();
        for digest in digests {
            answers.push(self.has(digest).await?);
        }
        if self.store.is(Flaw::SortsItsAnswers) {
            answers.sort_by(|a, b| b.cmp(a));
        }
        Ok(answers)
    }

    async fn stat(&self, digest: &Digest) -> Result<Option<BlobStat>> {
        let size = self.store.index(digest).await?.map(|index| match self.store.flaw {
            Some(Flaw::KeepsSizesIn20Bits) => index.size() % (1 << 20),
            _ => index.size(),
        });
        Ok(size.map(|size| BlobStat::new(*digest, size)))
    }

    async fn put_reader(&self, reader: &mut (dyn AsyncRead + Send + Unpin)) -> Result<Digest> {
        let mut writer = self.open_write().await?;
        let mut bytes = Vec::new();
        let read = match self.store.flaw {
            Some(Flaw::StoresTheFirstMegabyte) => {
                reader.take(1 << 20).read_to_end(&mut bytes).await
            }
            _ => reader.read_to_end(&mut bytes).await,
        };
        if let Err(error) = read
            && !self.store.is(Flaw::StoresFailedInput)
        {
            return Err(Error::of_input(error));
        }
        writer.write_bytes(bytes.into()).await?;
        writer.close().await
    }

    async fn get_bytes(&self, digest: &Digest, limit: u64) -> Result<Option<Bytes>> {
        if self.store.is(Flaw::GetsBytesUnproven)
            && let Some(index) = self.store.index(digest).await?
            && index.size() <= limit
        {
            let mut bytes = Vec::new();
            for chunk in index.iter() {
                let stored = self.store.fetch(&chunk_name(&chunk.digest)).await?;
                bytes.extend(stored.into_iter().flatten());
            }
            return Ok(Some(bytes.into()));
        }
        let Some(reader) = self.open_read(digest).await? else { return Ok(None) };
        let end = match reader.size() {
            size if size <= limit => size,
            _ if self.store.is(Flaw::CutsAtTheLimit) => limit,
            _ => {
                let message = "the blob is larger than the limit";
                return Err(Error::new(ErrorKind::InvalidInput, "get a blob", message));
            }
        };
        let mut pieces: Vec<Bytes> = reader.read_range(0..end).try_collect().await?;
        if self.store.is(Flaw::GetsTheFirstPiece) {
            pieces.truncate(1);
        }
        Ok(Some(pieces.concat().into()))
    }

    fn list(&self) -> BoxStream<Result<Digest>> {
        let mut digests = Vec::new();
        for (name, record) in self.store.records.all() {
            let (kind, digest) = name.split_once('/').unwrap_or_default();
            let Ok(digest) = digest.parse() else { continue };
            let times = match kind {
                "blob" if self.store.is(Flaw::ListsBlobsPerChunk) => record.len() / ENTRY_SIZE,
                "blob" if self.store.is(Flaw::RemovesForItselfOnly) => {
                    usize::from(!locked(&self.store.memory.digests).contains(&digest))
                }
                "blob" => 1,
                "chunk" if self.store.is(Flaw::ListsChunksAsBlobs) => {
                    usize::from(record.len() < 100_000)
                }
                _ => 0,
            };
            digests.extend(std::iter::repeat_n(digest, times));
        }
        stream::iter(digests.into_iter().map(Ok)).boxed()
    }

    async fn remove(&self, digest: &Digest) -> Result<bool> {
        let store = &self.store;
        let name = blob_name(digest);
        let Some(record) = store.records.get(&name)? else {
            return Ok(store.is(Flaw::RemovesAbsentBlobs));
        };
        if store.is(Flaw::RemovesForItselfOnly) {
            return Ok(locked(&store.memory.digests).insert(*digest));
        }
        if store.is(Flaw::RemovesSharedChunks)
            && let Ok(index) = decode(*digest, &record)
        {
            for chunk in index.iter() {
                store.records.replace(&chunk_name(&chunk.digest), None);
            }
        }
        store.records.replace(&name, None);
        Ok(true)
    }

    async fn get_chunk(&self, chunk: &Digest) -> Result<Option<Bytes>> {
        let gives = self.store.is(Flaw::GivesWrongChunks);
        Ok(gives.then(|| Bytes::copy_from_slice(chunk.as_bytes())))
    }

    async fn has_chunk(&self, _: &Digest) -> Result<bool> {
        Ok(self.store.is(Flaw::HasAnyChunk))
    }
}

impl Store {
    /// The stored index of a blob.
    pub(crate) async fn index(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
        if *digest == Digest::EMPTY && !self.is(Flaw::EmptyBlobOnlyWhereWritten) {
            return Ok(Some(BlobIndex::empty()));
        }
        if self.is(Flaw::BoundToItsThread) && thread::current().id() != self.memory.opened_on {
            return Ok(None);
        }
        if self.is(Flaw::WritesIndexesBehind) || self.is(Flaw::HasBlobsTooEarly) {
            let index = locked(&self.memory.indexes).get(digest).cloned();
            if index.is_some() {
                return Ok(index);
            }
        }
        if self.is(Flaw::RemembersAbsence) && locked(&self.memory.digests).contains(digest) {
            return Ok(None);
        }
        if self.is(Flaw::OneDamageStopsAll) {
            self.decode_all()?;
        }
        let name = blob_name(digest);
        if self.is(Flaw::TakesAFailedSecondLookForAbsence) {
            // The first look asks whether the record exists, and the second fetches it.
            self.fetch(&name).await?;
            if self.fetch(&name).await.is_err() {
                return Ok(None);
            }
        }
        let fetch = self.fetch(&name);
        let record = match self.locking(Flaw::DroppedQuestionKeepsTheLock, fetch).await {
            Err(_) if self.is(Flaw::SaysAbsentOnFailure) => None,
            fetched => fetched?,
        };
        let Some(record) = record else {
            if self.is(Flaw::RemembersAbsence) {
                locked(&self.memory.digests).insert(*digest);
            }
            return Ok(self.chunk_as_index(digest));
        };
        if self.is(Flaw::TakesEmptyRecordsForAbsent) && record.is_empty() {
            return Ok(None);
        }
        if self.is(Flaw::PanicsOnHalfAnEntry) {
            assert!(record.len().is_multiple_of(ENTRY_SIZE), "the index has half an entry");
        }
        if self.is(Flaw::CountsChunksInAByte) && record.len() / ENTRY_SIZE > 255 {
            return decode(*digest, &record[..record.len() / ENTRY_SIZE % 256 * ENTRY_SIZE])
                .map(Some);
        }
        match decode(*digest, &record) {
            Err(_) if self.is(Flaw::SaysAbsentForDamage) => Ok(None),
            decoded => self.with_groups(decoded?, &record).map(Some),
        }
    }

    /// A chunk as the index of a blob that consists of it: only for `TakesChunksForBlobs`.
    fn chunk_as_index(&self, digest: &Digest) -> Option<BlobIndex> {
        if !self.is(Flaw::TakesChunksForBlobs) {
            return None;
        }
        let chunk = self.records.get(&chunk_name(digest)).ok().flatten()?;
        BlobIndex::new(*digest, [ChunkMeta { digest: *digest, size: chunk.len() as u64 }]).ok()
    }

    /// Publishes the indexes under `directory`, for some flaws.
    fn publish_all_of(&self, directory: &str) {
        for (name, record) in self.records.all() {
            if let Some(digest) = name.strip_prefix(directory).and_then(|n| n.strip_prefix('/')) {
                self.records.replace(&format!("blob/{digest}"), Some(record));
            }
        }
    }

    /// Deletes the chunks that no index lists, for `OpeningCleansUp`.
    fn delete_unlisted(&self) {
        let all = self.records.all();
        let indexes = all.iter().filter_map(|(name, record)| {
            let digest = name.strip_prefix("blob/")?.parse().ok()?;
            decode(digest, record).ok()
        });
        let listed: BTreeSet<String> = indexes
            .flat_map(|index| {
                index.iter().map(|chunk| chunk_name(&chunk.digest)).collect::<Vec<_>>()
            })
            .collect();
        for name in all.keys().filter(|name| name.starts_with("chunk/")) {
            if !listed.contains(name) {
                self.records.replace(name, None);
            }
        }
    }

    /// Fails if any index of the storage is damaged, for `OneDamageStopsAll`.
    fn decode_all(&self) -> Result<()> {
        for (name, record) in self.records.all() {
            let digest = name.strip_prefix("blob/").and_then(|digest| digest.parse().ok());
            if let Some(digest) = digest {
                decode(digest, &record)?;
            }
        }
        Ok(())
    }
}
