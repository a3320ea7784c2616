//! The place where code runs, which decides whether it may block, and how it starts more work.
//!
//! | place | may block | a step ([`in_own_task`]) runs | blocking work ([`run_blocking`]) runs |
//! |---|---|---|---|
//! | a job of the pool (`pool.rs`) | yes: its thread is this crate's | here | here |
//! | a task within [`inline`] | no | here | on another thread of this crate |
//! | any other future | no | in a task of its own | on another thread of this crate |
//!
//! A caller may stop polling any other future at any time, so a step that holds a share of a limit
//! there needs a task of its own. A job and an inline task drive each step that they start to its
//! end.

use std::future::Future;

use castore_core::Result;

use crate::error::task_error;
use crate::exec::pool::{self, Started, may_block};
use crate::exec::task::Task;
use crate::exec::under_way;

/// The place of the current code: the rows of the module's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Job,
    InlineTask,
    AnyFuture,
}

impl Place {
    fn current() -> Place {
        match (may_block(), INLINE.try_get()) {
            (true, _) => Place::Job,
            (false, Ok(())) => Place::InlineTask,
            (false, Err(_)) => Place::AnyFuture,
        }
    }
}

tokio::task_local! {
    /// Set in a task that always polls the futures that it has started.
    static INLINE: ();
}

/// Runs `work`, in which [`in_own_task`] spawns no further tasks. `work` must be all of its task,
/// and must drive every future it starts to completion, or drop it. A suspended one might never
/// finish.
pub(crate) async fn inline<T>(work: impl Future<Output = T>) -> T {
    INLINE.scope((), work).await
}

/// Runs `work` as a task of its own, which makes progress even if this future is not polled; in a
/// job or an inline task, as a part of that. Dropping this future aborts the work.
pub(crate) async fn in_own_task<T: Send + 'static>(
    operation: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match Place::current() {
        Place::Job | Place::InlineTask => work.await,
        Place::AnyFuture => Task::spawn(operation, work).await,
    }
}

/// Runs `work` off the async threads: in a job, immediately on its thread.
pub(crate) async fn run_blocking<T: Send + 'static>(
    operation: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T> {
    match Place::current() {
        Place::Job => Ok(work()),
        Place::InlineTask | Place::AnyFuture => {
            spawn_blocking(work).await.map_err(|error| task_error(operation, error))
        }
    }
}

/// Starts `work` off the async threads. `work` runs to its end, even if the result is dropped.
pub(crate) fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Started<T> {
    let guard = under_way::current();
    pool::start(move || {
        let _guard = guard;
        work()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::limits::Limits;

    #[tokio::test]
    async fn each_place_is_recognised() {
        assert_eq!(Place::current(), Place::AnyFuture);
        assert_eq!(inline(async { Place::current() }).await, Place::InlineTask);
        let limits = Limits::new(1 << 20, 4, 1);
        let job = limits.spawn_unit("test", async { Ok(Place::current()) });
        assert_eq!(job.await.unwrap(), Place::Job);
        let task = in_own_task("test", async { Ok(tokio::task::id()) }).await.unwrap();
        let inside = async {
            let own = tokio::task::id();
            let step = in_own_task("test", async { Ok(tokio::task::id()) }).await.unwrap();
            assert_eq!(step, own, "a step of an inline task is a part of it");
            own
        };
        assert_ne!(tokio::spawn(inline(inside)).await.unwrap(), task);
    }
}
