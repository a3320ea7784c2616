//! `castore get`

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use futures_util::StreamExt;
use tempfile::{Builder, NamedTempFile};

use super::{Mode, cat};
use crate::failure::{FAILED, Failure, Result, USAGE};
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
    check_output(output, force)?;
    let service = location.open()?;
    let digest = resolve(&service, digest).await?;
    let reader = open_read(&service, &digest).await?;
    let total = Some(reader.size());
    let progress = Progress::start(mode.progress(), &service, total, |stats| stats.bytes_read);

    // Dropped in any case but success, and with that removed.
    let mut file =
        temporary(output).map_err(|error| Failure::from(error).about(output.display()))?;
    let mut pieces = reader.read_range(0..reader.size());
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        file = blocking(output, move || {
            file.write_all(&piece)?;
            Ok(file)
        })
        .await?;
    }
    drop(progress);
    let target = output.to_owned();
    blocking(output, move || {
        file.as_file().sync_all()?;
        let persisted = match force {
            true => file.persist(&target),
            false => file.persist_noclobber(&target),
        };
        persisted.map(|_: File| ()).map_err(|error| error.error)
    })
    .await
}

/// What would only be found out in the end.
fn check_output(output: &Path, force: bool) -> Result<()> {
    let output_name = output.display();
    if output.is_dir() {
        let message = format!("{output_name} is a directory; name the file to write");
        return Err(Failure::new(USAGE, message));
    }
    if !force && output.symlink_metadata().is_ok() {
        return Err(Failure::new(FAILED, format!("{output_name} exists; -f replaces it")));
    }
    Ok(())
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

async fn blocking<T: Send + 'static>(
    output: &Path,
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await.map_err(io::Error::other);
    done.flatten().map_err(|error| Failure::from(error).about(output.display()))
}
