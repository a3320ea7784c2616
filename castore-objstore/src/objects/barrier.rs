//! Makes blobs in a directory survive a power cut, with one flush for all their chunks.

use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use castore_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use crate::error::task_error;
use crate::exec::context::spawn_blocking;
use crate::objects::local::Local;

const FLUSH: &str = "flush the store";

/// A point after which everything written to the store before is durable.
///
/// All the chunks of a blob, and of all blobs that are closed concurrently, share one flush. The
/// flush also covers reused chunks, which another process may have written and not flushed yet.
#[derive(Debug)]
pub(crate) struct Barrier {
    whole: Gate,
    chunks: Gate,
}

impl Barrier {
    /// The barrier of a directory.
    pub(crate) fn of(local: &Local) -> Barrier {
        let (whole, chunks) = (local.clone(), local.clone());
        Barrier {
            whole: Gate::new(move || whole.flush(true)),
            chunks: Gate::new(move || chunks.flush(false)),
        }
    }

    /// A barrier that calls `flush`.
    #[cfg(test)]
    pub(crate) fn new(flush: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Barrier {
        let flush = Arc::new(flush);
        let chunks = Arc::clone(&flush);
        Barrier { whole: Gate::new(move || flush()), chunks: Gate::new(move || chunks()) }
    }

    /// Returns once a flush that began after this call has succeeded: everything stored before the
    /// call is durable.
    ///
    /// A flush whose caller is dropped continues, and its failure fails every later one.
    ///
    /// # Errors
    /// `Unavailable` if this flush or an earlier one failed.
    pub(crate) async fn wait(&self) -> Result<()> {
        self.whole.wait().await
    }

    /// The same for the chunks of an index: they are durable before any index that is stored later.
    pub(crate) async fn wait_for_chunks(&self) -> Result<()> {
        self.chunks.wait().await
    }
}

/// Lets all callers that wait for a flush share the next one.
struct Gate {
    flush: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// The number of flushes that have started.
    begun: AtomicU64,
    /// The flush itself holds this lock while it runs.
    progress: Arc<Mutex<Progress>>,
}

#[derive(Default)]
struct Progress {
    /// The number of the last successful flush.
    done: u64,
    /// The first failure. The kernel reports a failure only once, and then forgets which data it
    /// lost. So this service cannot vouch for any of its writes any more.
    failed: Option<Error>,
}

impl Gate {
    fn new(flush: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Gate {
        Gate { flush: Arc::new(flush), begun: AtomicU64::new(0), progress: Arc::default() }
    }

    async fn wait(&self) -> Result<()> {
        let before = self.begun.load(SeqCst);
        let mut progress = Arc::clone(&self.progress).lock_owned().await;
        if let Some(error) = &progress.failed {
            return Err(error.clone());
        }
        if progress.done > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, SeqCst) + 1;
        let flush = Arc::clone(&self.flush);
        // The flush records its own result: the caller may be dropped meanwhile, and the kernel
        // reports a failure only once.
        let flushed = spawn_blocking(move || {
            let flushed = catch_unwind(AssertUnwindSafe(|| flush()));
            match flushed.unwrap_or_else(|_| Err(io::Error::other("the flush panicked"))) {
                Ok(()) => {
                    progress.done = number;
                    Ok(())
                }
                Err(source) => {
                    let message = "the filesystem could not write everything to disk";
                    let error = Error::new(ErrorKind::Unavailable, FLUSH, message);
                    let error = error.with_source(source);
                    progress.failed = Some(error.clone());
                    Err(error)
                }
            }
        });
        flushed.await.map_err(|error| task_error(FLUSH, error))?
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("begun", &self.begun).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn callers_that_wait_during_a_flush_share_the_next_one() {
        let (begin, begins) = mpsc::channel::<()>();
        let begins = std::sync::Mutex::new(begins);
        let flushes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&flushes);
        let barrier = Arc::new(Barrier::new(move || {
            counted.fetch_add(1, SeqCst);
            begins.lock().unwrap().recv().unwrap();
            Ok(())
        }));
        let wait = |barrier: &Arc<Barrier>| {
            let barrier = Arc::clone(barrier);
            tokio::spawn(async move { barrier.wait().await })
        };
        let first = wait(&barrier);
        while flushes.load(SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        // The running flush may have passed the data that these callers have written.
        let others: Vec<_> = (0..10).map(|_| wait(&barrier)).collect();
        tokio::task::yield_now().await;
        begin.send(()).unwrap();
        begin.send(()).unwrap();
        first.await.unwrap().unwrap();
        for other in others {
            other.await.unwrap().unwrap();
        }
        assert_eq!(flushes.load(SeqCst), 2);
    }

    #[tokio::test]
    async fn a_failure_is_never_forgotten() {
        let works = Arc::new(AtomicBool::new(false));
        let state = Arc::clone(&works);
        let barrier = Barrier::new(move || match state.load(SeqCst) {
            true => Ok(()),
            false => Err(io::Error::other("lost")),
        });
        let first = barrier.wait().await.unwrap_err();
        works.store(true, SeqCst);
        assert_eq!(barrier.wait().await.unwrap_err().to_string(), first.to_string());
    }

    #[tokio::test]
    async fn a_flush_that_fails_after_its_waiter_was_dropped_is_not_forgotten() {
        let (begun, begins) = mpsc::channel::<()>();
        let (go, goes) = mpsc::channel::<()>();
        let goes = std::sync::Mutex::new(goes);
        let first = AtomicBool::new(true);
        let barrier = Arc::new(Barrier::new(move || {
            if !first.swap(false, SeqCst) {
                return Ok(());
            }
            begun.send(()).unwrap();
            goes.lock().unwrap().recv().unwrap();
            Err(io::Error::other("lost"))
        }));
        let waiter = Arc::clone(&barrier);
        let waiter = tokio::spawn(async move { waiter.wait().await });
        let begins = tokio::task::spawn_blocking(move || begins.recv());
        begins.await.unwrap().unwrap();
        waiter.abort();
        assert!(waiter.await.unwrap_err().is_cancelled());
        go.send(()).unwrap();
        let error = barrier.wait().await.expect_err("the flush before has failed");
        assert_eq!(error.kind(), ErrorKind::Unavailable);
    }

    #[tokio::test]
    async fn a_flush_that_panics_is_a_failure() {
        let barrier = Barrier::new(|| panic!("no"));
        for _ in 0..2 {
            assert_eq!(barrier.wait().await.unwrap_err().kind(), ErrorKind::Unavailable);
        }
    }
}
