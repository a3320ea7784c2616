//! Work that goes on beside the caller and ends with its handle.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use castore_core::{Digest, Error, Result};
use tokio::task::JoinHandle;

use crate::error::task_error;
use crate::exec::pool::Outcome;

/// A task that is aborted when this handle is dropped. A job that has started then continues until
/// it has to wait for other work. The result is an error of `operation` if the task panicked, or
/// its runtime has ended.
#[derive(Debug)]
pub(crate) struct Task<T> {
    running: Running<T>,
    /// The blob or chunk that the task handles.
    digest: Option<Digest>,
}

#[derive(Debug)]
enum Running<T> {
    Spawned(&'static str, JoinHandle<Result<T>>),
    Job(Outcome<Result<T>>),
}

impl<T> Task<T> {
    pub(crate) fn spawn(
        operation: &'static str,
        work: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Task<T>
    where
        T: Send + 'static,
    {
        Task { running: Running::Spawned(operation, tokio::spawn(work)), digest: None }
    }

    pub(crate) fn of_job(outcome: Outcome<Result<T>>) -> Task<T> {
        Task { running: Running::Job(outcome), digest: None }
    }

    /// Names `digest` in the error of a task that panics, or that ends with its runtime.
    pub(crate) fn about(mut self, digest: Digest) -> Task<T> {
        self.digest = Some(digest);
        self
    }

    pub(crate) fn abort(&self) {
        if let Running::Spawned(_, task) = &self.running {
            task.abort();
        }
    }
}

impl<T> Future for Task<T> {
    type Output = Result<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let digest = self.digest;
        let unfinished = |error: Error| match digest {
            Some(digest) => error.with_digest(digest),
            None => error,
        };
        Poll::Ready(match &mut self.running {
            Running::Spawned(operation, task) => ready!(Pin::new(task).poll(context))
                .unwrap_or_else(|error| Err(unfinished(task_error(operation, error)))),
            Running::Job(outcome) => {
                ready!(Pin::new(outcome).poll(context)).map_err(unfinished).flatten()
            }
        })
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        self.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::limits::Limits;

    #[tokio::test]
    async fn the_error_of_a_panic_names_operation_and_digest() {
        let limits = Limits::new(1 << 20, 4, 1);
        let digest = Digest::of(b"about");
        let panics = || async { panic!("as it should") };
        for task in [Task::<()>::spawn("test", panics()), limits.spawn_unit("test", panics())] {
            let error = task.about(digest).await.unwrap_err();
            assert_eq!(error.digest(), Some(digest));
            assert_eq!(error.operation(), "test");
            let source = std::error::Error::source(&error).expect("the panic's message");
            assert_eq!(source.to_string(), "as it should");
        }
    }
}
