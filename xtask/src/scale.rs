//! `cargo xtask scale`: time and memory of operating a store of a million chunks.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cargo::cargo;

const DEFAULT_CHUNKS: &str = "1000000";

/// Measures with this many chunks, in a separate program.
pub(crate) fn run(root: &Path, chunks: Option<&str>) -> Result<ExitCode> {
    let status = cargo(root)
        .args([
            "run",
            "--release",
            "--quiet",
            "--locked",
            "--package",
            "castore-bench",
            "--",
            "scale",
        ])
        .arg(chunks.unwrap_or(DEFAULT_CHUNKS))
        .arg(root.join("target/scale-store"))
        .status()
        .context("cannot run cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
