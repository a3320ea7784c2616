//! Work for the processors, off the async threads: as many jobs at once as there are processors.
//!
//! Jobs wait in one queue. A thread that finishes a job takes the next one, without waking another
//! thread for it: for a chunk, passing from thread to thread costs a large part of the work itself.
//!
//! A job is either a computation or, if the store is a directory, all the work on a chunk or a
//! small blob. Then its thread also waits for the disk ([`may_block`]). While the disk is slow
//! there are more threads, but no more of them compute at once.
//!
//! A job runs on one of this crate's threads (`threads.rs`), whichever runtime started it. A job
//! that has to wait for other work continues as a task of the runtime that started it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::thread;
use std::time::{Duration, Instant};

use castore_core::Result;
use futures_util::FutureExt;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::error::{Unfinished, task_error};
use crate::exec::context::inline;
use crate::exec::threads::{FOR_WAITING, threads};

/// Waits shorter than this count as computing: a request costs about this much of a processor by
/// itself.
const NO_WAIT: Duration = Duration::from_micros(500);

/// Returns how long the job took, if the job may have waited.
type Job = Box<dyn FnOnce() -> Took + Send>;

/// How long a job took: to compute, and to wait.
#[derive(Debug, Clone, Copy, Default)]
struct Took {
    computed: Duration,
    waited: Duration,
}

pub(crate) struct Processors {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    computing: Computing,
    /// How many jobs may compute at once.
    at_once: usize,
    /// The largest number of threads.
    most: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// How many threads take jobs from the queue, or will once they have started.
    threads: usize,
    /// A weighted sum of the times of the last jobs: recent jobs weigh more.
    took: Took,
}

/// The pending result of a job. If this is dropped, a job that has not started never does, and one
/// that has started continues until it has to wait for other work.
#[derive(Debug)]
pub(crate) struct Outcome<T> {
    operation: &'static str,
    result: oneshot::Receiver<thread::Result<T>>,
}

/// The pending result of started work, which runs to its end even if this is dropped.
#[derive(Debug)]
pub(crate) struct Started<T>(oneshot::Receiver<thread::Result<T>>);

thread_local! {
    /// How long the current job has computed, or waited for its turn to compute; `None` unless the
    /// thread runs a job that may wait.
    static COMPUTED: Cell<Option<Duration>> = const { Cell::new(None) };
}

/// Whether this thread may wait for the disk, and compute. If so, all work is best done on it.
pub(crate) fn may_block() -> bool {
    COMPUTED.get().is_some()
}

impl Processors {
    /// At most `at_once` jobs compute at a time, on up to `most` threads.
    pub(crate) fn new(at_once: usize, most: usize) -> Processors {
        let (queue, computing) = (Mutex::default(), Computing::new(at_once));
        let most = most.min(FOR_WAITING).max(at_once);
        let shared = Shared { queue, computing, at_once, most };
        Processors { shared: Arc::new(shared) }
    }

    /// Runs `work`, a computation, on a thread of the pool.
    pub(crate) async fn compute<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T> {
        if let Some(before) = COMPUTED.get() {
            let began = Instant::now();
            let result = self.shared.computing.run(work);
            COMPUTED.set(Some(before + began.elapsed()));
            return Ok(result);
        }
        let (done, result) = oneshot::channel();
        let shared = Arc::clone(&self.shared);
        let within = Within::current();
        self.shared.add(Box::new(move || {
            if !done.is_closed() {
                let result = catch_unwind(AssertUnwindSafe(|| shared.computing.run(work)));
                // The receiver may have been dropped meanwhile.
                let _ = done.send(result);
            }
            drop(within);
            Took::default()
        }));
        Outcome { operation, result }.await
    }

