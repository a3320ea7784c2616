//! The gate through which a service's writers pass: a closed gate lets no new writer in, and its
//! owner waits for the writers inside.

use std::convert::Infallible;
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

#[derive(Debug)]
pub(crate) struct Gate {
    /// `None` once the gate is closed.
    open: Mutex<Option<mpsc::Sender<Infallible>>>,
    /// Ends when every pass is dropped.
    passed: tokio::sync::Mutex<mpsc::Receiver<Infallible>>,
}

/// Held by a writer and by everything that works for it, until they have ended.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    _held: mpsc::Sender<Infallible>,
}

impl Gate {
    pub(crate) fn new() -> Gate {
        let (open, passed) = mpsc::channel(1);
        Gate { open: Mutex::new(Some(open)), passed: tokio::sync::Mutex::new(passed) }
    }

    /// `None` if the gate is closed.
    pub(crate) fn enter(&self) -> Option<Pass> {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.clone().map(|_held| Pass { _held })
    }

    /// Closes the gate, and returns when every pass is dropped. Cancel safe: the gate stays closed.
    pub(crate) async fn close(&self) {
        drop(self.open.lock().unwrap_or_else(PoisonError::into_inner).take());
        self.passed.lock().await.recv().await;
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn closing_waits_for_every_pass_and_admits_no_more() {
        let gate = Gate::new();
        let first = gate.enter().unwrap();
        let second = first.clone();
        let mut closing = Box::pin(gate.close());
        let mut closing_too = Box::pin(gate.close());
        assert!(poll!(&mut closing).is_pending());
        assert!(poll!(&mut closing_too).is_pending());
        assert!(gate.enter().is_none());
        drop(first);
        assert!(poll!(&mut closing).is_pending());
        drop(second);
        closing.await;
        closing_too.await;
        gate.close().await;
        assert!(gate.enter().is_none());
    }
}
