//! Standard output: lines, and the bytes of blobs.
//!
//! A reader of standard output may go away, as `head` does. That ends the printing and never the
//! work: a command goes on to remove, verify or store everything that was asked, and exits with the
//! same code.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::failure::{FAILED, Failure, Result};

/// Whether a line still reaches a reader: one of the constants below. An atomic and no lock,
/// because a write may wait for ever, and an interrupt reads this meanwhile.
static OUTLET: AtomicU8 = AtomicU8::new(OPEN);

const OPEN: u8 = 0;
/// The reader went away. That is no failure.
const CLOSED: u8 = 1;
/// Standard output cannot be written, as on a full disk.
const BROKEN: u8 = 2;

/// Writes `line` and a line break. Does nothing once standard output is closed or broken.
pub(crate) fn line(line: impl std::fmt::Display) {
    if is_closed() {
        return;
    }
    let mut stdout = io::stdout().lock();
    let written = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
    drop(stdout);
    if let Err(error) = written {
        close(error);
    }
}

/// Writes `value` on a line of its own.
pub(crate) fn json(value: &Value) {
    line(value);
}

/// Whether lines were lost, because standard output is closed or broken.
pub(crate) fn is_closed() -> bool {
    OUTLET.load(Relaxed) != OPEN
}

/// The exit code of a command that would end with `code`. Output that could not be written is a
/// failure.
pub(crate) fn code(code: u8) -> u8 {
    match OUTLET.load(Relaxed) {
        BROKEN if code == 0 => FAILED,
        _ => code,
    }
}

/// Says once why no more output follows, unless the reader went away and knows.
fn close(error: io::Error) {
    if error.kind() == io::ErrorKind::BrokenPipe {
        OUTLET.store(CLOSED, Relaxed);
        return;
    }
    OUTLET.store(BROKEN, Relaxed);
    Failure::from(error).about("standard output").report(false);
}

/// Writes the pieces of a blob to standard output.
///
/// # Errors
/// Those of reading the blob. If standard output cannot be written, [`code`] decides the exit code.
pub(crate) async fn blob(pieces: BoxStream<'static, castore_core::Result<Bytes>>) -> Result<()> {
    let write = |stdout: &mut io::Stdout, piece: &[u8]| {
        stdout.write_all(piece)?;
        stdout.flush()
    };
    if let Err(error) = write_pieces(pieces, io::stdout(), write).await? {
        close(error);
    }
    Ok(())
}

/// Writes the pieces of a blob on a separate thread, and gets the next ones meanwhile. Returns a
/// failure to get pieces, once those before are written; otherwise a failure to write, or `output`.
///
/// If the future is dropped, the thread still writes the piece it has.
pub(crate) async fn write_pieces<W: Send + 'static>(
    mut pieces: BoxStream<'static, castore_core::Result<Bytes>>,
    mut output: W,
    write: impl Fn(&mut W, &[u8]) -> io::Result<()> + Send + 'static,
) -> castore_core::Result<io::Result<W>> {
    let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
    let writing = tokio::task::spawn_blocking(move || {
        while let Some(piece) = receiver.blocking_recv() {
            write(&mut output, &piece)?;
        }
        Ok(output)
    });
    let got = loop {
        match pieces.next().await {
            Some(Ok(piece)) => {
                if sender.send(piece).await.is_err() {
                    // The thread has ended, and returns the reason.
                    break Ok(());
                }
            }
            Some(Err(error)) => break Err(error),
            None => break Ok(()),
        }
    };
    drop(sender);
    let written = writing.await.map_err(io::Error::other).flatten();
    got.map(|()| written)
}

/// `text` on one line, even if a key in the store has a line break in it.
pub(crate) fn one_line(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// `text` without control characters other than its line breaks.
pub(crate) fn lines(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    let lines: Vec<String> = text.lines().map(one_line).collect();
    lines.join("\n")
}
