//! `cargo xtask bench`: builds the program that measures, and runs it.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

/// A program of its own: what it needs, the other chores do not wait for.
const ARGUMENTS: [&str; 5] = ["run", "--release", "--quiet", "--package", "castore-bench"];

/// Measures; `extra` goes to the program as it is.
pub(crate) fn run(root: &Path, extra: &[&str]) -> Result<ExitCode> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // Where it was called from, so that files are where the caller expects them.
    let manifest = root.join("Cargo.toml");
    command.args(ARGUMENTS).arg("--manifest-path").arg(manifest).arg("--").args(extra);
    let status = command.status().context("cannot run cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
