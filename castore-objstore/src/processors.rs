//! Work for the processors: off the async threads, as much at once as there are processors.
//!
//! Jobs wait in one queue. Each thread that takes one takes the next when it is done, without waking
//! anybody for it: for a chunk, being handed from thread to thread costs as much as a good part of
//! what is done with it.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use castore_core::{Error, ErrorKind, Result};
use tokio::sync::oneshot;

use crate::limits::start_off_thread;

type Job = Box<dyn FnOnce() + Send>;

pub(crate) struct Processors {
    queue: Arc<Mutex<Queue>>,
    /// How many jobs may be done at once.
    at_once: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// How many threads take from it, or will when they start.
    threads: usize,
}

impl Processors {
    pub(crate) fn new(at_once: usize) -> Processors {
        Processors { queue: Arc::default(), at_once }
    }

    /// Has `work` done. Where the future is dropped, work that has begun goes on to its end, and other
    /// work is not begun.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        let (done, result) = oneshot::channel();
        self.add(Box::new(move || {
            if !done.is_closed() {
                // Whoever waited may have gone meanwhile.
                let _ = done.send(catch_unwind(AssertUnwindSafe(work)));
            }
        }));
        let failed = |message| Error::new(ErrorKind::Other, operation, message);
        match result.await {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(_)) => Err(failed("a background task panicked")),
            Err(_) => Err(failed("the runtime was shut down")),
        }
    }

    fn add(&self, job: Job) {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        if queue.threads < self.at_once {
            queue.threads += 1;
            drop(queue);
            let thread = Thread { queue: Arc::clone(&self.queue), counts: true };
            start_off_thread(move || thread.work());
        }
    }
}

/// A thread that takes from the queue. It counts until it is dropped, also where it never starts because
/// its runtime has ended.
struct Thread {
    queue: Arc<Mutex<Queue>>,
    counts: bool,
}

impl Thread {
    fn work(mut self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    /// The next job. Where there is none, the thread counts no more from the same instant on: whoever
    /// adds a job then starts another one.
    fn next(&mut self) -> Option<Job> {
        let mut queue = lock(&self.queue);
        let job = queue.jobs.pop_front();
        if job.is_none() {
            queue.threads -= 1;
            self.counts = false;
        }
        job
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.counts {
            lock(&self.queue).threads -= 1;
        }
    }
}

fn lock(queue: &Mutex<Queue>) -> MutexGuard<'_, Queue> {
    queue.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Processors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processors").field("at_once", &self.at_once).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread::sleep;
    use std::time::Duration;

    use futures_util::future::join_all;

    use super::*;

    #[tokio::test]
    async fn all_jobs_are_done_and_few_at_once() {
        let processors = Processors::new(3);
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        for _ in 0..3 {
            let jobs = (0..50).map(|number| {
                let (now, most) = (Arc::clone(&now), Arc::clone(&most));
                processors.compute("test", move || {
                    most.fetch_max(now.fetch_add(1, SeqCst) + 1, SeqCst);
                    sleep(Duration::from_millis(1));
                    now.fetch_sub(1, SeqCst);
                    number
                })
            });
            let done: Result<Vec<_>> = join_all(jobs).await.into_iter().collect();
            assert_eq!(done.unwrap(), (0..50).collect::<Vec<_>>());
        }
        assert_eq!(most.load(SeqCst), 3);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_own_job_only() {
        let processors = Processors::new(1);
        for _ in 0..3 {
            let panics = processors.compute("test", || panic!("as it should"));
            let works = processors.compute("test", || 7);
            let (panicked, worked): (Result<()>, _) = tokio::join!(panics, works);
            assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Other);
            assert_eq!(worked.unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn what_nobody_waits_for_is_not_begun() {
        let processors = Processors::new(1);
        let begun = Arc::new(AtomicUsize::new(0));
        let first = processors.compute("test", || sleep(Duration::from_millis(50)));
        let counted = Arc::clone(&begun);
        let second = processors.compute("test", move || counted.fetch_add(1, SeqCst));
        let mut both = Box::pin(futures_util::future::join(first, second));
        assert!(futures_util::poll!(&mut both).is_pending());
        drop(both);
        processors.compute("test", || ()).await.unwrap();
        assert_eq!(begun.load(SeqCst), 0);
    }

    /// A runtime that ends takes its threads with it, also those that have not started.
    #[test]
    fn a_runtime_that_ends_does_not_stop_the_next_one() {
        let processors = Processors::new(1);
        let runtime = || {
            let mut builder = tokio::runtime::Builder::new_current_thread();
            builder.max_blocking_threads(1).enable_time().build().unwrap()
        };
        let ended = runtime();
        ended.block_on(async {
            tokio::task::spawn_blocking(|| sleep(Duration::from_millis(200)));
            let waiting = processors.compute("test", || ());
            let timeout = tokio::time::timeout(Duration::from_millis(20), waiting);
            assert!(timeout.await.is_err());
        });
        ended.shutdown_background();
        sleep(Duration::from_millis(400));
        runtime().block_on(processors.compute("test", || ())).unwrap();
    }
}
