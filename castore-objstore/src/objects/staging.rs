//! Objects that are written but not renamed to their keys yet. A flush renames them, so that a
//! power cut leaves no torn object under a key.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use crate::objects::filesystem::{Flushing, flush_directory, flush_filesystem};

/// The limits after which waiting objects are flushed although no writer waits for that. A process
/// that is killed then leaves most of its objects for the next one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// The objects are flushed once they have more bytes than this.
    pub(crate) bytes: u64,
    /// The objects are flushed after this time.
    pub(crate) time: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { bytes: 256 << 20, time: Duration::from_secs(5) }
    }
}

/// The files of one directory that wait for a flush.
#[derive(Debug)]
pub(crate) struct Staging {
    flushing: Flushing,
    patience: Patience,
    waiting: Mutex<Waiting>,
    /// Held during a flush.
    flush: Mutex<()>,
    signal: Arc<Signal>,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The key is the path that the file is renamed to.
    files: HashMap<PathBuf, Staged>,
    next: u64,
    bytes: u64,
    /// Directories whose entries are not durable yet, and files whose bytes may not be durable.
    unflushed: BTreeSet<PathBuf>,
    /// The first failure. The system reports a failure only once, and then forgets which data it
    /// lost. So this service cannot vouch for any of its writes any more.
    failed: Option<Arc<io::Error>>,
}

#[derive(Debug)]
struct Staged {
    /// The position in the order in which the files were written.
    number: u64,
    path: PathBuf,
    size: u64,
}

/// Once this many files and directories wait for a flush, they are flushed although no writer
/// waits.
const UNFLUSHED: usize = 4096;

impl Staging {
    pub(crate) fn new(flushing: Flushing, patience: Patience) -> Staging {
        let (waiting, flush, signal) = Default::default();
        Staging { flushing, patience, waiting, flush, signal }
    }

    pub(crate) fn flushing(&self) -> &Flushing {
        &self.flushing
    }

    /// The file that waits to be renamed to `path`.
    pub(crate) fn staged(&self, path: &Path) -> Option<PathBuf> {
        lock(&self.waiting).files.get(path).map(|staged| staged.path.clone())
    }

    /// Registers the file `staged`, of `size` bytes, to be renamed to `path` by the next flush. If
    /// another file already waits for that key, `staged` is removed: both hold the object that the
    /// key names.
    pub(crate) fn add(
        self: &Arc<Self>,
        path: PathBuf,
        staged: PathBuf,
        size: u64,
    ) -> io::Result<()> {
        let mut waiting = lock(&self.waiting);
        if waiting.failed.is_some() || waiting.files.contains_key(&path) {
            let answer = waiting.check();
            drop(waiting);
            let _ = std::fs::remove_file(staged);
            return answer;
        }
        let number = waiting.next;
        waiting.next += 1;
        waiting.bytes += size;
        waiting.files.insert(path, Staged { number, path: staged, size });
        let many = waiting.bytes > self.patience.bytes;
        drop(waiting);
        self.start_background_flush(many);
        Ok(())
    }

    /// Fails if an earlier flush has failed.
    pub(crate) fn check(&self) -> io::Result<()> {
        lock(&self.waiting).check()
    }

    /// Forgets and removes the file that waits to be renamed to `path`. Returns whether there was
    /// one.
    pub(crate) fn remove(&self, path: &Path) -> bool {
        let mut waiting = lock(&self.waiting);
        let Some(staged) = waiting.files.remove(path) else { return false };
        waiting.bytes -= staged.size;
        drop(waiting);
        let _ = std::fs::remove_file(staged.path);
        true
    }

    /// Registers a directory, or a file that another process has written, for the next flush.
    pub(crate) fn note(&self, path: &Path) -> io::Result<()> {
        let mut waiting = lock(&self.waiting);
        waiting.unflushed.insert(path.to_owned());
        let many = waiting.unflushed.len() >= UNFLUSHED;
        drop(waiting);
        if many { self.flush(false) } else { Ok(()) }
    }

    #[cfg(test)]
    pub(crate) fn unflushed(&self) -> Vec<PathBuf> {
        lock(&self.waiting).unflushed.iter().cloned().collect()
    }

