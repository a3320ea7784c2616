//! Running one case.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::panic;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::runtime::Builder;

use crate::report::Report;
use crate::steps::Steps;

/// The default time limit of a case. On a service that works, no case takes a tenth of it.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// The environment variable that sets the time limit of each case, in seconds.
const VARIABLE: &str = "CASTORE_TESTSUITE_TIME_LIMIT";

/// The time limit of a case: as many seconds as the environment variable
/// `CASTORE_TESTSUITE_TIME_LIMIT` says, or [`TIME_LIMIT`].
///
/// # Panics
/// If the variable is set, but not to a number of seconds above zero.
pub fn time_limit() -> Duration {
    std::env::var_os(VARIABLE).map_or(TIME_LIMIT, |value| {
        let seconds = value.to_str().and_then(seconds);
        seconds.unwrap_or_else(|| panic!("{VARIABLE} is no number of seconds: {value:?}"))
    })
}

fn seconds(text: &str) -> Option<Duration> {
    let seconds = text.parse().ok().filter(|seconds| *seconds > 0.0)?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The tokio runtime that runs a case. The contract asks for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Runtime {
    /// A runtime with several threads.
    #[default]
    MultiThread,
    /// A runtime that does everything on the thread of the case: a future that blocks there holds
    /// up all others.
    CurrentThread,
}

/// One behaviour, as a test that any backend can run. `H` is `dyn` [`Harness`](crate::Harness), or
/// the hook of the case's group.
pub struct Case<H: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) body: fn(Arc<H>) -> BoxFuture<'static, ()>,
}

impl<H: ?Sized + Send + Sync + 'static> Case<H> {
    /// The module and the name of the case: `"writer::drop_publishes_nothing"`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the case on `harness`, which no other case has used.
    ///
    /// # Errors
    /// Says how the service departed from the contract; or that the case took longer than `limit`,
    /// and at which step it waits.
    pub fn run(&self, harness: Arc<H>, limit: Duration) -> Result<(), Failure> {
        self.run_in(Runtime::MultiThread, harness, limit)
    }

    /// Runs the case on `harness`, which no other case has used, in a runtime of this kind.
    ///
    /// # Errors
    /// See [`run`](Case::run).
    pub fn run_in(
        &self,
        runtime: Runtime,
        harness: Arc<H>,
        limit: Duration,
    ) -> Result<(), Failure> {
        match within(self.name, runtime, harness, self.body, limit) {
            Ok(()) => Ok(()),
            Err(Ended::Late(steps)) => Err(Failure::late(limit, &steps)),
            Err(Ended::Panicked(payload)) => Err(Failure::of(payload.as_ref())),
        }
    }
}

impl<H: ?Sized> fmt::Debug for Case<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// The reason why a case failed, in one line or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    fn late(limit: Duration, steps: &str) -> Failure {
        Failure(format!("the case did not end within {limit:?}{steps}"))
    }

    fn of(payload: &(dyn Any + Send)) -> Failure {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Failure(text.unwrap_or("the case panicked").to_owned())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

/// Runs `case` as a test: [`conformance!`](crate::conformance!) expands to calls of this.
///
/// # Panics
/// If the case fails, or takes longer than [`time_limit`].
#[doc(hidden)]
pub fn run<H, F>(
    report: &Report,
    group: &'static str,
    name: &'static str,
    harness: Arc<H>,
    case: fn(Arc<H>) -> F,
) where
    H: ?Sized + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let runtime = match group {
        "current_thread" => Runtime::CurrentThread,
        _ => Runtime::MultiThread,
    };
    let limit = time_limit();
    let ended = within(name, runtime, harness, case, limit);
    report.note_and_print(group, name, ended.is_ok());
    match ended {
        Ok(()) => {}
        Err(Ended::Late(steps)) => panic!("{}", Failure::late(limit, &steps)),
        Err(Ended::Panicked(payload)) => panic::resume_unwind(payload),
    }
}

