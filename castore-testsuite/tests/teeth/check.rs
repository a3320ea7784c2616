//! Runs the whole suite on a flaw, and compares the failed cases with the expected ones.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use castore_testsuite::{
    CONTRACT, FAULTS, FAULTS_AND_RESTART, Failure, RESTART, Runtime, TAMPER, TIME_LIMIT,
    VERIFIED_RANGES,
};

use crate::expected;
use crate::flaw::Flaw;
use crate::harness::{Kind, Subject};
use crate::records::locked;

/// The time limit of a case that is expected to hang. No other case has this limit, so a slow
/// machine cannot make a healthy case fail.
const SHORT_LIMIT: Duration = Duration::from_secs(2);

/// The number of cases of one flaw that run at the same time.
const THREADS: usize = 4;

/// Cases that move tens of megabytes. They run for a service without a flaw, and for the flaws that
/// list them. For every flaw they would take longer than all other cases together.
const LONG: [&str; 3] = [
    "writer::one_write_of_twenty_mebibytes",
    "writer::many_chunks_round_trip",
    "writer::repetitive_data_round_trips",
];

type Job = (&'static str, Box<dyn FnOnce(Duration) -> Result<(), Failure> + Send>);

/// Every case of every group that the service claims, each with its own storage.
fn jobs(kind: Kind) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    macro_rules! add {
        ($($group:ident)*) => {
            $(for case in $group {
                let run = move |limit| case.run(Arc::new(Subject::new(kind)), limit);
                jobs.push((case.name(), Box::new(run)));
            })*
        };
    }
    add!(CONTRACT TAMPER FAULTS RESTART FAULTS_AND_RESTART);
    if kind.proves {
        add!(VERIFIED_RANGES);
    }
    jobs
}

/// The names of all cases.
pub(crate) fn all_cases() -> BTreeSet<&'static str> {
    jobs(Kind::SOUND).into_iter().map(|(name, _)| name).collect()
}

/// Runs all cases, those with the short limit first. Returns the failed ones with their messages.
fn failures(
    kind: Kind,
    short: &BTreeSet<&str>,
    is_wanted: impl Fn(&str) -> bool,
) -> BTreeMap<&'static str, String> {
    let mut jobs = jobs(kind);
    jobs.retain(|(name, _)| is_wanted(name));
    jobs.sort_by_key(|(name, _)| !short.contains(name));
    let jobs = Mutex::new(jobs.into_iter());
    let failures = Mutex::new(BTreeMap::new());
    let work = || {
        loop {
            let job = locked(&jobs).next();
            let Some((name, run)) = job else { break };
            let limit = if short.contains(name) { SHORT_LIMIT } else { TIME_LIMIT };
            if let Err(failure) = run(limit) {
                locked(&failures).insert(name, failure.to_string());
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
    });
    failures.into_inner().expect("no case panics on these threads")
}

/// Checks that a service without a flaw passes every case, with verified ranges and without.
pub(crate) fn check_sound() {
    for kind in [Kind::SOUND, Kind::SOUND_WITHOUT_GROUPS] {
        let failures = failures(kind, &BTreeSet::new(), |_| true);
        assert!(failures.is_empty(), "a sound service fails, {kind:?}:{}", listed(&failures));
    }
}

/// Checks that a service without a flaw passes the contract in a runtime of one thread.
pub(crate) fn check_sound_on_one_thread() {
    let failed = CONTRACT.iter().filter(|case| !LONG.contains(&case.name())).filter_map(|case| {
        let result =
            case.run_in(Runtime::CurrentThread, Arc::new(Subject::new(Kind::SOUND)), TIME_LIMIT);
        result.err().map(|failure| (case.name(), failure))
    });
    assert_eq!(failed.collect::<Vec<_>>(), []);
}

/// Checks that a service with the flaw fails in the cases listed for it, and in no other.
pub(crate) fn check(flaw: Flaw) {
    let teeth = expected::all().find(|teeth| teeth.flaw == flaw).expect("every flaw has a list");
    let expected = teeth.cases();
    let short = if teeth.hangs { expected.clone() } else { BTreeSet::new() };
    let is_wanted = |case: &str| !LONG.contains(&case) || expected.contains(case);
    let mut failures = failures(Kind::with(flaw), &short, is_wanted);
    let mut missing = Vec::new();
    for case in expected {
        match failures.remove(case) {
            Some(failure) if teeth.hangs && !failure.starts_with("the case did not end") => {
                failures.insert(case, format!("this is no hanging: {failure}"));
            }
            Some(_) => {}
            None => missing.push(case),
        }
    }
    assert!(
        missing.is_empty() && failures.is_empty(),
        "{flaw:?}\nexpected to fail, and did not: {missing:#?}\nfailed unexpectedly:{}",
        listed(&failures)
    );
}

fn listed(failures: &BTreeMap<&str, String>) -> String {
    failures.iter().fold(String::new(), |mut list, (case, failure)| {
        let _ = write!(list, "\n    {case}: {failure}");
        list
    })
}
