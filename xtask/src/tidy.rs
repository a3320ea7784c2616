//! `cargo xtask tidy`: the checks that neither the compiler nor clippy makes.

mod arrows;
mod floors;
mod language;
mod manifests;
mod sources;

use std::path::Path;
use std::process::ExitCode;

use anyhow::Result;
use cargo_metadata::{CargoOpt, MetadataCommand};

use crate::codegen;

/// Prints one line for each violation.
pub(crate) fn run(root: &Path) -> Result<ExitCode> {
    let metadata = MetadataCommand::new()
        .manifest_path(root.join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .exec()?;
    let mut violations = arrows::check(&metadata);
    violations.extend(manifests::check(&metadata)?);
    violations.extend(sources::check(root)?);
    violations.extend(floors::check(root)?);
    violations.extend(language::check(root)?);
    if !codegen::is_fresh(root)? {
        violations
            .push("castore-proto: the generated code is stale: run `cargo xtask codegen`".into());
    }
    for violation in &violations {
        println!("{violation}");
    }
    Ok(if violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
