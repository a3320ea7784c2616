//! The findings of a verification.

use std::fmt;

use castore_core::{Digest, Error};

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// A chunk that an index lists is missing.
    MissingChunk,
    /// The object of a chunk has no bytes. A power cut can leave such an object.
    EmptyChunk,
    /// The object of a chunk ends too early.
    TruncatedChunk,
    /// The object of a chunk holds other data.
    CorruptChunk,
    /// The store fails to return the object of a chunk, so that its state is unknown.
    UnreadableChunk,
    /// An index does not decode.
    MalformedIndex,
    /// An index states a wrong size for a chunk.
    WrongSize,
    /// The chunks that an index lists are those of another blob.
    WrongDigest,
    /// The store fails to return an index, so that the state of the blob is unknown.
    UnreadableIndex,
    /// An earlier repair has moved the index of a blob to the quarantine, and no index is in its
    /// place: the blob is absent until a repair restores it from a source.
    QuarantinedBlob,
    /// An index has no group hashes, and a repair that was to add them could not. Only a repair has
    /// such a finding.
    NoGroupHashes,
    /// An object among the indexes or chunks whose key is not that of an index or a chunk.
    Stray,
    /// A file left by a crash in the directory of a local store.
    Leftover,
}

impl Problem {
    /// A short name, such as `missing-chunk`.
    pub fn name(self) -> &'static str {
        match self {
            Problem::MissingChunk => "missing-chunk",
            Problem::EmptyChunk => "empty-chunk",
            Problem::TruncatedChunk => "truncated-chunk",
            Problem::CorruptChunk => "corrupt-chunk",
            Problem::UnreadableChunk => "unreadable-chunk",
            Problem::MalformedIndex => "malformed-index",
            Problem::WrongSize => "wrong-size",
            Problem::WrongDigest => "wrong-digest",
            Problem::UnreadableIndex => "unreadable-index",
            Problem::QuarantinedBlob => "quarantined-blob",
            Problem::NoGroupHashes => "no-group-hashes",
            Problem::Stray => "stray",
            Problem::Leftover => "leftover",
        }
    }

    /// Whether the problem is that of an index, as opposed to a chunk or any other object.
    pub fn is_of_index(self) -> bool {
        matches!(
            self,
            Problem::MalformedIndex
                | Problem::WrongSize
                | Problem::WrongDigest
                | Problem::UnreadableIndex
                | Problem::QuarantinedBlob
                | Problem::NoGroupHashes
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A problem that a verification has found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finding {
    /// The kind of problem.
    pub problem: Problem,
    /// The key of the object in the store, with the base path.
    pub key: String,
    /// The chunk or the blob; `None` for other objects.
    pub digest: Option<Digest>,
    /// Details, in a few words without a line break.
    pub detail: String,
    /// Some of the blobs that cannot be read because of the problem.
    pub blobs: Vec<Digest>,
    /// The number of all blobs that cannot be read because of the problem.
    pub blob_count: u64,
    /// The error of the store, if the store fails to return the object.
    pub error: Option<Error>,
}

impl Finding {
    /// Whether data is lost or wrong: the object was read and is wrong, or is certainly missing.
    ///
    /// Indexes without group hashes, strays, leftovers, empty chunk objects that no index lists
    /// (the next writer of the chunk replaces them) and objects that an earlier repair has moved to
    /// the quarantine do no harm.
    /// Unreadable objects are neither damaged nor harmless ([`Self::is_unknown`]).
    pub fn is_damage(&self) -> bool {
        match self.problem {
            Problem::Stray
            | Problem::Leftover
            | Problem::QuarantinedBlob
            | Problem::NoGroupHashes => false,
            Problem::EmptyChunk => self.blob_count > 0,
            _ => !self.is_unknown(),
        }
    }

    /// Whether the store fails to return the object (an outage, a refused permission, too many open
    /// files), so that its state is unknown.
    pub fn is_unknown(&self) -> bool {
        matches!(self.problem, Problem::UnreadableChunk | Problem::UnreadableIndex)
    }

    pub(crate) fn new(
        problem: Problem,
        key: impl Into<String>,
        detail: impl Into<String>,
    ) -> Finding {
        Finding {
            problem,
            key: key.into(),
            digest: None,
            detail: detail.into(),
            blobs: Vec::new(),
            blob_count: 0,
            error: None,
        }
    }

    pub(crate) fn of(mut self, digest: Digest) -> Finding {
        self.digest = Some(digest);
        self
    }

    pub(crate) fn affecting(mut self, blobs: Vec<Digest>, count: u64) -> Finding {
        self.blobs = blobs;
        self.blob_count = count;
        self
    }

    pub(crate) fn because(mut self, error: Error) -> Finding {
        self.error = Some(error);
        self
    }
}

/// One line: the problem, the key, details, and the blobs that cannot be read.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  {}", self.problem, self.key)?;
        if !self.detail.is_empty() {
            write!(f, "  ({})", self.detail)?;
        }
        if self.problem.is_of_index() {
            return Ok(());
        }
        if let Some(blob) = self.blobs.first() {
            write!(f, "  in blob {blob}")?;
            match self.blob_count {
                0 | 1 => {}
                2 => write!(f, " and 1 other")?,
                count => write!(f, " and {} others", count - 1)?,
            }
        }
        Ok(())
    }
}
