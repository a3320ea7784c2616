//! The copy of the sources that is mutated.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::cargo::git_files;

/// Makes `tree` a copy of all that git does not ignore. A file that is the same stays as it is, so
/// that nothing is compiled again.
pub(super) fn refresh(root: &Path, tree: &Path) -> Result<()> {
    let names = git_files(root, &["--cached", "--others", "--exclude-standard"])?;
    let names: BTreeSet<&Path> = names.iter().map(Path::new).collect();
    let mut kept = BTreeSet::new();
    for name in names {
        // A file that was deleted is listed until the deletion is committed.
        if let Ok(bytes) = fs::read(root.join(name)) {
            let copy = tree.join(name);
            if fs::read(&copy).ok().as_ref() != Some(&bytes) {
                fs::create_dir_all(copy.parent().unwrap_or(tree))?;
                fs::write(&copy, bytes)
                    .with_context(|| format!("cannot write {}", copy.display()))?;
            }
            kept.insert(copy);
        }
    }
    remove_others(tree, &kept)
}

/// Removes the files below `directory` that are not to be kept.
fn remove_others(directory: &Path, kept: &BTreeSet<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.is_dir() && !path.is_symlink() {
            remove_others(&path, kept)?;
        } else if !kept.contains(&path) {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_our_files_and_no_others_and_leaves_equal_ones_alone() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let tree = std::env::temp_dir().join(format!("castore-mutants-{}", std::process::id()));
        refresh(root, &tree).unwrap();
        let manifest = tree.join("xtask/Cargo.toml");
        assert_eq!(fs::read(&manifest).unwrap(), fs::read(root.join("xtask/Cargo.toml")).unwrap());
        assert!(!tree.join("target").exists());

        let before = fs::metadata(&manifest).unwrap().modified().unwrap();
        fs::write(tree.join("Cargo.toml"), "a mutation").unwrap();
        fs::write(tree.join("xtask/other.rs"), "").unwrap();
        refresh(root, &tree).unwrap();
        assert_eq!(fs::metadata(&manifest).unwrap().modified().unwrap(), before);
        assert_eq!(
            fs::read(tree.join("Cargo.toml")).unwrap(),
            fs::read(root.join("Cargo.toml")).unwrap()
        );
        assert!(!tree.join("xtask/other.rs").exists());
        fs::remove_dir_all(&tree).unwrap();
    }
}
