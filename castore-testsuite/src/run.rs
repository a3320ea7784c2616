//! Running one case.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Builder;

use crate::Harness;

/// How long one case may take: none takes a second on a service that works.
pub const TIME_LIMIT: Duration = Duration::from_secs(120);

/// Runs `case` on `harness`, on a runtime of its own.
///
/// # Panics
/// Where the case fails, or takes longer than [`TIME_LIMIT`].
pub fn run<H, F>(harness: H, case: impl FnOnce(Arc<H>) -> F)
where
    H: Harness,
    F: Future<Output = ()>,
{
    let runtime = match Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => panic!("the suite cannot start a runtime: {error}"),
    };
    let harness = Arc::new(harness);
    let result = runtime
        .block_on(async { tokio::time::timeout(TIME_LIMIT, case(Arc::clone(&harness))).await });
    // What hangs may hang for ever.
    runtime.shutdown_background();
    assert!(result.is_ok(), "the case took longer than {TIME_LIMIT:?}");
}
