//! The obvious implementation, with which castore is compared.
//!
//! A programmer would write this in an afternoon: the `fastcdc` crate cuts; each chunk in turn is
//! digested, looked up, compressed by a streaming encoder and stored; the index, as JSON, comes
//! last. A read fetches one chunk after another, decompresses it as a stream and verifies its
//! digest. There is one thread, and one request at a time.
//!
//! The format is the same as castore's: chunk sizes, level and keys. Only the execution differs.

use std::io::{Read, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use anyhow::{Context as _, Result, ensure};
use async_trait::async_trait;
use bytes::Bytes;
use castore_core::Digest;
use fastcdc::v2020::FastCDC;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt};
use serde::{Deserialize, Serialize};

use crate::job::Requests;
use crate::subject::{Opened, Subject};

/// The chunk sizes are castore's defaults, so that both store the same chunks.
const MIN: usize = 128 << 10;
const AVERAGE: usize = 256 << 10;
const MAX: usize = 512 << 10;

const LEVEL: i32 = 3;

/// The implementation, over any object store.
#[derive(Clone)]
pub(crate) struct Reference {
    store: Arc<dyn ObjectStore>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    head: AtomicU64,
    get: AtomicU64,
    put: AtomicU64,
}

#[derive(Serialize, Deserialize)]
struct Index {
    chunks: Vec<Chunk>,
}

#[derive(Serialize, Deserialize)]
struct Chunk {
    digest: String,
    size: u64,
}

impl Reference {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Reference {
        Reference { store, counts: Arc::default() }
    }

    async fn put_chunk(&self, chunk: &[u8]) -> Result<Chunk> {
        let digest = blake3::hash(chunk).to_hex().to_string();
        let path = chunk_path(&digest);
        self.counts.head.fetch_add(1, Relaxed);
        match self.store.head(&path).await {
            Ok(_) => {}
            Err(StoreError::NotFound { .. }) => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), LEVEL)?;
                encoder.write_all(chunk)?;
                let stored = encoder.finish()?;
                self.counts.put.fetch_add(1, Relaxed);
                self.store.put(&path, stored.into()).await?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(Chunk { digest, size: chunk.len() as u64 })
    }

    async fn get(&self, path: &Path) -> Result<Bytes> {
        self.counts.get.fetch_add(1, Relaxed);
        Ok(self.store.get(path).await?.bytes().await?)
    }

    async fn get_chunk(&self, chunk: &Chunk) -> Result<Vec<u8>> {
        let stored = self.get(&chunk_path(&chunk.digest)).await?;
        let mut decoder = zstd::stream::read::Decoder::new(&stored[..])?;
        let mut bytes = Vec::new();
        decoder.read_to_end(&mut bytes)?;
        ensure!(blake3::hash(&bytes).to_hex().as_str() == chunk.digest, "a chunk is corrupt");
        Ok(bytes)
    }

    async fn get_index(&self, digest: Digest) -> Result<Index> {
        let stored = self.get(&index_path(&digest.to_string())).await?;
        serde_json::from_slice(&stored).context("the index is malformed")
    }
}

fn chunk_path(digest: &str) -> Path {
    Path::from(format!("chunks/b3/{}/{digest}", &digest[..4]))
}

fn index_path(digest: &str) -> Path {
    Path::from(format!("blobs/b3/{}/{digest}", &digest[..4]))
}

