//! The running work of one owner, which can wait until all of it has ended.
//!
//! An aborted task ends some time later, and work on a thread cannot be aborted at all. Each of
//! them holds a [`Guard`] of its owner, and the owner waits until no guard is left.

use std::convert::Infallible;
use std::future::Future;

use tokio::sync::mpsc;

use crate::exec::gate::Pass;

/// The owner's side.
#[derive(Debug)]
pub(crate) struct UnderWay {
    guard: Guard,
    released: mpsc::Receiver<Infallible>,
}

/// Each task and each piece of work holds a guard until it has ended.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    _held: mpsc::Sender<Infallible>,
    _pass: Option<Pass>,
}

tokio::task_local! {
    static GUARD: Guard;
}

impl UnderWay {
    /// Each guard holds `_pass`, too.
    pub(crate) fn new(_pass: Option<Pass>) -> UnderWay {
        let (_held, released) = mpsc::channel(1);
        UnderWay { guard: Guard { _held, _pass }, released }
    }

    pub(crate) fn new_guard(&self) -> Guard {
        self.guard.clone()
    }

    /// Returns once all guards are released.
    pub(crate) async fn ended(self) {
        let UnderWay { guard, mut released } = self;
        drop(guard);
        released.recv().await;
    }
}

impl Guard {
    /// Runs `work`, which holds the guard. The work that it starts on threads holds the guard as
    /// well.
    pub(crate) fn held_by<T>(self, work: impl Future<Output = T>) -> impl Future<Output = T> {
        GUARD.scope(self, work)
    }
}

/// The guard of the future that is being polled, if any.
pub(crate) fn current() -> Option<Guard> {
    GUARD.try_with(Guard::clone).ok()
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::mpsc::channel;

    use super::*;
    use crate::exec::context::run_blocking;
    use crate::exec::task::Task;

    #[tokio::test]
    async fn the_owner_waits_for_tasks_and_for_what_they_have_started_on_threads() {
        let under_way = UnderWay::new(None);
        let waits = Task::spawn(
            "test",
            under_way.new_guard().held_by(pending::<castore_core::Result<()>>()),
        );
        let (begun, begins) = channel();
        let (go, wait) = channel::<()>();
        let works = under_way.new_guard().held_by(run_blocking("test", move || {
            begun.send(()).unwrap();
            wait.recv()
        }));
        let mut works = Box::pin(works);
        assert!(futures_util::poll!(&mut works).is_pending());
        begins.recv().unwrap();
        drop((waits, works));
        let mut ended = Box::pin(under_way.ended());
        tokio::task::yield_now().await;
        assert!(futures_util::poll!(&mut ended).is_pending());
        go.send(()).unwrap();
        ended.await;
    }
}
