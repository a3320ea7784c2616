//! Reading a blob: its index, then a window of chunks that moves along the range.

use std::collections::VecDeque;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobReader, BlobSource, ChunkMeta, Digest, MAX_CHUNK_SIZE, Result};
use futures_util::future::{Either, select};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::task::JoinHandle;

use crate::codec::{DecodeError, max_stored_size};
use crate::error::{corrupt, task_error};
use crate::layout::Kind;
use crate::limits::{DIGESTED_AT_ONCE, Permit, Task, off_thread, start_off_thread};
use crate::requests::{Fetched, unreadable};
use crate::service::Shared;

const INDEX: &str = "read the index of blob";
pub(crate) const CHUNK: &str = "read chunk";
/// What a read of a whole blob fails in whose chunks are right, but are those of another.
pub(crate) const BLOB: &str = "read blob";

/// How many bytes of chunks a read fetches at once at first.
///
/// Who reads a few bytes and stops has then not fetched much more, and who reads on is at full
/// speed after a few round trips.
const FIRST_WINDOW: u64 = 4 * 1024 * 1024;

/// By so many times the bytes of each chunk that arrives there are more: four times as many with each
/// round trip.
const GROWTH: u64 = 3;

/// What the object of an index says.
pub(crate) enum Listed {
    /// There is none.
    Absent,
    /// The blob is one chunk, of unknown size.
    OneChunk,
    Chunks(BlobIndex),
}

/// The chunks of a blob. Needs the blob's chunk itself only where nothing else tells its size.
pub(crate) async fn chunks(shared: &Arc<Shared>, digest: &Digest) -> Result<Option<BlobIndex>> {
    if *digest == Digest::EMPTY {
        return Ok(Some(BlobIndex::empty()));
    }
    let listed = shared.fetch_index(digest).await?;
    if let Listed::Chunks(index) = listed {
        return Ok(Some(index));
    }
    let chunk = shared.fetch_chunk_object(digest, max_stored_size(MAX_CHUNK_SIZE)).await?;
    Ok(shared.one_chunk(digest, &listed, chunk).await?.map(|(index, _)| index))
}

/// A reader of a blob. Asks for the index, and for a chunk of the same digest beside it: so a blob
/// of one chunk takes one round trip.
pub(crate) async fn open(shared: &Arc<Shared>, digest: &Digest) -> Result<Option<BlobReader>> {
    let reader = |index, only| {
        let shared = Arc::clone(shared);
        Some(BlobReader::new(Source { shared, index: Arc::new(index), only }))
    };
    if *digest == Digest::EMPTY {
        return Ok(reader(BlobIndex::empty(), None));
    }
    let found = find(Arc::clone(shared), *digest);
    let found = shared.requests.begin(INDEX, found).await?;
    Ok(found.and_then(|(index, only)| reader(index, only)))
}

/// The index of a blob, and its bytes where they are one chunk.
async fn find(shared: Arc<Shared>, digest: Digest) -> Result<Option<(BlobIndex, Option<Bytes>)>> {
    let digest = &digest;
    let listed = pin!(shared.fetch_index(digest));
    let chunk = pin!(shared.fetch_chunk_object(digest, max_stored_size(MAX_CHUNK_SIZE)));
    // What the index says comes first: of several chunks, none is the blob's own.
    let (listed, chunk) = match select(listed, chunk).await {
        Either::Left((listed, chunk)) => (listed?, Either::Left(chunk)),
        Either::Right((chunk, listed)) => (listed.await?, Either::Right(chunk)),
    };
    let listed = match listed {
        Listed::Chunks(index) if index.len() > 1 => return Ok(Some((index, None))),
        listed => listed,
    };
    let chunk = match chunk {
        Either::Left(chunk) => chunk.await?,
        Either::Right(chunk) => chunk?,
    };
    let blob = shared.one_chunk(digest, &listed, chunk).await?;
    Ok(blob.map(|(index, only)| (index, Some(only))))
}

/// A reader of the blob of which this is the index.
pub(crate) fn reader_of(shared: &Arc<Shared>, index: Arc<BlobIndex>) -> BlobReader {
    BlobReader::new(Source { shared: Arc::clone(shared), index, only: None })
}

impl Shared {
    /// Whether the chunk is there, as a reader would find it.
    pub(crate) async fn has_chunk(&self, operation: &'static str, digest: &Digest) -> Result<bool> {
        Ok(self.is_in_place(operation, Kind::Chunk, digest).await?
            || !self.copies_aside(operation, Kind::Chunk, digest).await?.is_empty())
    }

