//! The suites of the workspace: how cargo is asked for them, so that nothing is compiled twice.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use cargo_metadata::{Metadata, MetadataCommand, Target, TargetKind};

/// The arguments of every call that compiles tests. With one set of crates and features, cargo
/// compiles each dependency once, and links each test program once.
pub(crate) const TEST: [&str; 4] = ["test", "--workspace", "--all-features", "--locked"];

/// Test programs that take a minute or more, the longest first: CONTRIBUTING.md has their times.
const SLOW: [&str; 2] = ["conformance", "teeth"];

/// A part of the tests, which runs beside other parts.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    pub(crate) name: String,
    /// The arguments that select it, after those of [`TEST`].
    pub(crate) arguments: Vec<String>,
}

/// All tests of the workspace: the slow ones, the unit tests, all other programs, the
/// documentation.
pub(crate) fn all(root: &Path) -> Result<Vec<Suite>> {
    split(&targets(&metadata(root)?))
}

/// The names of the examples of castore-objstore, which are programs.
pub(crate) fn examples(root: &Path) -> Result<Vec<String>> {
    let metadata = metadata(root)?;
    let package = metadata.workspace_packages().into_iter();
    let package = package.filter(|package| package.name == "castore-objstore");
    let targets = package.flat_map(|package| &package.targets);
    Ok(targets.filter(|target| is(target, &TargetKind::Example)).map(|t| t.name.clone()).collect())
}

/// The directory of cargo's output.
pub(crate) fn target_directory(root: &Path) -> Result<PathBuf> {
    Ok(metadata(root)?.target_directory.into())
}

fn metadata(root: &Path) -> Result<Metadata> {
    let manifest = root.join("Cargo.toml");
    let mut command = MetadataCommand::new();
    command.manifest_path(manifest).no_deps();
    command.exec().context("cannot read the workspace")
}

fn targets(metadata: &Metadata) -> Vec<Target> {
    metadata.packages.iter().flat_map(|package| package.targets.clone()).collect()
}

fn is(target: &Target, kind: &TargetKind) -> bool {
    target.kind.contains(kind)
}

/// The parts, in the order in which they start. Each test that `cargo test` would run is in one of
/// them.
fn split(targets: &[Target]) -> Result<Vec<Suite>> {
    let of =
        |kind: TargetKind| targets.iter().filter(move |target| is(target, &kind) && target.test);
    let mut suites: Vec<Suite> = Vec::new();
    for name in SLOW {
        let found = of(TargetKind::Test).filter(|target| target.name == name).count();
        ensure!(found == 1, "there are {found} test programs called {name}, and not one");
        suites.push(Suite { name: name.into(), arguments: vec!["--test".into(), name.into()] });
    }
    suites.push(Suite {
        name: "unit tests".into(),
        arguments: vec!["--lib".into(), "--bins".into()],
    });
    let mut arguments = Vec::new();
    for target in of(TargetKind::Test).filter(|target| !SLOW.contains(&target.name.as_str())) {
        arguments.extend(["--test".to_owned(), target.name.clone()]);
    }
    for (kind, flag) in [(TargetKind::Bench, "--bench"), (TargetKind::Example, "--example")] {
        arguments.extend(of(kind).flat_map(|target| [flag.to_owned(), target.name.clone()]));
    }
    suites.push(Suite { name: "other tests".into(), arguments });
    suites.push(Suite { name: "documentation".into(), arguments: vec!["--doc".into()] });
    Ok(suites)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_test_program_of_the_workspace_is_in_one_suite() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let targets = targets(&metadata(root).unwrap());
        let suites = split(&targets).unwrap();
        let arguments: Vec<&str> =
            suites.iter().flat_map(|suite| &suite.arguments).map(String::as_str).collect();
        for target in targets.iter().filter(|target| target.test) {
            let flag = match &target.kind[..] {
                [TargetKind::Test] => "--test",
                [TargetKind::Bench] => "--bench",
                [TargetKind::Example] => "--example",
                [TargetKind::Lib] => "--lib",
                [TargetKind::Bin] => "--bins",
                other => panic!("{}: no suite has {other:?}", target.name),
            };
            let wanted = match flag {
                "--lib" | "--bins" => flag,
                _ => &target.name,
            };
            let pairs = arguments.iter().zip(arguments.iter().skip(1));
            let found = match flag == wanted {
                true => arguments.iter().filter(|found| **found == flag).count(),
                false => pairs.filter(|pair| *pair == (&flag, &wanted)).count(),
            };
            assert_eq!(found, 1, "{flag} {}", target.name);
        }
    }
}
