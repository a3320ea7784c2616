//! Refuses runs that look like a mistake, before they change anything.
//!
//! A listing that omits objects, a directory that is not mounted, a wrong base path and the list of
//! another store all look like garbage.

use std::fmt;

use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::TryStreamExt;

use super::mark::Found;
use super::set_aside::Candidates;
use super::{Amount, OPERATION, Run};
use crate::store::layout::{Kind, aside_of};

/// The reason why a garbage collection refuses to run: the [source](std::error::Error::source) of
/// its error.
///
/// A refused run has changed nothing. [`GcOptions`](super::GcOptions) says how to insist.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum GcRefusal {
    /// The store has chunks, in their place or set aside, but no index. (`ErrorKind::Other`)
    NoIndex {
        /// The chunks in their place.
        chunks: Amount,
        /// The copies of chunks that are set aside.
        aside: Amount,
    },
    /// The run would set aside more than the share [`max_fraction`](super::GcOptions::max_fraction)
    /// of the chunks, by their stored bytes. (`ErrorKind::Other`)
    TooManyChunks {
        /// The chunks that would be set aside.
        unwanted: Amount,
        /// All chunks in their place.
        chunks: Amount,
        /// The allowed share.
        max_fraction: f64,
    },
    /// The run would set aside more than that share of the indexes, by their number.
    /// (`ErrorKind::Other`)
    TooManyBlobs {
        /// The number of indexes that would be set aside.
        unwanted: u64,
        /// The number of all indexes.
        blobs: u64,
        /// The allowed share.
        max_fraction: f64,
    },
    /// None of the blobs named to be kept is in the store. (`ErrorKind::InvalidInput`)
    NoneOfTheNamed {
        /// The number of named blobs.
        named: u64,
    },
    /// Some of the blobs named to be kept are absent from the store. (`ErrorKind::InvalidInput`)
    Absent {
        /// The number of named blobs.
        named: u64,
        /// The absent blobs, in order.
        absent: Vec<Digest>,
    },
}

impl GcRefusal {
    fn kind(&self) -> ErrorKind {
        match self {
            GcRefusal::NoneOfTheNamed { .. } | GcRefusal::Absent { .. } => ErrorKind::InvalidInput,
            _ => ErrorKind::Other,
        }
    }

    fn into_error(self) -> Error {
        Error::new(self.kind(), OPERATION, self.to_string()).with_source(self)
    }
}

impl std::error::Error for GcRefusal {}

impl fmt::Display for GcRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            GcRefusal::NoIndex { chunks, aside } => write!(
                f,
                "the store has no index of a blob, but {} chunks in place and {} set aside: nothing is \
                 changed, as a part of the store may be out of sight; if all of it is garbage, allow a \
                 largest share (max-fraction) of 1",
                chunks.objects, aside.objects
            ),
            GcRefusal::TooManyChunks { unwanted, chunks, max_fraction } => write!(
                f,
                "no index lists {} of {} chunks, {} of {} bytes ({:.1} %), more than the largest share \
                 (max-fraction) of {max_fraction}: nothing is changed, as a part of the store may be \
                 out of sight; if this is meant, allow a larger share",
                unwanted.objects,
                chunks.objects,
                unwanted.bytes,
                chunks.bytes,
                percent(unwanted.bytes, chunks.bytes),
            ),
            GcRefusal::TooManyBlobs { unwanted, blobs, max_fraction } => write!(
                f,
                "{unwanted} of {blobs} blobs ({:.1} %) are not to be kept, more than the largest share \
                 (max-fraction) of {max_fraction}: nothing is changed; if this is meant, allow a \
                 larger share",
                percent(*unwanted, *blobs),
            ),
            GcRefusal::NoneOfTheNamed { named: 0 } => {
                f.write_str("no blob is named that is to be kept: nothing is changed")
            }
            GcRefusal::NoneOfTheNamed { named } => write!(
                f,
                "none of the {named} blobs that are to be kept is in the store, so that the list may be \
                 that of another store: nothing is changed"
            ),
            GcRefusal::Absent { named, absent } => {
                write!(
                    f,
                    "of {named} blobs that are to be kept, {} are not in the store",
                    absent.len()
                )?;
                if let Some(first) = absent.first() {
                    write!(f, " (the first is {first})")?;
                }
                f.write_str(
                    ": nothing is changed; if this is meant, allow absent blobs (allow-absent)",
                )
            }
        }
    }
}

/// `part` as a percentage of `all`.
fn percent(part: u64, all: u64) -> f64 {
    100.0 * part as f64 / all.max(1) as f64
}

impl Run<'_> {
    /// Refuses a list of blobs to keep that does not fit the store, with `InvalidInput`.
    pub(super) fn refuse_absent(&self) -> Result<()> {
        let (named, absent) = (self.report.named, &self.report.absent);
        if absent.len() as u64 == named {
            return Err(GcRefusal::NoneOfTheNamed { named }.into_error());
        }
        if !absent.is_empty() && !self.options.allow_absent {
            return Err(GcRefusal::Absent { named, absent: absent.clone() }.into_error());
        }
        Ok(())
    }

    /// Refuses a run that would set aside too much. By now the run has looked at everything, and
    /// has changed nothing.
    pub(super) async fn refuse_too_much(
        &self,
        found: &Found,
        candidates: &Candidates,
    ) -> Result<()> {
        let max_fraction = self.options.max_fraction;
        if max_fraction >= 1.0 {
            return Ok(());
        }
        let too_many = |part: u64, all: u64| part as f64 > max_fraction * all as f64;
        let chunks = self.report.chunks;
        // (The index of a named blob may be set aside; then the run puts it back.)
        if found.indexes == 0 && self.report.blobs == 0 {
            let aside = self.aside(Kind::Chunk).await?;
            if chunks.objects + aside.objects > 0 {
                return Err(GcRefusal::NoIndex { chunks, aside }.into_error());
            }
        }
        let (unwanted, blobs) = (found.unwanted.len() as u64, found.indexes);
        if too_many(unwanted, blobs) {
            return Err(GcRefusal::TooManyBlobs { unwanted, blobs, max_fraction }.into_error());
        }
        let unwanted = candidates.amount();
        if too_many(unwanted.bytes, chunks.bytes) {
            return Err(GcRefusal::TooManyChunks { unwanted, chunks, max_fraction }.into_error());
        }
        Ok(())
    }

    /// The copies of chunks that are set aside.
    async fn aside(&self, kind: Kind) -> Result<Amount> {
        let mut amount = Amount::default();
        let mut copies = self.shared.objects(OPERATION, &self.shared.layout.all_aside(kind));
        while let Some(copy) = copies.try_next().await? {
            if copy.path.as_ref().is_some_and(|path| aside_of(path).is_some()) {
                amount.add(copy.size);
            }
        }
        Ok(amount)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_nothing_is_no_percent() {
        for (part, all, expected) in [(1, 4, 25.0), (3, 3, 100.0), (0, 7, 0.0), (0, 0, 0.0)] {
            assert_eq!(percent(part, all), expected, "{part} of {all}");
        }
    }
}
