//! What an error of the object store, or bad stored data, means to our caller.

use std::any::Any;
use std::error::Error as StdError;
use std::io;

use castore_core::{Digest, Error, ErrorKind};

/// Turns an error of the object store into ours, whole: it becomes the source.
pub(crate) fn store_error(
    operation: &'static str,
    digest: Option<Digest>,
    error: object_store::Error,
) -> Error {
    use object_store::Error as Store;

    let (kind, message) = match &error {
        // An object that is merely absent is not an error where this is called.
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
        _ => match io_kind(&error) {
            Some(io::ErrorKind::PermissionDenied) => {
                (ErrorKind::PermissionDenied, "permission denied")
            }
            Some(io::ErrorKind::ReadOnlyFilesystem) => {
                (ErrorKind::PermissionDenied, "the filesystem is read-only")
            }
            Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                (ErrorKind::Unavailable, "no space is left in the store")
            }
            _ => match status(&error) {
                Some(404) => (ErrorKind::StoreNotFound, "the store or bucket does not exist"),
                Some(401 | 403) => (ErrorKind::PermissionDenied, "the store refused it"),
                _ => (ErrorKind::Unavailable, "the store failed"),
            },
        },
    };
    about(Error::new(kind, operation, message).with_source(error), digest)
}

/// Stored data that is missing or wrong.
pub(crate) fn corrupt(
    operation: &'static str,
    digest: Digest,
    message: impl Into<String>,
) -> Error {
    Error::new(ErrorKind::Corrupt, operation, message).with_digest(digest)
}

/// Work in the background that ended without a result of its own.
pub(crate) fn task_error(operation: &'static str, error: impl Into<Unfinished>) -> Error {
    let unfinished = error.into();
    let message = unfinished.to_string();
    let error = Error::new(ErrorKind::Other, operation, message);
    match unfinished {
        Unfinished::Panicked(Some(said)) => error.with_source(io::Error::other(said)),
        _ => error,
    }
}

/// Why work in the background has no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfinished {
    /// With the message of the panic, where it is a text.
    #[error("a background task panicked")]
    Panicked(Option<String>),
    #[error("the runtime was shut down")]
    Ended,
}

impl Unfinished {
    /// Of work that panicked with `payload`.
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

/// `error`, its source, the source of that, and so on.
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

/// The HTTP status that a request was answered with. `object_store` sorts out those of single
/// objects, but of a list it only keeps the text.
fn status(error: &(dyn StdError + 'static)) -> Option<u16> {
    chain(error).find_map(|error| {
        let text = error.to_string();
        let (_, rest) = text.split_once("status code: ")?;
        rest.get(..3)?.parse().ok()
    })
}

/// The kind of the innermost I/O error in `error`, where there is one.
fn io_kind(error: &(dyn StdError + 'static)) -> Option<io::ErrorKind> {
    let mut innermost =
        chain(error).filter_map(|error| error.downcast_ref::<io::Error>()).last()?;
    // An I/O error around another error passes that one over when asked for its source.
    while let Some(inner) = innermost.get_ref().and_then(|inner| inner.downcast_ref()) {
        innermost = inner;
    }
    Some(innermost.kind())
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
    fn the_kind_says_what_to_do() {
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert_eq!(kind_of(generic(full)), ErrorKind::Unavailable);
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        assert_eq!(kind_of(generic(denied)), ErrorKind::PermissionDenied);
        // An I/O error around another one: the innermost tells.
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
}
