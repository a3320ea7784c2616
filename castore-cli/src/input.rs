//! Reading files and standard input, in large pieces, off the async threads.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;
use tokio::sync::mpsc;

/// How much is read at once by default, in bytes: several chunks, most of which need not be copied then.
const PIECE: usize = 1024 * 1024;

/// A file or standard input.
pub(crate) enum Input {
    /// How many bytes are read at once, and what is read.
    File(usize, Option<File>),
    /// What may keep a read waiting for ever: read on a thread of its own, which nobody waits for
    /// when the program is to end.
    Stream(mpsc::Receiver<io::Result<Bytes>>),
}

impl Input {
    /// Opens `path`; `-` is standard input.
    pub(crate) async fn open(path: &Path) -> io::Result<Input> {
        Input::in_pieces(path, PIECE).await
    }

    /// The same, with `size` bytes at once.
    pub(crate) async fn in_pieces(path: &Path, size: usize) -> io::Result<Input> {
        if path.as_os_str() == "-" {
            return Input::stream(io::stdin(), size);
        }
        let path = path.to_owned();
        let file = blocking(move || {
            let file = File::open(&path)?;
            if file.metadata()?.is_dir() {
                return Err(io::Error::new(
                    io::ErrorKind::IsADirectory,
                    "it is a directory; store it as an archive: tar c DIRECTORY | castore put -",
                ));
            }
            let regular = file.metadata()?.is_file();
            Ok((file, regular))
        });
        match file.await? {
            (file, true) => Ok(Input::File(size, Some(file))),
            (file, false) => Input::stream(file, size),
        }
    }

    fn stream(mut reader: impl Read + Send + 'static, size: usize) -> io::Result<Input> {
        let (pieces, receiver) = mpsc::channel(1);
        let read = move || loop {
            let piece = read_piece(&mut reader, size);
            let last = !matches!(&piece, Ok(piece) if !piece.is_empty());
            if pieces.blocking_send(piece).is_err() || last {
                return;
            }
        };
        std::thread::Builder::new().name("input".to_owned()).spawn(read)?;
        Ok(Input::Stream(receiver))
    }

    /// The next piece: as much as one read after another gives, `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let piece = match self {
            Input::File(size, file) => {
                let size = *size;
                let Some(mut open) = file.take() else { return Ok(None) };
                let (open, piece) = blocking(move || {
                    let piece = read_piece(&mut open, size)?;
                    Ok((open, piece))
                })
                .await?;
                *file = Some(open);
                piece
            }
            Input::Stream(pieces) => match pieces.recv().await {
                Some(piece) => piece?,
                None => return Err(io::Error::other("the thread that reads it has ended")),
            },
        };
        Ok((!piece.is_empty()).then_some(piece))
    }
}

fn read_piece(reader: &mut impl Read, size: usize) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(size);
    reader.take(size as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The size of what is to be read, in bytes, where that can be told.
pub(crate) fn total(paths: &[impl AsRef<Path>]) -> Option<u64> {
    paths
        .iter()
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            metadata.is_file().then_some(metadata.len())
        })
        .sum()
}
