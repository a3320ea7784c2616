//! Translates errors of the object store, and bad stored data, into errors of this crate.

use std::any::Any;
use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use castore_core::{Digest, Error, ErrorKind};

use crate::redact::redact_error;

/// An error of a request that this crate detects itself, and passes on as an error of the object
/// store.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the store did not get on for {0:?}")]
    Stalled(Duration),
    #[error("the store sent {got} bytes of an object of {size}")]
    Length { got: u64, size: u64 },
    /// A delete failed, and the time for another attempt is over.
    #[error(
        "the store did not say whether it has deleted the object, and it is too late to ask again"
    )]
    TooLate,
    /// A directory that was listed a moment ago does not exist.
    #[error("the store lists a directory and then says that there is none")]
    Vanished,
    /// The client of the store panicked, with this message.
    #[error("the client panicked: {0}")]
    #[cfg_attr(
        not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http")),
        allow(dead_code)
    )]
    Panicked(String),
}

impl Broken {
    #[cfg_attr(
        not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http")),
        allow(dead_code)
    )]
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Broken {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Broken::Panicked(message.unwrap_or("no message").to_owned())
    }

    /// The error of this crate inside `error`, if any.
    pub(crate) fn of(error: &object_store::Error) -> Option<&Broken> {
        chain(error).find_map(|error| error.downcast_ref())
    }
}

impl From<Broken> for object_store::Error {
    fn from(error: Broken) -> object_store::Error {
        object_store::Error::Generic { store: "store", source: Box::new(error) }
    }
}

/// A failure that the next attempt may not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The store could not be reached, or had an internal error.
    Away,
    /// The store refuses because there are too many requests.
    Refused,
    /// Another request works at the same place, such as one that creates the same directory.
    Conflict,
}

/// Whether, and why, a request that failed with `error` may be retried. `status` is the last status
/// that the HTTP client noted, if the client is this crate's.
pub(crate) fn trouble(error: &object_store::Error, status: Option<u16>) -> Option<Trouble> {
    if let Some(broken) = Broken::of(error) {
        let again = matches!(broken, Broken::Stalled(_) | Broken::Length { .. } | Broken::Vanished);
        return again.then_some(Trouble::Away);
    }
    if is_transport(error) {
        return Some(Trouble::Away);
    }
    match status.or_else(|| answered_status(error)) {
        Some(429 | 503) => Some(Trouble::Refused),
        // Not implemented, not supported, no space left: these do not end within minutes.
        Some(501 | 505 | 507) => None,
        Some(408 | 500..=599) => Some(Trouble::Away),
        Some(404 | 405 | 409 | 423) => Some(Trouble::Conflict),
        // S3 answers a copy with "200" before it knows the outcome, and a client that is too slow
        // with "400".
        Some(200..=299 | 400) if names(error, &["SlowDown", "ServiceUnavailable"]) => {
            Some(Trouble::Refused)
        }
        Some(200..=299 | 400) if names(error, &["InternalError", "RequestTimeout<"]) => {
            Some(Trouble::Away)
        }
        Some(_) => None,
        None => network_error(io_error(error)?.kind()),
    }
}

/// Whether only the object is absent, and not the bucket or container that should hold it.
pub(crate) fn absent(error: &object_store::Error) -> bool {
    // S3 names the missing resource in the body of its answer, which `object_store` keeps as text.
    matches!(error, object_store::Error::NotFound { .. })
        && !names(error, &["NoSuchBucket", "ContainerNotFound"])
}

/// Whether a store's answer contains one of these `codes`.
fn names(error: &object_store::Error, codes: &[&str]) -> bool {
    chain(error).any(|error| {
        let text = error.to_string();
        codes.iter().any(|code| text.contains(code))
    })
}

/// Whether the HTTP client failed, rather than the store.
fn is_transport(error: &object_store::Error) -> bool {
    #[cfg(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http"))]
    if let Some(error) =
        chain(error).find_map(|error| error.downcast_ref::<object_store::client::HttpError>())
    {
        // The store answered, and this crate's client turned the answer into an error.
        return !chain(error).any(|error| error.is::<FailedAnswer>());
    }
    let _ = error;
    false
}

/// An answer that `object_store` takes for success, but that is a failure.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[cfg_attr(
    not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http")),
    allow(dead_code)
)]
pub(crate) enum FailedAnswer {
    #[error("the store says that it did not do all of it: status {0}")]
    InPart(u16),
    #[error(
        "a page of the listing says that more follow, and not where: the server does not know version 2 \
         of S3's listing"
    )]
    NoNextPage,
    #[error("a page of the listing names itself as the next one")]
    RepeatedPage,
    #[error("a page of the listing has more than {0} bytes")]
    LongPage(usize),
}

#[cfg(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http"))]
impl From<FailedAnswer> for object_store::client::HttpError {
    fn from(answer: FailedAnswer) -> object_store::client::HttpError {
        let kind = object_store::client::HttpErrorKind::Unknown;
        object_store::client::HttpError::new(kind, answer)
    }
}

