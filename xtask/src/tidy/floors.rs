//! The floors of castore-objstore: each module uses those below its own, and none above.
//!
//! ARCHITECTURE.md draws them. Tests are exempt: they may use any module to set up a case.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

const SOURCE: &str = "castore-objstore/src";

/// The modules at the top of the crate, from the lowest floor to the highest. A floor with two
/// modules lets them use each other.
const FLOORS: [&[&str]; 11] = [
    &["error", "redact"],
    &["exec"],
    &["objects"],
    &["store"],
    &["read"],
    &["write"],
    &["service"],
    &["maintain"],
    &["builder"],
    &["url"],
    &["blocking"],
];

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let source = root.join(SOURCE);
    let mut files = Vec::new();
    sources(&source, &mut files)?;
    let mut violations = BTreeSet::new();
    for path in files {
        let name = path.strip_prefix(&source).unwrap_or(&path);
        let Some(own) = floor(&module_of(name)) else {
            if name != Path::new("lib.rs") {
                violations.insert(format!("{SOURCE}/{}: is on no floor", name.display()));
            }
            continue;
        };
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        for (module, number) in used(&text) {
            if floor(module).is_some_and(|floor| floor > own) {
                let name = name.display();
                violations
                    .insert(format!("{SOURCE}/{name}:{number}: uses {module}, which is above it"));
            }
        }
    }
    Ok(violations.into_iter().collect())
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&module))
}

/// The top-level module that a file belongs to.
fn module_of(file: &Path) -> String {
    let first = file.iter().next().unwrap_or_default().to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The top-level modules that the code names, with their line numbers. Comments and the tests at
/// the end of a file do not count.
fn used(text: &str) -> Vec<(&str, usize)> {
    let code = text.split("\nmod tests {").next().unwrap_or_default();
    let mut used = Vec::new();
    for (line, number) in code.lines().zip(1..) {
        if line.trim_start().starts_with("//") {
            continue;
        }
        for (_, rest) in
            line.match_indices("crate::").map(|(at, name)| line.split_at(at + name.len()))
        {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            used.push((&rest[..end], number));
        }
    }
    used
}

/// The files of the crate, except those of modules that are compiled only for tests.
fn sources(directory: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let mut tests = BTreeSet::new();
    let mut entries = Vec::new();
    for entry in
        fs::read_dir(directory).with_context(|| format!("cannot read {}", directory.display()))?
    {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let stem = path.file_stem().unwrap_or_default();
            let inside = match stem.to_str() {
                Some("lib" | "mod") => directory.to_owned(),
                _ => directory.join(stem),
            };
            tests.extend(test_modules(&text).map(|module| inside.join(module)));
        }
        entries.push(path);
    }
    for path in entries {
        if tests.contains(&path.with_extension("")) {
            continue;
        }
        // A test module that the file beside its directory declares.
        let own = directory.with_extension("rs");
        if let Ok(text) = fs::read_to_string(own)
            && test_modules(&text).any(|module| directory.join(module) == path.with_extension(""))
        {
            continue;
        }
        match path.is_dir() {
            true => sources(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

/// The modules that a file declares only for tests, in files of their own.
fn test_modules(text: &str) -> impl Iterator<Item = &str> {
    let declares = |(before, line): (&str, &'_ str)| {
        before.starts_with("#[cfg(") && before.contains("test") && line.starts_with("mod ")
    };
    let pairs = text.lines().zip(text.lines().skip(1));
    pairs
        .filter(move |(before, line)| declares((before, line)))
        .filter_map(|(_, line)| line.strip_prefix("mod ")?.strip_suffix(';'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_comments_and_tests() {
        let text = "//! [`crate::url`]\nuse crate::store::Store;\nfn f() { crate::exec::run(crate::url::x) }\n\
                    #[cfg(test)]\nmod tests {\n    use crate::builder;\n}\n";
        assert_eq!(used(text), [("store", 2), ("exec", 3), ("url", 3)]);
        let text = "#[cfg(all(test, unix))]\nmod tests;\nmod other;\n#[cfg(test)]\nmod model;\n";
        assert_eq!(test_modules(text).collect::<Vec<_>>(), ["tests", "model"]);
    }

    #[test]
    fn a_floor_may_use_those_below_it() {
        assert!(floor("exec") > floor("error") && floor("url") > floor("maintain"));
        assert_eq!((floor("redact"), floor("lib")), (floor("error"), None));
        assert_eq!(module_of(Path::new("maintain/gc/mod.rs")), "maintain");
        assert_eq!(module_of(Path::new("error.rs")), "error");
    }
}
