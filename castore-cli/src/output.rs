//! What is written: lines on standard output, and blobs.

use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use castore_core::Digest;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tokio::sync::mpsc;

use crate::failure::Result;

/// Writes `line` and a line break. A closed pipe is an error, which ends the program quietly.
pub(crate) fn line(line: impl std::fmt::Display) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Writes `value` on a line of its own.
pub(crate) fn json(value: &Value) -> io::Result<()> {
    line(value)
}

/// Whether nobody reads what was printed: no reason not to do the rest of what was asked for.
pub(crate) fn closed(printed: Result<()>) -> Result<bool> {
    match printed {
        Ok(()) => Ok(false),
        Err(failure) if failure.is_closed_output() => Ok(true),
        Err(failure) => Err(failure.about("standard output")),
    }
}

/// Writes the pieces of a blob on a thread of its own, while further ones are got. Returns what went wrong
/// with getting them, once those before have been written; and then what went wrong with `output`, or it.
///
/// Where the future is dropped, what is being written still is.
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
                    // The thread has ended, and says why.
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

/// A digest and a name as `b3sum` prints them: a name with a line break or a backslash is escaped,
/// and the line then starts with a backslash.
pub(crate) fn b3sum(digest: &Digest, path: &Path) -> String {
    let name = path.to_string_lossy();
    if name.contains(['\\', '\n', '\r']) {
        let name = name.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        return format!("\\{digest}  {name}");
    }
    format!("{digest}  {name}")
}

/// What is printed on one line, even where a key in the store has a line break in it.
pub(crate) fn one_line(text: impl std::fmt::Display) -> String {
    let text = text.to_string();
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// A path in a message: in one line, whatever is in it.
pub(crate) fn shown(path: &Path) -> String {
    let text = path.to_string_lossy();
    match text.is_empty() || text.contains(char::is_control) {
        true => format!("{text:?}"),
        false => text.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_escaped_as_b3sum_does() {
        let line = |name: &str| b3sum(&Digest::EMPTY, Path::new(name));
        assert_eq!(line("a b"), format!("{}  a b", Digest::EMPTY));
        assert_eq!(line("a\\b\nc"), format!("\\{}  a\\\\b\\nc", Digest::EMPTY));
    }
}