    /// What the index of a blob says. `Corrupt` where it is malformed.
    pub(crate) async fn fetch_index(&self, digest: &Digest) -> Result<Listed> {
        let path = self.layout.blob(digest);
        let object = self.requests.get(INDEX, *digest, path, castore_proto::MAX_INDEX_SIZE).await?;
        let Some(object) = object else { return Ok(Listed::Absent) };
        let digest = *digest;
        let decoded = off_thread(INDEX, move || {
            let bytes = object.read()?;
            Ok(castore_proto::decode(&digest, &bytes))
        });
        match decoded.await?.map_err(|error| unreadable(INDEX, digest, error))? {
            Ok(Some(index)) => Ok(Listed::Chunks(index)),
            Ok(None) => Ok(Listed::OneChunk),
            Err(error) => Err(corrupt(INDEX, digest, "it is malformed").with_source(error)),
        }
    }

    /// The object of a chunk, as it is stored, or `None` where it is absent. `Corrupt` where it has
    /// more than `max_size` bytes.
    pub(crate) async fn fetch_chunk_object(
        &self,
        digest: &Digest,
        max_size: u64,
    ) -> Result<Option<Fetched>> {
        let path = self.layout.chunk(digest);
        self.requests.get(CHUNK, *digest, path, max_size).await
    }

    /// The index and the bytes of the blob that is the chunk `chunk`.
    async fn one_chunk(
        &self,
        digest: &Digest,
        listed: &Listed,
        mut chunk: Option<Fetched>,
    ) -> Result<Option<(BlobIndex, Bytes)>> {
        let size = match listed {
            Listed::Chunks(index) => Some(index.size()),
            Listed::OneChunk | Listed::Absent => None,
        };
        if chunk.is_none() && !matches!(listed, Listed::Absent) {
            let max_size = max_stored_size(size.unwrap_or(MAX_CHUNK_SIZE));
            chunk = self.fetch_from_aside(CHUNK, digest, max_size).await?;
        }
        let Some(chunk) = chunk else {
            return match listed {
                Listed::Absent => Ok(None),
                _ => Err(corrupt(CHUNK, *digest, "it is missing")),
            };
        };
        let bytes = self.decode(*digest, size, chunk).await?;
        let meta = ChunkMeta { digest: *digest, size: bytes.len() as u64 };
        let index = BlobIndex::new(*digest, [meta])
            .map_err(|error| corrupt(CHUNK, *digest, "it is no chunk").with_source(error))?;
        Ok(Some((index, bytes)))
    }

    /// The verified bytes of a chunk that an index lists.
    async fn fetch_chunk(&self, chunk: ChunkMeta) -> Result<Bytes> {
        let max_size = max_stored_size(chunk.size);
        let object = self.fetch_listed_chunk(CHUNK, &chunk.digest, max_size).await?;
        let object = object.ok_or_else(|| corrupt(CHUNK, chunk.digest, "it is missing"))?;
        self.decode(chunk.digest, Some(chunk.size), object).await
    }

    /// The stored form of a chunk that was verified, and the size of the chunk in bytes; `None` where
    /// it is absent. Of an unknown `size` any will do. One that an index lists may be set aside.
    pub(crate) async fn fetch_stored(
        &self,
        digest: Digest,
        size: Option<u64>,
        is_listed: bool,
    ) -> Result<Option<(Bytes, u64)>> {
        let max_size = max_stored_size(size.unwrap_or(MAX_CHUNK_SIZE));
        let object = match is_listed {
            true => self.fetch_listed_chunk(CHUNK, &digest, max_size).await?,
            false => self.fetch_chunk_object(&digest, max_size).await?,
        };
        let Some(object) = object else { return Ok(None) };
        let stored = match object {
            Fetched::Bytes(stored) => stored,
            file @ Fetched::File(..) => {
                let read = self.limits.compute(CHUNK, move || file.read()).await?;
                read.map_err(|error| unreadable(CHUNK, digest, error))?
            }
        };
        let chunk = self.decode(digest, size, Fetched::Bytes(stored.clone())).await?;
        Ok(Some((stored, chunk.len() as u64)))
    }

    async fn decode(&self, digest: Digest, size: Option<u64>, object: Fetched) -> Result<Bytes> {
        self.try_decode(digest, size, object).await?.map_err(|error| {
            let corrupt = corrupt(CHUNK, digest, error.to_string());
            match error {
                DecodeError::Zstd(source) | DecodeError::CutShort(source) => {
                    corrupt.with_source(source)
                }
                _ => corrupt,
            }
        })
    }

    /// The verified bytes of a chunk, or what is wrong with them; an error of ours where they cannot
    /// be read.
    pub(crate) async fn try_decode(
        &self,
        digest: Digest,
        size: Option<u64>,
        object: Fetched,
    ) -> Result<Result<Bytes, DecodeError>> {
        let codec = Arc::clone(&self.codec);
        let decoded = self.limits.compute(CHUNK, move || {
            let stored = object.read()?;
            Ok(codec.decode(&digest, size, &stored))
        });
        let decoded = decoded.await?.map_err(|error| unreadable(CHUNK, digest, error))?;
        if let Ok(bytes) = &decoded {
            self.requests.counters.bytes_read.add(bytes.len() as u64);
        }
        Ok(decoded)
    }
}

