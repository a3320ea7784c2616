//! Reading files and standard input, in large pieces, off the async threads.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek};
use std::path::Path;
use std::time::SystemTime;

use bytes::Bytes;
use tokio::sync::mpsc;

/// The default bytes of one read: several chunks, most of which then need no copy.
const PIECE: usize = 1024 * 1024;

/// A file or standard input, read up to its first end: a terminal may go on after that.
pub(crate) struct Input {
    source: Source,
    change: Option<String>,
}

enum Source {
    /// A regular file, until its end was read.
    File(Option<Regular>),
    /// A pipe or device, on which a read may wait for ever. A separate thread reads it, and the
    /// program does not wait for that thread when it ends.
    Stream(Option<mpsc::Receiver<io::Result<Piece>>>),
}

/// The bytes of one piece, and whether the input ended after them.
struct Piece {
    bytes: Bytes,
    last: bool,
}

impl Input {
    /// Opens `path`; `-` is standard input.
    ///
    /// # Errors
    /// Those of opening the file; a directory, or a standard input that is closed.
    pub(crate) async fn open(path: &Path) -> io::Result<Input> {
        Input::in_pieces(path, PIECE).await
    }

    /// The same, with reads of `size` bytes.
    pub(crate) async fn in_pieces(path: &Path, size: usize) -> io::Result<Input> {
        let path = path.to_owned();
        let open = move || {
            let mut file = match path.as_os_str() == "-" {
                true => standard_input()?,
                false => File::open(&path)?,
            };
            let metadata = file.metadata()?;
            if metadata.is_dir() {
                return Err(io::Error::new(
                    io::ErrorKind::IsADirectory,
                    "it is a directory; store it as an archive: tar c DIRECTORY | castore put -",
                ));
            }
            match metadata.is_file() {
                true => {
                    let start = file.stream_position()?;
                    let before = State::new(&metadata);
                    Ok(Source::File(Some(Regular { file, size, start, read: 0, before })))
                }
                false => Source::stream(file, size),
            }
        };
        Ok(Input { source: blocking(open).await?, change: None })
    }

    /// The next piece: as much as one read returns, and `None` at the end.
    pub(crate) async fn next(&mut self) -> io::Result<Option<Bytes>> {
        match &mut self.source {
            Source::File(regular) => {
                let Some(mut open) = regular.take() else { return Ok(None) };
                let read = blocking(move || {
                    let piece = open.read()?;
                    let change = if piece.last { open.change()? } else { None };
                    Ok((open, piece, change))
                });
                let (open, piece, change) = read.await?;
                match piece.last {
                    true => self.change = change,
                    false => *regular = Some(open),
                }
                Ok(piece.given())
            }
            Source::Stream(stream) => {
                let Some(pieces) = stream else { return Ok(None) };
                let piece = pieces.recv().await;
                let piece = piece
                    .unwrap_or_else(|| Err(io::Error::other("the thread that reads it has ended")));
                if !matches!(piece, Ok(Piece { last: false, .. })) {
                    *stream = None;
                }
                Ok(piece?.given())
            }
        }
    }

    /// How the file changed while it was read, once it was read to its end. `None` for an unchanged
    /// file, and for pipes and devices.
    pub(crate) fn change(&self) -> Option<&str> {
        self.change.as_deref()
    }
}

impl Source {
    fn stream(mut reader: impl Read + Send + 'static, size: usize) -> io::Result<Source> {
        let (pieces, receiver) = mpsc::channel(1);
        let read = move || loop {
            let piece = read_piece(&mut reader, size);
            let goes_on = matches!(piece, Ok(Piece { last: false, .. }));
            if pieces.blocking_send(piece).is_err() || !goes_on {
                return;
            }
        };
        let thread = std::thread::Builder::new().name("input".to_owned()).spawn(read);
        thread.map_err(|error| {
            io::Error::new(error.kind(), format!("no thread can be started to read it: {error}"))
        })?;
        Ok(Source::Stream(Some(receiver)))
    }
}

impl Piece {
    fn given(self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then_some(self.bytes)
    }
}

/// A regular file that is being read.
struct Regular {
    file: File,
    /// The bytes of one read.
    size: usize,
    /// The position of the first byte read: standard input may start in the middle of a file.
    start: u64,
    /// The number of bytes read so far.
    read: u64,
    before: State,
}

impl Regular {
    fn read(&mut self) -> io::Result<Piece> {
        let piece = read_piece(&mut self.file, self.size)?;
        self.read += piece.bytes.len() as u64;
        Ok(piece)
    }

    /// How the file differs from its state at opening.
    fn change(&self) -> io::Result<Option<String>> {
        let metadata = self.file.metadata()?;
        let (before, after) = (&self.before, State::new(&metadata));
        Ok(match before.size.cmp(&after.size) {
            std::cmp::Ordering::Less => {
                Some(format!("it grew from {} to {} bytes", before.size, after.size))
            }
            std::cmp::Ordering::Greater => {
                Some(format!("it was cut from {} to {} bytes", before.size, after.size))
            }
            std::cmp::Ordering::Equal if before.was_written(&after) => {
                Some("it was written to".to_owned())
            }
            // Files that the kernel generates, as below /proc, take no blocks and state any size.
            std::cmp::Ordering::Equal
                if self.read != after.size.saturating_sub(self.start)
                    && after.blocks != Some(0) =>
            {
                Some(format!("{} of its {} bytes were read", self.read, after.size))
            }
            std::cmp::Ordering::Equal => None,
        })
    }
}

/// The metadata that reveal a change of a file.
struct State {
    size: u64,
    modified: Option<SystemTime>,
    /// The time at which the file or its metadata were last changed, if the platform says so.
    changed: Option<(i64, i64)>,
    /// Mode, owner, group, and the number of names. A change of these also changes `changed`,
    /// although the bytes stay.
    attributes: (u32, u32, u32, u64),
    blocks: Option<u64>,
}

