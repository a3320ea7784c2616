//! Builds the command line as its users have it.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// Builds `castore` in release mode, and returns its path.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = root.join("target");
    let status = Command::new(cargo)
        .args(["build", "--release", "--locked", "--package", "castore-cli", "--target-dir"])
        .arg(&target)
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "castore does not build");
    Ok(target.join("release/castore"))
}
