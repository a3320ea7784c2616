//! Finds the groups of a blob that are wrong, and the entries of its index that may be the reason.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use castore_core::BlobIndex;
use castore_core::groups::GROUP_SIZE;
use futures_util::StreamExt;

use crate::exec::clock::Moment;
use crate::exec::in_order::InOrder;
use crate::read::{BLOB, listed_pieces};
use crate::store::Store;

/// How many runs of groups, and how many entries, are named.
const NAMED: usize = 3;

/// The groups of a blob that are wrong in the bytes of the listed chunks. All other groups are
/// right.
#[derive(Debug, Clone)]
pub(crate) struct WrongGroups {
    pub(crate) index: Arc<BlobIndex>,
    /// Runs of numbers of groups, in order, with right groups between them.
    groups: Vec<Range<usize>>,
    /// Taken before the first chunk was read.
    pub(crate) seen: Moment,
}

/// Reads all chunks that `index` lists and compares their bytes with the group hashes of `index`.
///
/// `None` if nothing can be told: the index has no list of group hashes, a chunk cannot be read, or
/// all groups are right by now. Takes the memory of a reader, and 16 bytes for each run.
pub(super) async fn find(shared: &Arc<Store>, index: &Arc<BlobIndex>) -> Option<Box<WrongGroups>> {
    let seen = Moment::now();
    let hashes = index.groups().filter(|groups| !groups.values().is_empty())?;
    let pieces = listed_pieces(shared, Arc::clone(index), GROUP_SIZE as usize);
    let items = pieces
        .enumerate()
        .map(|(number, pieces)| pieces.map(|pieces| ((number, pieces), GROUP_SIZE)));
    let compare = |(number, pieces): (usize, Vec<bytes::Bytes>)| async move {
        let proof = hashes.proof(number);
        let verify =
            move || proof.is_some_and(|proof| proof.verify(pieces.iter().map(|piece| &**piece)));
        (number, shared.limits.compute(BLOB, verify).await)
    };
    let mut groups = Vec::new();
    let compared = InOrder::of(&shared.limits).in_order(items, compare, |(number, is_right)| {
        if !is_right? {
            add_run(&mut groups, number..number + 1);
        }
        Ok(())
    });
    compared.await.ok()?;
    let index = Arc::clone(index);
    (!groups.is_empty()).then(|| Box::new(WrongGroups { index, groups, seen }))
}

/// The entries of `index` that have bytes of the groups `wrong`, as runs of positions. `wrong` are
/// runs of numbers of groups, in order.
fn suspects(index: &BlobIndex, wrong: &[Range<usize>]) -> Vec<Range<usize>> {
    let mut entries = Vec::new();
    for run in wrong {
        let bytes = run.start as u64 * GROUP_SIZE..run.end as u64 * GROUP_SIZE;
        add_run(&mut entries, index.covering(bytes));
    }
    entries
}

/// Adds a run that begins nowhere before the last one, and joins the two if they touch.
fn add_run(runs: &mut Vec<Range<usize>>, run: Range<usize>) {
    match runs.last_mut() {
        Some(last) if last.end >= run.start => last.end = last.end.max(run.end),
        _ => runs.push(run),
    }
}

impl WrongGroups {
    /// The positions in the index of the entries that have bytes of the wrong groups, as runs. A
    /// run has all bytes of its wrong groups.
    pub(crate) fn suspects(&self) -> Vec<Range<usize>> {
        suspects(&self.index, &self.groups)
    }
}

/// The number of groups or entries in all runs.
fn count(runs: &[Range<usize>]) -> usize {
    runs.iter().map(ExactSizeIterator::len).sum()
}

fn and_more(f: &mut fmt::Formatter<'_>, more: usize) -> fmt::Result {
    if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
}

