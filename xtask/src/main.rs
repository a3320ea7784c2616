//! `cargo xtask`: the project's own chores.

#![forbid(unsafe_code)]

mod api;
mod bench;
mod cargo;
mod castore;
mod codegen;
mod crash;
mod features;
mod fuzz;
mod memory;
mod mutants;
mod scale;
mod suites;
mod test;
mod tidy;

use std::env;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};

const USAGE: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  api [--bless]
               compare the public API of each library with api/ (needs nightly, cargo-public-api)
  bench [ARGS] measure castore beside the obvious implementation and others; ARGS: --help
  codegen      generate the Rust code of castore-proto's messages
  crash [N]    kill castore at so many instants (100), and look whether anything was lost
  crash --faults [N] [--seed S] [--castore PATH]
               run so many random schedules (500) under errors, torn writes, power cuts, pauses
  features     check that each feature of each crate compiles alone (needs cargo-hack)
  fuzz [ARGS]  run the fuzz targets, a minute each; ARGS: --help
  memory [GIB] check the peak memory of putting and reading a blob of that size (4)
  mutants [core|objstore] [--sample N] [--seed S]
               change castore-core and castore-proto everywhere, and castore-objstore in so many
               places (200), one at a time, and look whether a test notices
  scale [N]    measure operations on stores of so many chunks (1000000): time and memory
  test [ARGS]  run all tests; ARGS go to `cargo test`
  tidy         check what neither the compiler nor clippy does
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    run(&arguments).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &[&str]) -> Result<ExitCode> {
    match arguments {
        ["api"] => api::run(&root()?, false),
        ["api", "--bless"] => api::run(&root()?, true),
        ["bench", rest @ ..] => bench::run(&root()?, rest),
        ["codegen"] => codegen::run(&root()?).map(|()| ExitCode::SUCCESS),
        ["crash"] => crash::run(&root()?, None),
        ["crash", "--faults", rest @ ..] => crash::run_faults(&root()?, rest),
        ["crash", kills] => crash::run(&root()?, Some(kills)),
        ["features"] => features::run(&root()?),
        ["fuzz", rest @ ..] => fuzz::run(&root()?, rest),
        ["memory"] => memory::run(&root()?, None),
        ["memory", gib] => memory::run(&root()?, Some(gib)),
        ["mutants", rest @ ..] => mutants::run(&root()?, rest),
        ["scale"] => scale::run(&root()?, None),
        ["scale", chunks] => scale::run(&root()?, Some(chunks)),
        ["test", rest @ ..] => test::run(&root()?, rest),
        ["tidy"] => tidy::run(&root()?),
        _ => {
            eprint!("{USAGE}");
            Ok(ExitCode::from(2))
        }
    }
}

/// The directory of the workspace, from the environment that cargo sets at run time: the path at
/// build time may have changed since.
fn root() -> Result<PathBuf> {
    let own = env::var_os("CARGO_MANIFEST_DIR").context("this is to be run as `cargo xtask`")?;
    Ok(Path::new(&own).parent().context("xtask is at the root of the disk")?.to_owned())
}
