//! The bodies of the fuzz targets: functions of any bytes that panic where castore breaks a
//! promise.
//!
//! libFuzzer calls them from `fuzz/fuzz_targets`, on a nightly toolchain. The program of this crate
//! calls them on a stable one, with seeded random inputs and mutations of real files
//! (`cargo xtask fuzz`). `fuzz/README.md` describes the targets.

#![forbid(unsafe_code)]

pub mod input;
mod targets;

pub use targets::{CANARY, TARGETS, Target};

/// Checks one input of the target that is called `name`. Panics if there is no such target, too.
pub fn check(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target of this name");
    (target.check)(input);
}
