//! Files that a crash has left in the directory of a local store.
//!
//! A file is written under the name of its object, `#` and a number, and then renamed. A process that
//! is killed in between leaves it behind. A listing of the store does not show such files.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use castore_core::{Digest, Result};

use crate::exec::limits::off_thread;
use crate::store::Store;

/// A younger file may be on its way still.
const AGE: Duration = Duration::from_secs(3600);

/// What a store keeps under its base path.
const PARTS: [&str; 4] = ["blobs", "chunks", "gc", "quarantine"];

/// A file that a crash has left.
#[derive(Debug, Clone)]
pub(crate) struct Leftover {
    pub(crate) path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
}

impl Store {
    /// The leftovers in the store that are older than an hour; none where it is not a local one.
    pub(crate) async fn leftovers(&self, operation: &'static str) -> Result<Vec<Leftover>> {
        let Some(root) = self.directory.clone() else { return Ok(Vec::new()) };
        let parts = PARTS.map(|part| root.join(self.layout.part(part).as_ref()));
        off_thread(operation, move || {
            let mut found = Vec::new();
            for part in parts {
                // What cannot be looked at is found out by the listing, and here it does not matter.
                let _ = walk(&part, &mut found);
            }
            found
        })
        .await
    }

    /// The key by which a leftover is told about: its path below the root of the store.
    pub(crate) fn leftover_key(&self, leftover: &Leftover) -> String {
        let root = self.directory.as_deref().unwrap_or(Path::new(""));
        let path = leftover.path.strip_prefix(root).unwrap_or(&leftover.path);
        path.to_string_lossy().into_owned()
    }
}

fn walk(directory: &Path, found: &mut Vec<Leftover>) -> io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        // Of the entry itself: links are not followed.
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let _ = walk(&entry.path(), found);
        } else if kind.is_file()
            && entry.file_name().to_str().is_some_and(is_staging)
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

/// Whether a file is named as one of ours is while it is being written.
fn is_staging(name: &str) -> bool {
    let Some((object, number)) = name.split_once('#') else { return false };
    let numbered = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    numbered && object.parse::<Digest>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_unfinished_files_are_leftovers() {
        let digest = Digest::of(b"x");
        assert!(is_staging(&format!("{digest}#1")));
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

    #[test]
    fn what_is_young_may_be_on_its_way() {
        assert!(!is_old(SystemTime::now()));
        assert!(!is_old(SystemTime::now() + AGE));
        assert!(is_old(SystemTime::now() - 2 * AGE));
    }
}