    /// Makes the bytes of all objects durable that were written before, and renames the objects to
    /// their keys, in the order in which they were written. If `whole` is set, their names are
    /// durable as well.
    ///
    /// After a failure the waiting files are removed, and every later flush fails.
    pub(crate) fn flush(&self, whole: bool) -> io::Result<()> {
        let _one = lock(&self.flush);
        let mut waiting = lock(&self.waiting);
        waiting.check()?;
        let files = waiting.files.iter().map(|(path, staged)| (staged.number, path.clone()));
        let mut files: Vec<_> = files.collect();
        let unflushed = std::mem::take(&mut waiting.unflushed);
        drop(waiting);
        files.sort_unstable();
        let flushed = self.flush_these(&files, &unflushed, whole);
        flushed.map_err(|error| {
            let mut waiting = lock(&self.waiting);
            waiting.failed = Some(Arc::new(error));
            waiting.discard();
            waiting.check().err().unwrap_or_else(|| io::ErrorKind::Other.into())
        })
    }

    fn flush_these(
        &self,
        files: &[(u64, PathBuf)],
        unflushed: &BTreeSet<PathBuf>,
        whole: bool,
    ) -> io::Result<()> {
        if let Flushing::Filesystem(directory) = &self.flushing {
            flush_filesystem(directory)?;
        }
        for (number, path) in files {
            let mut waiting = lock(&self.waiting);
            let staged = waiting.files.get(path).filter(|staged| staged.number == *number);
            // A file that was deleted meanwhile must not get its key.
            let Some(Staged { path: staged, size, .. }) = staged else { continue };
            std::fs::rename(staged, path)?;
            waiting.bytes -= *size;
            waiting.files.remove(path);
        }
        for path in unflushed {
            flush_directory(path)?;
        }
        match &self.flushing {
            Flushing::Filesystem(directory) if whole && !files.is_empty() => {
                flush_filesystem(directory)
            }
            _ => Ok(()),
        }
    }

    /// Starts the thread that flushes after [`Patience::time`], unless it runs. If there are `many`
    /// bytes, the thread flushes at once.
    fn start_background_flush(self: &Arc<Self>, many: bool) {
        let mut state = lock(&self.signal.state);
        state.now |= many;
        if state.runs {
            if many {
                self.signal.changed.notify_all();
            }
            return;
        }
        let (staging, signal) = (Arc::downgrade(self), Arc::clone(&self.signal));
        let time = self.patience.time;
        let thread = std::thread::Builder::new().name("castore-flush".to_owned());
        // If no thread can be started, the files wait for the next flush.
        state.runs = thread.spawn(move || flush_in_background(&staging, &signal, time)).is_ok();
    }
}

/// Flushes repeatedly while files wait and the service exists.
fn flush_in_background(staging: &Weak<Staging>, signal: &Signal, time: Duration) {
    loop {
        let state = lock(&signal.state);
        let waited = signal
            .changed
            .wait_timeout_while(state, time, |state| !state.now && !state.closed)
            .unwrap_or_else(PoisonError::into_inner);
        let mut state = waited.0;
        state.now = false;
        if state.closed {
            return;
        }
        drop(state);
        let Some(staging) = staging.upgrade() else { return };
        // The next writer that closes gets the error of a failed flush.
        let flushed = staging.flush(false);
        let mut state = lock(&signal.state);
        if flushed.is_err() || lock(&staging.waiting).files.is_empty() {
            state.runs = false;
            return;
        }
    }
}

#[derive(Debug, Default)]
struct Signal {
    state: Mutex<SignalState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct SignalState {
    /// Whether the thread that flushes in the background runs.
    runs: bool,
    /// Whether that thread should flush at once.
    now: bool,
    /// Whether the service was dropped.
    closed: bool,
}

impl Waiting {
    fn check(&self) -> io::Result<()> {
        match &self.failed {
            Some(error) => Err(io::Error::new(error.kind(), Arc::clone(error))),
            None => Ok(()),
        }
    }

    fn discard(&mut self) {
        for (_, staged) in self.files.drain() {
            let _ = std::fs::remove_file(staged.path);
        }
        self.bytes = 0;
    }
}

/// No index lists the objects that still wait, so they are removed.
impl Drop for Staging {
    fn drop(&mut self) {
        lock(&self.signal.state).closed = true;
        self.signal.changed.notify_all();
        lock(&self.waiting).discard();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
