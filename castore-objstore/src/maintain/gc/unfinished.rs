//! Unfinished files below `gc/` of a local store, left by a killed run.
//!
//! The store writes a file under the name of its object, `#` and a number, and then renames the
//! file. A process killed in between leaves the file behind, and a listing of the store does not
//! show it.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use castore_core::Result;
use object_store::path::Path as Key;

use super::set_aside::LIFETIME;
use super::{OPERATION, Run};
use crate::exec::context::run_blocking;
use crate::store::layout::{aside_of, is_batch};

impl Run<'_> {
    /// Removes the unfinished files that are older than an hour.
    pub(super) async fn remove_unfinished(&self) -> Result<()> {
        let shared = self.shared;
        let Some(root) = shared.requests.root().filter(|_| !self.options.dry_run) else {
            return Ok(());
        };
        let gc = root.join(shared.layout.part("gc").as_ref());
        run_blocking(OPERATION, move || {
            if let Err(error) = remove_below(&gc) {
                // The files only take up space: the next run tries again.
                tracing::info!(%error, "unfinished files of the garbage collector are left");
            }
        })
        .await
    }
}

fn remove_below(directory: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        // `DirEntry::file_type` describes the entry itself, without following links.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_below(&entry.path())?;
        } else if kind.is_file()
            && entry.file_name().to_str().is_some_and(is_unfinished)
            && is_old(&entry)?
        {
            match std::fs::remove_file(entry.path()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
    }
    Ok(())
}

fn is_old(entry: &std::fs::DirEntry) -> io::Result<bool> {
    let metadata = entry.metadata()?;
    // A copy is a hard link to its original and shares its modification time. The inode's change
    // time tells when the link was made.
    #[cfg(unix)]
    let changed = {
        use std::os::unix::fs::MetadataExt;
        let seconds = u64::try_from(metadata.ctime()).unwrap_or_default();
        SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(seconds)
    };
    #[cfg(not(unix))]
    let changed = metadata.modified()?;
    Ok(SystemTime::now().duration_since(changed).is_ok_and(|age| age > LIFETIME))
}

/// Whether the name is that of a copy, a record or the clock while the file is being written.
fn is_unfinished(name: &str) -> bool {
    let Some((object, number)) = name.split_once('#') else { return false };
    let is_record = || {
        object.split_once('.').is_some_and(|(batch, record)| {
            is_batch(batch) && ["begun", "done", "revoked"].contains(&record)
        })
    };
    let is_copy = || Key::parse(object).is_ok_and(|key| aside_of(&key).is_some());
    !number.is_empty()
        && number.bytes().all(|byte| byte.is_ascii_digit())
        && (object == "clock" || is_record() || is_copy())
}

#[cfg(test)]
mod tests {
    use castore_core::Digest;

    use super::*;

    #[test]
    fn unfinished_copies_records_and_clocks_are_told_by_their_names() {
        let digest = Digest::of(b"x");
        for name in [
            format!("{digest}.6566-07ab#1"),
            "6566-07ab.begun#1".to_owned(),
            "6566-07ab.done#22".to_owned(),
            "6566-07ab.revoked#3".to_owned(),
            "clock#1".to_owned(),
        ] {
            assert!(is_unfinished(&name), "{name}");
        }
        for name in [
            format!("{digest}.6566-07ab"),
            format!("{digest}.6566-07ab#"),
            format!("{digest}.6566-07ab#1a"),
            "notes.txt#1".to_owned(),
            "clock".to_owned(),
            "#1".to_owned(),
        ] {
            assert!(!is_unfinished(&name), "{name}");
        }
    }
}