    /// Runs all of `work` on one thread, which waits for the disk if necessary. Work that has to
    /// wait for other work continues as a task of this runtime: so no two jobs wait for each
    /// other's thread.
    pub(crate) fn spawn_unit<T: Send + 'static>(
        &self,
        operation: &'static str,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Outcome<T> {
        let (done, result) = oneshot::channel();
        let within = Within::current();
        self.shared.add(Box::new(move || {
            if done.is_closed() {
                return Took::default();
            }
            let mut work = Box::pin(work);
            let (polled, took) = within.enter(|| poll_once(work.as_mut()));
            match polled {
                Ok(Poll::Ready(result)) => drop(done.send(Ok(result))),
                Ok(Poll::Pending) => within.spawn(inline(go_on(work, done))),
                Err(panic) => drop(done.send(Err(panic))),
            }
            took
        }));
        Outcome { operation, result }
    }
}

/// Starts `work` off the async threads: at once, or as soon as one of this crate's threads is free.
pub(crate) fn start<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Started<T> {
    let (done, result) = oneshot::channel();
    let within = Within::current();
    on_thread(move || {
        let result = within.enter(|| catch_unwind(AssertUnwindSafe(work)));
        // The receiver may have been dropped meanwhile.
        let _ = done.send(result);
    });
    Started(result)
}

fn on_thread(job: impl FnOnce() + Send + 'static) {
    #[cfg(test)]
    if ON_THREAD.get() {
        tokio::spawn(async move { job() });
        return;
    }
    threads().add(job);
}

#[cfg(test)]
thread_local! {
    /// Whether all work runs on this thread, for tests that determine the order of events.
    pub(crate) static ON_THREAD: Cell<bool> = const { Cell::new(false) };
}

/// The runtime that a job belongs to.
struct Within {
    handle: Option<Handle>,
    #[cfg(any(test, feature = "test-util"))]
    _hold: Option<super::held_clock::Hold>,
}

impl Within {
    fn current() -> Within {
        let handle = Handle::try_current().ok();
        Within {
            #[cfg(any(test, feature = "test-util"))]
            _hold: handle.as_ref().and_then(super::held_clock::hold),
            handle,
        }
    }

    fn enter<T>(&self, work: impl FnOnce() -> T) -> T {
        let _entered = self.handle.as_ref().map(Handle::enter);
        work()
    }

    /// Spawns `work` in the runtime. Outside of a runtime `work` is dropped, as by a runtime that
    /// has ended.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        if let Some(handle) = &self.handle {
            handle.spawn(work);
        }
    }
}

/// Polls `work` once: runs it up to the first point where it has to wait for other work.
fn poll_once<T>(work: Pin<&mut impl Future<Output = T>>) -> (thread::Result<Poll<T>>, Took) {
    let began = Instant::now();
    COMPUTED.set(Some(Duration::ZERO));
    let polled =
        catch_unwind(AssertUnwindSafe(|| work.poll(&mut Context::from_waker(Waker::noop()))));
    let computed = COMPUTED.take().unwrap_or_default();
    (polled, Took { computed, waited: began.elapsed().saturating_sub(computed) })
}

async fn go_on<T>(work: impl Future<Output = T>, mut done: oneshot::Sender<thread::Result<T>>) {
    let result = tokio::select! {
        result = AssertUnwindSafe(work).catch_unwind() => result,
        () = done.closed() => return,
    };
    let _ = done.send(result);
}

impl Took {
    /// Adds a job's times. Earlier jobs count for less and less.
    fn add(&mut self, last: Took) {
        self.computed = self.computed * 15 / 16 + last.computed;
        self.waited = self.waited * 15 / 16 + last.waited.saturating_sub(NO_WAIT);
    }
}

impl Shared {
    fn add(self: &Arc<Self>, job: Job) {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        self.start_thread(queue);
    }

    fn start_thread(self: &Arc<Self>, mut queue: MutexGuard<'_, Queue>) {
        if !queue.jobs.is_empty() && queue.threads < self.threads(queue.took) {
            queue.threads += 1;
            drop(queue);
            let thread = Thread { shared: Arc::clone(self), counts: true };
            on_thread(move || thread.work());
        }
    }

    /// The number of threads that keep the processors busy if jobs take times in this proportion.
    fn threads(&self, took: Took) -> usize {
        let (waited, computed) = (took.waited.as_nanos(), took.computed.as_nanos().max(1));
        let waiting = self.at_once as u128 * waited / computed;
        self.most.min(usize::try_from(waiting).unwrap_or(usize::MAX).saturating_add(self.at_once))
    }
}

