//! `castore get`

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures_util::stream::BoxStream;

use super::{Mode, cat};
use crate::args::Sparse;
use crate::failure::{FAILED, Failure, Result, USAGE};
use crate::input::blocking;
use crate::names::shown;
use crate::output::write_pieces;
use crate::progress::Progress;
use crate::restore::{self, be_like, publish, temporary};
use crate::store::{Location, open_read, resolve};

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    digest: &str,
    output: &Path,
    force: bool,
    sparse: Sparse,
) -> Result<()> {
    if output.as_os_str() == "-" {
        return cat::run(location, digest, None).await;
    }
    let output = Output::checked(output, force, "cat")?;
    let service = location.open()?;
    let digest = resolve(&service, digest).await?;
    let reader = open_read(&service, &digest).await?;
    let total = Some(reader.size());
    let progress = Progress::start(mode.progress(), &service, total, |stats| stats.bytes_read);
    let pieces = reader.read_range(0..reader.size());
    output.save(pieces, force, sparse, progress).await
}

/// The destination of a command's bytes.
pub(super) enum Output {
    /// A file that appears once it is whole.
    File(PathBuf),
    /// A device, which is written in place and without holes.
    Device(PathBuf),
}

impl Output {
    /// Checks the output for mistakes that would otherwise show only at the end. The command
    /// `to_pipe` writes the same to standard output.
    pub(super) fn checked(output: &Path, force: bool, to_pipe: &str) -> Result<Output> {
        let name = shown(output);
        if output.is_dir() {
            let message = format!("{name} is a directory; name the file to write");
            return Err(Failure::new(USAGE, message));
        }
        match output.metadata() {
            Ok(metadata) if is_device(&metadata) => match force {
                true => Ok(Output::Device(output.to_owned())),
                false => Err(Failure::new(FAILED, format!("{name} is a device; -f overwrites it"))),
            },
            // A rename would replace a pipe by a file, which is never wanted.
            Ok(metadata) if !metadata.is_file() => {
                let message = format!(
                    "{name} is not a regular file; use `castore {to_pipe} DIGEST > {name}`"
                );
                Err(Failure::new(USAGE, message))
            }
            Ok(_) if force => {
                // A link stays; the file it leads to is replaced.
                let output = output.canonicalize();
                output.map(Output::File).map_err(|error| Failure::from(error).about(name))
            }
            _ if !force && output.symlink_metadata().is_ok() => Err(exists(output)),
            _ => Ok(Output::File(output.to_owned())),
        }
    }

    /// Writes `pieces`; a file appears when it is whole. `progress` ends with the last of them.
    pub(super) async fn save(
        self,
        pieces: BoxStream<'static, castore_core::Result<Bytes>>,
        force: bool,
        sparse: Sparse,
        progress: impl Sized,
    ) -> Result<()> {
        let name = shown(self.path());
        let failed = |error| Failure::from(error).about(&name);
        let output = match self {
            Output::Device(device) => {
                let file = File::options().write(true).open(device).map_err(failed)?;
                let file = write_pieces(pieces, file, File::write_all).await?.map_err(failed)?;
                drop(progress);
                return blocking(move || flush_device(&file)).await.map_err(failed);
            }
            Output::File(output) => output,
        };
        // The path stays here, and its drop removes the file in every case but success. Work off
        // the async threads, which a signal cannot end, holds only the open file.
        let replaces = force && output.exists();
        let (file, path) = temporary(&output, replaces).map_err(failed)?.into_parts();
        let file = match sparse {
            Sparse::Auto => {
                let file = restore::Sparse::new(file);
                let file =
                    write_pieces(pieces, file, restore::Sparse::write).await?.map_err(failed)?;
                file.end().map_err(failed)?
            }
            Sparse::Never => write_pieces(pieces, file, File::write_all).await?.map_err(failed)?,
        };
        drop(progress);
        let like = replaces.then(|| output.clone());
        let finish = move || {
            if let Some(output) = like {
                be_like(&file, &output)?;
            }
            file.sync_all()
        };
        blocking(finish).await.map_err(failed)?;
        publish(path, &output, force).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(&output),
            _ => failed(error),
        })
    }

    fn path(&self) -> &Path {
        match self {
            Output::File(path) | Output::Device(path) => path,
        }
    }
}

/// Waits until a device has all bytes. Most devices without a buffer refuse to flush; that is fine.
fn flush_device(file: &File) -> io::Result<()> {
    match file.sync_all() {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported) =>
        {
            Ok(())
        }
        flushed => flushed,
    }
}

fn exists(output: &Path) -> Failure {
    Failure::new(FAILED, format!("{} exists; -f replaces it", shown(output)))
}

#[cfg(unix)]
fn is_device(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;

    metadata.file_type().is_block_device() || metadata.file_type().is_char_device()
}

#[cfg(not(unix))]
fn is_device(_metadata: &std::fs::Metadata) -> bool {
    false
}
