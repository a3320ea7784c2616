//! `cargo xtask api`: the public API of each library is the one in `api/`.
//!
//! The snapshots make a change of the API visible in review, as a change of a file. `cargo
//! public-api` prints them from the documentation's data, which a nightly toolchain writes.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::cargo::cargo;

/// The libraries with a promise about their API.
const LIBRARIES: [&str; 6] = [
    "castore-core",
    "castore-chunker",
    "castore-proto",
    "castore-objstore",
    "castore-testsuite",
    "castore-http",
];

/// Compares with the snapshots, or writes them if `bless`.
pub(crate) fn run(root: &Path, bless: bool) -> Result<ExitCode> {
    let mut differ = Vec::new();
    for library in LIBRARIES {
        let api = public_api(root, library)?;
        let snapshot = root.join("api").join(library).with_extension("txt");
        if bless {
            fs::write(&snapshot, &api)
                .with_context(|| format!("cannot write {}", snapshot.display()))?;
            continue;
        }
        let expected = fs::read_to_string(&snapshot)
            .with_context(|| format!("cannot read {}", snapshot.display()))?;
        for change in changes(&expected, &api) {
            differ.push(format!("{library}: {change}"));
        }
    }
    for change in &differ {
        eprintln!("{change}");
    }
    if differ.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: the API is not the one in api/; if that is meant: cargo xtask api --bless");
    Ok(ExitCode::FAILURE)
}

/// The public items of a library with all features, one a line.
fn public_api(root: &Path, library: &str) -> Result<String> {
    let arguments = ["public-api", "--package", library, "--all-features", "-sss"];
    let output = cargo(root).args(arguments).output().context("cannot run cargo")?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}\n(needs a nightly toolchain and cargo install --locked cargo-public-api)",
            said.trim()
        );
    }
    String::from_utf8(output.stdout).context("cargo public-api printed no text")
}

/// The lines that only one of the two has, with a sign as in a diff.
fn changes(expected: &str, found: &str) -> Vec<String> {
    let only = |sign: char, of: &str, other: &str| {
        let lines = of.lines().filter(|line| !other.lines().any(|another| another == *line));
        lines.map(|line| format!("{sign}{line}")).collect::<Vec<_>>()
    };
    [only('-', expected, found), only('+', found, expected)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_the_lines_that_one_side_lacks() {
        assert_eq!(changes("a\nb\nc\n", "a\nc\nd\n"), ["-b", "+d"]);
        assert!(changes("a\nb\n", "b\na\n").is_empty());
    }
}
