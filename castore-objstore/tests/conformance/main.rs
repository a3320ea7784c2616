//! The conformance suite on object stores: memory, local disk, S3 in this process, and MinIO. Each
//! of them also runs slowed down, limited to few requests, and failing.
//!
//! The tests are made at run time, not at compile time, because only then it is known which MinIO
//! is available, if any. The arguments are those of other tests, such as a part of a test's name.

mod backend;
#[path = "../damaged/mod.rs"]
#[allow(dead_code, reason = "the other test program that has it uses more of it")]
mod damaged;
mod doctor;
mod harness;
mod interrupted;
mod local;
mod maintenance;
mod memory;
mod minio;
mod s3;
mod unreliable;
mod wrappers;

use std::process::ExitCode;
use std::sync::Arc;

use castore_testsuite::{
    CONTRACT, Case, FAULTS, FAULTS_AND_RESTART, Failure, RESTART, Report, Restart, Runtime, TAMPER,
    VERIFIED_RANGES, time_limit,
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::backend::{Backend, Missing};
use crate::harness::{Objects, Wrapper};
use crate::local::Local;
use crate::memory::Memory;
use crate::minio::Minio;
use crate::s3::Server;

/// The default number of tests that run at once.
const THREADS: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Tests spend most of their time waiting, for disks and for delays.
    arguments.test_threads.get_or_insert(THREADS);
    let mut trials = wrappers::trials();
    let reports = ["memory", "local", "s3", "minio"].map(report);
    let [memory, local, s3, minio_report] = &reports;
    trials.extend(suite(memory, "memory", || Ok(Memory::default())));
    trials.extend(on_one_thread(memory, "memory", || Ok(Memory::default())));
    trials.extend(restarts(memory, "memory", || Ok(Memory::default())));
    trials.extend(maintenance::trials("memory", || Ok(Memory::default())));
    trials.extend(doctor::trials("memory", || Ok(Memory::default())));
    trials.extend(suite(local, "local", || Ok(Local::new())));
    trials.extend(on_one_thread(local, "local", || Ok(Local::new())));
    trials.extend(restarts(local, "local", || Ok(Local::new())));
    trials.extend(maintenance::trials("local", || Ok(Local::new())));
    trials.extend(doctor::trials("local", || Ok(Local::new())));
    trials.extend(suite(s3, "s3", || Ok(Server::start())));
    trials.extend(on_one_thread(s3, "s3", || Ok(Server::start())));
    trials.extend(restarts(s3, "s3", || Ok(Server::start())));
    trials.extend(maintenance::trials("s3", || Ok(Server::start())));
    trials.extend(doctor::trials("s3", || Ok(Server::start())));

    // MinIO is started only if a selected test needs it.
    let with_minio = minio_trials(minio_report, None);
    let wanted = with_minio.iter().any(|trial| !arguments.is_filtered_out(trial));
    let minio = (wanted && !arguments.list).then(|| Arc::new(Minio::find()));
    trials.extend(minio_trials(minio_report, minio.clone()));

    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(minio) = minio {
        minio.end();
    }
    // For a part of the tests, the list above is enough.
    for report in reports.iter().filter(|report| report.is_complete()) {
        println!("{report}");
    }
    conclusion.exit_code()
}

/// The table of the cases on a store.
fn report(name: &str) -> Arc<Report> {
    let report = Report::new(name)
        .claim("contract", WRAPPERS.len() * CONTRACT.len())
        .claim("tamper", TAMPER.len())
        .claim("verified_ranges", VERIFIED_RANGES.len())
        .claim("faults", FAULTS.len())
        .claim("restart", RESTART.len())
        .claim("faults_and_restart", FAULTS_AND_RESTART.len());
    Arc::new(match name {
        "minio" => {
            report.leave_out("current_thread", "the clients are those of the S3 server here")
        }
        _ => report.claim("current_thread", CONTRACT.len()),
    })
}

/// The tests on MinIO. Without a running MinIO they are ignored, or fail if CI requires it.
fn minio_trials(report: &Arc<Report>, minio: Option<Arc<Minio>>) -> Vec<Trial> {
    let shared = move || match &minio {
        Some(minio) => minio.shared(),
        None => unreachable!("it was not asked for"),
    };
    let own = {
        let shared = shared.clone();
        move || shared()?.another()
    };
    let mut trials = suite(report, "minio", shared.clone());
    trials.extend(maintenance::trials("minio", shared.clone()));
    trials.extend(doctor::trials("minio", shared.clone()));
    trials.extend(restarts(report, "minio", own.clone()));
    trials.extend(interrupted::trials(own));
    trials
}

