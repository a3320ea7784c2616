//! How far a long operation is, on standard error: only on a terminal.

use std::io::IsTerminal;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use castore_objstore::{Observer, Progress};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How often the line is drawn anew, in milliseconds: an operation may tell of a million things.
const INTERVAL: u64 = 100;

/// A line that tells of the phase that an operation is in, until this is dropped.
pub(crate) struct Phases {
    bar: ProgressBar,
    begun: Instant,
    /// When the line was drawn last, in milliseconds since then.
    drawn: AtomicU64,
}

impl Phases {
    /// Shows nothing where it is not to, or nobody would see it.
    pub(crate) fn start(show: bool) -> Phases {
        let show = show && std::io::stderr().is_terminal();
        let target = if show { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(
            ProgressStyle::with_template("{spinner} {msg}").unwrap_or(ProgressStyle::default_bar()),
        );
        Phases { bar, begun: Instant::now(), drawn: AtomicU64::new(0) }
    }

    /// Lets `print` write without the line in its way.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.bar.suspend(print)
    }
}

impl Observer for Phases {
    fn progress(&self, progress: &Progress) {
        let now = self.begun.elapsed().as_millis() as u64;
        let before = self.drawn.load(Relaxed);
        let is_last = progress.total == Some(progress.done);
        if self.bar.is_hidden() || (now < before + INTERVAL && !is_last) {
            return;
        }
        self.drawn.store(now, Relaxed);
        let Progress { phase, done, total, .. } = progress;
        self.bar.set_message(match total {
            Some(total) => format!("{phase}: {done} of {total}"),
            None => format!("{phase}: {done}"),
        });
        self.bar.tick();
    }
}

impl Drop for Phases {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