/// A thread that takes jobs from the queue. The thread counts until this is dropped.
struct Thread {
    shared: Arc<Shared>,
    counts: bool,
}

impl Thread {
    fn work(mut self) {
        let mut took = Took::default();
        while let Some(job) = self.next(took) {
            took = job();
            if threads().are_busy() {
                // Other services, and work outside of this queue, get their turn.
                self.note(took);
                return on_thread(move || self.work());
            }
        }
    }

    fn note(&self, took: Took) {
        lock(&self.shared.queue).took.add(took);
    }

    /// The next job, after one that took `took`. If there is none, or there are too many threads,
    /// this thread stops counting in the same instant: the next job to be added starts another one.
    fn next(&mut self, took: Took) -> Option<Job> {
        let mut queue = lock(&self.shared.queue);
        queue.took.add(took);
        let job = match queue.threads <= self.shared.threads(queue.took) {
            true => queue.jobs.pop_front(),
            false => None,
        };
        if job.is_none() {
            queue.threads -= 1;
            self.counts = false;
        }
        self.shared.start_thread(queue);
        job
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if self.counts {
            lock(&self.shared.queue).threads -= 1;
        }
    }
}

/// The limit on concurrent computations.
struct Computing {
    free: Mutex<usize>,
    freed: Condvar,
}

impl Computing {
    fn new(at_once: usize) -> Computing {
        Computing { free: Mutex::new(at_once), freed: Condvar::new() }
    }

    /// Runs `work` once fewer than the limit compute.
    fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let free = self.freed.wait_while(lock(&self.free), |free| *free == 0);
        *free.unwrap_or_else(PoisonError::into_inner) -= 1;
        let _share = Share(self);
        work()
    }
}

struct Share<'a>(&'a Computing);

impl Drop for Share<'_> {
    fn drop(&mut self) {
        *lock(&self.0.free) += 1;
        self.0.freed.notify_one();
    }
}

impl<T> Future for Outcome<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.result).poll(context)) {
            Ok(Ok(result)) => Ok(result),
            Ok(Err(panic)) => Err(task_error(self.operation, Unfinished::panicked(&*panic))),
            Err(_) => Err(task_error(self.operation, Unfinished::Ended)),
        })
    }
}

