//! The output of `-v`: the program's log on standard error.

use std::io::{self, IsTerminal, Write};

use tracing_subscriber::EnvFilter;

use crate::redact::redacted;

/// Starts the log; `verbose` is the number of `-v` options.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => "info",
        _ => "debug",
    };
    // The HTTP libraries log bytes and frames, among them headers with keys.
    let filter = format!("{level},h2=info,hyper=info,hyper_util=info,reqwest=info,rustls=info");
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(|| Stderr)
        .with_ansi(colours())
        // A report of a failed write would go to the same place, and panic.
        .log_internal_errors(false)
        .init();
}

/// Whether to use colours on standard error: only on a terminal.
fn colours() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stderr().is_terminal() && !refused && !dumb
}

/// Standard error without secrets. The log writes a whole event at once.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        io::stderr().write_all(redacted(&text).as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}
