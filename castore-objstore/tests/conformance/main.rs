//! The conformance suite on object stores: memory, local disk, S3 in this process, and MinIO; each
//! also slowed down, limited to few requests, and failing.
//!
//! Tests are made when this runs, not when it is compiled: which MinIO there is, if any, is known
//! only then. Arguments are those of other tests, such as a part of a test's name.

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
    CONTRACT, Case, FAULTS, FAULTS_AND_RESTART, Failure, RESTART, Restart, TAMPER, TIME_LIMIT,
};
use libtest_mimic::{Arguments, Completion, Failed, Trial};

use crate::backend::{Backend, Missing};
use crate::harness::{Objects, Wrapper};
use crate::local::Local;
use crate::memory::Memory;
use crate::minio::Minio;
use crate::s3::Server;

/// How many tests run at once, unless told otherwise.
const THREADS: usize = 8;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    // Most of the time is spent waiting, for disks and for delays.
    arguments.test_threads.get_or_insert(THREADS);
    let mut trials = wrappers::trials();
    trials.extend(suite("memory", || Ok(Memory::default())));
    trials.extend(restarts("memory", || Ok(Memory::default())));
    trials.extend(maintenance::trials("memory", || Ok(Memory::default())));
    trials.extend(doctor::trials("memory", || Ok(Memory::default())));
    trials.extend(suite("local", || Ok(Local::new())));
    trials.extend(restarts("local", || Ok(Local::new())));
    trials.extend(maintenance::trials("local", || Ok(Local::new())));
    trials.extend(doctor::trials("local", || Ok(Local::new())));
    trials.extend(suite("s3", || Ok(Server::start())));
    trials.extend(restarts("s3", || Ok(Server::start())));
    trials.extend(maintenance::trials("s3", || Ok(Server::start())));
    trials.extend(doctor::trials("s3", || Ok(Server::start())));

    // MinIO is started only for those that want it.
    let with_minio = minio_trials(None);
    let wanted = with_minio.iter().any(|trial| !arguments.is_filtered_out(trial));
    let minio = (wanted && !arguments.list).then(|| Arc::new(Minio::find()));
    trials.extend(minio_trials(minio.clone()));

    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Some(minio) = minio {
        minio.end();
    }
    conclusion.exit_code()
}

/// The tests on MinIO. Without one that runs, they are ignored, or fail where CI has to have it.
fn minio_trials(minio: Option<Arc<Minio>>) -> Vec<Trial> {
    let shared = move || match &minio {
        Some(minio) => minio.shared(),
        None => unreachable!("it was not asked for"),
    };
    let own = {
        let shared = shared.clone();
        move || shared()?.another()
    };
    let mut trials = suite("minio", shared.clone());
    trials.extend(maintenance::trials("minio", shared.clone()));
    trials.extend(doctor::trials("minio", shared.clone()));
    trials.extend(restarts("minio", own.clone()));
    trials.extend(interrupted::trials(own));
    trials
}

/// Makes what a test runs on, or says why it does not run.
trait Make<B>: Fn() -> Result<B, Missing> + Clone + Send + 'static {}

impl<B, F: Fn() -> Result<B, Missing> + Clone + Send + 'static> Make<B> for F {}

/// Every case that needs no restart: all on the store itself; the contract also where the store
/// is slow, and where it takes few requests at once; failures where it fails.
fn suite<B: Backend>(name: &str, make: impl Make<B>) -> Vec<Trial> {
    let mut trials = Vec::new();
    for wrapper in [Wrapper::None, Wrapper::Delayed, Wrapper::Limited] {
        for case in CONTRACT {
            let name = format!("{name}{wrapper}::{}", case.name());
            trials.push(trial(name, make.clone(), wrapper, |h| case.run(h, TIME_LIMIT)));
        }
    }
    for case in TAMPER {
        let name = format!("{name}::{}", case.name());
        trials.push(trial(name, make.clone(), Wrapper::None, |h| case.run(h, TIME_LIMIT)));
    }
    for case in FAULTS {
        let name = format!("{name}::{}", case.name());
        trials.push(trial(name, make.clone(), Wrapper::Failing, |h| case.run(h, TIME_LIMIT)));
    }
    trials
}

/// The cases for which the store is ended and started again, each on a store of its own.
fn restarts<B: Backend>(name: &str, make: impl Make<B>) -> Vec<Trial> {
    let restarting = |case: &'static Case<dyn Restart>| {
        let name = format!("{name}::{}", case.name());
        trial(name, make.clone(), Wrapper::None, |h| case.run(h, TIME_LIMIT))
    };
    let mut trials: Vec<Trial> = RESTART.iter().map(restarting).collect();
    for case in FAULTS_AND_RESTART {
        let name = format!("{name}::{}", case.name());
        trials.push(trial(name, make.clone(), Wrapper::Failing, |h| case.run(h, TIME_LIMIT)));
    }
    trials
}

fn trial<B: Backend>(
    name: String,
    make: impl Make<B>,
    wrapper: Wrapper,
    run: impl FnOnce(Arc<Objects<B>>) -> Result<(), Failure> + Send + 'static,
) -> Trial {
    Trial::ignorable_test(name, move || match make() {
        Ok(backend) => match run(Arc::new(Objects::new(backend, wrapper))) {
            Ok(()) => Ok(Completion::Completed),
            Err(failure) => Err(Failed::from(failure)),
        },
        Err(missing) => missing.outcome(),
    })
}
