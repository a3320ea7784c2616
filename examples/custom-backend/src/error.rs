//! Maps errors of redb, and bad stored data, to errors of castore.

use std::io;

use castore_core::{Error, ErrorKind};

/// Turns an error of redb into one of castore, with the whole redb error as its source.
pub(crate) fn storage_error(operation: &'static str, source: redb::Error) -> Error {
    let kind = kind(&source);
    let message = match kind {
        ErrorKind::Corrupt => "the database is damaged",
        ErrorKind::PermissionDenied => "permission denied",
        ErrorKind::Unsupported => "this version cannot use the database",
        _ => "the database failed",
    };
    Error::new(kind, operation, message).with_source(source)
}

/// The kind answers one question: what should the caller do?
fn kind(error: &redb::Error) -> ErrorKind {
    match error {
        // Repair the store.
        redb::Error::Corrupted(_) => ErrorKind::Corrupt,
        redb::Error::Io(error) => match error.kind() {
            // Not a database at all, or one that ends too early.
            io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => ErrorKind::Corrupt,
            // Change the permissions.
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ErrorKind::PermissionDenied
            }
            // Try again: the disk may be full, or not mounted.
            _ => ErrorKind::Unavailable,
        },
        // Try again: another process has the file open, or the database must be reopened.
        redb::Error::DatabaseAlreadyOpen
        | redb::Error::DatabaseClosed
        | redb::Error::PreviousIo
        | redb::Error::Backend(_) => ErrorKind::Unavailable,
        // Use another version of redb, or another filesystem.
        redb::Error::UpgradeRequired(_) | redb::Error::Unsupported => ErrorKind::Unsupported,
        // The rest are bugs, in this crate or in redb, or tables of another program.
        _ => ErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    fn kind_of_io(error: io::ErrorKind) -> ErrorKind {
        kind(&redb::Error::Io(error.into()))
    }

    #[test]
    fn the_kind_says_what_to_do() {
        assert_eq!(kind_of_io(io::ErrorKind::StorageFull), ErrorKind::Unavailable);
        assert_eq!(kind_of_io(io::ErrorKind::NotFound), ErrorKind::Unavailable);
        assert_eq!(kind_of_io(io::ErrorKind::PermissionDenied), ErrorKind::PermissionDenied);
        assert_eq!(kind_of_io(io::ErrorKind::UnexpectedEof), ErrorKind::Corrupt);
        assert_eq!(kind(&redb::Error::Corrupted("a page".into())), ErrorKind::Corrupt);
        assert_eq!(kind(&redb::Error::PreviousIo), ErrorKind::Unavailable);
        assert_eq!(kind(&redb::Error::UpgradeRequired(2)), ErrorKind::Unsupported);
        assert_eq!(kind(&redb::Error::TableExists("chunks".into())), ErrorKind::Other);
    }

    #[test]
    fn the_error_of_redb_is_the_source() {
        let error = storage_error("test", redb::Error::PreviousIo);
        assert_eq!(error.to_string(), "cannot test: the database failed");
        let source = error.source().unwrap().downcast_ref::<redb::Error>();
        assert!(matches!(source, Some(redb::Error::PreviousIo)));
    }
}
