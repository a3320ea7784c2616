//! `castore`: deduplicating blob storage on any object store, from the command line.

#![forbid(unsafe_code)]

mod args;
mod commands;
mod digests;
mod failure;
mod input;
mod output;
mod phases;
mod progress;
mod size;
mod store;
mod time;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Args;
use crate::failure::{Failure, INTERRUPTED, TERMINATED, say};

/// How long what was begun may take to end after an interrupt: a few chunks' writes.
const GRACE: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    let args = Args::parse();
    if args.verbose > 0 {
        let level = if args.verbose == 1 { "info" } else { "debug" };
        let filter = EnvFilter::new(format!("{level},hyper=info,reqwest=info,rustls=info"));
        let ansi = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_writer(std::io::stderr)
            .with_ansi(ansi)
            .init();
    }
    let verbose = args.verbose > 0;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::from(anyhow::Error::new(error)).report(verbose),
    };
    let result = runtime.block_on(async {
        tokio::select! {
            // The first look at it installs the handlers: before the command has begun anything.
            biased;
            code = interrupt() => Err(code),
            result = commands::run(args) => Ok(result),
        }
    });
    match result {
        Ok(result) => {
            runtime.shutdown_background();
            match result {
                Ok(()) => ExitCode::SUCCESS,
                Err(failure) => failure.report(verbose),
            }
        }
        Err(code) => {
            // A file that is being written to the store then gets its name or is removed.
            runtime.shutdown_timeout(GRACE);
            say(format_args!("castore: interrupted; {}", failure::interrupted()));
            ExitCode::from(code)
        }
    }
}

/// Returns the exit code once we are asked to stop.
async fn interrupt() -> u8 {
    #[cfg(unix)]
    if let Ok(mut terminate) =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())
    {
        return tokio::select! {
            _ = tokio::signal::ctrl_c() => INTERRUPTED,
            _ = terminate.recv() => TERMINATED,
        };
    }
    let _ = tokio::signal::ctrl_c().await;
    INTERRUPTED
}
