//! `cargo xtask features`: each feature of each crate compiles alone, without a warning.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};

use crate::cargo::cargo;

/// Compiles every crate without features, with each feature alone, and with all of them.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let arguments = ["hack", "check", "--workspace", "--each-feature", "--locked"];
    let status = cargo(root).args(arguments).env("RUSTFLAGS", "--deny warnings").status();
    match status.context("cannot run cargo")?.success() {
        true => Ok(ExitCode::SUCCESS),
        false => {
            eprintln!("(cargo-hack is needed: cargo install --locked cargo-hack)");
            Ok(ExitCode::FAILURE)
        }
    }
}
