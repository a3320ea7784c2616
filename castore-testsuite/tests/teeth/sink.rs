//! Writing a blob: each whole chunk is stored at once, the rest and the index by `close`.

use std::mem;
use std::sync::Weak;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use bytes::{Buf, Bytes, BytesMut};
use castore_core::groups::GroupHasher;
use castore_core::{BlobIndex, BlobSink, ChunkMeta, Digest, Error, ErrorKind, Result};
use tokio::sync::OwnedSemaphorePermit;

use crate::flaw::Flaw;
use crate::index::encode;
use crate::records::{blob_name, chunk_name, locked};
use crate::store::Store;

/// Every blob is divided into chunks of this many bytes; the last may be shorter.
const CHUNK_SIZE: usize = 192 * 1024;

/// The bytes that the writer gathers before each write: no chunk is a multiple of this, so writes
/// begin and end anywhere in chunks.
const WRITE_SIZE: usize = 50_000;

/// A block of BLAKE3, in bytes, for `DigestsShortBlobsPadded`.
const BLOCK_SIZE: usize = 64;

pub(crate) struct Sink {
    store: Store,
    /// The service that opened the sink, while it exists.
    service: Weak<()>,
    /// The numbers of writers opened before this one, and of aborts that it knows of.
    number: usize,
    aborts: usize,
    place: Option<OwnedSemaphorePermit>,
    hasher: blake3::Hasher,
    /// Has the bytes so far if the service stores group hashes.
    groups: Option<GroupHasher>,
    /// The stored chunks, and the bytes after them.
    chunks: Vec<ChunkMeta>,
    buffer: BytesMut,
    /// The digest under which the flaws `ShowsUnclosed` and `RecoversUnclosed` publish it.
    unclosed: Option<Digest>,
    /// Whether the sink was closed or aborted, or has failed.
    ended: bool,
    /// Whether `close` was called.
    closing: bool,
    /// The records that this sink created, for `SyncsOnlyNewChunks`.
    new: Vec<String>,
}