fn network_error(kind: io::ErrorKind) -> Option<Trouble> {
    use io::ErrorKind::{
        BrokenPipe, ConnectionAborted, ConnectionRefused, ConnectionReset, HostUnreachable,
        NetworkDown, NetworkUnreachable, NotConnected, TimedOut, UnexpectedEof,
    };
    matches!(
        kind,
        BrokenPipe
            | ConnectionAborted
            | ConnectionRefused
            | ConnectionReset
            | HostUnreachable
            | NetworkDown
            | NetworkUnreachable
            | NotConnected
            | TimedOut
            | UnexpectedEof
    )
    .then_some(Trouble::Away)
}

/// Turns an error of the object store into an error of this crate, with the original as its source.
pub(crate) fn store_error(
    operation: &'static str,
    digest: Option<Digest>,
    error: object_store::Error,
) -> Error {
    use object_store::Error as Store;

    let (kind, message) = match &error {
        // Callers handle a merely absent object before this point.
        Store::NotFound { .. } => (ErrorKind::StoreNotFound, "the store or bucket does not exist"),
        Store::PermissionDenied { .. } => (ErrorKind::PermissionDenied, "the store refused it"),
        Store::Unauthenticated { .. } => {
            (ErrorKind::PermissionDenied, "the store did not accept the credentials")
        }
        Store::NotSupported { .. } | Store::NotImplemented { .. } => {
            (ErrorKind::Unsupported, "the store cannot do it")
        }
        Store::InvalidPath { .. } | Store::UnknownConfigurationKey { .. } => {
            (ErrorKind::InvalidInput, "the store was addressed wrongly")
        }
        _ => match io_error(&error).map(io::Error::kind) {
            Some(io::ErrorKind::PermissionDenied) => {
                (ErrorKind::PermissionDenied, "permission denied")
            }
            Some(io::ErrorKind::ReadOnlyFilesystem) => {
                (ErrorKind::PermissionDenied, "the filesystem is read-only")
            }
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                (ErrorKind::Unavailable, "no space is left in the store")
            }
            _ => match answered_status(&error) {
                Some(404) => (ErrorKind::StoreNotFound, "the store or bucket does not exist"),
                Some(401 | 403) => (ErrorKind::PermissionDenied, "the store refused it"),
                _ => (ErrorKind::Unavailable, io_error(&error).and_then(lack).unwrap_or(FAILED)),
            },
        },
    };
    let message = match Broken::of(&error) {
        Some(broken) => broken.to_string(),
        None => message.to_owned(),
    };
    about(Error::new(kind, operation, message).with_source(redact_error(error)), digest)
}

const FAILED: &str = "the store failed";

/// The message for an error that concerns this machine, and not the store.
fn lack(error: &io::Error) -> Option<&'static str> {
    const FILES: &str = "too many files are open (ulimit -n), and it is not known what is there";
    const MEMORY: &str = "the system has no memory left, and it is not known what is there";
    const BUSY: &str = "the system is out of resources for now, and it is not known what is there";
    match error.kind() {
        io::ErrorKind::OutOfMemory => return Some(MEMORY),
        io::ErrorKind::WouldBlock => return Some(BUSY),
        _ => {}
    }
    // ENFILE and EMFILE have the same numbers on every Unix, and no `ErrorKind`.
    match error.raw_os_error()? {
        23 | 24 if cfg!(unix) => Some(FILES),
        _ => None,
    }
}

/// The error for stored data that is missing or wrong.
pub(crate) fn corrupt(
    operation: &'static str,
    digest: Digest,
    message: impl Into<String>,
) -> Error {
    Error::new(ErrorKind::Corrupt, operation, message).with_digest(digest)
}

/// Whether stored data is missing or wrong, as opposed to a store that fails to return it.
pub(crate) fn is_corrupt(error: &Error) -> bool {
    error.kind() == ErrorKind::Corrupt
}

/// The error for background work that ended without a result of its own.
pub(crate) fn task_error(operation: &'static str, error: impl Into<Unfinished>) -> Error {
    let unfinished = error.into();
    let message = unfinished.to_string();
    let error = Error::new(ErrorKind::Other, operation, message);
    match unfinished {
        Unfinished::Panicked(Some(said)) => error.with_source(io::Error::other(said)),
        _ => error,
    }
}

/// The reason why background work has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfinished {
    /// The work panicked, with this message if the payload is a text.
    #[error("a background task panicked")]
    Panicked(Option<String>),
    #[error("the runtime was shut down")]
    Ended,
}

impl Unfinished {
    /// The reason for work that panicked with `payload`.
    pub(crate) fn panicked(payload: &(dyn Any + Send)) -> Unfinished {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Unfinished::Panicked(text)
    }
}

impl From<tokio::task::JoinError> for Unfinished {
    fn from(error: tokio::task::JoinError) -> Unfinished {
        match error.try_into_panic() {
            Ok(payload) => Unfinished::panicked(&*payload),
            Err(_) => Unfinished::Ended,
        }
    }
}

fn about(error: Error, digest: Option<Digest>) -> Error {
    match digest {
        Some(digest) => error.with_digest(digest),
        None => error,
    }
}

