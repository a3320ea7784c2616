//! The program `castore`, run as its users run it.

mod absence;
mod copy;
mod damage;
mod dry_run;
mod gc;
mod help;
#[cfg(unix)]
mod interrupt;
mod operate;
mod output;
mod remote;
mod remove;
mod round_trip;
mod stats;
mod support;
mod usage;
