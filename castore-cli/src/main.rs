//! `castore`: deduplicating blob storage on any object store, from the command line.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod digests;
mod failure;
mod input;
mod log;
mod names;
mod output;
mod panics;
mod phases;
mod progress;
mod redact;
mod restore;
mod signals;
mod size;
mod store;
mod system;
mod time;

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use tokio::sync::oneshot;

use crate::args::Args;
use crate::failure::{Result, say};
use crate::signals::Signals;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => return wrong_usage(&error),
    };
    let verbose = args.verbose > 0;
    panics::install(verbose);
    log::start(args.verbose);
    system::allow_open_files();
    let code = match panics::caught(|| run(args)) {
        Ok(code) => code,
        Err(failure) => {
            failure.report(verbose);
            failure.code()
        }
    };
    ExitCode::from(output::code(code))
}

/// Prints the parser's message: help, or a mistake, which may quote an argument that holds a
/// secret.
fn wrong_usage(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    let is_secret = redact::redacted(&text) != text;
    match is_secret && error.use_stderr() {
        // `say` removes the secret.
        true => say(text.trim_end()),
        // This prints with colours, and help to standard output.
        false => drop(error.print()),
    }
    ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(failure::USAGE))
}

/// Runs the command until it ends or a signal ends it. Returns the exit code.
fn run(args: Args) -> Result<u8> {
    let runtime = system::runtime()?;
    let mut signals = {
        let _context = runtime.enter();
        Signals::install().map_err(anyhow::Error::new)?
    };
    // On a separate thread, a command that waits for standard output can also be ended by a signal.
    let (go_on, interrupted) = oneshot::channel::<()>();
    let (ended, mut result) = oneshot::channel();
    let handle = runtime.handle().clone();
    let command = move || {
        let result = panics::caught(|| {
            handle.block_on(async {
                tokio::select! {
                    result = commands::run(args) => result,
                    _ = interrupted => {
                        store::settle().await;
                        Ok(())
                    }
                }
            })
        });
        // After an interrupt the receiver may be gone.
        let _ = ended.send(result);
    };
    system::start_thread("command", command)?;
    let outcome = runtime.block_on(async {
        tokio::select! {
            result = &mut result => Ok(result),
            code = signals.next() => Err(code),
        }
    });
    match outcome {
        Ok(result) => {
            runtime.shutdown_background();
            let result: Result<()> = result.map_err(anyhow::Error::new)?;
            result.map(|()| 0)
        }
        Err(code) => {
            // Meanwhile the command removes its temporary file, and each file that is being written
            // to the store gets its name or is removed.
            let time = store::settling_time();
            drop(go_on);
            let until = Instant::now() + time;
            let settled = async {
                tokio::select! {
                    _ = &mut result => {}
                    () = tokio::time::sleep(time) => {}
                    // A second signal ends the program at once.
                    _ = signals.next() => {}
                }
            };
            runtime.block_on(settled);
            let left = until.saturating_duration_since(Instant::now());
            runtime.shutdown_timeout(left.min(store::ENDING));
            say(format_args!("castore: interrupted; {}", failure::interrupted()));
            Ok(code)
        }
    }
}