/// `error`, its source, that one's source, and so on.
pub(crate) fn chain<'a>(
    error: &'a (dyn StdError + 'static),
) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let error = next?;
        next = error.source();
        Some(error)
    })
}

/// The HTTP status of the answer to a request. `object_store` has error variants for some statuses
/// of single objects, but keeps most others only as text.
pub(crate) fn answered_status(error: &(dyn StdError + 'static)) -> Option<u16> {
    chain(error).find_map(|error| {
        let text = error.to_string();
        let (_, rest) = text.split_once("status code: ")?;
        rest.get(..3)?.parse().ok()
    })
}

/// The innermost I/O error in `error`, if any.
fn io_error<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a io::Error> {
    let mut innermost =
        chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).last()?;
    // An I/O error that wraps another error skips that one when asked for its source.
    while let Some(inner) = innermost.get_ref().and_then(|inner| inner.downcast_ref()) {
        innermost = inner;
    }
    Some(innermost)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(error: object_store::Error) -> ErrorKind {
        store_error("test", None, error).kind()
    }

    fn generic(source: io::Error) -> object_store::Error {
        object_store::Error::Generic { store: "test", source: Box::new(source) }
    }

    #[test]
    fn the_kind_follows_from_the_cause() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(kind_of(generic(full)), ErrorKind::Unavailable);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(kind_of(generic(denied)), ErrorKind::PermissionDenied);
        // For nested I/O errors the innermost one determines the kind.
        let wrapped = io::Error::other(io::Error::from(io::ErrorKind::PermissionDenied));
        assert_eq!(kind_of(generic(wrapped)), ErrorKind::PermissionDenied);
        let path = "p".to_owned();
        let source = "no".into();
        let refused = object_store::Error::Unauthenticated { path, source };
        assert_eq!(kind_of(refused), ErrorKind::PermissionDenied);
    }

    #[test]
    fn the_status_of_a_list_tells() {
        let answered = |status: &str| {
            let text = format!("Server returned non-2xx status code: {status}: <Error>");
            kind_of(generic(io::Error::other(text)))
        };
        assert_eq!(answered("403 Forbidden"), ErrorKind::PermissionDenied);
        assert_eq!(answered("404 Not Found"), ErrorKind::StoreNotFound);
        assert_eq!(answered("500 Oops"), ErrorKind::Unavailable);
    }

    #[test]
    fn the_store_s_own_error_is_the_source() {
        let error = store_error("test", Some(Digest::EMPTY), generic(io::Error::other("boom")));
        assert_eq!(error.digest(), Some(Digest::EMPTY));
        let source = error.source().unwrap().downcast_ref::<object_store::Error>().unwrap();
        assert!(source.to_string().contains("boom"));
    }

    #[test]
    fn a_lack_of_files_or_memory_is_not_reported_as_a_failure_of_the_store() {
        for (error, named) in [
            (io::Error::from_raw_os_error(24), "too many files are open"),
            (io::Error::from_raw_os_error(23), "too many files are open"),
            (io::ErrorKind::OutOfMemory.into(), "no memory"),
            (io::ErrorKind::WouldBlock.into(), "out of resources"),
        ] {
            let error = store_error("test", None, generic(io::Error::other(error)));
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(error.to_string().contains(named), "{error}");
        }
    }

    #[test]
    fn only_temporary_failures_are_retried() {
        let text = |text: &str| generic(io::Error::other(text.to_owned()));
        let answered =
            |status| text(&format!("Server returned non-2xx status code: {status}: <x>"));
        for (error, noted, expected) in [
            (generic(io::ErrorKind::ConnectionReset.into()), None, Some(Trouble::Away)),
            (generic(io::ErrorKind::ConnectionRefused.into()), None, Some(Trouble::Away)),
            (generic(io::ErrorKind::StorageFull.into()), None, None),
            (generic(io::ErrorKind::PermissionDenied.into()), None, None),
            (answered("500 x"), None, Some(Trouble::Away)),
            (answered("503 x"), None, Some(Trouble::Refused)),
            (answered("403 x"), None, None),
            (answered("507 x"), None, None),
            (answered("409 x"), None, Some(Trouble::Conflict)),
            (text("in other words"), Some(429), Some(Trouble::Refused)),
            (text("in other words"), Some(502), Some(Trouble::Away)),
            (text("in other words"), None, None),
            (text("<Code>InternalError</Code>"), Some(200), Some(Trouble::Away)),
            (text("<Code>RequestTimeout</Code>"), Some(400), Some(Trouble::Away)),
            (text("<Code>RequestTimeTooSkewed</Code>"), Some(403), None),
            (Broken::Length { got: 1, size: 2 }.into(), Some(200), Some(Trouble::Away)),
            (Broken::Stalled(Duration::ZERO).into(), None, Some(Trouble::Away)),
            (Broken::TooLate.into(), None, None),
        ] {
            assert_eq!(trouble(&error, noted), expected, "{error} {noted:?}");
        }
    }
}
