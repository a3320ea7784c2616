//! A panic becomes a failure: one line, and exit code 1.

use std::any::Any;
use std::backtrace::Backtrace;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::failure::{FAILED, Failure, Result, say};

/// Replaces the report of a panic. With `verbose` the hook prints the place and the backtrace of
/// each panic. Otherwise it prints nothing, because the panic becomes the failure of some
/// operation, which is reported.
pub(crate) fn install(verbose: bool) {
    std::panic::set_hook(Box::new(move |panic| {
        if verbose {
            let backtrace = Backtrace::force_capture();
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("unnamed");
            say(format_args!("thread '{name}' panicked: {panic}\n{backtrace}"));
        }
    }));
}

/// Does `work`. A panic in it becomes a failure.
pub(crate) fn caught<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(failure(&*panic)))
}

/// The failure for a panic with `payload`.
fn failure(payload: &(dyn Any + Send)) -> Failure {
    let text = payload.downcast_ref::<&str>().copied();
    let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("for an unknown reason");
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let message = format!(
        "castore itself failed: {text}; the same command with -v tells more, for a report of the error"
    );
    Failure::new(FAILED, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_one_line_and_exit_code_1() {
        let number = 7;
        let failure = caught::<()>(|| panic!("two\nlines {number}")).unwrap_err();
        assert_eq!(failure.code(), FAILED);
        assert!(failure.message().starts_with("castore itself failed: two lines 7; "));
        let failure = caught::<()>(|| panic!("text")).unwrap_err();
        assert!(failure.message().contains(": text; "), "{}", failure.message());
        assert_eq!(caught(|| Ok(number)).unwrap(), 7);
    }
}