/// A few words on one line.
impl fmt::Display for WrongGroups {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.index.size().div_ceil(GROUP_SIZE);
        let wrong = count(&self.groups);
        write!(f, "the chunks that its index lists are not the blob in {wrong} of {all} groups: ")?;
        for (number, run) in self.groups.iter().take(NAMED).enumerate() {
            f.write_str(if number == 0 { "" } else { ", " })?;
            match run.len() {
                1 => write!(f, "{}", run.start)?,
                _ => write!(f, "{} to {}", run.start, run.end - 1)?,
            }
            let start = run.start as u64 * GROUP_SIZE;
            let end = (run.end as u64 * GROUP_SIZE).min(self.index.size());
            write!(f, " (bytes {start} to {end})")?;
        }
        let named = count(&self.groups[..self.groups.len().min(NAMED)]);
        and_more(f, wrong - named)?;
        let suspects = self.suspects();
        let entries = count(&suspects);
        write!(f, "; these overlap {entries} of {} chunks: ", self.index.len())?;
        let named = suspects.into_iter().flatten().take(NAMED);
        for (at, number) in named.enumerate() {
            let Some(chunk) = self.index.get(number) else { continue };
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{number} ({})", chunk.digest)?;
        }
        and_more(f, entries.saturating_sub(NAMED))
    }
}

#[cfg(test)]
mod tests {
    use castore_core::{ChunkMeta, Digest};

    use super::*;

    const GROUP: u64 = GROUP_SIZE;

    fn index(sizes: &[u64]) -> BlobIndex {
        let chunks = sizes.iter().enumerate().map(|(number, size)| ChunkMeta {
            digest: Digest::of(&number.to_le_bytes()),
            size: *size,
        });
        BlobIndex::new(Digest::of(b"blob"), chunks).unwrap()
    }

    fn runs(ends: &[(usize, usize)]) -> Vec<Range<usize>> {
        ends.iter().map(|(start, end)| *start..*end).collect()
    }

    #[test]
    fn suspects_are_the_entries_with_bytes_of_wrong_groups() {
        // Entries 0 and 1 share a group, entry 2 begins with one, entry 3 has three groups.
        let index = index(&[GROUP / 2, GROUP / 2, GROUP, 3 * GROUP - 1, 1, 9]);
        for (wrong, entries) in [
            (runs(&[]), runs(&[])),
            (runs(&[(0, 1)]), runs(&[(0, 2)])),
            (runs(&[(1, 2)]), runs(&[(2, 3)])),
            (runs(&[(2, 3)]), runs(&[(3, 4)])),
            (runs(&[(4, 5)]), runs(&[(3, 5)])),
            (runs(&[(5, 6)]), runs(&[(5, 6)])),
            (runs(&[(0, 1), (2, 3)]), runs(&[(0, 2), (3, 4)])),
            (runs(&[(2, 3), (4, 5)]), runs(&[(3, 5)])),
            (runs(&[(1, 2), (5, 6)]), runs(&[(2, 3), (5, 6)])),
            (runs(&[(0, 6)]), runs(&[(0, 6)])),
        ] {
            assert_eq!(suspects(&index, &wrong), entries, "{wrong:?}");
        }
    }

    #[test]
    fn a_few_groups_and_entries_are_named() {
        let index = Arc::new(index(&[GROUP / 2; 20]));
        let of = |groups| WrongGroups { index: Arc::clone(&index), groups, seen: Moment::now() };
        let name = |number: usize| Digest::of(&number.to_le_bytes());
        assert_eq!(
            of(runs(&[(1, 3)])).to_string(),
            format!(
                "the chunks that its index lists are not the blob in 2 of 10 groups: 1 to 2 \
                 (bytes 262144 to 786432); these overlap 4 of 20 chunks: 2 ({}), 3 ({}), 4 ({}) \
                 and 1 more",
                name(2),
                name(3),
                name(4)
            )
        );
        let many = of(runs(&[(0, 1), (2, 3), (4, 5), (6, 8)])).to_string();
        assert!(many.contains("5 of 10 groups: 0 (bytes 0 to 262144), 2 (bytes"), "{many}");
        assert!(many.contains("1310720) and 2 more; these overlap 10 of 20 chunks: 0 ("), "{many}");
        assert!(many.ends_with("and 7 more"), "{many}");
    }
}
