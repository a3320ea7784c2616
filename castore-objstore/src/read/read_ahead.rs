//! The chunks of a range, fetched ahead of the reader and handed out in order.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobIndex, BlobSource, Digest, Result};
use futures_util::stream::{self, BoxStream, StreamExt};

use crate::error::{corrupt, task_error};
use crate::exec::limits::{DIGESTED_AT_ONCE, Permit, Task, start_off_thread};
use crate::exec::pool::Started;
use crate::store::Store;
use crate::store::chunk::READ_CHUNK as CHUNK;

/// The operation named by a whole-blob digest mismatch: each chunk is valid, but they belong to
/// another blob.
pub(crate) const BLOB: &str = "read blob";

/// How many bytes of chunks a read fetches at once at first.
///
/// Who reads a few bytes and stops has then not fetched much more, and who reads on is at full
/// speed after a few round trips.
const FIRST_WINDOW: u64 = 4 * 1024 * 1024;

/// By so many times the bytes of each chunk that arrives there are more: four times as many with each
/// round trip.
const GROWTH: u64 = 3;

pub(super) struct Source {
    pub(super) shared: Arc<Store>,
    pub(super) index: Arc<BlobIndex>,
    /// The bytes of a blob of one chunk.
    pub(super) only: Option<Bytes>,
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
    shared: Arc<Store>,
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
    task: Option<Started<blake3::Hasher>>,
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
