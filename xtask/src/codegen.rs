//! `cargo xtask codegen`: generates the Rust code of castore-proto's messages.
//!
//! The result is committed, so that a build needs neither protoc nor a build script.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

const HEADER: &str =
    "// Made by `cargo xtask codegen` from proto/castore.proto: change that, and run it again.\n\n";

/// Writes the generated code to its committed file.
pub(crate) fn run(root: &Path) -> Result<()> {
    let path = output(root);
    fs::write(&path, generate(root)?).with_context(|| format!("cannot write {}", path.display()))
}

/// Whether the committed code equals the code generated now.
pub(crate) fn is_fresh(root: &Path) -> Result<bool> {
    let path = output(root);
    let committed =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(committed == generate(root)?)
}

fn output(root: &Path) -> PathBuf {
    root.join("castore-proto/src/generated/castore.v1.rs")
}

fn generate(root: &Path) -> Result<String> {
    let directory = root.join("castore-proto/proto");
    let files = protox::compile(["castore.proto"], [&directory])
        .context("cannot compile castore.proto")?
        .file;
    let requests = files
        .into_iter()
        .map(|file| (prost_build::Module::from_protobuf_package_name(file.package()), file))
        .collect();
    let modules = prost_build::Config::new().generate(requests).context("cannot generate code")?;
    let code: String = modules.into_values().collect();
    format(root, &format!("{HEADER}{code}"))
}

/// The code as `cargo fmt` formats it.
fn format(root: &Path, code: &str) -> Result<String> {
    let mut rustfmt = Command::new("rustfmt")
        .args(["--edition", "2024", "--config-path"])
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run rustfmt")?;
    // The code fits into a pipe's buffer, or rustfmt reads it meanwhile. Dropping the pipe ends the
    // input.
    rustfmt.stdin.take().context("rustfmt has no input")?.write_all(code.as_bytes())?;
    let output = rustfmt.wait_with_output()?;
    if !output.status.success() {
        bail!("rustfmt failed on the generated code");
    }
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_has_the_messages_and_is_formatted() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let code = generate(root).unwrap();
        assert!(code.starts_with(HEADER));
        assert!(code.contains("\npub struct Index {\n"));
        assert!(code.contains("\npub struct Entry {\n"));
        assert_eq!(code, format(root, &code).unwrap());
    }
}