/// Makes the backend of a test, or says why it is missing.
trait Make<B>: Fn() -> Result<B, Missing> + Clone + Send + 'static {}

impl<B, F: Fn() -> Result<B, Missing> + Clone + Send + 'static> Make<B> for F {}

/// The wrappers under which the whole contract must hold.
const WRAPPERS: [Wrapper; 3] = [Wrapper::None, Wrapper::Delayed, Wrapper::Limited];

/// Every case without a restart: all cases on the store itself, the contract also on a slow store
/// and on one that takes few requests at once, and failures on a failing store.
fn suite<B: Backend>(report: &Arc<Report>, name: &str, make: impl Make<B>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for wrapper in WRAPPERS {
        for case in CONTRACT {
            let test = Test::new(report, "contract", format!("{name}{wrapper}"), case.name());
            trials.push(test.trial(make.clone(), wrapper, |h| case.run(h, time_limit())));
        }
    }
    for case in TAMPER {
        let test = Test::new(report, "tamper", name, case.name());
        trials.push(test.trial(make.clone(), Wrapper::None, |h| case.run(h, time_limit())));
    }
    for case in VERIFIED_RANGES {
        let test = Test::new(report, "verified_ranges", name, case.name());
        trials.push(test.trial(make.clone(), Wrapper::None, |h| case.run(h, time_limit())));
    }
    for case in FAULTS {
        let test = Test::new(report, "faults", name, case.name());
        trials.push(test.trial(make.clone(), Wrapper::Failing, |h| case.run(h, time_limit())));
    }
    trials
}

/// The contract in a runtime with one thread.
fn on_one_thread<B: Backend>(report: &Arc<Report>, name: &str, make: impl Make<B>) -> Vec<Trial> {
    let trial = |case: &'static Case<dyn castore_testsuite::Harness>| {
        let name = format!("{name}_current_thread");
        let test = Test::new(report, "current_thread", name, case.name());
        test.trial(make.clone(), Wrapper::None, |h| {
            case.run_in(Runtime::CurrentThread, h, time_limit())
        })
    };
    CONTRACT.iter().map(trial).collect()
}

/// The cases that kill and restart the store, each on a store of its own.
fn restarts<B: Backend>(report: &Arc<Report>, name: &str, make: impl Make<B>) -> Vec<Trial> {
    let restarting = |case: &'static Case<dyn Restart>| {
        let test = Test::new(report, "restart", name, case.name());
        test.trial(make.clone(), Wrapper::None, |h| case.run(h, time_limit()))
    };
    let mut trials: Vec<Trial> = RESTART.iter().map(restarting).collect();
    for case in FAULTS_AND_RESTART {
        let test = Test::new(report, "faults_and_restart", name, case.name());
        trials.push(test.trial(make.clone(), Wrapper::Failing, |h| case.run(h, time_limit())));
    }
    trials
}

/// One case on one store; the store's table records the result.
struct Test {
    report: Arc<Report>,
    group: &'static str,
    name: String,
}

impl Test {
    fn new(
        report: &Arc<Report>,
        group: &'static str,
        store: impl std::fmt::Display,
        case: &str,
    ) -> Test {
        Test { report: Arc::clone(report), group, name: format!("{store}::{case}") }
    }

    fn trial<B: Backend>(
        self,
        make: impl Make<B>,
        wrapper: Wrapper,
        run: impl FnOnce(Arc<Objects<B>>) -> Result<(), Failure> + Send + 'static,
    ) -> Trial {
        let Test { report, group, name } = self;
        Trial::ignorable_test(name.clone(), move || match make() {
            Ok(backend) => {
                let result = run(Arc::new(Objects::new(backend, wrapper)));
                report.note(group, &name, result.is_ok());
                result.map(|()| Completion::Completed).map_err(Failed::from)
            }
            Err(missing) => {
                report.note_skipped(group, &name, &missing.reason);
                missing.outcome()
            }
        })
    }
}
