//! What the whole service may use at once: memory, requests, processors.
//!
//! Memory is counted by what is under way: chunks as they are, or as they are stored. What the
//! processors are at, one chunk each in its other form, comes on top.
//!
//! Nothing here can deadlock. Whoever waits for a share or holds one is a task of its own
//! ([`driven`]), or a job that becomes one when it has to wait (`pool.rs`), and never a future
//! that its caller may stop to poll; and it ends without its caller's help. The one exception is
//! memory for reading, which a reader may hold that is never read from again: so nobody waits for
//! it, and a reader without it fetches one chunk at a time.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use castore_core::{Digest, Error, Result};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;

use crate::error::task_error;
use crate::exec::pool::{self, Outcome, Processors, Started, may_block};
use crate::exec::reading::ReadingMemory;
use crate::exec::request_limit::{RequestLimit, RequestPermit};
use crate::exec::under_way;

/// Up to so many bytes are digested wherever they are, on an async thread too. That takes 100 to 200
/// microseconds, and having it done elsewhere would cost a good part of that.
pub(crate) const DIGESTED_AT_ONCE: usize = 512 * 1024;

/// The unit in which memory is counted out, in bytes: a semaphore counts to 2^32 at a time only.
const UNIT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Limits {
    requests: Arc<RequestLimit>,
    processors: Processors,
    writing: Memory,
    storing: Memory,
    reading: ReadingMemory,
}

/// Memory that is waited for.
#[derive(Debug)]
struct Memory {
    free: Arc<Semaphore>,
    units: usize,
}

impl Memory {
    fn new(units: usize) -> Memory {
        Memory { free: Arc::new(Semaphore::new(units)), units }
    }

    /// Waits until `bytes` (or all there is, where that is less) are free.
    async fn take(&self, bytes: usize) -> Permit {
        acquire(&self.free, self.units_of(bytes)).await
    }

    /// The same, where they are free now.
    fn try_take(&self, bytes: usize) -> Option<Permit> {
        let units = u32::try_from(self.units_of(bytes)).unwrap_or(u32::MAX);
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
        Some(Permit { permit: Some(permit) })
    }

    fn units_of(&self, bytes: usize) -> usize {
        bytes.div_ceil(UNIT).min(self.units)
    }
}

/// Holds its share of a limit until it is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
}

impl Permit {
    pub(crate) fn of(permit: OwnedSemaphorePermit) -> Permit {
        Permit { permit: Some(permit) }
    }

    /// Gives back what is beyond `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            let beyond = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
            drop(permit.split(beyond));
        }
    }
}

impl Limits {
    /// `memory` is in bytes, one half of it for writing and one for reading.
    ///
    /// Of the half for writing, five eighths are for chunks as they are, and the rest is for compressed
    /// ones: both are under way for one round trip, and most data are compressed to less than half.
    pub(crate) fn new(memory: usize, requests: usize, processors: usize) -> Limits {
        let units = (memory / 2 / UNIT).max(1);
        let writing_units = (units * 5 / 8).max(1);
        let storing_units = (units - writing_units).max(1);
        Limits {
            requests: Arc::new(RequestLimit::new(requests)),
            processors: Processors::new(processors, requests),
            writing: Memory::new(writing_units),
            storing: Memory::new(storing_units),
            reading: ReadingMemory::new(units * UNIT),
        }
    }

    /// Waits until `bytes` (or all there is, where that is less) are free for writing.
    pub(crate) async fn writing(&self, bytes: usize) -> Permit {
        self.writing.take(bytes).await
    }

    /// The same for an index whose object has `size` bytes: as it is stored, and as it is.
    pub(crate) async fn for_index(&self, size: u64) -> Permit {
        self.writing(2 * size as usize).await
    }

    /// The same as [`Self::writing`] for what is to be compressed and sent. Whoever has that waits for no other memory, and
    /// so may wait for it with memory for writing.
    pub(crate) async fn storing(&self, bytes: usize) -> Permit {
        self.storing.take(bytes).await
    }

    /// The same as [`Self::writing`] of two services, for what passes through both.
    ///
    /// Whoever takes from two takes from them in the same order, that of their addresses: otherwise
    /// two who pass in opposite directions could each wait for the other.
    pub(crate) async fn writing_of_both(
        a: &Arc<Limits>,
        b: &Arc<Limits>,
        bytes: usize,
    ) -> [Permit; 2] {
        let (first, second) = if Arc::as_ptr(a) <= Arc::as_ptr(b) { (a, b) } else { (b, a) };
        let permit = first.writing(bytes).await;
        match Arc::ptr_eq(first, second) {
            true => [permit, Permit { permit: None }],
            false => [permit, second.writing(bytes).await],
        }
    }

    /// The same, where they are free now.
    pub(crate) fn try_writing_of_both(
        a: &Arc<Limits>,
        b: &Arc<Limits>,
        bytes: usize,
    ) -> Option<[Permit; 2]> {
        let permit = a.writing.try_take(bytes)?;
        match Arc::ptr_eq(a, b) {
            true => Some([permit, Permit { permit: None }]),
            false => Some([permit, b.writing.try_take(bytes)?]),
        }
    }

    /// The memory for reading. Nothing waits for it.
    pub(crate) fn reading(&self) -> &ReadingMemory {
        &self.reading
    }