struct Source {
    shared: Arc<Shared>,
    index: Arc<BlobIndex>,
    /// The bytes of a blob of one chunk.
    only: Option<Bytes>,
}

impl BlobSource for Source {
    fn size(&self) -> u64 {
        self.index.size()
    }

    fn read_range(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        if let Some(only) = &self.only {
            let bytes = only.slice(range.start as usize..range.end as usize);
            return stream::iter([Ok(bytes)]).boxed();
        }
        let numbers = self.index.covering(range.clone());
        let whole = range == (0..self.index.size());
        let window = Window {
            shared: Arc::clone(&self.shared),
            index: Arc::clone(&self.index),
            range,
            next: numbers.start,
            end: numbers.end,
            fetching: VecDeque::new(),
            fetching_bytes: 0,
            max_bytes: FIRST_WINDOW,
            whole: whole.then(WholeDigest::default),
        };
        stream::unfold(Some(window), |window| async {
            let mut window = window?;
            match window.next().await {
                Ok(Some(bytes)) => Some((Ok(bytes), Some(window))),
                Ok(None) => None,
                Err(error) => Some((Err(error), None)),
            }
        })
        .boxed()
    }
}

/// The chunks of a range, in order, with some of them on their way.
struct Window {
    shared: Arc<Shared>,
    index: Arc<BlobIndex>,
    range: Range<u64>,
    /// The next chunk to ask for, and the first one after the range, by their positions.
    next: usize,
    end: usize,
    fetching: VecDeque<Fetching>,
    fetching_bytes: u64,
    max_bytes: u64,
    whole: Option<WholeDigest>,
}

struct Fetching {
    number: usize,
    size: u64,
    task: Task<Bytes>,
    /// None for the chunk that the reader is at: that one must come, however little memory is left.
    _permit: Option<Permit>,
}

impl Window {
    /// The bytes of the next chunk that are in the range.
    async fn next(&mut self) -> Result<Option<Bytes>> {
        self.fill();
        let Some(fetching) = self.fetching.pop_front() else { return Ok(None) };
        let bytes = fetching.task.await?;
        self.fetching_bytes -= fetching.size;
        let more = self.max_bytes + GROWTH * fetching.size;
        self.max_bytes = more.min(self.shared.limits.reading_bytes());
        self.fill();

        if let Some(whole) = &mut self.whole {
            whole.update(bytes.clone()).await?;
            // The last bytes wait until the whole has proved right.
            if fetching.number + 1 == self.index.len() {
                whole.verify(self.index.digest()).await?;
            }
        }
        let held = self.index.chunk_range(fetching.number).unwrap_or_default();
        let start = self.range.start.max(held.start) - held.start;
        let end = self.range.end.min(held.end) - held.start;
        Ok(Some(bytes.slice(start as usize..end as usize)))
    }

    /// Asks for further chunks, as many as the window and the memory hold.
    fn fill(&mut self) {
        while self.next < self.end
            && let Some(chunk) = self.index.get(self.next)
        {
            let permit = self.shared.limits.try_reading(chunk.size);
            let first = self.fetching.is_empty();
            let fits = permit.is_some() && self.fetching_bytes + chunk.size <= self.max_bytes;
            if !first && !fits {
                return;
            }
            let shared = Arc::clone(&self.shared);
            let fetch = async move { shared.fetch_chunk(chunk).await };
            let task = self.shared.requests.begin(CHUNK, fetch);
            let (number, size) = (self.next, chunk.size);
            self.fetching.push_back(Fetching { number, size, task, _permit: permit });
            self.fetching_bytes += size;
            self.next += 1;
        }
    }
}

/// The digest of a whole blob, taken while its chunks are handed out.
#[derive(Default)]
struct WholeDigest {
    hasher: blake3::Hasher,
    /// Has the hasher while it is at a large chunk.
    task: Option<JoinHandle<blake3::Hasher>>,
}

impl WholeDigest {
    async fn update(&mut self, bytes: Bytes) -> Result<()> {
        self.finish().await?;
        if bytes.len() <= DIGESTED_AT_ONCE {
            self.hasher.update(&bytes);
            return Ok(());
        }
        let mut hasher = std::mem::take(&mut self.hasher);
        self.task = Some(start_off_thread(move || {
            hasher.update(&bytes);
            hasher
        }));
        Ok(())
    }

    async fn verify(&mut self, digest: Digest) -> Result<()> {
        self.finish().await?;
        let found = Digest::from(self.hasher.finalize());
        if found != digest {
            let message = format!("the chunks that its index lists are those of {found}");
            return Err(corrupt(BLOB, digest, message));
        }
        Ok(())
    }

    /// Waits until the hasher is here, with all bytes so far.
    async fn finish(&mut self) -> Result<()> {
        if let Some(task) = self.task.take() {
            self.hasher = task.await.map_err(|error| task_error(BLOB, error))?;
        }
        Ok(())
    }
}
