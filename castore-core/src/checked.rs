//! Checks a source: the number of bytes that it returns, and the digest of a whole blob.

use bytes::Bytes;
use futures_util::stream::{self, StreamExt};

use crate::{BlobMismatch, BoxStream, Digest, Error, ErrorKind, Result};

/// The pieces of a source, checked to be exactly `expected` bytes, and with nothing after an error.
///
/// `whole` is the digest of the blob if the pieces are all of it. In this case the last piece is
/// held back until the source has ended without an error and the digest is verified. The digest is
/// computed here unless the source verifies it.
pub(crate) fn checked(
    pieces: BoxStream<Result<Bytes>>,
    expected: u64,
    whole: Option<Digest>,
    source_verifies: bool,
) -> BoxStream<Result<Bytes>> {
    let hasher = (whole.is_some() && !source_verifies).then(blake3::Hasher::new);
    let state = Checked { pieces, left: expected, whole, hasher };
    stream::unfold(Some(state), |state| async {
        let mut state = state?;
        match state.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(state))),
            Ok(None) => None,
            Err(error) => Some((Err(error), None)),
        }
    })
    .boxed()
}

struct Checked {
    pieces: BoxStream<Result<Bytes>>,
    /// How many bytes are still to come.
    left: u64,
    whole: Option<Digest>,
    /// The hash of all bytes so far.
    hasher: Option<blake3::Hasher>,
}

impl Checked {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        let Some(piece) = self.pieces.next().await.transpose()? else {
            return self.end().map(|()| None);
        };
        self.left = self.left.checked_sub(piece.len() as u64).ok_or_else(too_many)?;
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&piece);
        }
        if self.left == 0 && self.whole.is_some() {
            while let Some(more) = self.pieces.next().await.transpose()? {
                if !more.is_empty() {
                    return Err(too_many());
                }
            }
            self.end()?;
            self.pieces = stream::empty().boxed();
        }
        Ok(Some(piece))
    }

    /// Checks, at the end of the pieces, that the source has returned all of them.
    fn end(&mut self) -> Result<()> {
        if self.left > 0 {
            return Err(wrong("the backend gave too few bytes"));
        }
        if let (Some(digest), Some(hasher)) = (self.whole, self.hasher.take()) {
            let found = Digest::from_bytes(*hasher.finalize().as_bytes());
            if found != digest {
                let mismatch = BlobMismatch::Whole { found };
                return Err(Error::blob_mismatch("read a blob", digest, mismatch));
            }
        }
        Ok(())
    }
}

fn too_many() -> Error {
    wrong("the backend gave more bytes than asked for")
}

fn wrong(message: &str) -> Error {
    Error::new(ErrorKind::Other, "read a range", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Item = Result<&'static str, ErrorKind>;

    fn failed(kind: ErrorKind) -> Error {
        Error::new(kind, "read", "it is broken")
    }

    /// The checked output of `items`, which should be the whole of `blob`.
    async fn read(
        items: &[Item],
        blob: &'static str,
        source_verifies: bool,
    ) -> Vec<Result<String, ErrorKind>> {
        let item = |item: &Item| match item {
            Ok(piece) => Ok(Bytes::from_static(piece.as_bytes())),
            Err(kind) => Err(failed(*kind)),
        };
        let items: Vec<_> = items.iter().map(item).collect();
        let digest = Some(Digest::of(blob.as_bytes()));
        let checked =
            checked(stream::iter(items).boxed(), blob.len() as u64, digest, source_verifies);
        let text = |piece: Bytes| String::from_utf8(piece.to_vec()).unwrap();
        checked.map(|item| item.map(text).map_err(|error| error.kind())).collect().await
    }

    #[tokio::test]
    async fn the_last_piece_comes_only_if_the_whole_has_the_digest() {
        let pieces = [Ok("ab"), Ok("cd"), Ok("ef")];
        for source_verifies in [false, true] {
            let right = read(&pieces, "abcdef", source_verifies).await;
            assert_eq!(right, ["ab", "cd", "ef"].map(|piece| Ok(piece.to_owned())));
        }
        let wrong = read(&pieces, "abcdeg", false).await;
        assert_eq!(wrong, [Ok("ab".into()), Ok("cd".into()), Err(ErrorKind::Corrupt)]);
        // A source that verifies the whole is trusted.
        assert_eq!(read(&pieces, "abcdeg", true).await.len(), 3);
    }

    #[tokio::test]
    async fn the_last_piece_waits_for_the_end_of_the_source() {
        for source_verifies in [false, true] {
            let late = [Ok("ab"), Ok("cd"), Err(ErrorKind::Corrupt)];
            let read_late = read(&late, "abcd", source_verifies).await;
            assert_eq!(read_late, [Ok("ab".into()), Err(ErrorKind::Corrupt)]);
            let more = [Ok("ab"), Ok("cd"), Ok("x")];
            let read_more = read(&more, "abcd", source_verifies).await;
            assert_eq!(read_more, [Ok("ab".into()), Err(ErrorKind::Other)]);
            let fewer = [Ok("ab"), Ok("c")];
            let read_fewer = read(&fewer, "abcd", source_verifies).await;
            assert_eq!(read_fewer, [Ok("ab".into()), Ok("c".into()), Err(ErrorKind::Other)]);
            let empty = [Ok("ab"), Ok("cd"), Ok("")];
            assert_eq!(read(&empty, "abcd", source_verifies).await.len(), 2);
        }
    }

    #[tokio::test]
    async fn nothing_comes_after_an_error() {
        let items = [Ok("ab"), Err(ErrorKind::Unavailable), Ok("cd")];
        let read = read(&items, "abcd", false).await;
        assert_eq!(read, [Ok("ab".into()), Err(ErrorKind::Unavailable)]);
    }
}
