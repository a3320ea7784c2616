//! Source files are short, and free of markers for unfinished work.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

/// The most lines of a Rust file: a longer one has more than one subject.
const MAX_LINES: usize = 700;

/// Words that mark unfinished work; spelled in two parts, because this file is checked as well.
const UNFINISHED: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Directories without our sources: git's own, and build output.
const SKIPPED: [&str; 2] = [".git", "target"];

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for path in files(root)? {
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        // Binary files have no lines and no words.
        if let Ok(text) = String::from_utf8(bytes) {
            let name = path.strip_prefix(root).unwrap_or(&path);
            violations.extend(check_text(name, &text));
        }
    }
    Ok(violations)
}

fn check_text(path: &Path, text: &str) -> Vec<String> {
    let mut violations = Vec::new();
    let name = path.display();
    let is_rust = path.extension().is_some_and(|extension| extension == "rs");
    let is_generated = path.components().any(|part| part.as_os_str() == "generated");
    let lines = text.lines().count();
    if is_rust && !is_generated && lines > MAX_LINES {
        violations.push(format!("{name}: has {lines} lines, more than {MAX_LINES}"));
    }
    for (line, number) in text.lines().zip(1..) {
        let words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
        for word in words.filter(|word| UNFINISHED.contains(word)) {
            violations.push(format!("{name}:{number}: says {word}"));
        }
    }
    violations
}

/// All files below `directory`, in order.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let entries =
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?;
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
            files.extend(self::files(&entry.path())?);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_file_is_reported() {
        let long = "\n".repeat(MAX_LINES + 1);
        let check = |path, text| check_text(Path::new(path), text);
        assert_eq!(check("src/long.rs", &long), ["src/long.rs: has 701 lines, more than 700"]);
        assert_eq!(check("src/long.rs", &long[1..]), [""; 0]);
        assert_eq!(check("src/generated/long.rs", &long), [""; 0]);
        assert_eq!(check("long.md", &long), [""; 0]);
    }

    #[test]
    fn unfinished_work_is_reported() {
        for word in UNFINISHED {
            let text = format!("fine\n// {word}: later\nMAS{word}N {word}_LIST\n");
            let violations = check_text(Path::new("a.rs"), &text);
            assert_eq!(violations, [format!("a.rs:2: says {word}")]);
        }
    }

    #[test]
    fn all_files_but_build_output_are_found() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files = files(root).unwrap();
        assert!(files.contains(&root.join("src/tidy/sources.rs")));
        assert!(files.contains(&root.join("Cargo.toml")));
        assert!(!files.iter().any(|file| file.starts_with(root.join("target"))));
    }
}
