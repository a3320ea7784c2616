//! How far a long operation of the library is, on standard error, and only on a terminal.

use std::io::IsTerminal;
use std::time::Duration;

use castore_objstore::{Observer, Progress};
use indicatif::{ProgressBar, ProgressStyle};

/// Shows what an operation tells, until it is dropped.
pub(crate) struct Phases {
    bar: Option<ProgressBar>,
}

impl Phases {
    pub(crate) fn start(show: bool) -> Phases {
        let show = show && std::io::stderr().is_terminal();
        let bar = show.then(|| {
            let style = ProgressStyle::with_template("{spinner} {msg}");
            let bar = ProgressBar::new_spinner();
            bar.set_style(style.unwrap_or(ProgressStyle::default_spinner()));
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Phases { bar }
    }
}

impl Observer for Phases {
    fn progress(&self, progress: &Progress) {
        let Some(bar) = &self.bar else { return };
        let Progress { phase, done, total, .. } = progress;
        bar.set_message(match total {
            Some(total) => format!("{phase}: {done} of {total}"),
            None => format!("{phase}: {done}"),
        });
    }
}

impl Drop for Phases {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
