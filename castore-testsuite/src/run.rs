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

/// How long one case may take: none takes a tenth of it on a service that works.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// One behaviour, as a test that any backend can run. `H` is `dyn` [`Harness`](crate::Harness), or
/// the hook of the case's group.
pub struct Case<H: ?Sized> {
    pub(crate) name: &'static str,
    pub(crate) body: fn(Arc<H>) -> BoxFuture<'static, ()>,
}

impl<H: ?Sized + Send + Sync + 'static> Case<H> {
    /// Its module and name: `"writer::drop_publishes_nothing"`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs the case on `harness`, which no other case has used.
    ///
    /// # Errors
    /// What the service did otherwise, or that the case took longer than `limit`.
    pub fn run(&self, harness: Arc<H>, limit: Duration) -> Result<(), Failure> {
        match within(self.name, harness, self.body, limit) {
            Ok(()) => Ok(()),
            Err(Ended::Late) => Err(Failure::late(limit)),
            Err(Ended::Panicked(payload)) => Err(Failure::of(payload.as_ref())),
        }
    }
}

impl<H: ?Sized> fmt::Debug for Case<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Case").field(&self.name).finish()
    }
}

/// Why a case failed, in one line or more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    fn late(limit: Duration) -> Failure {
        Failure(format!("the case did not end within {limit:?}"))
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

/// Runs `case` as a test: what [`conformance!`](crate::conformance!) expands to calls this.
///
/// # Panics
/// Where the case fails, or takes longer than [`TIME_LIMIT`].
#[doc(hidden)]
pub fn run<H, F>(name: &'static str, harness: Arc<H>, case: fn(Arc<H>) -> F)
where
    H: ?Sized + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    match within(name, harness, case, TIME_LIMIT) {
        Ok(()) => {}
        Err(Ended::Late) => panic!("{}", Failure::late(TIME_LIMIT)),
        Err(Ended::Panicked(payload)) => panic::resume_unwind(payload),
    }
}

enum Ended {
    Late,
    Panicked(Box<dyn Any + Send>),
}

/// Runs the case on a thread and a runtime of its own, so that the limit holds even for a service
/// that blocks instead of waiting. What hangs is left behind.
fn within<H, F>(
    name: &'static str,
    harness: Arc<H>,
    case: fn(Arc<H>) -> F,
    limit: Duration,
) -> Result<(), Ended>
where
    H: ?Sized + Send + Sync + 'static,
    F: Future<Output = ()> + 'static,
{
    let (done, ended) = mpsc::channel::<()>();
    let body = move || {
        // Dropped at the end, however that comes.
        let _done = done;
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("cannot start a runtime: {error}"));
        runtime.block_on(case(Arc::clone(&harness)));
        runtime.shutdown_background();
    };
    let thread = thread::Builder::new().name(name.to_owned()).spawn(body);
    let thread = thread.unwrap_or_else(|error| panic!("cannot start a thread: {error}"));
    match ended.recv_timeout(limit) {
        Err(RecvTimeoutError::Timeout) => Err(Ended::Late),
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
