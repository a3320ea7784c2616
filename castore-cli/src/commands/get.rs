//! `castore get`

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile, TempPath};

use super::{Mode, cat};
use crate::failure::{FAILED, Failure, Result, USAGE};
use crate::input::blocking;
use crate::output::{shown, write_pieces};
use crate::progress::Progress;
use crate::store::{Location, open_read, resolve};

pub(crate) async fn run(
    mode: Mode,
    location: &Location,
    digest: &str,
    output: &Path,
    force: bool,
) -> Result<()> {
    if output.as_os_str() == "-" {
        return cat::run(location, digest, None).await;
    }
    let output = &check_output(output, force)?;
    let service = location.open()?;
    let digest = resolve(&service, digest).await?;
    let reader = open_read(&service, &digest).await?;
    let total = Some(reader.size());
    let progress = Progress::start(mode.progress(), &service, total, |stats| stats.bytes_read);

    // The path stays here, and is removed when it is dropped: in any case but success. Work off
    // the async threads, which nobody can cancel, only has the open file.
    let failed = |error| Failure::from(error).about(shown(output));
    let (file, path) = temporary(output).map_err(failed)?.into_parts();
    let pieces = reader.read_range(0..reader.size());
    let file = write_pieces(pieces, file, File::write_all).await?.map_err(failed)?;
    drop(progress);
    blocking(move || file.sync_all()).await.map_err(failed)?;
    publish(path, output, force).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(output),
        _ => failed(error),
    })
}

/// Gives the file its name. Renaming takes no time to speak of.
fn publish(path: TempPath, output: &Path, force: bool) -> io::Result<()> {
    let published = match force {
        true => path.persist(output),
        false => path.persist_noclobber(output),
    };
    published.map_err(|error| error.error)
}

fn exists(output: &Path) -> Failure {
    Failure::new(FAILED, format!("{} exists; -f replaces it", shown(output)))
}

/// The file to write, after a look for what would only be found out in the end.
fn check_output(output: &Path, force: bool) -> Result<PathBuf> {
    let name = shown(output);
    if output.is_dir() {
        let message = format!("{name} is a directory; name the file to write");
        return Err(Failure::new(USAGE, message));
    }
    match output.metadata() {
        // A device or a pipe would be replaced by a file, which nobody can want.
        Ok(metadata) if !metadata.is_file() => {
            let message =
                format!("{name} is not a regular file; use `castore cat DIGEST > {name}`");
            Err(Failure::new(USAGE, message))
        }
        Ok(_) if force => {
            // A link stays, and what it leads to is replaced.
            output.canonicalize().map_err(|error| Failure::from(error).about(name))
        }
        _ if !force && output.symlink_metadata().is_ok() => Err(exists(output)),
        _ => Ok(output.to_owned()),
    }
}

/// A file beside `output`, with the permissions that a new file has.
fn temporary(output: &Path) -> io::Result<NamedTempFile> {
    let directory = match output.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let mut builder = Builder::new();
    builder.prefix(".castore-");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // The process's umask is taken off by the system, as it is for any new file.
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(directory)
}
