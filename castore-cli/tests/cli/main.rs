//! The program `castore`, run as its users run it.

mod absence;
mod damage;
mod dry_run;
mod help;
#[cfg(unix)]
mod interrupt;
mod operate;
mod output;
mod remote;
mod round_trip;
mod support;
mod usage;
