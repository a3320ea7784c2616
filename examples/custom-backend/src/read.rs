//! Reading a blob: its index, then chunk after chunk, none of which is believed.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobSource, ChunkMeta, Digest, Error, ErrorKind, Result};
use castore_proto::MAX_INDEX_SIZE;
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::storage::{BLOBS, CHUNKS, Storage};

const INDEX: &str = "read an index";
const CHUNK: &str = "read a chunk";
const BLOB: &str = "read a blob";

/// The index of the blob `digest`, or `None` where the blob is absent.
///
/// # Errors
/// Those of the storage; `Corrupt` where what is stored is no index of the blob.
pub fn load_index(storage: &Storage, digest: &Digest) -> Result<Option<BlobIndex>> {
    if *digest == Digest::EMPTY {
        return Ok(Some(BlobIndex::empty()));
    }
    let Some(stored) = storage.get(INDEX, BLOBS, digest)? else { return Ok(None) };
    let corrupt = |why| Error::new(ErrorKind::Corrupt, INDEX, why).with_digest(*digest);
    if stored.value().len() as u64 > MAX_INDEX_SIZE {
        return Err(corrupt("it is too large"));
    }
    match castore_proto::decode(digest, stored.value()) {
        Ok(Some(index)) => Ok(Some(index)),
        // Some writers of the format leave out the only chunk of a blob; ours does not.
        Ok(None) => Err(corrupt("it lists no chunks")),
        Err(error) => Err(corrupt("it is malformed").with_source(error)),
    }
}

/// The bytes of `chunk`, once they have proved to be that chunk.
fn load_chunk(storage: &Storage, chunk: ChunkMeta) -> Result<Bytes> {
    let corrupt = |why| Error::new(ErrorKind::Corrupt, CHUNK, why).with_digest(chunk.digest);
    let stored = storage.get(CHUNK, CHUNKS, &chunk.digest)?;
    let stored = stored.ok_or_else(|| corrupt("it is missing"))?;
    if stored.value().len() as u64 != chunk.size {
        return Err(corrupt("it has another size than its index says"));
    }
    if Digest::of(stored.value()) != chunk.digest {
        return Err(corrupt("its bytes have another digest"));
    }
    Ok(Bytes::copy_from_slice(stored.value()))
}

/// What reads one blob.
#[derive(Debug)]
pub struct Source {
    storage: Arc<Storage>,
    index: Arc<BlobIndex>,
}

impl Source {
    /// A source of the blob of `index`, the chunks of which are in `storage`.
    pub fn new(storage: Arc<Storage>, index: BlobIndex) -> Source {
        Source { storage, index: Arc::new(index) }
    }
}

impl BlobSource for Source {
    fn size(&self) -> u64 {
        self.index.size()
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        let reading = Reading::new(Arc::clone(&self.index), range);
        let state = (Arc::clone(&self.storage), reading);
        stream::try_unfold(state, |(storage, mut reading)| async move {
            let work = move |storage: &Storage| Ok((reading.next(storage)?, reading));
            let (piece, reading) = storage.run(CHUNK, work).await?;
            Ok(piece.map(|piece| (piece, (storage, reading))))
        })
        .boxed()
    }
}

/// A range of a blob on its way out.
pub struct Reading {
    index: Arc<BlobIndex>,
    range: Range<u64>,
    /// The chunks that are still to come, by their positions.
    numbers: Range<usize>,
    /// Of the bytes so far, where the range is the whole blob.
    hasher: Option<blake3::Hasher>,
}

impl Reading {
    /// The bytes of `range`, none of which is out yet.
    pub fn new(index: Arc<BlobIndex>, range: Range<u64>) -> Reading {
        let numbers = index.covering(range.clone());
        let is_whole = range == (0..index.size());
        Reading { index, range, numbers, hasher: is_whole.then(blake3::Hasher::new) }
    }

    /// The next piece of the range, `None` at its end: what the range has of the next chunk.
    ///
    /// # Errors
    /// Those of the storage; `Corrupt` where what is stored is not the blob.
    pub fn next(&mut self, storage: &Storage) -> Result<Option<Bytes>> {
        let Some(number) = self.numbers.next() else { return Ok(None) };
        let chunk = self.index.get(number).expect("covering() gives chunks of the index");
        let held = self.index.chunk_range(number).expect("it has this chunk");
        let bytes = load_chunk(storage, chunk)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
            // An index may list the wrong chunks, each of them right in itself. Only the digest of
            // the whole can tell, so that the last piece waits for it.
            let digest = self.index.digest();
            if self.numbers.is_empty() && Digest::from(hasher.finalize()) != digest {
                let why = "its index lists the wrong chunks";
                return Err(Error::new(ErrorKind::Corrupt, BLOB, why).with_digest(digest));
            }
        }
        let start = self.range.start.max(held.start) - held.start;
        let end = self.range.end.min(held.end) - held.start;
        Ok(Some(bytes.slice(start as usize..end as usize)))
    }
}

impl fmt::Debug for Reading {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reading").field("range", &self.range).finish_non_exhaustive()
    }
}
