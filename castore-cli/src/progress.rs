//! Progress on standard error: only on a terminal, and unless `--quiet` is given.

use std::io::IsTerminal;
use std::time::Duration;

use castore_objstore::{ObjectStoreBlobService, Stats};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

use crate::size::iec;

/// The interval between redraws of the bar.
const INTERVAL: Duration = Duration::from_millis(100);

/// A bar that follows a service's counts until it is dropped.
pub(crate) struct Progress {
    bar: ProgressBar,
    task: JoinHandle<()>,
}

impl Progress {
    /// Starts a bar that ends at `total` bytes, if that is known; `done` picks the count.
    pub(crate) fn start(
        show: bool,
        service: &ObjectStoreBlobService,
        total: Option<u64>,
        done: impl Fn(&Stats) -> u64 + Send + 'static,
    ) -> Option<Progress> {
        if !show || !std::io::stderr().is_terminal() {
            return None;
        }
        let template = match total {
            Some(_) => {
                "{bar:30} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left{msg}"
            }
            None => "{spinner} {binary_bytes}, {binary_bytes_per_sec}{msg}",
        };
        let style = ProgressStyle::with_template(template).unwrap_or(ProgressStyle::default_bar());
        let bar = match total {
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.set_style(style);
        let (service, shown) = (service.clone(), bar.clone());
        let task = tokio::spawn(async move {
            loop {
                let stats = service.stats();
                shown.set_position(done(&stats));
                let reused = stats.bytes_written.saturating_sub(stats.bytes_new);
                if stats.chunks_reused > 0 {
                    shown.set_message(format!(", about {} reused", iec(reused)));
                }
                tokio::time::sleep(INTERVAL).await;
            }
        });
        Some(Progress { bar, task })
    }

    /// Hides the bar while `print` writes.
    pub(crate) fn suspend<T>(progress: Option<&Progress>, print: impl FnOnce() -> T) -> T {
        match progress {
            Some(progress) => progress.bar.suspend(print),
            None => print(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.task.abort();
        self.bar.finish_and_clear();
    }
}
