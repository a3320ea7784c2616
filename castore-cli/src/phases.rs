//! The phases of a long operation on standard error: only on a terminal, and unless `--quiet` is
//! given.

use std::io::IsTerminal;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use castore_objstore::{Observer, Progress};
use indicatif::{ProgressBar, ProgressStyle};

/// The interval between redraws of the bar.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar that shows the current phase of an operation.
pub(crate) struct Phases {
    /// The bar, and the name of the phase it shows; `None` if progress is not shown.
    bar: Option<(ProgressBar, Mutex<&'static str>)>,
}

impl Phases {
    pub(crate) fn start(show: bool) -> Phases {
        if !show || !std::io::stderr().is_terminal() {
            return Phases { bar: None };
        }
        let bar = ProgressBar::new_spinner();
        bar.enable_steady_tick(INTERVAL);
        Phases { bar: Some((bar, Mutex::new(""))) }
    }

    /// Hides the bar while `print` writes.
    pub(crate) fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bar {
            Some((bar, _)) => bar.suspend(print),
            None => print(),
        }
    }

    /// Removes the bar.
    pub(crate) fn end(&self) {
        if let Some((bar, _)) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Phases {
    fn progress(&self, progress: &Progress) {
        let Some((bar, shown)) = &self.bar else { return };
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        if *shown != progress.phase {
            *shown = progress.phase;
            let template = match progress.total {
                Some(_) => "{msg}: {bar:30} {human_pos} of {human_len}, {eta} left",
                None => "{spinner} {msg}: {human_pos}",
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar.set_message(progress.phase);
            bar.set_length(progress.total.unwrap_or_default());
        }
        bar.set_position(progress.done);
    }
}

impl Drop for Phases {
    fn drop(&mut self) {
        self.end();
    }
}
