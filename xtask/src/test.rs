//! `cargo xtask test`: every test of every crate, those in the documentation and of the example
//! included, on a real MinIO if one can be had.

mod minio;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

const ARGUMENTS: [&str; 4] = ["test", "--workspace", "--all-features", "--locked"];

/// A crate of its own, as those who depend on ours have: it is no member of the workspace.
const EXAMPLE: &str = "examples/custom-backend";

/// Runs the tests; `extra` goes to `cargo test` as it is, and then only the workspace is tested.
pub(crate) fn run(root: &Path, extra: &[&str]) -> Result<ExitCode> {
    let minio = minio::find();
    let cargo = |directory: &Path, arguments: &[&str]| -> Result<bool> {
        eprintln!("cargo {}", arguments.join(" "));
        let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        if let Some(minio) = &minio {
            command.env(minio::VARIABLE, minio);
        }
        let status = command.args(arguments).current_dir(directory).status();
        Ok(status.context("cannot run cargo")?.success())
    };
    let mut passed = cargo(root, &[&ARGUMENTS, extra].concat())?;
    if passed && extra.is_empty() {
        passed = cargo(&root.join(EXAMPLE), &["test", "--locked"])?;
    }
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
