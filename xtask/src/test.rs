//! `cargo xtask test`: every test of every crate, those in the documentation included.

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

const ARGUMENTS: [&str; 4] = ["test", "--workspace", "--all-features", "--locked"];

/// Runs the tests; `extra` goes to `cargo test` as it is.
pub(crate) fn run(root: &Path, extra: &[&str]) -> Result<ExitCode> {
    let arguments = [&ARGUMENTS, extra].concat();
    eprintln!("cargo {}", arguments.join(" "));
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .current_dir(root)
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
