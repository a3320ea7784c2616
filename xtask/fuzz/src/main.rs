//! Calls fuzz targets with seeded inputs for a time, each in a process of its own, two at a time.
//!
//! An input that panics, aborts, hangs or takes too much memory is written to a file, whose name is
//! printed.

#![forbid(unsafe_code)]

mod run;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
Usage: cargo xtask fuzz [TARGET]... [--seconds N] [--seed S]
       cargo xtask fuzz TARGET --input FILE

Targets: cut, index, chunk, seeks; all of them unless named. Each runs for N seconds (60), two at a
time. --seed repeats a run. --input checks one input, such as one that a run has reported.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["--help"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        [run::CHILD, target, seed, seconds, note] => run::child(target, seed, seconds, note),
        [target, "--input", file] => run::one(target, file),
        arguments => run::all(arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
