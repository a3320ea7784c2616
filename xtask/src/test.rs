//! `cargo xtask test`: runs every test of every crate, doc tests and the example included, on a
//! real MinIO if one is available.

mod minio;

use std::env;
use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result};

const ARGUMENTS: [&str; 4] = ["test", "--workspace", "--all-features", "--locked"];

/// A separate crate, like those that depend on ours: not a member of the workspace.
const EXAMPLE: &str = "examples/custom-backend";

/// Runs the tests. `extra` goes to `cargo test` unchanged, and then only the workspace is tested.
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
