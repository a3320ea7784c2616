//! What a long operation tells its caller while it goes on.

/// How far a long operation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// What is being done, such as "list the chunks": a phase of the operation.
    pub phase: &'static str,
    /// How many things (indexes, chunks, blobs) the phase is done with.
    pub done: u64,
    /// How many there are, where that is known.
    pub total: Option<u64>,
}

/// Is told how a long operation goes on.
///
/// A closure is one, and so is `()`, which does not want to know:
///
/// ```
/// use castore_objstore::{Observer, Progress};
///
/// let observer = |progress: &Progress| eprintln!("{}: {}", progress.phase, progress.done);
/// # let _: &dyn Observer = &observer;
/// ```
pub trait Observer: Send + Sync {
    /// Called for every thing that a phase is done with, from the task that does the work: it has to
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

/// A phase of an operation, and how far it is.
pub(crate) struct Phase<'a> {
    observer: &'a dyn Observer,
    progress: Progress,
}

impl<'a> Phase<'a> {
    pub(crate) fn new(observer: &'a dyn Observer, phase: &'static str, total: Option<u64>) -> Self {
        Phase { observer, progress: Progress { phase, done: 0, total } }
    }

    /// One more is done.
    pub(crate) fn step(&mut self) {
        self.progress.done += 1;
        self.observer.progress(&self.progress);
    }
}
