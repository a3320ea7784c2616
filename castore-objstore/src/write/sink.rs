//! Writes a blob: the sink that takes bytes, and the task that turns them into chunks.
//!
//! The sink gathers bytes up to a batch. A task waits for memory, and has the batch cut and
//! digested off the async threads (`chunking.rs`). The blob's own task takes the chunks, starts a
//! task for each one that is not known to be stored (`store/chunk.rs`), and writes the index once
//! all of them have succeeded. These tasks continue while the caller prepares more bytes, and end
//! when the sink is dropped or aborted.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::groups::{GroupHasher, Hashed};
use castore_core::{BlobSink, BlobWriter, ChunkMeta, Digest, Error, ErrorKind, MAX_CHUNKS, Result};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::sync::mpsc;

use crate::error::task_error;
use crate::exec::clock::Moment;
use crate::exec::context::{inline, run_blocking};
use crate::exec::gate::Pass;
use crate::exec::limits::{DIGESTED_AT_ONCE, Permit};
use crate::exec::task::Task;
use crate::exec::under_way::{Guard, UnderWay};
use crate::store::Store;
use crate::store::chunk::{CHUNK, Stored};
use crate::store::index::index_of;
use crate::write::chunking::{Batch, Chunk, Cut, cut_all};
use crate::write::pacing::{Pacing, Place};

const OPERATION: &str = "write blob";

/// # Errors
/// `InvalidInput` if the service is closed.
pub(crate) fn open(shared: &Arc<Store>, pacing: &Arc<Pacing>) -> Result<BlobWriter> {
    let closed = || Error::new(ErrorKind::InvalidInput, OPERATION, "the service is closed");
    Ok(BlobWriter::new(sink(shared, pacing, shared.gate.enter().ok_or_else(closed)?)))
}

fn sink(shared: &Arc<Store>, pacing: &Arc<Pacing>, pass: Pass) -> Sink {
    Sink {
        shared: Arc::clone(shared),
        place: pacing.enter(),
        gathered: Batch::default(),
        under_way: Some(UnderWay::new(Some(pass))),
        blob: None,
        small: None,
    }
}

struct Sink {
    shared: Arc<Store>,
    place: Place,
    gathered: Batch,
    /// All work that was started for the blob holds a guard of this. `None` once the writer was
    /// aborted.
    under_way: Option<UnderWay>,
    /// The task starts with the first batch: a writer that is opened and dropped costs nothing.
    blob: Option<BlobTask>,
    /// The task of a blob that needs no [`BlobTask`].
    small: Option<Task<Digest>>,
}

/// The blob's task, and the channel to it.
struct BlobTask {
    batches: mpsc::Sender<Batch>,
    task: Task<Digest>,
}

impl Sink {
    /// Sends the gathered bytes to the blob's task. Waits while the task still has another batch to
    /// take.
    async fn hand_over(&mut self, last: bool) -> Result<()> {
        let mut batch = std::mem::take(&mut self.gathered);
        batch.last = last;
        let under_way = self.under_way.as_ref().ok_or_else(aborted)?;
        let blob = self.blob.get_or_insert_with(|| {
            BlobTask::start(self.shared.clone(), self.place.pacing.clone(), under_way)
        });
        if blob.batches.send(batch).await.is_ok() {
            return Ok(());
        }
        // The task takes all batches up to the last one, unless it has failed.
        match (&mut blob.task).await {
            Err(error) => Err(error),
            Ok(_) => Err(Error::new(ErrorKind::Other, OPERATION, "the writer ended early")),
        }
    }
}

impl BlobTask {
    fn start(shared: Arc<Store>, pacing: Arc<Pacing>, under_way: &UnderWay) -> BlobTask {
        // One batch waits while another one is cut.
        let (batches, incoming) = mpsc::channel(1);
        let guard = under_way.new_guard();
        let work = write_blob(shared, pacing, incoming, guard.clone());
        BlobTask { batches, task: Task::spawn(OPERATION, guard.held_by(work)) }
    }
}

fn aborted() -> Error {
    Error::new(ErrorKind::InvalidInput, OPERATION, "the writer was aborted")
}

