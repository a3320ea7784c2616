//! Calls of cargo and of git.

use std::env;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// The cargo that runs this program, in the caller's directory.
pub(crate) fn cargo_here() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The same, in the root of the workspace.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = cargo_here();
    command.current_dir(root);
    command
}

/// The files below `root` that `git ls-files` lists with these arguments.
pub(crate) fn git_files(root: &Path, arguments: &[&str]) -> Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z"])
        .args(arguments)
        .current_dir(root)
        .output()
        .context("cannot run git")?;
    ensure!(output.status.success(), "git ls-files failed");
    let names = String::from_utf8(output.stdout).context("a file's name is not UTF-8")?;
    Ok(names.split_terminator('\0').map(Into::into).collect())
}
