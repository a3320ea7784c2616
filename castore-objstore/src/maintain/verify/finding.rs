//! What a verification finds.

use std::fmt;

use castore_core::{Digest, Error};

/// What is wrong with an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Problem {
    /// A chunk that an index lists is not there.
    MissingChunk,
    /// The object of a chunk has no bytes, which is what a power cut can leave.
    EmptyChunk,
    /// The object of a chunk ends too early.
    TruncatedChunk,
    /// The object of a chunk holds something else.
    CorruptChunk,
    /// The store does not give the object of a chunk, so that it is not known whether it is good.
    UnreadableChunk,
    /// An index does not decode.
    MalformedIndex,
    /// An index states another size than a chunk has.
    WrongSize,
    /// The chunks that an index lists are those of another blob.
    WrongDigest,
    /// The store does not give an index, so that it is not known whether the blob is good.
    UnreadableIndex,
    /// An earlier repair has moved the index of a blob to the quarantine, and no index is in its place:
    /// the blob is absent until a repair restores it from a source.
    QuarantinedBlob,
    /// An object where only indexes and chunks should be that is not named as those are.
    Stray,
    /// A file that a crash has left in the directory of a local store.
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
            Problem::Stray => "stray",
            Problem::Leftover => "leftover",
        }
    }

    /// Whether it is an index that is wrong, as opposed to a chunk, or to what is neither.
    pub fn is_of_index(self) -> bool {
        matches!(
            self,
            Problem::MalformedIndex
                | Problem::WrongSize
                | Problem::WrongDigest
                | Problem::UnreadableIndex
                | Problem::QuarantinedBlob
        )
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Something that a verification has found to be wrong.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finding {
    /// What is wrong.
    pub problem: Problem,
    /// The key of the object in the store, with the base path.
    pub key: String,
    /// The chunk or the blob; `None` for what is neither.
    pub digest: Option<Digest>,
    /// More about it, in a few words without a line break.
    pub detail: String,
    /// Blobs that cannot be read because of it: a few of them.
    pub blobs: Vec<Digest>,
    /// How many there are in all.
    pub blob_count: u64,
    /// What the store said, where it does not give the object.
    pub error: Option<Error>,
}

impl Finding {
    /// Whether data is lost or wrong: what was read is wrong, or certainly is not there.
    ///
    /// Strays, leftovers, an empty chunk object that no index lists (the next writer of the chunk
    /// replaces it) and what an earlier repair has moved to the quarantine do no harm. What cannot be
    /// read is neither damage nor harmless ([`Self::is_unknown`]).
    pub fn is_damage(&self) -> bool {
        match self.problem {
            Problem::Stray | Problem::Leftover | Problem::QuarantinedBlob => false,
            Problem::EmptyChunk => self.blob_count > 0,
            _ => !self.is_unknown(),
        }
    }

    /// Whether the store does not give the object (an outage, a refused permission, too many open
    /// files), so that it is not known whether the object is good.
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

/// One line: the problem, the key, what else there is to say, and which blobs cannot be read.
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
