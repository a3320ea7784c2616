//! The steps of a case. The message of a case that hangs or fails names the step.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

thread_local! {
    /// The steps of the case that the current thread runs.
    static CURRENT: RefCell<Option<Arc<Steps>>> = const { RefCell::new(None) };
}

/// The most pending steps that a message names.
const MOST_NAMED: usize = 6;

/// The steps that a case has begun and not finished.
#[derive(Debug, Default)]
pub(crate) struct Steps(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    begun: u64,
    open: BTreeMap<u64, String>,
    /// The most recently finished step.
    last: Option<String>,
}

impl Steps {
    /// Attributes the calling thread's work to this case from now on.
    pub(crate) fn enter(self: &Arc<Self>) {
        CURRENT.with(|current| *current.borrow_mut() = Some(Arc::clone(self)));
    }

    /// The unfinished steps, in the order in which they began; if there are none, the last finished
    /// step.
    pub(crate) fn describe(&self) -> String {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut text = String::new();
        for step in inner.open.values().take(MOST_NAMED) {
            let _ = write!(text, "\n    it waits for {step}");
        }
        if inner.open.len() > MOST_NAMED {
            let _ = write!(text, "\n    and for {} others", inner.open.len() - MOST_NAMED);
        }
        match &inner.last {
            Some(last) if inner.open.is_empty() => format!("\n    its last step was {last}"),
            _ => text,
        }
    }
}

/// An unfinished step.
struct Open(Option<(Arc<Steps>, u64)>);

impl Open {
    fn begin(step: impl FnOnce() -> String) -> Open {
        let Some(steps) = CURRENT.with(|current| current.borrow().clone()) else {
            return Open(None);
        };
        let number = {
            let mut inner = steps.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.begun += 1;
            let number = inner.begun;
            inner.open.insert(number, step());
            number
        };
        Open(Some((steps, number)))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some((steps, number)) = self.0.take() {
            let mut inner = steps.0.lock().unwrap_or_else(PoisonError::into_inner);
            inner.last = inner.open.remove(&number);
        }
    }
}

/// Marks futures as steps of a case.
pub(crate) trait Step: Future + Sized {
    /// Returns the same future, as a step of this name from its first poll on.
    #[track_caller]
    fn named<'a>(self, name: impl Into<String> + Send + 'a) -> BoxFuture<'a, Self::Output>
    where
        Self: Send + 'a,
    {
        let location = Location::caller();
        async move {
            let _open = Open::begin(|| format!("{} ({location})", name.into()));
            self.await
        }
        .boxed()
    }

    /// Returns the same future as a step that must succeed.
    #[track_caller]
    fn must<'a, T, E>(self, name: &'a str) -> BoxFuture<'a, T>
    where
        Self: Future<Output = Result<T, E>> + Send + 'a,
        E: Error + 'static,
    {
        let location = Location::caller();
        async move {
            let result = {
                let _open = Open::begin(|| format!("{name} ({location})"));
                self.await
            };
            result.unwrap_or_else(|error| panic!("{name}: {} ({location})", chain(&error)))
        }
        .boxed()
    }
}

impl<F: Future> Step for F {}

/// An error and its causes, in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[test]
    fn the_steps_that_are_not_over_are_named_in_order() {
        let steps = Arc::new(Steps::default());
        steps.enter();
        assert_eq!(steps.describe(), "");
        ready(()).named("the first").now_or_never().unwrap();
        let first = steps.describe();
        assert!(first.starts_with("\n    its last step was the first ("), "{first}");
        assert!(first.contains("steps.rs:"), "{first}");
        let mut second = pending::<()>().named("the second");
        let mut third = pending::<Result<(), std::io::Error>>().must("the third");
        assert!((&mut second).now_or_never().is_none());
        assert!((&mut third).now_or_never().is_none());
        let both = steps.describe();
        let order = both.find("for the second").zip(both.find("for the third"));
        assert!(order.is_some_and(|(second, third)| second < third), "{both}");
        drop(second);
        assert!(!steps.describe().contains("second"));
    }

    #[test]
    #[should_panic(expected = "reading: it broke (castore-testsuite/src/steps.rs:")]
    fn a_step_that_fails_says_which_and_where() {
        let failed: Result<(), _> = Err(std::io::Error::other("it broke"));
        ready(failed).must("reading").now_or_never();
    }
}