#[async_trait]
impl BlobSink for Sink {
    async fn write(&mut self, mut data: Bytes) -> Result<()> {
        while !data.is_empty() {
            let room = self.place.batch_size - self.gathered.bytes;
            let piece = data.split_to(room.min(data.len()));
            self.gathered.bytes += piece.len();
            self.gathered.pieces.push(piece);
            if self.gathered.bytes == self.place.batch_size {
                self.hand_over(false).await?;
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<Digest> {
        let under_way = self.under_way.as_ref().ok_or_else(aborted)?;
        if self.blob.is_none() && self.gathered.bytes <= self.shared.params.min_size() {
            let batch = std::mem::take(&mut self.gathered);
            let guard = under_way.new_guard();
            let write = write_small(Arc::clone(&self.shared), batch, guard.clone());
            let write = guard.held_by(write);
            return self.small.insert(self.shared.requests.spawn_unit(OPERATION, write)).await;
        }
        self.hand_over(true).await?;
        match &mut self.blob {
            Some(blob) => (&mut blob.task).await,
            None => Err(Error::new(ErrorKind::Other, OPERATION, "the writer has no task")),
        }
    }

    /// Ends the tasks of the blob. If an object is just being stored, its request ends before this
    /// returns.
    async fn abort(&mut self) {
        drop((self.blob.take(), self.small.take()));
        if let Some(under_way) = self.under_way.take() {
            under_way.ended().await;
        }
    }

    fn preferred_write_size(&self) -> usize {
        self.place.batch_size
    }
}

/// The task of a blob that is certainly one chunk, or none. Such a blob needs no cutting and has
/// nothing to do concurrently, so this task does all the work.
async fn write_small(shared: Arc<Store>, batch: Batch, guard: Guard) -> Result<Digest> {
    shared.requests.counters.bytes_written.add(batch.bytes as u64);
    let all = match <[Bytes; 1]>::try_from(batch.pieces) {
        Ok([all]) => all,
        Err(pieces) => pieces.concat().into(),
    };
    let bytes = all.clone();
    let hash = move || {
        let mut hasher = GroupHasher::new();
        hasher.update(&bytes);
        hasher.finish()
    };
    let hashed = match all.len() {
        0..=DIGESTED_AT_ONCE => hash(),
        _ => run_blocking(OPERATION, hash).await?,
    };
    let mut blob = Blob::new(shared, guard);
    if !all.is_empty() {
        blob.chunks.push(ChunkMeta { digest: hashed.digest, size: all.len() as u64 });
        blob.sole_chunk = Some(all);
    }
    blob.commit(hashed).await
}

/// The blob's task.
async fn write_blob(
    shared: Arc<Store>,
    pacing: Arc<Pacing>,
    batches: mpsc::Receiver<Batch>,
    guard: Guard,
) -> Result<Digest> {
    // The task takes one batch while the next one is cut.
    let (cut, mut incoming) = mpsc::channel(1);
    // The cutting task waits for memory, which chunks of this same blob may hold. Meanwhile this
    // task stores those chunks.
    let cut_all = guard.clone().held_by(cut_all(Arc::clone(&shared), pacing, batches, cut));
    let cutting = Task::spawn(OPERATION, cut_all);
    let mut blob = Blob::new(shared, guard);
    loop {
        tokio::select! {
            // A chunk that cannot be stored fails the blob at once, and not only with the next
            // batch.
            Some(stored) = blob.storing.next() => blob.stored(stored?),
            batch = incoming.recv() => match batch {
                Some(Cut { chunks, more, permit }) => {
                    let chunks = chunks.await.map_err(|error| task_error(OPERATION, error))?;
                    blob.add(chunks, more, &permit)?;
                }
                None => break,
            },
        }
    }
    match cutting.await? {
        // This task makes the requests itself, and they end with it.
        Some(whole) => inline(blob.commit(whole)).await,
        None => Err(Error::new(ErrorKind::InvalidInput, OPERATION, "the writer was dropped")),
    }
}

/// A blob that is being written.
struct Blob {
    shared: Arc<Store>,
    guard: Guard,
    chunks: Vec<ChunkMeta>,
    /// The first chunk, as long as it may be the only one: an only chunk is stored when the blob is
    /// closed.
    sole_chunk: Option<Bytes>,
    storing: FuturesUnordered<Task<Stored>>,
    any_new: bool,
    /// When the first of the chunks was seen in the store.
    seen: Option<Moment>,
}

impl Blob {
    fn new(shared: Arc<Store>, guard: Guard) -> Blob {
        Blob {
            shared,
            guard,
            chunks: Vec::new(),
            sole_chunk: None,
            storing: FuturesUnordered::new(),
            any_new: false,
            seen: None,
        }
    }

    /// Takes the next chunks. They hold `permit` until they are compressed or known to be stored.
    /// `more` says that the blob has further bytes.
    fn add(&mut self, chunks: Vec<Chunk>, more: bool, permit: &Arc<Permit>) -> Result<()> {
        for (digest, chunk) in chunks {
            if self.chunks.len() == MAX_CHUNKS {
                let message = format!("it has more than {MAX_CHUNKS} chunks; use larger ones");
                return Err(Error::new(ErrorKind::InvalidInput, OPERATION, message));
            }
            let size = chunk.len() as u64;
            self.chunks.push(ChunkMeta { digest, size });
            if self.chunks.len() == 1 {
                self.sole_chunk = Some(chunk);
            } else {
                self.store_first(permit);
                self.store(digest, chunk, permit);
            }
        }
        if more {
            self.store_first(permit);
        }
        Ok(())
    }

    /// Stores the first chunk, once it is not the only one.
    fn store_first(&mut self, permit: &Arc<Permit>) {
        if let Some(first) = self.sole_chunk.take() {
            self.store(self.chunks[0].digest, first, permit);
        }
    }

    /// Starts to store a chunk, unless it is known to be stored.
    fn store(&mut self, digest: Digest, chunk: Bytes, permit: &Arc<Permit>) {
        if let Some(seen) = self.shared.presence.seen(&digest) {
            self.seen_at(seen);
            self.shared.requests.counters.chunks_reused.add(1);
            return;
        }
        let shared = Arc::clone(&self.shared);
        let permit = Arc::clone(permit);
        let store = async move { shared.store_chunk(digest, chunk, Some(permit)).await };
        let store = self.guard.clone().held_by(store);
        self.storing.push(self.shared.requests.spawn_unit(CHUNK, store).about(digest));
    }

    fn stored(&mut self, Stored { new, seen }: Stored) {
        self.any_new |= new.is_some();
        self.seen_at(seen);
    }

    fn seen_at(&mut self, seen: Moment) {
        self.seen = Some(self.seen.map_or(seen, |before| before.earlier(seen)));
    }

    /// Waits until all chunks are stored, and then writes the index: from then on the blob is
    /// present. `hashed` is that of all bytes.
    async fn commit(mut self, hashed: Hashed) -> Result<Digest> {
        let digest = hashed.digest;
        let index = index_of(hashed, self.chunks.drain(..)).map_err(|error| {
            // Only a collision of BLAKE3 causes this.
            Error::new(ErrorKind::Other, OPERATION, "its chunks contradict its digest")
                .with_digest(digest)
                .with_source(error)
        })?;
        while let Some(stored) = self.storing.next().await {
            self.stored(stored?);
        }
        self.shared.commit(&index, self.sole_chunk, self.any_new, self.seen).await?;
        Ok(digest)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::task::Poll;
    use std::time::Duration;

    use castore_chunker::ChunkParams;
    use futures_util::TryStreamExt;
    use object_store::memory::InMemory;
    use object_store::throttle::{ThrottleConfig, ThrottledStore};
    use object_store::{ObjectMeta, ObjectStore};

    use super::*;
    use crate::ObjectStoreBlobService;

    /// Polls `future` whenever it is woken. Returns whether it ended before it was pending more
    /// than `polls` times.
    async fn ends_within(polls: usize, future: impl Future) -> bool {
        let mut future = pin!(future);
        let mut left = polls;
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(_) => Poll::Ready(true),
            Poll::Pending if left == 0 => Poll::Ready(false),
            Poll::Pending => {
                left -= 1;
                Poll::Pending
            }
        })
        .await
    }

    /// All objects; in a directory also the unfinished files.
    async fn objects(store: &dyn ObjectStore) -> Vec<(String, u64)> {
        let objects: Vec<ObjectMeta> = store.list(None).try_collect().await.unwrap();
        let mut objects: Vec<_> =
            objects.into_iter().map(|o| (o.location.to_string(), o.size)).collect();
        objects.sort();
        objects
    }

    /// Puts a blob, drops the put after each possible number of polls, and aborts the writer.
    /// Nothing is stored after that.
    async fn aborted_at_every_poll(
        size: usize,
        open: impl Fn() -> (ObjectStoreBlobService, Arc<dyn ObjectStore>),
    ) {
        let mut data = vec![0; size];
        blake3::Hasher::new().update(b"aborted").finalize_xof().fill(&mut data);
        for polls in 0.. {
            assert!(polls < 2000, "the put does not end");
            let (service, store) = open();
            let mut sink = {
                let pass = service.shared.gate.enter().expect("it is open");
                sink(&service.shared, &service.pacing, pass)
            };
            let put = async {
                sink.write(data.clone().into()).await.unwrap();
                sink.close().await.unwrap();
            };
            let ended = ends_within(polls, put).await;
            sink.abort().await;
            let after_abort = objects(&*store).await;
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!(objects(&*store).await, after_abort, "after {polls} polls");
            assert!(sink.close().await.is_err());
            if ended {
                assert!(polls > 0 && !after_abort.is_empty());
                return;
            }
        }
    }

    fn builder(store: &Arc<dyn ObjectStore>) -> crate::Builder {
        ObjectStoreBlobService::builder(Arc::clone(store))
            .chunk_params(ChunkParams::new(64, 256, 1024).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_stored_after_an_abort() {
        for size in [50, 10_000] {
            aborted_at_every_poll(size, || {
                let wait = Duration::from_millis(20);
                let config = ThrottleConfig {
                    wait_put_per_call: wait,
                    wait_get_per_call: wait,
                    ..ThrottleConfig::default()
                };
                let store = ThrottledStore::new(InMemory::new(), config);
                let store: Arc<dyn ObjectStore> = Arc::new(store);
                (builder(&store).build().unwrap(), store)
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_stored_in_a_directory_after_an_abort() {
        for size in [50, 10_000] {
            let directories = std::cell::RefCell::new(Vec::new());
            aborted_at_every_poll(size, || {
                let directory = tempfile::tempdir().unwrap();
                let local = ObjectStoreBlobService::local(directory.path()).durable(false);
                let params = ChunkParams::new(64, 256, 1024).unwrap();
                let service = local.chunk_params(params).build().unwrap();
                let store = object_store::local::LocalFileSystem::new_with_prefix(directory.path());
                directories.borrow_mut().push(directory);
                (service, Arc::new(store.unwrap()) as _)
            })
            .await;
        }
    }
}
