//! The one error type of a blob service.

use std::error::Error as StdError;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::Digest;

/// The result of an operation of a blob service.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// How a caller should react to an [`Error`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Stored data is missing or wrong: trying again will not help, repairing the store may.
    Corrupt,
    /// The store could not be reached, or did not do its part: trying again later may help.
    Unavailable,
    /// The store itself (its bucket, or its directory) does not exist: creating it, or another
    /// address, may help.
    StoreNotFound,
    /// The store refused: other credentials or permissions may help.
    PermissionDenied,
    /// The caller's request makes no sense, such as a range past the end.
    InvalidInput,
    /// The request makes sense, but this store or this build cannot do it.
    Unsupported,
    /// None of these.
    Other,
}

/// A failed operation: its name, the digest it was about, and the reason of the failure.
///
/// `Display` is one line: operation, digest, and reason. The line does not repeat
/// [`source`](StdError::source), the underlying error. Cloning is cheap,
/// so that an operation asked for its result twice can answer with the same error.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    digest: Option<Digest>,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` in `operation` (a verb phrase such as `"read a chunk"`).
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl Into<String>) -> Error {
        Error(Arc::new(Inner {
            kind,
            operation,
            digest: None,
            message: message.into(),
            source: None,
        }))
    }

    /// The error of a read of the blob `digest` whose chunks are valid, but are not those of the
    /// blob: its index lists the chunks of another one. The kind is `Corrupt`, and
    /// [`source`](StdError::source) is the [`BlobMismatch`].
    pub fn blob_mismatch(operation: &'static str, digest: Digest, mismatch: BlobMismatch) -> Error {
        Error::new(ErrorKind::Corrupt, operation, mismatch.to_string())
            .with_digest(digest)
            .with_source(mismatch)
    }

    /// The error of storing a reader of the caller's own that failed with `error`: of kind `Other`,
    /// with `error` as its source; or the error of a blob service itself, if the reader reads from
    /// one.
    ///
    /// For a service with its own [`put_reader`](crate::BlobService::put_reader).
    pub fn of_input(error: io::Error) -> Error {
        error.downcast::<Error>().unwrap_or_else(|error| {
            Error::new(ErrorKind::Other, "read the input", error.to_string()).with_source(error)
        })
    }

    /// The same error, about the blob or chunk `digest`.
    #[must_use]
    pub fn with_digest(self, digest: Digest) -> Error {
        self.change(|inner| inner.digest = Some(digest))
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn with_source(self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        let source = source.into();
        self.change(|inner| inner.source = Some(source))
    }

    /// How the caller should react.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether this is a [`blob_mismatch`](Self::blob_mismatch).
    pub fn is_blob_mismatch(&self) -> bool {
        self.0.source.as_deref().is_some_and(|source| source.is::<BlobMismatch>())
    }

    /// Whether the same call may succeed later without a change of the call, the store or its
    /// permissions: the kind is `Unavailable`.
    pub fn is_retryable(&self) -> bool {
        self.kind() == ErrorKind::Unavailable
    }

    /// The attempted operation, as a verb phrase: `"read a chunk"`.
    pub fn operation(&self) -> &'static str {
        self.0.operation
    }

    /// The reason alone, without the operation and the digest that `Display` puts before it.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The blob or chunk that the operation was about, if any.
    pub fn digest(&self) -> Option<Digest> {
        self.0.digest
    }

    /// Changes an error in place. An error with clones is left to them, and becomes the source of
    /// the changed copy.
    fn change(self, change: impl FnOnce(&mut Inner)) -> Error {
        let mut inner = Arc::try_unwrap(self.0).unwrap_or_else(|shared| Inner {
            kind: shared.kind,
            operation: shared.operation,
            digest: shared.digest,
            message: shared.message.clone(),
            source: Some(Box::new(Error(shared))),
        });
        change(&mut inner);
        Error(Arc::new(inner))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.0.operation)?;
        if let Some(digest) = self.0.digest {
            write!(f, " {digest}")?;
        }
        write!(f, ": {}", self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("operation", &self.0.operation)
            .field("digest", &self.0.digest)
            .field("message", &self.0.message)
            .field("source", &self.0.source)
            .finish()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// The source of the error of a read whose blob has an index that lists the valid chunks of another
/// blob.
///
/// ```
/// use castore_core::{BlobMismatch, Digest, Error};
/// use std::error::Error as _;
///
/// let mismatch = BlobMismatch::Whole { found: Digest::of(b"b") };
/// let error = Error::blob_mismatch("read a blob", Digest::of(b"a"), mismatch.clone());
/// let source = error.source().and_then(|source| source.downcast_ref::<BlobMismatch>());
/// assert_eq!(source, Some(&mismatch));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BlobMismatch {
    /// All bytes were read, and have another digest.
    #[error("the chunks that its index lists are those of {found}")]
    Whole {
        /// The digest of the bytes that the listed chunks have together.
        found: Digest,
    },
    /// The bytes of one [group](crate::groups) have another hash.
    #[error("the chunks that its index lists are not the blob at bytes {} to {}", .bytes.start, .bytes.end)]
    Group {
        /// The bytes of the blob that are the group.
        bytes: Range<u64>,
    },
}

