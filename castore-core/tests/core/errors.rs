//! The parts of an error.

use std::error::Error as _;
use std::io;

use castore_core::{Digest, Error, ErrorKind};

#[test]
fn an_error_has_the_parts_that_it_was_made_of() {
    let error = Error::new(ErrorKind::Unavailable, "read a chunk", "it is away");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert_eq!(error.operation(), "read a chunk");
    assert_eq!(error.digest(), None);
    assert!(error.source().is_none());
    assert_eq!(error.to_string(), "cannot read a chunk: it is away");
}

#[test]
fn the_debug_form_of_an_error_shows_every_part() {
    let digest = Digest::of(b"blob");
    let error = Error::new(ErrorKind::Corrupt, "read a chunk", "it is truncated")
        .with_digest(digest)
        .with_source(io::Error::other("the disk is full"));
    let shown = format!("{error:?}");
    let digest = digest.to_string();
    for part in ["Corrupt", "read a chunk", &digest, "it is truncated", "the disk is full"] {
        assert!(shown.contains(part), "{part} is not in {shown}");
    }
}

#[test]
fn each_kind_of_error_has_its_kind_of_io_error() {
    let kinds = [
        (ErrorKind::Corrupt, io::ErrorKind::InvalidData),
        (ErrorKind::PermissionDenied, io::ErrorKind::PermissionDenied),
        (ErrorKind::InvalidInput, io::ErrorKind::InvalidInput),
        (ErrorKind::Unsupported, io::ErrorKind::Unsupported),
        (ErrorKind::StoreNotFound, io::ErrorKind::NotFound),
        (ErrorKind::Unavailable, io::ErrorKind::Other),
        (ErrorKind::Other, io::ErrorKind::Other),
    ];
    for (kind, expected) in kinds {
        let error = io::Error::from(Error::new(kind, "test", "it failed"));
        assert_eq!(error.kind(), expected, "{kind:?}");
    }
}