#[async_trait]
impl Subject for Reference {
    async fn put(&self, mut pieces: Box<dyn Iterator<Item = Bytes> + Send>) -> Result<Digest> {
        let mut whole = blake3::Hasher::new();
        let mut chunks = Vec::new();
        let mut buffer = Vec::new();
        loop {
            let piece = pieces.next();
            let is_last = piece.is_none();
            if let Some(piece) = piece {
                whole.update(&piece);
                buffer.extend_from_slice(&piece);
            }
            let mut done = 0;
            while done < buffer.len() && (is_last || buffer.len() - done >= MAX) {
                let cut = FastCDC::new(&buffer[done..], MIN, AVERAGE, MAX).next();
                let length = cut.context("there is a chunk in what is not empty")?.length;
                chunks.push(self.put_chunk(&buffer[done..done + length]).await?);
                done += length;
            }
            buffer.drain(..done);
            if is_last {
                break;
            }
        }
        let digest = Digest::from_bytes(*whole.finalize().as_bytes());
        let index = serde_json::to_vec(&Index { chunks })?;
        self.counts.put.fetch_add(1, Relaxed);
        self.store.put(&index_path(&digest.to_string()), index.into()).await?;
        Ok(digest)
    }

    async fn read(&self, digest: Digest, mut expected: &[u8]) -> Result<()> {
        let mut whole = blake3::Hasher::new();
        for chunk in &self.get_index(digest).await?.chunks {
            let bytes = self.get_chunk(chunk).await?;
            whole.update(&bytes);
            let (head, tail) = expected.split_at(bytes.len().min(expected.len()));
            ensure!(bytes == head, "other bytes came back");
            expected = tail;
        }
        ensure!(expected.is_empty(), "{} bytes too few came back", expected.len());
        ensure!(Digest::from_bytes(*whole.finalize().as_bytes()) == digest, "the blob is corrupt");
        Ok(())
    }

    async fn open(&self, digest: Digest) -> Result<Box<dyn Opened>> {
        let index = self.get_index(digest).await?;
        Ok(Box::new(Blob { reference: self.clone(), index }))
    }

    async fn chunks(&self, digest: Digest) -> Result<u64> {
        Ok(self.get_index(digest).await?.chunks.len() as u64)
    }

    fn requests(&self) -> Requests {
        let Counts { head, get, put } = &*self.counts;
        Requests { head: head.load(Relaxed), get: get.load(Relaxed), put: put.load(Relaxed) }
    }
}

struct Blob {
    reference: Reference,
    index: Index,
}

#[async_trait]
impl Opened for Blob {
    async fn read_range(&self, range: Range<u64>, expected: &[u8]) -> Result<()> {
        let mut bytes = Vec::new();
        let mut start = 0;
        for chunk in &self.index.chunks {
            let end = start + chunk.size;
            if start < range.end && range.start < end {
                let chunk = self.reference.get_chunk(chunk).await?;
                let from = range.start.max(start) - start;
                let to = range.end.min(end) - start;
                bytes.extend_from_slice(&chunk[from as usize..to as usize]);
            }
            start = end;
        }
        ensure!(bytes == expected, "other bytes came back");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use castore_chunker::{ChunkParams, cut_points};
    use object_store::memory::InMemory;

    use super::*;
    use crate::subject::pieces;

    #[tokio::test]
    async fn written_blobs_are_read_back_and_chunks_are_castores() {
        let mut data = vec![0; 3_000_000];
        blake3::Hasher::new().update(b"reference").finalize_xof().fill(&mut data);
        let data = Bytes::from(data);
        let reference = Reference::new(Arc::new(InMemory::new()));
        let digest = reference.put(pieces(data.clone())).await.unwrap();
        assert_eq!(digest, Digest::of(&data));

        let count = cut_points(&data, ChunkParams::default()).count() as u64;
        assert_eq!(reference.chunks(digest).await.unwrap(), count);
        assert_eq!(reference.requests().head, count);
        assert_eq!(reference.requests().put, count + 1);

        reference.read(digest, &data).await.unwrap();
        assert!(reference.read(digest, &data[1..]).await.is_err());
        let opened = reference.open(digest).await.unwrap();
        opened.read_range(900_000..2_000_000, &data[900_000..2_000_000]).await.unwrap();
        assert!(opened.read_range(0..10, &data[1..11]).await.is_err());

        let again = Reference::new(Arc::clone(&reference.store));
        again.put(pieces(data)).await.unwrap();
        assert_eq!(again.requests().put, 1, "only the index");
    }
}
