//! Reading files and standard input, in large pieces, off the async threads.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use bytes::Bytes;

/// How much is read at once, in bytes: several chunks, most of which need not be copied then.
const PIECE: usize = 1024 * 1024;

/// A file or standard input.
pub(crate) struct Input {
    reader: Option<Box<dyn Read + Send>>,
}

impl Input {
    /// Opens `path`; `-` is standard input.
    pub(crate) async fn open(path: &Path) -> io::Result<Input> {
        if path.as_os_str() == "-" {
            return Ok(Input { reader: Some(Box::new(io::stdin())) });
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
            Ok(file)
        });
        Ok(Input { reader: Some(Box::new(file.await?)) })
    }

    /// The next piece: as much as one read after another gives, `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Some(mut reader) = self.reader.take() else { return Ok(None) };
        let (reader, piece) = blocking(move || {
            let mut piece = Vec::with_capacity(PIECE);
            (&mut reader).take(PIECE as u64).read_to_end(&mut piece)?;
            Ok((reader, piece))
        })
        .await?;
        self.reader = Some(reader);
        Ok((!piece.is_empty()).then(|| piece.into()))
    }
}

async fn blocking<T: Send + 'static>(
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