impl<T> Future for Started<T> {
    type Output = Result<T, Unfinished>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(match ready!(Pin::new(&mut self.0).poll(context)) {
            Ok(result) => result.map_err(|panic| Unfinished::panicked(&*panic)),
            Err(_) => Err(Unfinished::Ended),
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl std::fmt::Debug for Processors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processors").field("at_once", &self.shared.at_once).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::thread::sleep;
    use std::time::Duration;

    use castore_core::ErrorKind;
    use futures_util::future::join_all;

    use super::*;

    /// How many jobs do something now, and the most that ever did at once.
    #[derive(Default)]
    struct Gauge {
        now: AtomicUsize,
        most: AtomicUsize,
    }

    impl Gauge {
        fn during<T>(&self, work: impl FnOnce() -> T) -> T {
            self.most.fetch_max(self.now.fetch_add(1, SeqCst) + 1, SeqCst);
            let result = work();
            self.now.fetch_sub(1, SeqCst);
            result
        }
    }

    #[tokio::test]
    async fn all_jobs_are_done_and_few_at_once() {
        let processors = Processors::new(3, 3);
        let gauge = Arc::new(Gauge::default());
        for _ in 0..3 {
            let jobs = (0..50).map(|number| {
                let gauge = Arc::clone(&gauge);
                processors.compute("test", move || {
                    gauge.during(|| sleep(Duration::from_millis(1)));
                    number
                })
            });
            let done: Result<Vec<_>> = join_all(jobs).await.into_iter().collect();
            assert_eq!(done.unwrap(), (0..50).collect::<Vec<_>>());
        }
        assert_eq!(gauge.most.load(SeqCst), 3);
    }

    #[tokio::test]
    async fn a_panic_is_an_error_of_its_own_job_only() {
        let processors = Processors::new(1, 1);
        for _ in 0..3 {
            let panics = processors.compute("test", || panic!("as it should"));
            let works = processors.compute("test", || 7);
            let (panicked, worked): (Result<()>, _) = tokio::join!(panics, works);
            assert_eq!(panicked.unwrap_err().kind(), ErrorKind::Other);
            assert_eq!(worked.unwrap(), 7);
        }
    }

    #[tokio::test]
    async fn a_job_whose_result_is_dropped_is_not_begun() {
        let processors = Processors::new(1, 1);
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

    #[tokio::test]
    async fn work_that_is_begun_has_a_thread_that_may_wait() {
        let processors = Arc::new(Processors::new(1, 1));
        let computes = Arc::clone(&processors);
        let begun = processors.spawn_unit("test", async move {
            let before = thread::current().id();
            let after =
                computes.compute("test", || (may_block(), thread::current().id())).await.unwrap();
            assert_eq!(after, (true, before));
            before
        });
        assert_ne!(begun.await.ok().unwrap(), thread::current().id());
        assert!(!may_block());
        let elsewhere = processors.compute("test", || (may_block(), thread::current().id())).await;
        assert!(!elsewhere.unwrap().0);
    }

    /// Each of these jobs waits for the one that is started after it, and there is only one thread.
    #[tokio::test]
    async fn work_that_waits_for_other_work_does_not_hold_it_up() {
        let processors = Processors::new(1, 1);
        let mut begun = Vec::new();
        let mut before = None;
        for _ in 0..20 {
            let (next, wait) = oneshot::channel();
            let give = before.replace(next);
            begun.push(processors.spawn_unit("test", async move {
                wait.await.unwrap();
                assert!(!may_block());
                if let Some(give) = give {
                    let _: Result<(), ()> = give.send(());
                }
            }));
        }
        let last = processors.spawn_unit("test", async move { before.take().unwrap().send(()) });
        assert!(matches!(last.await, Ok(Ok(()))));
        for begun in begun {
            assert!(begun.await.is_ok());
        }
    }

    #[tokio::test]
    async fn work_that_waits_ends_when_its_result_is_dropped() {
        let processors = Processors::new(1, 1);
        let held = Arc::new(());
        let holds = Arc::clone(&held);
        let begun = processors.spawn_unit("test", async move {
            std::future::pending::<()>().await;
            drop(holds);
        });
        // Once the only thread has run this, it has left the first job.
        processors.compute("test", || ()).await.unwrap();
        assert_eq!(Arc::strong_count(&held), 2);
        drop(begun);
        let ended = async {
            while Arc::strong_count(&held) > 1 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), ended).await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_of_work_is_an_error_at_once_and_later() {
        let processors = Processors::new(1, 1);
        let at_once = processors.spawn_unit("test", async { panic!("as it should") });
        let (go, wait) = oneshot::channel::<()>();
        let later = processors.spawn_unit("test", async move {
            wait.await.unwrap();
            panic!("as it should");
        });
        go.send(()).unwrap();
        for begun in [at_once, later] {
            let ended: Result<()> = begun.await;
            let error = ended.unwrap_err();
            let expected = task_error("test", Unfinished::Panicked(None));
            assert_eq!(error.to_string(), expected.to_string());
            assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "as it should");
        }
        assert!(!processors.compute("test", may_block).await.unwrap());
    }

    #[tokio::test]
    async fn a_slow_disk_has_more_threads_and_no_more_compute() {
        let processors = Arc::new(Processors::new(1, 8));
        let [waiting, computing] = [(); 2].map(|()| Arc::new(Gauge::default()));
        let jobs = (0..200).map(|_| {
            let [waiting, computing] = [&waiting, &computing].map(Arc::clone);
            let computes = Arc::clone(&processors);
            processors.spawn_unit("test", async move {
                waiting.during(|| sleep(Duration::from_millis(3)));
                let compute = move || computing.during(|| sleep(Duration::from_micros(100)));
                computes.compute("test", compute).await
            })
        });
        for done in join_all(jobs).await {
            assert!(matches!(done, Ok(Ok(()))));
        }
        let [waiting, computing] = [waiting, computing].map(|gauge| gauge.most.load(SeqCst));
        assert!((2..=8).contains(&waiting), "{waiting} waited at once");
        assert_eq!(computing, 1);
    }

    #[test]
    fn the_number_of_threads_follows_from_the_times_of_jobs() {
        let processors = Processors::new(2, 100);
        let threads = |jobs: &[(u64, u64)]| {
            let mut took = Took::default();
            for (computed, waited) in jobs {
                let [computed, waited] = [*computed, *waited].map(Duration::from_micros);
                took.add(Took { computed, waited });
            }
            processors.shared.threads(took)
        };
        assert_eq!(threads(&[]), 2);
        // Requests to a page cache, and one of them during which another process ran.
        assert_eq!(threads(&[(1000, 200); 50]), 2);
        assert_eq!(threads(&[[(1000, 200); 30].as_slice(), &[(1000, 4000)]].concat()), 2);
        // Each job waits four times as long as it computes.
        assert_eq!(threads(&[(1000, 4500); 50]), 10);
        // The other threads of the process are for other work.
        assert_eq!(threads(&[(0, 4500)]), FOR_WAITING);
        // The disk was slow, and is not any more.
        assert_eq!(threads(&[[(1000, 9000); 50].as_slice(), &[(1000, 200); 50]].concat()), 2);
    }

    /// A runtime whose only blocking thread is busy.
    fn without_blocking_threads() -> tokio::runtime::Runtime {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.max_blocking_threads(1).enable_time().build().unwrap();
        let (begun, begins) = std::sync::mpsc::channel();
        runtime.spawn_blocking(move || {
            begun.send(()).unwrap();
            sleep(Duration::from_millis(300));
        });
        begins.recv().unwrap();
        runtime
    }

    #[test]
    fn work_needs_no_blocking_thread_of_the_runtime() {
        let processors = Arc::new(Processors::new(1, 1));
        let runtime = without_blocking_threads();
        let began = Instant::now();
        runtime.block_on(async {
            assert_eq!(processors.compute("test", || 1).await.unwrap(), 1);
            assert_eq!(processors.spawn_unit("test", async { 2 }).await.unwrap(), 2);
            assert_eq!(start(|| 3).await.unwrap(), 3);
        });
        assert!(began.elapsed() < Duration::from_millis(250));
        runtime.shutdown_background();
    }

    /// A thread that another runtime's jobs keep busy takes one runtime's job.
    #[test]
    fn work_that_waits_goes_on_in_the_runtime_that_began_it() {
        let processors = Arc::new(Processors::new(1, 1));
        let [first, second] = [(); 2].map(|()| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_time().build().unwrap()
        });
        let waiting = async {
            tokio::task::yield_now().await;
            Handle::current().id()
        };
        let computes = Arc::clone(&processors);
        let begun = first.spawn(async move {
            computes.compute("test", || sleep(Duration::from_millis(50))).await
        });
        let found =
            second.block_on(async { processors.spawn_unit("test", waiting).await.unwrap() });
        assert_eq!(found, second.handle().id());
        first.block_on(begun).unwrap().unwrap();
    }

    #[test]
    fn a_runtime_that_ends_takes_its_waiting_work_with_it_and_no_other() {
        let processors = Arc::new(Processors::new(1, 1));
        let [ends, stays] = [(); 2].map(|()| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            builder.worker_threads(1).enable_time().build().unwrap()
        });
        let (give, wait) = oneshot::channel::<u32>();
        let never = {
            let _entered = ends.enter();
            processors.spawn_unit("test", std::future::pending::<u32>())
        };
        let waits = {
            let _entered = stays.enter();
            processors.spawn_unit("test", async { wait.await.unwrap() })
        };
        ends.shutdown_background();
        let error = stays.block_on(never).unwrap_err();
        assert_eq!(error.to_string(), task_error("test", Unfinished::Ended).to_string());
        give.send(7).unwrap();
        assert_eq!(stays.block_on(waits).unwrap(), 7);
    }
}
