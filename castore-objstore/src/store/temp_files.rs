//! Temporary files that a crash has left in the directory of a local store.
//!
//! A writer writes a file under the name of its object, `#` and a number, and then renames it. A
//! process that is killed in between leaves the temporary file behind. A listing of the store does
//! not show such files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use castore_core::Result;

use crate::exec::context::run_blocking;
use crate::objects::walk::is_staging;
use crate::store::Store;
use crate::store::layout::Layout;

/// A writer may still be writing a younger file.
const AGE: Duration = Duration::from_secs(3600);

/// The directories that a store keeps under its base path.
const PARTS: [&str; 4] = ["blobs", "chunks", "gc", "quarantine"];

/// A temporary file that a crash has left.
#[derive(Debug, Clone)]
pub(crate) struct Leftover {
    pub(crate) path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
}

impl Store {
    /// The leftovers in the store that are older than an hour; none if the store is not a local
    /// one.
    pub(crate) async fn leftovers(&self, operation: &'static str) -> Result<Vec<Leftover>> {
        let Some(root) = self.requests.root().map(Path::to_owned) else { return Ok(Vec::new()) };
        let layout = self.layout.clone();
        run_blocking(operation, move || {
            let mut found = Vec::new();
            let marker = layout.marker();
            if let Some(base) = root.join(marker.as_ref()).parent() {
                let name = marker.filename().unwrap_or_default();
                // A directory that cannot be read makes the listing of the store fail, which comes
                // first.
                let _ =
                    look(base, &mut found, |file| file.strip_prefix(name).is_some_and(is_number));
            }
            for part in PARTS {
                let key = layout.part(part).to_string();
                let _ = walk(&layout, &root.join(&key), &key, &mut found);
            }
            found
        })
        .await
    }

    /// The key by which reports name a leftover: its path below the root of the store.
    pub(crate) fn leftover_key(&self, leftover: &Leftover) -> String {
        let root = self.requests.root().unwrap_or(Path::new(""));
        let path = leftover.path.strip_prefix(root).unwrap_or(&leftover.path);
        path.to_string_lossy().into_owned()
    }
}

/// Looks for leftovers in `directory`, whose key is `key`, and in the directories below it that
/// hold objects, including those on another disk.
fn walk(layout: &Layout, directory: &Path, key: &str, found: &mut Vec<Leftover>) -> io::Result<()> {
    look(directory, found, is_staging)?;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let Some(key) = entry.file_name().to_str().map(|name| format!("{key}/{name}")) else {
            continue;
        };
        if layout.is_directory(&key) && entry.path().is_dir() {
            let _ = walk(layout, &entry.path(), &key, found);
        }
    }
    Ok(())
}

/// Looks for old files in `directory` whose names satisfy `is_leftover`.
fn look(
    directory: &Path,
    found: &mut Vec<Leftover>,
    is_leftover: impl Fn(&str) -> bool,
) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(&is_leftover)
            && entry.file_type()?.is_file()
            && let Ok(metadata) = entry.metadata()
            && metadata.modified().is_ok_and(is_old)
        {
            found.push(Leftover { path: entry.path(), size: metadata.len() });
        }
    }
    Ok(())
}

fn is_old(modified: SystemTime) -> bool {
    SystemTime::now().duration_since(modified).is_ok_and(|age| age > AGE)
}

/// Whether `rest` is the suffix that the name of an object has while the object is written.
fn is_number(rest: &str) -> bool {
    rest.strip_prefix('#').is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

#[cfg(test)]
mod tests {
    use castore_core::Digest;

    use super::*;
    use crate::ObjectStoreBlobService;

    #[test]
    fn only_our_own_unfinished_files_are_leftovers() {
        let digest = Digest::of(b"x");
        for ours in [
            format!("{digest}#1"),
            format!("{digest}.65f0-07ab#12"),
            "65f0-07ab.begun#1".to_owned(),
            "65f0-07ab.done#3".to_owned(),
            "clock#1".to_owned(),
        ] {
            assert!(is_staging(&ours), "{ours}");
        }
        for other in [
            format!("{digest}"),
            format!("{digest}#"),
            format!("{digest}#1a"),
            "notes#1".to_owned(),
            "#1".to_owned(),
        ] {
            assert!(!is_staging(&other), "{other}");
        }
    }

    #[tokio::test]
    async fn leftovers_are_found_wherever_objects_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let service = ObjectStoreBlobService::local(directory.path()).base_path("a/b");
        let service = service.build().unwrap();
        let digest = Digest::of(b"x");
        let mut expected = vec![
            "a/b/castore-format#1".to_owned(),
            format!("a/b/chunks/b3/{digest:.4}/{digest}#1"),
            "a/b/gc/batches/65f0-07ab.begun#1".to_owned(),
            format!("a/b/gc/blobs/b3/{digest:.4}/{digest}.65f0-07ab#1"),
            "a/b/gc/clock#2".to_owned(),
            format!("a/b/quarantine/blobs/b3/{digest:.4}/{digest}#1"),
        ];
        let others = ["a/b/notes#1".to_owned(), format!("a/b/chunks/backup/{digest}#1")];
        for key in expected.iter().chain(&others) {
            let path = directory.path().join(key);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = std::fs::File::create(path).unwrap();
            file.set_modified(SystemTime::now() - 2 * AGE).unwrap();
        }
        let found = service.shared.leftovers("test").await.unwrap();
        let mut found: Vec<_> =
            found.iter().map(|leftover| service.shared.leftover_key(leftover)).collect();
        found.sort();
        expected.sort();
        assert_eq!(found, expected);
    }

    #[test]
    fn young_files_may_still_be_written() {
        assert!(!is_old(SystemTime::now()));
        assert!(!is_old(SystemTime::now() + AGE));
        assert!(is_old(SystemTime::now() - 2 * AGE));
    }
}
