//! `cargo xtask fuzz`: builds the program that fuzzes, with the tests, and runs it.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context as _, Result, ensure};

use crate::cargo::cargo;
use crate::suites;

/// The program is built as a part of the tests: in their profile and with their features, so that
/// no dependency is compiled again. This test of its package is what asks for it.
const TEST: &str = "fuzz";

/// Fuzzes; `extra` goes to the program as it is.
pub(crate) fn run(root: &Path, extra: &[&str]) -> Result<ExitCode> {
    let built =
        cargo(root).args(suites::TEST).args(["--no-run", "--quiet", "--test", TEST]).status();
    ensure!(built.context("cannot run cargo")?.success(), "the fuzzer does not build");
    let program = suites::target_directory(root)?.join("debug/castore-fuzz");
    let status = Command::new(program).args(extra).status().context("cannot run the fuzzer")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}
