//! This crate's own threads, for work that computes or waits for a disk.
//!
//! All services of a process share the threads. They belong to no tokio runtime: a runtime's
//! blocking pool ends with the runtime, and callers who block in it (`spawn_blocking` with
//! `block_on` inside) can fill it and then wait for work that finds no thread there. The number of
//! these threads is bounded, and each ends after it was idle for a while.
//!
//! No job may wait for another job. So every job finishes, however few threads there are.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The largest number of threads on a machine with at most [`FOR_WAITING`] processors. Each further
/// processor adds one thread.
const MAX_THREADS: usize = 48;

/// The largest number of threads that wait for disks for one service. The remaining threads are for
/// other services, and for work that must not queue behind a slow disk.
pub(crate) const FOR_WAITING: usize = 32;

/// An idle thread ends after this time.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Starts a thread.
type Start = fn(Job) -> io::Result<()>;

pub(crate) struct Threads {
    state: Mutex<State>,
    /// Signals that a job was added.
    added: Condvar,
    /// Whether jobs wait, and no further threads can be started for them.
    busy: AtomicBool,
    max: usize,
    idle_for: Duration,
    start: Start,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    /// All threads, including those that are starting.
    threads: usize,
    /// The threads that wait for a job, including those that were woken and have not taken one yet.
    idle: usize,
}

/// The threads of the process.
pub(crate) fn threads() -> &'static Arc<Threads> {
    static THREADS: LazyLock<Arc<Threads>> = LazyLock::new(|| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Threads::new(MAX_THREADS.max(processors + MAX_THREADS - FOR_WAITING), IDLE, start_thread)
    });
    &THREADS
}

fn start_thread(work: Job) -> io::Result<()> {
    thread::Builder::new().name("castore-worker".to_owned()).spawn(work).map(drop)
}

impl Threads {
    fn new(max: usize, idle_for: Duration, start: Start) -> Arc<Threads> {
        let (state, added, busy) = Default::default();
        Arc::new(Threads { state, added, busy, max, idle_for, start })
    }

    /// Runs `job` on a thread: at once on an idle or a new one, otherwise when one is free.
    ///
    /// If the system has no more threads and the pool has none, the calling thread runs the job:
    /// that is slow, but it neither fails nor hangs.
    pub(crate) fn add(self: &Arc<Self>, job: impl FnOnce() + Send + 'static) {
        let mut state = self.state();
        state.jobs.push_back(Box::new(job));
        if state.jobs.len() <= state.idle {
            self.added.notify_one();
            return;
        }
        if state.threads == self.max {
            self.busy.store(true, Relaxed);
            return;
        }
        state.threads += 1;
        drop(state);
        let this = Arc::clone(self);
        let Err(error) = (self.start)(Box::new(move || this.work())) else { return };
        let mut state = self.state();
        state.threads -= 1;
        if state.threads > 0 {
            self.busy.store(true, Relaxed);
            tracing::debug!(%error, "no further thread can be started; the job waits for another one");
            return;
        }
        tracing::warn!(%error, "no thread can be started; the caller's does the work");
        while let Some(job) = self.take(&mut state) {
            drop(state);
            run(job);
            state = self.state();
        }
    }

    /// Whether jobs wait because all threads are busy. A long-running job then yields its thread.
    pub(crate) fn are_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// Runs jobs until none has arrived for the idle time.
    fn work(&self) {
        let mut state = self.state();
        loop {
            if let Some(job) = self.take(&mut state) {
                drop(state);
                run(job);
                state = self.state();
                continue;
            }
            state.idle += 1;
            let wait = self.added.wait_timeout_while(state, self.idle_for, |s| s.jobs.is_empty());
            (state, _) = wait.unwrap_or_else(PoisonError::into_inner);
            state.idle -= 1;
            if state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }

    fn take(&self, state: &mut State) -> Option<Job> {
        let job = state.jobs.pop_front();
        if state.jobs.is_empty() {
            self.busy.store(false, Relaxed);
        }
        job
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a job. A job reports a panic of its work itself. No panic may end the thread, which would
/// still be counted.
fn run(job: Job) {
    let _ = catch_unwind(AssertUnwindSafe(job));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// The largest number of `count` jobs that run at the same time.
    fn most_at_once(threads: &Arc<Threads>, count: usize) -> usize {
        let gauge = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
        let (done, all_done) = mpsc::channel();
        for _ in 0..count {
            let (gauge, done) = (Arc::clone(&gauge), done.clone());
            threads.add(move || {
                gauge.1.fetch_max(gauge.0.fetch_add(1, SeqCst) + 1, SeqCst);
                thread::sleep(Duration::from_millis(5));
                gauge.0.fetch_sub(1, SeqCst);
                done.send(()).unwrap();
            });
        }
        for _ in 0..count {
            all_done.recv_timeout(LONG).expect("every job is done");
        }
        gauge.1.load(SeqCst)
    }

    #[test]
    fn the_number_of_threads_is_bounded_and_every_job_is_done() {
        let threads = Threads::new(4, LONG, start_thread);
        assert_eq!(most_at_once(&threads, 100), 4);
        assert_eq!(threads.state().threads, 4);
        assert!(!threads.are_busy());
    }

    #[test]
    fn an_idle_thread_takes_the_next_job() {
        let threads = Threads::new(4, LONG, start_thread);
        let (send, receive) = mpsc::channel();
        for _ in 0..20 {
            let send = send.clone();
            threads.add(move || send.send(thread::current().id()).unwrap());
            receive.recv_timeout(LONG).unwrap();
            while threads.state().idle == 0 {
                thread::yield_now();
            }
        }
        assert_eq!(threads.state().threads, 1);
    }

    #[test]
    fn idle_threads_end_and_are_started_again() {
        let threads = Threads::new(4, Duration::from_millis(1), start_thread);
        for _ in 0..3 {
            most_at_once(&threads, 10);
            while threads.state().threads > 0 {
                thread::yield_now();
            }
            assert_eq!(threads.state().idle, 0);
        }
    }

    #[test]
    fn a_panic_ends_no_thread() {
        let threads = Threads::new(1, LONG, start_thread);
        for _ in 0..3 {
            threads.add(|| panic!("as it should"));
        }
        assert_eq!(most_at_once(&threads, 3), 1);
        assert_eq!(threads.state().threads, 1);
    }

    #[test]
    fn without_any_thread_the_caller_does_the_work() {
        let threads = Threads::new(4, LONG, |_| Err(io::ErrorKind::WouldBlock.into()));
        for _ in 0..3 {
            let (send, receive) = mpsc::channel();
            threads.add(move || send.send(thread::current().id()).unwrap());
            assert_eq!(receive.try_recv(), Ok(thread::current().id()));
        }
        assert_eq!(threads.state().threads, 0);
    }

    #[test]
    fn the_only_thread_that_can_be_started_does_all_the_work() {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let threads = Threads::new(4, LONG, |work| match STARTED.fetch_add(1, SeqCst) {
            0 => start_thread(work),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        });
        assert_eq!(most_at_once(&threads, 50), 1);
        assert!(STARTED.load(SeqCst) > 1);
    }
}
