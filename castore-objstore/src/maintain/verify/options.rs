//! The options of a verification.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;

use castore_core::{Digest, Error, ErrorKind, Result};

use crate::maintain::sample::Sample;

/// How closely a store is verified. Each level includes those before.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum VerifyLevel {
    /// Every index decodes, and every chunk that it lists is present.
    #[default]
    Index,
    /// Every chunk decompresses to data with its digest, and has the size that indexes state.
    Data,
    /// Every blob has its digest.
    Blob,
}

/// Options of a verification. By default it reads all indexes, and nothing else.
#[derive(Debug, Clone, Default)]
#[must_use = "options do nothing by themselves"]
pub struct VerifyOptions {
    pub(crate) level: VerifyLevel,
    pub(crate) sample: Option<Sample>,
    pub(crate) since: Option<SystemTime>,
    pub(crate) resume: Option<Checkpoint>,
}

impl VerifyOptions {
    /// How closely the store is verified; [`VerifyLevel::Index`] by default.
    pub fn level(mut self, level: VerifyLevel) -> VerifyOptions {
        self.level = level;
        self
    }

    /// Reads only the chunks and blobs in the sample. All indexes are decoded.
    pub fn sample(mut self, sample: Sample) -> VerifyOptions {
        self.sample = Some(sample);
        self
    }

    /// Reads only the chunks and blobs written at or after `time`, by the store's clock. All
    /// indexes are decoded.
    pub fn since(mut self, time: SystemTime) -> VerifyOptions {
        self.since = Some(time);
        self
    }

    /// Continues an earlier verification with the same options. Only the reading continues: the
    /// listings and the indexes are read again, as they may have changed.
    pub fn resume(mut self, from: Checkpoint) -> VerifyOptions {
        self.resume = Some(from);
        self
    }
}

/// How far a verification has come. The text form is `chunks:DIGEST` or `blobs:DIGEST`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checkpoint {
    stage: Stage,
    /// The last digest that is done, along with all before it.
    pub(crate) after: Digest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Chunks,
    Blobs,
}

impl Checkpoint {
    pub(crate) fn of_chunks(after: Digest) -> Checkpoint {
        Checkpoint { stage: Stage::Chunks, after }
    }

    pub(crate) fn of_blobs(after: Digest) -> Checkpoint {
        Checkpoint { stage: Stage::Blobs, after }
    }

    pub(crate) fn is_of_blobs(&self) -> bool {
        self.stage == Stage::Blobs
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let stage = if self.is_of_blobs() { "blobs" } else { "chunks" };
        write!(f, "{stage}:{}", self.after)
    }
}

/// The error is `InvalidInput`.
impl FromStr for Checkpoint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Checkpoint> {
        let parsed = text.split_once(':').and_then(|(stage, digest)| {
            let stage = match stage {
                "chunks" => Stage::Chunks,
                "blobs" => Stage::Blobs,
                _ => return None,
            };
            Some(Checkpoint { stage, after: digest.parse().ok()? })
        });
        parsed.ok_or_else(|| {
            let message = format!("{text:?} does not say how far a verification has come");
            Error::new(ErrorKind::InvalidInput, "resume the verification", message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_survives_the_text() {
        for checkpoint in
            [Checkpoint::of_chunks(Digest::of(b"a")), Checkpoint::of_blobs(Digest::EMPTY)]
        {
            assert_eq!(checkpoint.to_string().parse::<Checkpoint>().unwrap(), checkpoint);
        }
        for bad in ["", "chunks", "chunks:", "chunks:12", &format!("x:{}", Digest::EMPTY)] {
            assert!(bad.parse::<Checkpoint>().is_err(), "{bad}");
        }
    }
}
