//! The commands, one in each file.

mod cat;
mod chunk;
mod copy;
mod diff;
mod doctor;
mod gc;
mod get;
mod hash;
mod ls;
mod outboard;
mod put;
mod repair;
mod resume;
mod rm;
mod stat;
mod stats;
mod verify;

use castore_objstore::gc::GcOptions;
use clap::CommandFactory;

use crate::args::{Args, Command};
use std::path::Path;

use serde_json::json;

use crate::failure::{Failure, Result, say};
use crate::store::Location;
use crate::{names, output};

/// The options that every command has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mode {
    pub(crate) json: bool,
    pub(crate) quiet: bool,
    pub(crate) verbose: bool,
}

impl Mode {
    /// Whether to show progress to a person.
    pub(crate) fn progress(self) -> bool {
        !self.quiet && !self.json
    }
}

/// Reports the failure of `file`, also in JSON.
fn report_file(mode: Mode, file: &Path, failure: Failure) {
    if mode.json {
        let (name, error) = (names::json(file), failure.message());
        output::json(&json!({ "type": "error", "name": name, "error": error }));
    }
    failure.about(names::shown(file)).report(mode.verbose);
}

/// Says that a closed standard output did not stop the work.
fn say_if_closed(mode: Mode) {
    if output::is_closed() && !mode.quiet {
        say("castore: standard output was closed, but all that was given was dealt with");
    }
}

/// Warns that `file` changed while it was read; `change` says how.
fn warn_changed(file: &Path, change: &str) {
    let file = names::shown(file);
    say(format_args!(
        "castore: warning: {file} changed while it was read ({change}), so its digest may be of a mixture; \
         run the command again when nothing writes to it"
    ));
}

pub(crate) async fn run(args: Args) -> Result<()> {
    let Args { store, options, json, quiet, verbose, command } = args;
    let mode = Mode { json, quiet, verbose: verbose > 0 };
    let location = || Location::new(store, options);
    match command {
        Command::Put { files, check } => put::run(mode, &location()?.checking(check), files).await,
        Command::Get { digest, output, force, sparse } => {
            get::run(mode, &location()?, &digest, &output, force, sparse).await
        }
        Command::Cat { digest, range } => cat::run(&location()?, &digest, range.as_deref()).await,
        Command::Outboard { digest, output, force } => {
            outboard::run(mode, &location()?, &digest, output.as_deref(), force).await
        }
        Command::Stat { digest, chunks } => stat::run(mode, &location()?, &digest, chunks).await,
        Command::Ls { long } => ls::run(mode, &location()?, long).await,
        Command::Rm { digests, list } => rm::run(mode, &location()?, digests, list).await,
        Command::Copy { to, to_options, digests, list, all, verify } => {
            let target = Location::new(Some(to), to_options)?;
            let which = match all {
                true => copy::Which::All,
                false => copy::Which::These { digests, lists: list },
            };
            copy::run(mode, &location()?, &target, which, verify).await
        }
        Command::Stats { prices } => stats::run(mode, &location()?, &prices).await,
        Command::Diff { first, second } => diff::run(mode, &location()?, &first, &second).await,
        Command::Gc { keep, grace, run, max_fraction, allow_absent, ignore_quarantine } => {
            let options = GcOptions::default()
                .grace(grace)
                .dry_run(!run)
                .max_fraction(max_fraction)
                .allow_absent(allow_absent)
                .ignore_quarantine(ignore_quarantine);
            gc::run(mode, &location()?, keep.as_deref(), &options).await
        }
        Command::Doctor { operations, objects, at_once, timeout } => {
            let asked = doctor::Asked { operations, objects, at_once, timeout };
            doctor::run(mode, &location()?, &asked).await
        }
        Command::Verify(args) => verify::run(mode, &location()?, &args).await,
        Command::Repair(args) => repair::run(mode, &location()?, &args).await,
        Command::Chunk { files, list, threads } => {
            chunk::run(mode, &location()?, &files, list, threads).await
        }
        Command::Hash { files } => hash::run(mode, files).await,
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "castore", &mut script);
            output::line(String::from_utf8_lossy(&script).trim_end());
            Ok(())
        }
    }
}
