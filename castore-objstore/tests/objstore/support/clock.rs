//! Virtual time: tokio's paused clock moves on only when everything waits for it, and so stands
//! still while anything is being computed.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// How long a slow store takes for each request.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

/// Far longer than anything takes that is not stuck.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// How many requests there were one after another since `start`.
pub(crate) fn round_trips(start: Instant) -> u32 {
    (start.elapsed() + LATENCY / 2).div_duration_f64(LATENCY) as u32
}

pub(crate) async fn not_stuck<T>(future: impl Future<Output = T>) -> T {
    timeout(FOR_EVER, future).await.expect("it is stuck")
}

/// Returns when all that goes on by itself has come to its end.
pub(crate) async fn settle() {
    tokio::time::sleep(FOR_EVER).await;
}