impl State {
    fn new(metadata: &Metadata) -> State {
        let (size, modified) = (metadata.len(), metadata.modified().ok());
        #[cfg(unix)]
        {
            use std::os::unix::fs::MetadataExt;
            State {
                size,
                modified,
                changed: Some((metadata.ctime(), metadata.ctime_nsec())),
                attributes: (metadata.mode(), metadata.uid(), metadata.gid(), metadata.nlink()),
                blocks: Some(metadata.blocks()),
            }
        }
        #[cfg(not(unix))]
        State { size, modified, changed: None, attributes: (0, 0, 0, 0), blocks: None }
    }

    /// Whether the file was written between `self` and `after`, even if its time was then set back.
    fn was_written(&self, after: &State) -> bool {
        self.modified != after.modified
            || (self.changed != after.changed && self.attributes == after.attributes)
    }
}

/// Reads up to `size` bytes, and does not read again once the end was reached.
fn read_piece(reader: &mut impl Read, size: usize) -> io::Result<Piece> {
    let mut piece = Vec::with_capacity(size);
    let read = reader.take(size as u64).read_to_end(&mut piece)?;
    Ok(Piece { bytes: piece.into(), last: read < size })
}

/// Standard input, without the buffer of the standard library.
#[cfg(unix)]
fn standard_input() -> io::Result<File> {
    use std::os::fd::AsFd;

    let input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    if stands_for_closed(&input) {
        let message = "standard input is closed; give a file or a pipe, or /dev/null for no bytes";
        return Err(io::Error::other(message));
    }
    Ok(input)
}

#[cfg(not(unix))]
fn standard_input() -> io::Result<File> {
    use std::os::windows::io::AsHandle;

    Ok(File::from(io::stdin().as_handle().try_clone_to_owned()?))
}

/// Whether `input` is the null device, open for writing too. The standard library opens that in
/// place of a closed standard input before the program begins, and so do containers without one. A
/// shell opens `< /dev/null` for reading only.
#[cfg(unix)]
fn stands_for_closed(input: &File) -> bool {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};

    use rustix::fs::{OFlags, fcntl_getfl};

    let (Ok(input_is), Ok(null)) = (input.metadata(), std::fs::metadata("/dev/null")) else {
        return false;
    };
    input_is.file_type().is_char_device()
        && input_is.rdev() == null.rdev()
        && fcntl_getfl(input).is_ok_and(|flags| flags.contains(OFlags::RDWR))
}

pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// The total size of all files in bytes, if known.
pub(crate) fn total(paths: &[impl AsRef<Path>]) -> Option<u64> {
    paths
        .iter()
        .map(|path| {
            let metadata = std::fs::metadata(path).ok()?;
            metadata.is_file().then_some(metadata.len())
        })
        .sum()
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::{FileExt, MetadataExt};

    use super::*;

    /// Reads a file of 3,000,000 bytes, and applies `change` after the first piece.
    async fn changed(change: impl FnOnce(&Path, &File)) -> Option<String> {
        let path = tempfile::NamedTempFile::new().unwrap().into_temp_path();
        std::fs::write(&path, vec![7; 3_000_000]).unwrap();
        let old = SystemTime::now() - std::time::Duration::from_secs(3600);
        let file = File::options().read(true).write(true).open(&path).unwrap();
        file.set_modified(old).unwrap();
        let mut input = Input::open(&path).await.unwrap();
        input.next().await.unwrap();
        change(&path, &file);
        while input.next().await.unwrap().is_some() {}
        assert!(input.next().await.unwrap().is_none());
        input.change().map(str::to_owned)
    }

    #[tokio::test]
    async fn a_file_that_changes_while_it_is_read_is_noticed() {
        let cut = changed(|_, file| file.set_len(2_000_000).unwrap()).await;
        assert_eq!(cut.as_deref(), Some("it was cut from 3000000 to 2000000 bytes"));
        let grown = changed(|_, file| file.set_len(4_000_000).unwrap()).await;
        assert_eq!(grown.as_deref(), Some("it grew from 3000000 to 4000000 bytes"));
        let written = changed(|_, file| file.write_all_at(b"x", 100).unwrap()).await;
        assert_eq!(written.as_deref(), Some("it was written to"));
        // The time of the change stays, although the time of the write is set back.
        let hidden = changed(|_, file| {
            let before = file.metadata().unwrap();
            let changed = |of: &Metadata| (of.ctime(), of.ctime_nsec());
            // The filesystem's clock is coarse.
            while changed(&file.metadata().unwrap()) == changed(&before) {
                file.write_all_at(b"x", 100).unwrap();
                file.set_modified(before.modified().unwrap()).unwrap();
            }
        });
        assert_eq!(hidden.await.as_deref(), Some("it was written to"));
    }

    #[tokio::test]
    async fn a_file_that_is_read_or_removed_has_not_changed() {
        assert_eq!(changed(|_, _| {}).await, None);
        assert_eq!(changed(|path, _| std::fs::remove_file(path).unwrap()).await, None);
        assert_eq!(
            changed(|path, file| {
                let mut mode = file.metadata().unwrap().permissions();
                mode.set_readonly(true);
                std::fs::set_permissions(path, mode).unwrap();
            })
            .await,
            None
        );
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_file_that_the_kernel_makes_up_has_not_changed() {
        for path in ["/proc/self/status", "/proc/cpuinfo"] {
            let mut input = Input::open(Path::new(path)).await.unwrap();
            while input.next().await.unwrap().is_some() {}
            assert_eq!(input.change(), None, "{path}");
        }
    }
}
