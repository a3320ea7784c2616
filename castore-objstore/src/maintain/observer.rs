//! The progress that a long operation reports to its caller.

/// How far a long operation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The phase of the operation, such as "list the chunks".
    pub phase: &'static str,
    /// The number of items (indexes, chunks, blobs) that the phase is done with.
    pub done: u64,
    /// The number of items in all, if known.
    pub total: Option<u64>,
}

/// Receives the progress of a long operation.
///
/// A closure is an observer. So is `()`, which ignores the progress:
///
/// ```
/// use castore_objstore::{Observer, Progress};
///
/// let observer = |progress: &Progress| eprintln!("{}: {}", progress.phase, progress.done);
/// # let _: &dyn Observer = &observer;
/// ```
pub trait Observer: Send + Sync {
    /// Called for every item that a phase is done with, from the task that does the work. Must
    /// return soon.
    fn progress(&self, progress: &Progress);
}

impl Observer for () {
    fn progress(&self, _: &Progress) {}
}

impl<F: Fn(&Progress) + Send + Sync> Observer for F {
    fn progress(&self, progress: &Progress) {
        self(progress);
    }
}

/// A phase of an operation, with its progress.
pub(crate) struct Phase<'a> {
    observer: &'a dyn Observer,
    progress: Progress,
}

impl<'a> Phase<'a> {
    pub(crate) fn new(observer: &'a dyn Observer, phase: &'static str, total: Option<u64>) -> Self {
        Phase { observer, progress: Progress { phase, done: 0, total } }
    }

    /// Counts one more item as done.
    pub(crate) fn step(&mut self) {
        self.progress.done += 1;
        self.observer.progress(&self.progress);
    }
}
