//! `castore doctor`

use std::time::Duration;

use castore_objstore::doctor::{Check, DoctorOptions, DoctorReport, Fitness, Operation};
use serde_json::{Value, json};

use super::Mode;
use crate::failure::{CORRUPT, FAILED, Failure, Result, say};
use crate::output;
use crate::phases::Phases;
use crate::store::{Location, clean_up_after_interrupt, nothing_to_clean_up, say_left};

/// The exit code for an unfit store: one that would lose or damage data.
const UNFIT: u8 = CORRUPT;

pub(crate) struct Asked {
    /// The operations that decide the exit code; if empty, all do.
    pub(crate) operations: Vec<Operation>,
    pub(crate) objects: usize,
    pub(crate) at_once: usize,
    pub(crate) timeout: Duration,
}

pub(crate) async fn run(mode: Mode, location: &Location, asked: &Asked) -> Result<()> {
    let doctor = location.open_place()?.doctor();
    let options = DoctorOptions::default()
        .objects(asked.objects)
        .at_once(asked.at_once)
        .timeout(asked.timeout);
    clean_up_after_interrupt(doctor.clone());
    let phases = Phases::start(mode.progress());
    let report = doctor.examine(&options, &phases).await;
    drop(phases);
    nothing_to_clean_up();
    let report = report?;
    let operations = match asked.operations.as_slice() {
        [] => &Operation::ALL,
        some => some,
    };
    match mode.json {
        true => print_json(&report, operations),
        false => output::line(output::lines(format_args!("{}\n{report}", location.name()))),
    }
    say_left(&report.left);
    if report.left_by_others > 0 && !mode.quiet {
        let parent = report.prefix.rsplit_once('/').map_or("", |(parent, _)| parent);
        say(format_args!(
            "castore: {} objects below {parent}/ are of other examinations: remove them, unless one is \
             under way",
            report.left_by_others
        ));
    }
    match code(&report, operations) {
        0 => Ok(()),
        code => Err(Failure::reported(code)),
    }
}

/// The exit code. An operation for which the store is not fit outweighs one whose fitness is not
/// known.
fn code(report: &DoctorReport, operations: &[Operation]) -> u8 {
    let fitness: Vec<Fitness> =
        operations.iter().map(|operation| report.fitness(*operation)).collect();
    let any = |is: fn(&Fitness) -> bool| fitness.iter().any(is);
    if any(|fitness| matches!(fitness, Fitness::Unfit(_))) {
        return UNFIT;
    }
    let is_known = |fitness: &Fitness| matches!(fitness, Fitness::Fit | Fitness::Limited(_));
    match fitness.iter().all(is_known) && report.left.is_empty() {
        true => 0,
        false => FAILED,
    }
}

fn print_json(report: &DoctorReport, operations: &[Operation]) {
    for check in &report.checks {
        output::json(&value_of(check));
    }
    for operation in Operation::ALL {
        let fitness = report.fitness(operation);
        output::json(&json!({
            "type": "operation",
            "name": operation.name(),
            "fitness": key_of(fitness.word()),
            "reasons": fitness.reasons(),
            "asked": operations.contains(&operation),
        }));
    }
    output::json(&json!({
        "type": "summary",
        "prefix": report.prefix,
        "requests": report.requests,
        "refused": report.refused,
        "repeated": report.repeated,
        "median_ms": milliseconds(report.median),
        "slowest_ms": milliseconds(report.slowest),
        "seconds": report.took.as_secs_f64(),
        "left": report.left,
        "left_by_others": report.left_by_others,
    }));
}

fn value_of(check: &Check) -> Value {
    let names = |operations: &[Operation]| -> Vec<&str> {
        operations.iter().map(|operation| operation.name()).collect()
    };
    json!({
        "type": "check",
        "name": check.name,
        "group": check.group,
        "promise": check.promise,
        "verdict": key_of(check.verdict.word()),
        "detail": check.verdict.reason(),
        "needed_by": names(check.needed_by),
        "helps": names(check.helps),
    })
}

/// Converts a word of the table into a word of JSON: `not known` becomes `not_known`.
fn key_of(word: &str) -> String {
    let word = if word == "fit, but" { "limited" } else { word };
    word.to_ascii_lowercase().replace(' ', "_")
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}
