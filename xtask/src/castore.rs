//! Builds the command line as its users have it.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::cargo::cargo;

/// Builds `castore` in release mode, and returns its path.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let target = root.join("target");
    let status = cargo(root)
        .args(["build", "--release", "--locked", "--package", "castore-cli", "--target-dir"])
        .arg(&target)
        .status()
        .context("cannot run cargo")?;
    ensure!(status.success(), "castore does not build");
    Ok(target.join("release/castore"))
}
