//! Every crate inherits the lints and the package data of the workspace, and a published one has
//! its own shop window.

use std::fs;

use anyhow::{Context as _, Result};
use cargo_metadata::Metadata;

/// The package keys that every crate inherits.
const INHERITED: [&str; 4] = ["authors", "edition", "license", "rust-version"];

/// The package keys that a published crate also inherits.
const INHERITED_IF_PUBLISHED: [&str; 1] = ["version"];

/// The lines with which a published crate describes itself, by their beginnings.
const OWN_IF_PUBLISHED: [&str; 4] =
    ["readme = \"README.md\"", "keywords = [", "categories = [", "all-features = true"];

pub(super) fn check(metadata: &Metadata) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    for package in metadata.workspace_packages() {
        let manifest = fs::read_to_string(&package.manifest_path)
            .with_context(|| format!("cannot read {}", package.manifest_path))?;
        // `publish = false` means an empty list of registries.
        let is_published = package.publish.as_ref().is_none_or(|registries| !registries.is_empty());
        violations.extend(check_manifest(&package.name, &manifest, is_published));
    }
    Ok(violations)
}

/// Checks lines, because cargo does not report inheritance; our manifests all look alike.
fn check_manifest(name: &str, manifest: &str, is_published: bool) -> Vec<String> {
    let mut violations = Vec::new();
    let published = if is_published { &INHERITED_IF_PUBLISHED[..] } else { &[] };
    for key in INHERITED.iter().chain(published) {
        let line = format!("{key}.workspace = true");
        if !manifest.lines().any(|found| found == line) {
            violations.push(format!("{name}: does not inherit `{key}` from the workspace"));
        }
    }
    let own = if is_published { &OWN_IF_PUBLISHED[..] } else { &[] };
    for start in own {
        if !manifest.lines().any(|line| line.starts_with(start)) {
            violations.push(format!("{name}: has no line `{start}`"));
        }
    }
    let mut lints = manifest.lines().skip_while(|line| *line != "[lints]").skip(1);
    if lines_of_section(&mut lints).all(|line| line != "workspace = true") {
        violations.push(format!("{name}: does not inherit the lints of the workspace"));
    }
    if !manifest.lines().any(|line| line.starts_with("description = ")) {
        violations.push(format!("{name}: has no description"));
    }
    violations
}

fn lines_of_section<'a>(
    lines: &mut impl Iterator<Item = &'a str>,
) -> impl Iterator<Item = &'a str> {
    lines.take_while(|line| !line.starts_with('['))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
[package]
description = \"Good\"
version.workspace = true
edition.workspace = true
rust-version.workspace = true
license.workspace = true
authors.workspace = true
readme = \"README.md\"
keywords = [\"good\"]
categories = [\"algorithms\"]

[package.metadata.docs.rs]
all-features = true

[lints]
workspace = true
";

    #[test]
    fn a_manifest_that_inherits_all_is_not_reported() {
        assert_eq!(check_manifest("good", GOOD, true), [""; 0]);
    }

    #[test]
    fn own_package_data_is_reported() {
        let own = GOOD.replace("edition.workspace = true", "edition = \"2021\"");
        let expected = ["bad: does not inherit `edition` from the workspace"];
        assert_eq!(check_manifest("bad", &own, true), expected);
    }

    #[test]
    fn a_crate_that_is_not_published_needs_no_version() {
        let own = GOOD.replace("version.workspace = true\ne", "e");
        assert_eq!(check_manifest("own", &own, false), [""; 0]);
        let expected = ["own: does not inherit `version` from the workspace"];
        assert_eq!(check_manifest("own", &own, true), expected);
    }

    #[test]
    fn a_published_crate_without_a_readme_of_its_own_is_reported() {
        let shared = GOOD.replace("readme = \"README.md\"", "readme.workspace = true");
        let expected = ["bad: has no line `readme = \"README.md\"`"];
        assert_eq!(check_manifest("bad", &shared, true), expected);
        assert_eq!(check_manifest("own", &shared, false), [""; 0]);
    }

    #[test]
    fn own_lints_are_reported() {
        let expected = ["bad: does not inherit the lints of the workspace"];
        for lints in ["", "[lints.rust]\n", "[lints]\n[other]\nworkspace = true\n"] {
            let own = GOOD.replace("[lints]\nworkspace = true\n", lints);
            assert_eq!(check_manifest("bad", &own, true), expected, "{lints}");
        }
    }

    #[test]
    fn a_missing_description_is_reported() {
        let own = GOOD.replace("description", "note");
        assert_eq!(check_manifest("bad", &own, true), ["bad: has no description"]);
    }
}
