//! Making blobs on a local filesystem survive a power cut, with one barrier for all their chunks.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use castore_core::{Error, ErrorKind, Result};
use tokio::sync::Mutex;

use crate::error::task_error;
use crate::exec::limits::start_off_thread;

/// A point after which everything written to the store before is durable.
///
/// Flushing the filesystem (`syncfs`) instead of each file lets all the chunks of a blob, and of
/// all blobs that are being closed meanwhile, share one flush. It also covers the chunks that are
/// reused, which somebody else may have written and not flushed yet.
pub(crate) struct Barrier {
    flush: Arc<dyn Fn() -> io::Result<()> + Send + Sync>,
    /// The number of flushes that have begun.
    begun: AtomicU64,
    progress: Mutex<Progress>,
}

#[derive(Default)]
struct Progress {
    /// The number of the last flush that has ended well.
    done: u64,
    /// The first failure. The kernel reports one only once, and then forgets what was lost; so
    /// nothing that this service has written can be vouched for any more.
    failed: Option<Error>,
}

impl Barrier {
    /// The barrier of the filesystem that holds the directory `root`.
    ///
    /// The directory stays open, because only failures since it was opened are reported.
    #[cfg(target_os = "linux")]
    pub(crate) fn of_filesystem(root: &std::path::Path) -> io::Result<Barrier> {
        let directory = std::fs::File::open(root)?;
        Ok(Barrier::new(move || rustix::fs::syncfs(&directory).map_err(io::Error::from)))
    }

    pub(crate) fn new(flush: impl Fn() -> io::Result<()> + Send + Sync + 'static) -> Barrier {
        Barrier {
            flush: Arc::new(flush),
            begun: AtomicU64::new(0),
            progress: Mutex::new(Progress::default()),
        }
    }

    /// Returns once a flush has ended well that began after this call.
    pub(crate) async fn wait(&self) -> Result<()> {
        let before = self.begun.load(SeqCst);
        let mut progress = self.progress.lock().await;
        if let Some(error) = &progress.failed {
            return Err(error.clone());
        }
        if progress.done > before {
            return Ok(());
        }
        let number = self.begun.fetch_add(1, SeqCst) + 1;
        let flush = Arc::clone(&self.flush);
        // Not here, wherever that is: it takes long, and whoever comes meanwhile shares the next one.
        let flushed = start_off_thread(move || flush()).await;
        match flushed.map_err(|error| task_error("flush the store", error))? {
            Ok(()) => {
                progress.done = number;
                Ok(())
            }
            Err(source) => {
                let message = "the filesystem could not write everything to disk";
                let error = Error::new(ErrorKind::Unavailable, "flush the store", message);
                let error = error.with_source(source);
                progress.failed = Some(error.clone());
                Err(error)
            }
        }
    }
}

impl fmt::Debug for Barrier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Barrier").field("begun", &self.begun).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn who_comes_during_a_flush_shares_the_next_one() {
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
        // The flush that is under way may have passed what these have written.
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
}
