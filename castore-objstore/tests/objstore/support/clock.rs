//! Virtual time: tokio's paused clock advances only when every task waits for it, and so stands
//! still during any computation.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, timeout};

/// The time that a slow store takes for each request.
pub(crate) const LATENCY: Duration = Duration::from_millis(20);

/// Far longer than any operation takes, unless it is stuck.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(24 * 3600);

/// The number of consecutive requests since `start`.
pub(crate) fn round_trips(start: Instant) -> u32 {
    (start.elapsed() + LATENCY / 2).div_duration_f64(LATENCY) as u32
}

pub(crate) async fn not_stuck<T>(future: impl Future<Output = T>) -> T {
    timeout(FOR_EVER, future).await.expect("it is stuck")
}

/// Returns when all background work has ended.
pub(crate) async fn settle() {
    tokio::time::sleep(FOR_EVER).await;
}