impl Sink {
    pub(crate) fn new(
        store: Store,
        service: Weak<()>,
        number: usize,
        place: Option<OwnedSemaphorePermit>,
    ) -> Sink {
        store.memory.open_writers.fetch_add(1, Ordering::Relaxed);
        let aborts = store.memory.aborts.load(Ordering::Relaxed);
        let groups = store.proves.then(GroupHasher::new);
        Sink {
            store,
            service,
            number,
            aborts,
            place,
            hasher: blake3::Hasher::new(),
            groups,
            chunks: Vec::new(),
            buffer: BytesMut::new(),
            unclosed: None,
            ended: false,
            closing: false,
            new: Vec::new(),
        }
    }
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.hasher.update(&data);
        if let Some(groups) = &mut self.groups {
            groups.update(&data);
        }
        self.clear_buffer();
        let data = self.stored_for(data);
        self.exchange_buffer();
        self.buffer.extend_from_slice(&data);
        let stored = self.store_whole_chunks().await;
        self.ended = stored.is_err();
        if self.ended && self.is(Flaw::FailureDeletesSharedChunks) {
            self.take_chunks_along();
        }
        stored?;
        self.exchange_buffer();
        self.show_unclosed();
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        self.ended = true;
        self.closing = true;
        self.hide_unclosed();
        let published = self.publish().await;
        if published.is_err() && self.is(Flaw::FailureDeletesSharedChunks) {
            self.take_chunks_along();
        }
        published
    }

    async fn abort(&mut self) {
        self.ended = true;
        self.hide_unclosed();
        self.store.locking(Flaw::DroppedAbortKeepsTheLock, self.store.turn()).await;
        self.store.memory.aborts.fetch_add(1, Ordering::Relaxed);
        if self.is(Flaw::PublishesOnAbort) {
            self.publish_unclosed("blob");
        }
        if self.is(Flaw::AbortLeavesTheClose) && self.closing {
            self.publish_unclosed("left");
        }
        if self.is(Flaw::AbortDeletesSharedChunks) {
            self.take_chunks_along();
        }
        if self.is(Flaw::AbortReturnsTooEarly) {
            let store = self.store.clone();
            let (digest, rest) = (self.digest(), mem::take(&mut self.buffer).freeze());
            tokio::spawn(async move {
                tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                let _ = store.store_chunk(digest, &rest).await;
            });
        }
    }

    fn preferred_write_size(&self) -> usize {
        WRITE_SIZE
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if self.is(Flaw::PublishesOnDrop) && !self.ended {
            self.publish_unclosed("blob");
        }
        if self.is(Flaw::DropDeletesSharedChunks) && !self.ended {
            self.take_chunks_along();
        }
        if self.is(Flaw::ShowsUnclosed) {
            self.hide_unclosed();
        }
        if self.is(Flaw::DroppedWriterKeepsItsPlace) && !self.ended {
            let _ = self.place.take().map(OwnedSemaphorePermit::forget);
        }
        if self.is(Flaw::MixesWriters) {
            locked(&self.store.memory.buffers)[self.number % 8].clear();
        }
        self.store.memory.open_writers.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Sink {
    fn is(&self, flaw: Flaw) -> bool {
        self.store.is(flaw)
    }

    /// The digest of the bytes so far.
    fn digest(&self) -> Digest {
        Digest::from_bytes(*self.hasher.finalize().as_bytes())
    }

    /// The bytes to store for the written ones: other bytes with some flaws.
    fn stored_for(&mut self, mut data: Bytes) -> Bytes {
        if self.is(Flaw::LargeWritesOvertake) && data.len() >= 1 << 20 {
            data = [&data[..], &mem::take(&mut self.buffer)[..]].concat().into();
        }
        if self.is(Flaw::CutsLargeWrites) {
            data.truncate(8 << 20);
        }
        if self.is(Flaw::LosesByteAfterAnEdge) && self.buffer.is_empty() && !self.chunks.is_empty()
        {
            data.advance(1);
        }
        if self.is(Flaw::LosesWhatCrossesAnEdge) && !self.buffer.is_empty() {
            data.truncate(CHUNK_SIZE - self.buffer.len());
        }
        data
    }

    /// Exchanges the buffer for a shared one, for `MixesWriters`.
    fn exchange_buffer(&mut self) {
        if self.is(Flaw::MixesWriters) {
            let mut buffers = locked(&self.store.memory.buffers);
            mem::swap(&mut buffers[self.number % 8], &mut self.buffer);
        }
    }

    /// Clears the buffer after an abort, for `AbortClearsAllBuffers`.
    fn clear_buffer(&mut self) {
        let aborts = self.store.memory.aborts.load(Ordering::Relaxed);
        if self.is(Flaw::AbortClearsAllBuffers) && self.aborts != aborts {
            self.buffer.clear();
            self.aborts = aborts;
        }
    }

    async fn store_whole_chunks(&mut self) -> Result<()> {
        while self.buffer.len() >= CHUNK_SIZE {
            let chunk = self.buffer.split_to(CHUNK_SIZE).freeze();
            self.store_chunk(&chunk).await?;
        }
        Ok(())
    }

    /// Stores a chunk, and adds it to the list.
    async fn store_chunk(&mut self, chunk: &Bytes) -> Result<()> {
        let digest = Digest::of(chunk);
        let number = self.chunks.len();
        self.chunks.push(ChunkMeta { digest, size: chunk.len() as u64 });
        if self.is(Flaw::SyncsOnlyNewChunks) && !self.store.records.contains(&chunk_name(&digest)) {
            self.new.push(chunk_name(&digest));
        }
        if self.is(Flaw::CountsARunOnce) {
            let run = self.chunks.iter().rev().take_while(|chunk| chunk.digest == digest).count();
            if run > 100 {
                self.chunks.pop();
            }
        }
        match self.store.store_chunk(digest, chunk).await {
            Err(_) if self.is(Flaw::SwallowsLateFailures) && number >= 10 => {}
            stored => stored?,
        }
        if self.is(Flaw::PublishesEachWholeChunk) && chunk.len() == CHUNK_SIZE {
            self.publish_whole_chunks();
        }
        Ok(())
    }

    /// Publishes the chunks so far as a blob, for `PublishesEachWholeChunk`.
    fn publish_whole_chunks(&self) {
        let mut whole = blake3::Hasher::new();
        let records = self.store.records.all();
        for chunk in &self.chunks {
            whole.update(records.get(&chunk_name(&chunk.digest)).map_or(&[][..], |bytes| bytes));
        }
        let digest = Digest::from_bytes(*whole.finalize().as_bytes());
        if let Ok(index) = BlobIndex::new(digest, self.chunks.iter().copied()) {
            self.store.records.replace(&blob_name(&digest), Some(encode(&index, &[])));
        }
    }

    /// Deletes the chunks of this writer, even those that others use.
    fn take_chunks_along(&self) {
        for chunk in &self.chunks {
            self.store.records.replace(&chunk_name(&chunk.digest), None);
        }
    }

    /// The index of the blob. The last bytes are `tail`, which is not stored yet.
    fn index(&self, tail: &[u8]) -> Result<BlobIndex> {
        let digest = Digest::of(tail);
        let tail = (!tail.is_empty()).then_some(ChunkMeta { digest, size: tail.len() as u64 });
        BlobIndex::new(self.digest(), self.chunks.iter().copied().chain(tail)).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, "close", "no index lists such chunks")
                .with_source(error)
        })
    }

    /// Publishes the bytes so far under `directory`, where no regular look finds them.
    fn publish_unclosed(&self, directory: &str) -> Digest {
        let records = &self.store.records;
        let digest = self.digest();
        if let Ok(index) = self.index(&self.buffer) {
            let tail = Bytes::copy_from_slice(&self.buffer);
            records.replace(&chunk_name(&Digest::of(&tail)), Some(tail));
            records.replace(&format!("{directory}/{digest}"), Some(encode(&index, &[])));
        }
        digest
    }

    /// Publishes an unclosed blob after each write, for some flaws.
    fn show_unclosed(&mut self) {
        if self.is(Flaw::PublishesOnWrite) {
            self.publish_unclosed("blob");
        }
        if self.is(Flaw::ShowsUnclosed) {
            self.hide_unclosed();
            self.unclosed = Some(self.digest());
            locked(&self.store.memory.digests).insert(self.digest());
        }
        if self.is(Flaw::RecoversUnclosed) {
            self.hide_unclosed();
            self.unclosed = Some(self.publish_unclosed("unclosed"));
        }
    }

    fn hide_unclosed(&mut self) {
        if let Some(digest) = self.unclosed.take() {
            locked(&self.store.memory.digests).remove(&digest);
            self.store.records.replace(&format!("unclosed/{digest}"), None);
        }
    }

    async fn publish(&mut self) -> Result<Digest> {
        let mut digest = self.digest();
        if self.is(Flaw::RefusesEmptyBlob) && digest == Digest::EMPTY {
            return Err(Error::new(ErrorKind::InvalidInput, "close", "nothing was written"));
        }
        if self.is(Flaw::WritersDieWithTheirService) && self.service.strong_count() == 0 {
            return Err(Error::new(ErrorKind::Other, "close", "the service is gone"));
        }
        let is_exclusive = self.is(Flaw::ConflictsWithItsTwin);
        let _claim = is_exclusive.then(|| self.store.records.claim(digest)).transpose()?;

        self.clear_buffer();
        self.exchange_buffer();
        let mut tail = mem::take(&mut self.buffer).freeze();
        if self.is(Flaw::DigestsShortBlobsPadded)
            && self.chunks.is_empty()
            && (1..BLOCK_SIZE).contains(&tail.len())
        {
            digest = Digest::of(&[&tail, &[0; BLOCK_SIZE][tail.len()..]].concat());
        }
        if self.is(Flaw::PublishesTheIndexFirst) {
            self.store.store_index(self.index(&tail)?).await?;
        }
        if self.is(Flaw::LosesLastWholeChunk) && tail.is_empty() {
            self.chunks.pop();
        }
        if self.is(Flaw::DropsLoneLastByte) && tail.len() == 1 && !self.chunks.is_empty() {
            tail.clear();
        }
        if !tail.is_empty() {
            self.store_chunk(&tail).await?;
        }
        let mut index = self.index(&[])?;
        if let Some(groups) = self.groups.take().and_then(|hasher| hasher.finish().groups) {
            index = index.with_groups(groups).expect("the bytes of both are the same");
        }
        let names: Vec<String> = match self.store.flaw {
            Some(Flaw::SyncsTheIndexOnly) => Vec::new(),
            Some(Flaw::SyncsOnlyNewChunks) => mem::take(&mut self.new),
            _ => self.chunks.iter().map(|chunk| chunk_name(&chunk.digest)).collect(),
        };
        if !self.is(Flaw::SyncsTheIndexFirst) {
            self.store.sync(&names).await?;
        }
        self.store.store_index(index).await?;
        if self.is(Flaw::SyncsTheIndexFirst) {
            self.store.sync(&names).await?;
        }
        Ok(digest)
    }
}
