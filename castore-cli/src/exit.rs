//! How a run of the program ends: exit codes, and the failures that have one of their own.

use std::fmt;

use castore_core::ErrorKind;

pub(crate) const FAILURE: u8 = 1;
pub(crate) const USAGE: u8 = 2;
pub(crate) const CORRUPT: u8 = 3;
pub(crate) const NO_BLOB: u8 = 4;
pub(crate) const NO_STORE: u8 = 10;
/// What a shell reports for SIGINT: 128 + 2.
pub(crate) const INTERRUPTED: u8 = 130;
/// What a shell reports for SIGTERM: 128 + 15.
pub(crate) const TERMINATED: u8 = 143;

/// A failure that the program itself has found, or has said something about already.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was asked for something that makes no sense.
    Usage(String),
    /// There is no such blob.
    NoBlob(String),
    /// There is no such store.
    NoStore(String),
    /// Everything about it was said; only the exit code is left.
    Reported(u8),
    /// Nobody reads our output any more. That is fine, and no reason to say anything.
    OutputClosed,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Usage(message) | Failure::NoBlob(message) | Failure::NoStore(message) => {
                f.write_str(message)
            }
            Failure::Reported(code) => write!(f, "failed with exit code {code}"),
            Failure::OutputClosed => f.write_str("the output was closed"),
        }
    }
}

impl std::error::Error for Failure {}

/// An error that ends the program with [`USAGE`].
pub(crate) fn usage(message: impl Into<String>) -> anyhow::Error {
    Failure::Usage(message.into()).into()
}

/// The exit code for `error`.
pub(crate) fn code(error: &anyhow::Error) -> u8 {
    if let Some(failure) = error.downcast_ref::<Failure>() {
        return match failure {
            Failure::Usage(_) => USAGE,
            Failure::NoBlob(_) => NO_BLOB,
            Failure::NoStore(_) => NO_STORE,
            Failure::Reported(code) => *code,
            Failure::OutputClosed => 0,
        };
    }
    match error.downcast_ref::<castore_core::Error>() {
        Some(error) if error.kind() == ErrorKind::Corrupt => CORRUPT,
        Some(error) if no_such_bucket(error) => NO_STORE,
        Some(error) if error.kind() == ErrorKind::InvalidInput => USAGE,
        _ => FAILURE,
    }
}

/// Whether a request failed because what holds the objects is not there.
///
/// The kind says only that the store is unavailable, so this goes by the message.
pub(crate) fn no_such_bucket(error: &castore_core::Error) -> bool {
    error.kind() == ErrorKind::Unavailable
        && error.to_string().ends_with("the store or bucket does not exist")
}

#[cfg(test)]
mod tests {
    use anyhow::Context;
    use castore_core::Error;

    use super::*;

    #[test]
    fn context_does_not_hide_the_code() {
        let corrupt: anyhow::Error = Error::new(ErrorKind::Corrupt, "read", "bad").into();
        assert_eq!(code(&corrupt.context("file x")), CORRUPT);
        let missing = Error::new(ErrorKind::Unavailable, "open", "not there");
        let missing = Err::<(), _>(missing).context(Failure::NoStore("no store".to_owned()));
        assert_eq!(code(&missing.unwrap_err()), NO_STORE);
        assert_eq!(code(&usage("what?").context("more")), USAGE);
        assert_eq!(code(&anyhow::anyhow!("whatever")), FAILURE);
    }

    #[test]
    fn a_missing_bucket_is_no_store() {
        let error = |message: &str| Error::new(ErrorKind::Unavailable, "list", message).into();
        assert_eq!(code(&error("the store or bucket does not exist")), NO_STORE);
        assert_eq!(code(&error("the store failed")), FAILURE);
    }
}
