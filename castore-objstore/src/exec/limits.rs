//! The limits of the whole service: memory, concurrent requests, processors.
//!
//! The memory limits count the chunks in flight, uncompressed or compressed. In addition each
//! processor at work holds one chunk in its other form.
//!
//! These limits cannot deadlock. A share is only ever awaited or held by a task of its own
//! (`context.rs`), or by a job that becomes a task when it has to wait (`pool.rs`), never by a
//! future that its caller may stop polling. Such a task ends without its caller's help. The one
//! exception is memory for reading: a reader that is never read from again may hold it. So no task
//! waits for that memory, and a reader without it fetches one chunk at a time.

use std::future::Future;
use std::sync::Arc;

use castore_core::Result;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::exec::pool::Processors;
use crate::exec::reading::ReadingMemory;
use crate::exec::request_limit::{RequestLimit, RequestPermit};
use crate::exec::task::Task;

/// Up to this many bytes are digested on the calling thread, even on an async one. That takes 100
/// to 200 microseconds, and handing the work to another thread would cost a large part of that.
pub(crate) const DIGESTED_AT_ONCE: usize = 512 * 1024;

/// The unit of memory permits, in bytes: a semaphore hands out at most 2^32 permits at once.
const UNIT: usize = 1024;

#[derive(Debug)]
pub(crate) struct Limits {
    requests: Arc<RequestLimit>,
    processors: Processors,
    writing: Memory,
    storing: Memory,
    reading: ReadingMemory,
}

/// Memory that tasks wait for.
#[derive(Debug)]
struct Memory {
    free: Arc<Semaphore>,
    units: usize,
}

impl Memory {
    fn new(units: usize) -> Memory {
        Memory { free: Arc::new(Semaphore::new(units)), units }
    }

    /// Waits until `bytes` are free, or all the memory if that is less.
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

/// A share of a limit. Dropping the permit releases it.
#[derive(Debug)]
pub(crate) struct Permit {
    permit: Option<OwnedSemaphorePermit>,
}

impl Permit {
    pub(crate) fn of(permit: OwnedSemaphorePermit) -> Permit {
        Permit { permit: Some(permit) }
    }

    /// Releases all but `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if let Some(permit) = &mut self.permit {
            let beyond = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
            drop(permit.split(beyond));
        }
    }
}

impl Limits {
    /// `memory` is in bytes: one half for writing, the other for reading.
    ///
    /// Of the half for writing, five eighths are for uncompressed chunks and the rest for
    /// compressed ones: both are held for one round trip, and most data compress to less than half.
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

    /// Waits until `bytes` are free for writing, or all the memory for writing if that is less.
    pub(crate) async fn writing(&self, bytes: usize) -> Permit {
        self.writing.take(bytes).await
    }

    /// The same for an index whose object has `size` bytes: for its encoded and its decoded form.
    pub(crate) async fn for_index(&self, size: u64) -> Permit {
        self.writing(2 * size as usize).await
    }

    /// The same as [`Self::writing`] for a chunk that will be compressed and sent. A task that
    /// holds this memory waits for no other memory. So a task may wait for it while it holds memory
    /// for writing.
    pub(crate) async fn storing(&self, bytes: usize) -> Permit {
        self.storing.take(bytes).await
    }

    /// The same as [`Self::writing`] from two services, for data that pass through both.
    ///
    /// Every task takes from the two services in the order of their addresses: otherwise two tasks
    /// that copy in opposite directions could each wait for the other.
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

    /// How many requests may be in flight at once.
    pub(crate) fn requests_at_once(&self) -> usize {
        self.requests.ceiling()
    }

    /// Waits until one more request may be in flight.
    pub(crate) async fn request(&self) -> RequestPermit {
        self.requests.acquire().await
    }

    /// Runs `work` off the async threads, as many jobs at once as there are processors.
    ///
    /// If the future is dropped, work that has started runs to its end.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        self.processors.compute(operation, work).await
    }

    /// Starts `work`, which makes requests to a directory. All of it runs on one thread unless it
    /// has to wait for other work. `work` must drive every future it starts to completion, or drop
    /// it. A suspended one might never finish.
    pub(crate) fn spawn_unit<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Task<T> {
        Task::of_job(self.processors.spawn_unit(operation, work))
    }
}

async fn acquire(semaphore: &Arc<Semaphore>, units: usize) -> Permit {
    let units = u32::try_from(units).unwrap_or(u32::MAX);
    // Only a closed semaphore returns an error, and this one is never closed.
    let permit = Arc::clone(semaphore).acquire_many_owned(units).await.ok();
    Permit { permit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn memory_of_two_services_is_tried_without_waiting() {
        let [a, b] = [(); 2].map(|()| Arc::new(Limits::new(1 << 20, 4, 1)));
        let all = Limits::writing_of_both(&a, &b, 1 << 20).await;
        assert!(Limits::try_writing_of_both(&a, &b, 1).is_none());
        assert!(Limits::try_writing_of_both(&b, &b, 1).is_none());
        drop(all);
        let held = b.writing(1 << 20).await;
        assert!(Limits::try_writing_of_both(&a, &b, 1).is_none());
        // The failed attempt kept no memory of the other service.
        assert!(Limits::try_writing_of_both(&a, &a, 1 << 20).is_some());
        drop(held);
        assert!(Limits::try_writing_of_both(&a, &b, 1 << 20).is_some());
    }
}