enum Ended {
    /// Holds the names of the steps that the case waits for.
    Late(String),
    Panicked(Box<dyn Any + Send>),
}

/// Runs the case on a thread and a runtime of its own, so that the limit holds even for a service
/// that blocks instead of waiting. A case that hangs is left running.
fn within<H, F>(
    name: &'static str,
    runtime: Runtime,
    harness: Arc<H>,
    case: fn(Arc<H>) -> F,
    limit: Duration,
) -> Result<(), Ended>
where
    H: ?Sized + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let (done, ended) = mpsc::channel::<()>();
    let steps = Arc::new(Steps::default());
    let of_threads = Arc::clone(&steps);
    let body = move || {
        // Dropped at the end, also after a panic.
        let _done = done;
        of_threads.enter();
        let mut builder = match runtime {
            Runtime::MultiThread => {
                let mut builder = Builder::new_multi_thread();
                builder.worker_threads(2);
                builder
            }
            Runtime::CurrentThread => Builder::new_current_thread(),
        };
        let runtime = builder.enable_all().on_thread_start(move || of_threads.enter()).build();
        let runtime = runtime.unwrap_or_else(|error| panic!("cannot start a runtime: {error}"));
        runtime.block_on(case(Arc::clone(&harness)));
        runtime.shutdown_background();
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    let thread = thread.unwrap_or_else(|error| panic!("cannot start a thread: {error}"));
    match ended.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => Err(Ended::Late(steps.describe())),
        _ => thread.join().map_err(Ended::Panicked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(50);

    fn failure(body: fn(Arc<()>) -> BoxFuture<'static, ()>, limit: Duration) -> String {
        Case { name: "test", body }.run(Arc::new(()), limit).unwrap_err().to_string()
    }

    #[test]
    fn a_case_that_ends_has_passed() {
        let case = Case { name: "test", body: |_: Arc<()>| Box::pin(async {}) };
        assert_eq!(case.run(Arc::new(()), TIME_LIMIT), Ok(()));
    }

    #[test]
    fn a_panic_is_a_failure_with_its_message() {
        assert_eq!(failure(|_| Box::pin(async { panic!("it broke") }), TIME_LIMIT), "it broke");
        let message = failure(|_| Box::pin(async { panic!("it broke {}", 2) }), TIME_LIMIT);
        assert_eq!(message, "it broke 2");
    }

    #[test]
    fn a_case_that_waits_for_ever_is_ended() {
        let message = failure(|_| Box::pin(std::future::pending()), SHORT);
        assert_eq!(message, "the case did not end within 50ms");
    }

    #[test]
    fn a_case_that_hangs_names_the_steps_it_waits_for() {
        use crate::steps::Step;

        let hang = |_| -> BoxFuture<'static, ()> {
            Box::pin(async {
                std::future::ready(()).named("the first step").await;
                std::future::pending::<()>().named("the second step").await;
            })
        };
        for runtime in [Runtime::MultiThread, Runtime::CurrentThread] {
            let case = Case { name: "test", body: hang };
            let message = case.run_in(runtime, Arc::new(()), SHORT).unwrap_err().to_string();
            assert!(message.contains("\n    it waits for the second step ("), "{message}");
            assert!(!message.contains("first"), "{message}");
        }
    }

    #[test]
    fn a_time_limit_is_a_number_of_seconds_above_zero() {
        assert_eq!(seconds("7"), Some(Duration::from_secs(7)));
        assert_eq!(seconds("0.5"), Some(Duration::from_millis(500)));
        for wrong in ["", "0", "-1", "ten", "1e300", "NaN", "inf"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_case_that_blocks_its_thread_is_ended() {
        let block = |_| -> BoxFuture<'static, ()> {
            Box::pin(async {
                loop {
                    thread::park();
                }
            })
        };
        assert_eq!(failure(block, SHORT), "the case did not end within 50ms");
    }
}
