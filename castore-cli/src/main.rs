//! `castore`: deduplicating blob storage on any object store, from the command line.

mod args;
mod commands;
mod failure;
mod input;
mod output;
mod progress;
mod size;
mod store;

use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::Args;
use crate::failure::{Failure, INTERRUPTED};

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
            result = commands::run(args) => Some(result),
            _ = tokio::signal::ctrl_c() => None,
        }
    });
    // A read of standard input cannot be cancelled, and must not keep the program from ending.
    runtime.shutdown_background();
    match result {
        Some(Ok(())) => ExitCode::SUCCESS,
        Some(Err(failure)) => failure.report(verbose),
        None => {
            anstream::eprintln!(
                "castore: interrupted; the store is good, and what was stored so far is reused next time"
            );
            ExitCode::from(INTERRUPTED)
        }
    }
}