/// Wraps the whole error: [`io::Error::downcast`] gives the error back.
impl From<Error> for io::Error {
    fn from(error: Error) -> io::Error {
        let kind = match error.kind() {
            ErrorKind::Corrupt => io::ErrorKind::InvalidData,
            ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
            ErrorKind::InvalidInput => io::ErrorKind::InvalidInput,
            ErrorKind::Unsupported => io::ErrorKind::Unsupported,
            ErrorKind::StoreNotFound => io::ErrorKind::NotFound,
            ErrorKind::Unavailable | ErrorKind::Other => io::ErrorKind::Other,
        };
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_is_one_line_without_the_source() {
        let error = Error::new(ErrorKind::Corrupt, "read chunk", "it is truncated")
            .with_digest(Digest::EMPTY)
            .with_source(io::Error::other("the disk is on fire"));
        assert_eq!(
            error.to_string(),
            format!("cannot read chunk {}: it is truncated", Digest::EMPTY)
        );
        assert_eq!(error.source().unwrap().to_string(), "the disk is on fire");
        assert_eq!(error.clone().digest(), Some(Digest::EMPTY));
    }

    #[test]
    fn the_parts_of_an_error_can_be_had_one_by_one() {
        let error = Error::new(ErrorKind::Unavailable, "read chunk", "no: route");
        let error = error.with_digest(Digest::EMPTY);
        assert_eq!((error.operation(), error.message()), ("read chunk", "no: route"));
        let kinds = [
            ErrorKind::Corrupt,
            ErrorKind::Unavailable,
            ErrorKind::StoreNotFound,
            ErrorKind::PermissionDenied,
            ErrorKind::InvalidInput,
            ErrorKind::Unsupported,
            ErrorKind::Other,
        ];
        let retryable = kinds.map(|kind| Error::new(kind, "test", "").is_retryable());
        assert_eq!(retryable, kinds.map(|kind| kind == ErrorKind::Unavailable));
    }

    #[test]
    fn io_error_keeps_kind_and_whole_error() {
        let error = Error::new(ErrorKind::Corrupt, "read chunk", "bad");
        let io = io::Error::from(error);
        assert_eq!(io.kind(), io::ErrorKind::InvalidData);
        assert_eq!(io.downcast::<Error>().unwrap().kind(), ErrorKind::Corrupt);
    }

    #[test]
    fn changing_a_shared_error_keeps_it_as_the_source() {
        let error = Error::new(ErrorKind::Other, "test", "first");
        let changed = error.clone().with_digest(Digest::EMPTY);
        assert_eq!(error.digest(), None);
        assert_eq!(changed.digest(), Some(Digest::EMPTY));
        assert!(changed.source().is_some());
    }
}
