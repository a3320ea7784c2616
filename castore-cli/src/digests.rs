//! The digests given to a command: as arguments, or in a list.

use std::path::{Path, PathBuf};

use castore_core::{Digest, ParseDigestError};
use futures_util::stream::{self, Stream, StreamExt};

use crate::failure::{FAILED, Failure, Result, USAGE};
use crate::input::Input;
use crate::names::shown;

/// The longest line of a list, in bytes: a digest and a long path.
const LONGEST_LINE: usize = 64 * 1024;

/// The most digests of a list that is held whole: 1 GiB of memory.
const MOST_DIGESTS: usize = 1 << 25;

/// The bytes of a list read at once.
const PIECE: usize = 64 * 1024;

/// `digests`, then those in `lists`, as given: whole, or their first digits.
pub(crate) fn given(
    digests: Vec<String>,
    lists: Vec<PathBuf>,
) -> impl Stream<Item = Result<String>> + Send {
    let listed = stream::iter(lists).flat_map(|path| {
        stream::unfold(Some((path, None)), |state| async {
            let (path, list) = state?;
            match next(&path, list).await {
                Ok(Some((word, list))) => Some((Ok(word), Some((path, Some(list))))),
                Ok(None) => None,
                Err(failure) => Some((Err(failure.about(shown(&path))), None)),
            }
        })
    });
    stream::iter(digests.into_iter().map(Ok)).chain(listed)
}

/// The digests of a list, which must be whole.
pub(crate) async fn whole(path: &Path) -> Result<Vec<Digest>> {
    let mut digests = Vec::new();
    let mut list = None;
    while let Some((word, rest)) = next(path, list).await? {
        if digests.len() == MOST_DIGESTS {
            let message = format!("it has more than {MOST_DIGESTS} digests");
            return Err(Failure::new(USAGE, message));
        }
        digests.push(word.parse().map_err(|error: ParseDigestError| {
            let message = format!("line {}: {word:?} is not a digest: {error}", rest.lines);
            Failure::new(USAGE, message)
        })?);
        list = Some(rest);
    }
    Ok(digests)
}

/// Checks that at most one list is standard input, which can be read only once.
pub(crate) fn check_lists(lists: &[PathBuf]) -> Result<()> {
    match lists.iter().filter(|path| path.as_os_str() == "-").count() {
        0 | 1 => Ok(()),
        _ => Err(Failure::new(USAGE, "standard input (-) can be read only once")),
    }
}

/// A list that is being read.
struct List {
    input: Input,
    rest: Vec<u8>,
    /// The number of bytes of `rest` that were taken already.
    taken: usize,
    /// The number of lines that were read.
    lines: u64,
    ended: bool,
}

async fn next(path: &Path, list: Option<List>) -> Result<Option<(String, List)>> {
    let mut list = match list {
        Some(list) => list,
        None => {
            if path.is_dir() {
                return Err(Failure::new(USAGE, "it is a directory, and no list of digests"));
            }
            let input = Input::in_pieces(path, PIECE).await?;
            List { input, rest: Vec::new(), taken: 0, lines: 0, ended: false }
        }
    };
    while let Some(line) = list.line().await? {
        if let Some(word) = word(&line) {
            return Ok(Some((word.to_owned(), list)));
        }
    }
    Ok(None)
}

impl List {
    async fn line(&mut self) -> Result<Option<String>> {
        loop {
            let left = &self.rest[self.taken..];
            let line = match left.iter().position(|byte| *byte == b'\n') {
                Some(length) => Some((length, length + 1)),
                None if self.ended && !left.is_empty() => Some((left.len(), left.len())),
                None => None,
            };
            if let Some((length, taken)) = line {
                let line = String::from_utf8_lossy(&left[..length]).into_owned();
                self.taken += taken;
                self.lines += 1;
                return Ok(Some(line));
            }
            if self.ended {
                return Ok(None);
            }
            if left.len() > LONGEST_LINE {
                let message = format!("it has a line of more than {LONGEST_LINE} bytes");
                return Err(Failure::new(USAGE, message));
            }
            self.rest.drain(..self.taken);
            self.taken = 0;
            match self.input.next().await? {
                Some(piece) => self.rest.extend_from_slice(&piece),
                None => {
                    unchanged(&self.input)?;
                    self.ended = true;
                }
            }
        }
    }
}

/// Fails if a list changed while it was read: it may lack lines.
fn unchanged(list: &Input) -> Result<()> {
    match list.change() {
        None => Ok(()),
        Some(change) => {
            let message = format!("it changed while it was read: {change}; run the command again");
            Err(Failure::new(FAILED, message))
        }
    }
}

/// The first word of a line that is no comment: the output of `ls`, `put` and b3sum is a list, too.
/// b3sum starts a line whose name has escapes with a backslash.
fn word(line: &str) -> Option<&str> {
    let word = line.split_whitespace().next().filter(|word| !word.starts_with('#'))?;
    Some(word.strip_prefix('\\').unwrap_or(word))
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt;

    use super::*;

    async fn read(text: &[u8]) -> Result<Vec<String>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        given(vec!["first".to_owned()], vec![file.path().to_owned()]).try_collect().await
    }

    #[tokio::test]
    async fn each_line_has_a_digest_at_its_start() {
        let text = b"a\n\n  b  name of it\n\\c  back\\\\slash\n\r\nd\r\nlast";
        assert_eq!(read(text).await.unwrap(), ["first", "a", "b", "c", "d", "last"]);
        assert_eq!(read(b"").await.unwrap(), ["first"]);
    }

    #[tokio::test]
    async fn a_long_list_is_read_in_pieces() {
        let lines: Vec<String> = (0..20_000).map(|number| format!("{number:064}")).collect();
        let found = read(lines.join("\n").as_bytes()).await.unwrap();
        assert!(found[1..] == lines);
    }

    #[tokio::test]
    async fn other_text_than_a_list_is_refused() {
        let failure = read(&vec![b'x'; 10 << 20]).await.unwrap_err();
        assert_eq!(failure.code(), USAGE);
    }
}