    /// All the memory for reading, in bytes.
    pub(crate) fn reading_bytes(&self) -> u64 {
        self.reading.bytes()
    }

    /// How many requests may be under way at once.
    pub(crate) fn requests_at_once(&self) -> usize {
        self.requests.ceiling()
    }

    /// Waits until one more request may be under way.
    pub(crate) async fn request(&self) -> RequestPermit {
        self.requests.acquire().await
    }

    /// Runs `work` off the async threads, as many at once as there are processors.
    ///
    /// Where the future is dropped, work that has begun goes on to its end.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.processors.compute(operation, work).await
    }

    /// Begins `work`, which makes requests to a directory: all of it on one thread, where it need not
    /// wait for others. It is to begin nothing that it does not poll until that has ended, or drop.
    pub(crate) fn begin<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Task<T> {
        Task { running: Running::Job(self.processors.begin(operation, work)), digest: None }
    }
}

/// A task that ends when what waits for it is dropped; a job that has begun then goes on until it has to
/// wait for others. Its result is an error of `operation` where it panicked, or its runtime has ended.
#[derive(Debug)]
pub(crate) struct Task<T> {
    running: Running<T>,
    /// The blob or chunk that the task is about.
    digest: Option<Digest>,
}

#[derive(Debug)]
enum Running<T> {
    Spawned(&'static str, JoinHandle<Result<T>>),
    Job(Outcome<Result<T>>),
}

impl<T> Task<T> {
    pub(crate) fn spawn(
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Task<T>
    where
        T: Send + 'static,
    {
        Task { running: Running::Spawned(operation, tokio::spawn(work)), digest: None }
    }

    /// Names `digest` in the error of a task that panics, or ends with its runtime.
    pub(crate) fn about(mut self, digest: Digest) -> Task<T> {
        self.digest = Some(digest);
        self
    }

    pub(crate) fn abort(&self) {
        if let Running::Spawned(_, task) = &self.running {
            task.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let digest = self.digest;
        let unfinished = |error: Error| match digest {
            Some(digest) => error.with_digest(digest),
            None => error,
        };
        Poll::Ready(match &mut self.running {
            Running::Spawned(operation, task) => ready!(Pin::new(task).poll(context))
                .unwrap_or_else(|error| Err(unfinished(task_error(operation, error)))),
            Running::Job(outcome) => {
                ready!(Pin::new(outcome).poll(context)).map_err(unfinished).flatten()
            }
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.abort();
    }
}

tokio::task_local! {
    /// Set in a task that always polls what it has begun.
    static STRAIGHT: ();
}

/// Within `work`, [`driven`] makes no further tasks. It is to be all of a task, and to begin nothing that
/// it does not poll until that has ended, or drop.
pub(crate) async fn straight<T>(work: impl Future<Output = T>) -> T {
    STRAIGHT.scope((), work).await
}

/// Runs `work` as a task of its own, which gets on whether or not this future is polled. Ends it
/// when this future is dropped.
pub(crate) async fn driven<T: Send + 'static>(
    operation: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    if may_block() || STRAIGHT.try_get().is_ok() {
        return work.await;
    }
    Task::spawn(operation, work).await
}

/// Runs `work` off the async threads at once.
///
/// On a thread that may block, that is here and now.
pub(crate) async fn off_thread<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    if may_block() {
        return Ok(work());
    }
    start_off_thread(work).await.map_err(|error| task_error(operation, error))
}

/// Starts `work` off the async threads. It goes on to its end, also where the result is dropped.
pub(crate) fn start_off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Started<T> {
    let guard = under_way::current();
    pool::start(move || {
        let _guard = guard;
        work()
    })
}

async fn acquire(semaphore: &Arc<Semaphore>, units: usize) -> Permit {
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    // An error would mean that the semaphore is closed, and nobody closes it.
    let permit = Arc::clone(semaphore).acquire_many_owned(units).await.ok();
    Permit { permit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_error_of_a_panic_names_operation_and_digest() {
        let limits = Limits::new(1 << 20, 4, 1);
        let digest = Digest::of(b"about");
        let panics = || async { panic!("as it should") };
        for task in [Task::<()>::spawn("test", panics()), limits.begin("test", panics())] {
            let error = task.about(digest).await.unwrap_err();
            assert_eq!(error.digest(), Some(digest));
            assert_eq!(error.operation(), "test");
            let source = std::error::Error::source(&error).expect("the panic's message");
            assert_eq!(source.to_string(), "as it should");
        }
    }

    #[tokio::test]
    async fn memory_of_two_services_is_tried_without_waiting() {
        let [a, b] = [(); 2].map(|()| Arc::new(Limits::new(1 << 20, 4, 1)));
        let all = Limits::writing_of_both(&a, &b, 1 << 20).await;
        assert!(Limits::try_writing_of_both(&a, &b, 1).is_none());
        assert!(Limits::try_writing_of_both(&b, &b, 1).is_none());
        drop(all);
        let held = b.writing(1 << 20).await;
        assert!(Limits::try_writing_of_both(&a, &b, 1).is_none());
        // Nothing of the other's is kept.
        assert!(Limits::try_writing_of_both(&a, &a, 1 << 20).is_some());
        drop(held);
        assert!(Limits::try_writing_of_both(&a, &b, 1 << 20).is_some());
    }
}
