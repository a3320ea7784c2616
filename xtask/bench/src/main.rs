//! `cargo xtask bench`: measures castore beside the obvious implementation, and other programs.
//!
//! docs/benchmarks.md describes the measurements.

#![forbid(unsafe_code)]

mod args;
mod cases;
mod children;
mod compare;
mod component;
mod corpus;
mod job;
mod machine;
mod peers;
mod random;
mod reference;
mod report;
mod results;
mod runner;
mod scale;
mod scenario;
mod server;
mod stats;
mod store;
mod subject;
mod table;
mod usage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

use crate::args::{Args, Hidden, Options};
use crate::children::Interrupted;
use crate::job::Job;
use crate::results::Run;
use crate::runner::Runner;

fn main() -> ExitCode {
    let args = Args::parse();
    let result = match args.hidden {
        None => run(&args.options),
        Some(hidden) => run_hidden(hidden),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        // The exit code that shells use for a program ended by SIGINT.
        if error.is::<Interrupted>() { ExitCode::from(130) } else { ExitCode::FAILURE }
    })
}

/// Runs the command of a process that this program has started.
fn run_hidden(hidden: Hidden) -> Result<ExitCode> {
    match hidden {
        Hidden::Child { job } => {
            children::end_with_input();
            let outcome = match serde_json::from_str(&job)? {
                Job::Scenario(job) => scenario::run(&job)?,
                Job::Component(job) => component::run(&job)?,
                Job::Peer(job) => peers::run(&job)?,
            };
            println!("{}", serde_json::to_string(&outcome)?);
        }
        Hidden::S3 { directory } => server::s3(&directory)?,
        Hidden::Minio { program, directory } => server::minio(&program, &directory)?,
        Hidden::Scale { chunks, directory } => return scale::run(chunks, &directory),
        Hidden::ScaleOne { operation, chunks, place } => {
            scale::one(operation, chunks, place.as_deref())?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run(options: &Options) -> Result<ExitCode> {
    let target = target()?;
    let data = options.data.clone().unwrap_or_else(|| target.join("bench-data"));
    let kept = |name: &str| target.join("bench").join(format!("{name}.json"));
    // Loaded before the measurements, so that a missing baseline fails early.
    let baseline = options.baseline.as_deref().map(|name| Run::load(&kept(name))).transpose()?;
    children::watch_for_interrupts()?;

    let run = {
        let mut runner = Runner::new(options, &data)?;
        runner.run_all()?;
        runner.run
    };
    if run.measurements.is_empty() {
        eprintln!("error: nothing was measured: no case is called {:?}", options.filter.join(","));
        return Ok(ExitCode::FAILURE);
    }
    if let Some(baseline) = &baseline {
        println!("\n{}", compare::compare(baseline, &run).trim_end());
    }
    if options.markdown {
        println!("\n{}", report::markdown(&run).trim_end());
    }
    if let Some(path) = &options.json {
        run.save(path)?;
    }
    if let Some(name) = &options.save {
        run.save(&kept(name))?;
    }
    if let Some(directory) = &options.report {
        let page = report::write(&run, directory)?;
        println!("\nthe report is {}", page.display());
    }
    let wrong = run.measurements.iter().filter(|found| found.wrong().is_some()).count();
    if wrong > 0 {
        eprintln!("error: {wrong} of {} measurements had wrong answers", run.measurements.len());
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

/// The directory that cargo builds into, two levels above this program.
fn target() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program cannot find itself")?;
    Ok(own.parent().and_then(Path::parent).context("this program is not in target")?.to_owned())
}
