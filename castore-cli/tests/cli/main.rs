//! The program `castore`, run as its users run it.

mod absence;
mod closed;
mod copy;
mod damage;
#[cfg(unix)]
mod doctor;
mod dry_run;
#[cfg(unix)]
mod files;
mod gc;
mod group_hashes;
mod help;
#[cfg(unix)]
mod interrupt;
#[cfg(target_os = "linux")]
mod limits;
mod operate;
mod output;
mod remote;
mod remove;
mod round_trip;
mod secrets;
mod stats;
mod support;
mod usage;
