//! `cargo xtask bench`: builds and runs the program that measures.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cargo::cargo_here;

/// The benchmark is a separate program, so that the other chores need not build its dependencies.
const ARGUMENTS: [&str; 5] = ["run", "--release", "--quiet", "--package", "castore-bench"];

/// Measures. `extra` goes to the program unchanged.
pub(crate) fn run(root: &Path, extra: &[&str]) -> Result<ExitCode> {
    let mut command = cargo_here();
    // The program runs in the caller's directory, so that relative paths work as expected.
    let manifest = root.join("Cargo.toml");
    command.args(ARGUMENTS).arg("--manifest-path").arg(manifest).arg("--").args(extra);
    let status = command.status().context("cannot run cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
