//! Group hashes: the proof that bytes at an offset of a blob are those of the blob.
//!
//! BLAKE3 hashes its input as a binary tree, and the digest is the root (the BLAKE3 paper, section
//! 2.1, "Tree structure"). A *group* is an aligned piece of 256 KiB of a blob; the last group of a
//! blob may be shorter. The *chaining value* of a group is the value of its subtree. The values of
//! all groups, in order, merge to the digest of the blob; so a list of values that merges to the
//! digest proves each group by itself, in any order, without the other groups. The list takes 32
//! bytes for each 256 KiB.
//!
//! A list of millions of values is handled in *pages* of [`PAGE_GROUPS`] values: [`GroupPages`]
//! keeps the value of each page's subtree, which proves the page when it is read again.
//!
//! The same tree, cut at the same height, is the *outboard* of [bao] with chunk groups of 2^8:
//! [`GroupHashes::outboard`] lists its pairs.
//!
//! ```
//! use castore_core::Digest;
//! use castore_core::groups::{GROUP_SIZE, GroupHashes};
//!
//! let blob: Vec<u8> = (0..1_000_000_u32).map(|number| (number / 7) as u8).collect();
//! let hashes = GroupHashes::of(&blob);
//! assert_eq!(hashes.digest(), Digest::of(&blob));
//!
//! // A reader that has the digest and the list verifies any group by itself.
//! let hashes = GroupHashes::new(Digest::of(&blob), 1_000_000, hashes.values().to_vec())?;
//! let third = hashes.range(2);
//! assert_eq!(third, 2 * GROUP_SIZE..3 * GROUP_SIZE);
//! let bytes = &blob[third.start as usize..third.end as usize];
//! assert!(hashes.verify(2, bytes));
//! assert!(!hashes.verify(1, bytes));
//! # Ok::<(), castore_core::groups::GroupsError>(())
//! ```
//!
//! [bao]: https://github.com/oconnor663/bao/blob/master/docs/spec.md

mod hasher;
mod pages;
mod tree;

use std::ops::Range;

use blake3::Hasher;
use blake3::hazmat::HasherExt;

pub use self::hasher::{GroupHasher, Hashed};
pub use self::pages::{GroupPage, GroupPager, GroupPages, PAGE_GROUPS};
use crate::Digest;

/// The size of a group in bytes: 256 KiB, which is 2^8 chunks of BLAKE3 (of 1 KiB each).
pub const GROUP_SIZE: u64 = 256 * 1024;

/// The largest number of values in a list: 2^24, for a blob of 4 TiB. A larger blob has no list.
///
/// This limit bounds the memory of a writer, and the size of a stored list.
pub const MAX_GROUPS: usize = 1 << 24;

/// The value of a group's subtree: 32 bytes.
pub type ChainingValue = [u8; 32];

/// The chaining values of all groups of a blob, which merge to the digest of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupHashes {
    digest: Digest,
    size: u64,
    /// Empty for a blob of at most one group: the digest is the hash of that group.
    values: Vec<ChainingValue>,
}

/// The reason why a list of chaining values is not the list of the given blob.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupsError {
    /// The list has another length than the size of the blob demands.
    #[error("a blob of {size} bytes has {expected} group hashes, this list has {found}")]
    Count {
        /// The size of the blob in bytes.
        size: u64,
        /// The number of values for this size; 0 for a blob of at most one group.
        expected: u64,
        /// The number of values in the list.
        found: u64,
    },
    /// The blob has more than [`MAX_GROUPS`] groups, and so no list.
    #[error("a blob of {0} bytes is too large for a list of group hashes")]
    TooLarge(u64),
    /// The values merge to the digest of another blob.
    #[error("the group hashes are those of {0}")]
    OtherBlob(Digest),
}

/// The value that the bytes of one group of a blob must hash to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupProof {
    number: usize,
    size: u64,
    expected: Expected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Expected {
    /// The group is all of its blob.
    Digest(Digest),
    Value(ChainingValue),
}

impl GroupHashes {
    /// Checks that `values` are the chaining values of the groups of the blob `digest` of `size`
    /// bytes. Takes a hash of 64 bytes for each group.
    ///
    /// # Errors
    /// A list of the wrong length, or one that merges to another digest. For a blob of at most one
    /// group only the empty list is right, and for a blob of more than [`MAX_GROUPS`] none.
    pub fn new(
        digest: Digest,
        size: u64,
        values: Vec<ChainingValue>,
    ) -> Result<GroupHashes, GroupsError> {
        check_count(size, values.len() as u64)?;
        if !values.is_empty() {
            let found = tree::root(&values);
            if found != digest {
                return Err(GroupsError::OtherBlob(found));
            }
        }
        Ok(GroupHashes { digest, size, values })
    }

    /// The group hashes of a blob in memory, which must have at most [`MAX_GROUPS`] groups.
    ///
    /// # Panics
    /// If the blob is larger.
    pub fn of(blob: &[u8]) -> GroupHashes {
        let mut hasher = GroupHasher::new();
        hasher.update(blob);
        hasher.finish().groups.expect("the blob is not too large")
    }

    /// The digest of the blob.
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// The size of the blob in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The chaining values in the order of the groups; empty for a blob of at most one group.
    pub fn values(&self) -> &[ChainingValue] {
        &self.values
    }

    /// The number of groups of the blob.
    pub fn groups(&self) -> usize {
        groups_of(self.size) as usize
    }

    /// The bytes of the blob that are the group `number`; empty from the end of the blob on.
    pub fn range(&self, number: usize) -> Range<u64> {
        range_of(number, self.size)
    }

    /// The numbers of the groups that have bytes of `range`, an empty range of numbers if none has.
    pub fn covering(&self, range: Range<u64>) -> Range<usize> {
        let (start, end) = (range.start.min(self.size), range.end.min(self.size));
        match start < end {
            true => (start / GROUP_SIZE) as usize..end.div_ceil(GROUP_SIZE) as usize,
            false => 0..0,
        }
    }

    /// The proof of the group `number`, or `None` if the blob has no such group.
    pub fn proof(&self, number: usize) -> Option<GroupProof> {
        let range = self.range(number);
        let expected = match self.values.get(number) {
            _ if range.is_empty() => return None,
            Some(value) => Expected::Value(*value),
            None => Expected::Digest(self.digest),
        };
        Some(GroupProof { number, size: range.end - range.start, expected })
    }

    /// Whether `bytes` are all bytes of the group `number`. Hashes them on the calling thread.
    pub fn verify(&self, number: usize, bytes: &[u8]) -> bool {
        self.proof(number).is_some_and(|proof| proof.verify([bytes]))
    }

    /// The pairs of chaining values of all nodes of the tree above the groups, a parent before its
    /// children and the left child's before the right child's: the pre-order outboard of bao with
    /// chunk groups of 2^8, without its header. Empty for a blob of at most one group.
    ///
    /// Takes 64 bytes of memory for each group.
    pub fn outboard(&self) -> impl ExactSizeIterator<Item = [ChainingValue; 2]> + use<> {
        tree::pre_order(&self.values).into_iter()
    }
}

impl GroupProof {
    /// The number of the group in its blob.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The size of the group in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether `pieces` together are all bytes of the group. Hashes them on the calling thread.
    pub fn verify<'a>(&self, pieces: impl IntoIterator<Item = &'a [u8]>) -> bool {
        let mut hasher = match self.expected {
            Expected::Digest(_) => Hasher::new(),
            Expected::Value(_) => hasher_at(self.number),
        };
        let mut size = 0;
        for piece in pieces {
            size += piece.len() as u64;
            if size > self.size {
                return false;
            }
            hasher.update(piece);
        }
        size == self.size
            && match self.expected {
                Expected::Digest(digest) => {
                    Digest::from_bytes(*hasher.finalize().as_bytes()) == digest
                }
                Expected::Value(value) => hasher.finalize_non_root() == value,
            }
    }
}

/// The number of groups of a blob of `size` bytes.
fn groups_of(size: u64) -> u64 {
    size.div_ceil(GROUP_SIZE)
}

/// The bytes of the group `number` of a blob of `size` bytes; empty from the end of the blob on.
fn range_of(number: usize, size: u64) -> Range<u64> {
    let start = (number as u64).saturating_mul(GROUP_SIZE).min(size);
    start..start.saturating_add(GROUP_SIZE).min(size)
}

/// Checks that a list of `found` values has the length of the list of a blob of `size` bytes.
fn check_count(size: u64, found: u64) -> Result<(), GroupsError> {
    let expected = match groups_of(size) {
        0 | 1 => 0,
        groups if groups > MAX_GROUPS as u64 => return Err(GroupsError::TooLarge(size)),
        groups => groups,
    };
    match found == expected {
        true => Ok(()),
        false => Err(GroupsError::Count { size, expected, found }),
    }
}

/// A hasher for the bytes of the group `number`.
fn hasher_at(number: usize) -> Hasher {
    let mut hasher = Hasher::new();
    hasher.set_input_offset(number as u64 * GROUP_SIZE);
    hasher
}

#[cfg(test)]
mod tests {
    use blake3::hazmat::{Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root};

    use super::*;

    const GROUP: usize = GROUP_SIZE as usize;

    fn blob(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        Hasher::new().update(b"groups").finalize_xof().fill(&mut bytes);
        bytes
    }

    fn sizes() -> impl Iterator<Item = usize> {
        let around = (0..=9)
            .chain([15, 16, 17, 31, 32, 33])
            .flat_map(|groups| [-1025, -1, 0, 1, 1024].map(|more| (groups * GROUP) as i64 + more));
        around.filter_map(|size| usize::try_from(size).ok())
    }

    #[test]
    fn every_size_has_its_digest_and_its_list() {
        let all = blob(34 * GROUP);
        for size in sizes() {
            let bytes = &all[..size];
            let hashes = GroupHashes::of(bytes);
            assert_eq!(hashes.digest(), Digest::of(bytes), "{size}");
            assert_eq!(hashes.size(), size as u64);
            let values = hashes.values().to_vec();
            let expected = if size <= GROUP { 0 } else { size.div_ceil(GROUP) };
            assert_eq!(values.len(), expected, "{size}");
            let checked = GroupHashes::new(Digest::of(bytes), size as u64, values).unwrap();
            assert_eq!(checked, hashes);
            let groups: Vec<&[u8]> = bytes.chunks(GROUP).collect();
            assert_eq!(hashes.groups(), groups.len());
            for (number, group) in groups.iter().enumerate() {
                let range = hashes.range(number);
                assert_eq!(*group, &bytes[range.start as usize..range.end as usize]);
                assert!(hashes.verify(number, group), "{size} {number}");
                assert!(!hashes.verify(number + 1, group), "{size} {number}");
                assert!(!hashes.verify(number, &group[1..]), "{size} {number}");
                let mut other = group.to_vec();
                other[group.len() / 2] ^= 1;
                assert!(!hashes.verify(number, &other), "{size} {number}");
            }
        }
    }

    #[test]
    fn pieces_and_parts_may_be_split_anywhere() {
        let bytes = blob(5 * GROUP + 77);
        let whole = GroupHashes::of(&bytes);
        for piece in [1000, 65_536, GROUP - 1, GROUP, GROUP + 1, 3 * GROUP] {
            let mut hasher = GroupHasher::new();
            bytes.chunks(piece).for_each(|piece| hasher.update(piece));
            assert_eq!(hasher.finish().groups.unwrap(), whole, "{piece}");
        }
        for cut in 0..=5 {
            let (start, end) = bytes.split_at(cut * GROUP);
            let (mut first, mut second) = (GroupHasher::new(), GroupHasher::from_group(cut));
            second.update(end);
            first.update(start);
            first.join(second).unwrap();
            assert_eq!(first.finish().groups.unwrap(), whole, "{cut}");
        }
        // A part that begins elsewhere is given back.
        let mut first = GroupHasher::new();
        first.update(&bytes[..GROUP + 1]);
        for number in [0, 1, 2, 3] {
            assert!(first.join(GroupHasher::from_group(number)).is_err(), "{number}");
        }
    }

    #[test]
    fn a_wrong_list_is_told_from_a_right_one() {
        let bytes = blob(3 * GROUP + 5);
        let hashes = GroupHashes::of(&bytes);
        let (digest, size) = (hashes.digest(), hashes.size());
        let values = hashes.values().to_vec();
        for number in 0..4 {
            let mut wrong = values.clone();
            wrong[number][7] ^= 1;
            let error = GroupHashes::new(digest, size, wrong).unwrap_err();
            assert!(matches!(error, GroupsError::OtherBlob(_)), "{error}");
        }
        let mut swapped = values.clone();
        swapped.swap(0, 1);
        assert!(GroupHashes::new(digest, size, swapped).is_err());
        for found in [0, 3] {
            let shorter = values[..found as usize].to_vec();
            let error = GroupHashes::new(digest, size, shorter).unwrap_err();
            assert_eq!(error, GroupsError::Count { size, expected: 4, found });
        }
        // Not even the value of the only group is right for a blob of one group.
        let one = Digest::of(&bytes[..GROUP]);
        assert!(GroupHashes::new(one, GROUP_SIZE, values[..1].to_vec()).is_err());
        assert!(GroupHashes::new(one, GROUP_SIZE, Vec::new()).is_ok());
        let largest = MAX_GROUPS as u64 * GROUP_SIZE;
        let error = GroupHashes::new(digest, largest, values.clone()).unwrap_err();
        assert_eq!(error, GroupsError::Count { size: largest, expected: 1 << 24, found: 4 });
        for size in [largest + 1, u64::MAX] {
            let error = GroupHashes::new(digest, size, values.clone()).unwrap_err();
            assert_eq!(error, GroupsError::TooLarge(size));
        }
    }

    #[test]
    fn groups_cover_ranges() {
        let hashes = GroupHashes::of(&blob(2 * GROUP + 1));
        let size = hashes.size();
        for (range, expected) in [
            (0..1, 0..1),
            (0..size, 0..3),
            (GROUP_SIZE - 1..GROUP_SIZE + 1, 0..2),
            (GROUP_SIZE..2 * GROUP_SIZE, 1..2),
            (size - 1..u64::MAX, 2..3),
            (5..5, 0..0),
            (size..size + 9, 0..0),
        ] {
            assert_eq!(hashes.covering(range.clone()), expected, "{range:?}");
        }
        assert_eq!(GroupHashes::of(b"").covering(0..9), 0..0);
    }

    /// Reads an outboard as bao's specification has it: each pair hashes to the value that its
    /// parent has, from the digest down.
    #[test]
    fn the_outboard_proves_each_group_from_the_digest_down() {
        for size in sizes().filter(|size| *size > GROUP) {
            let bytes = blob(size);
            let hashes = GroupHashes::of(&bytes);
            let mut pairs = hashes.outboard();
            let [left, right] = pairs.next().unwrap();
            let hash = merge_subtrees_root(&left, &right, Mode::Hash);
            assert_eq!(Digest::from_bytes(*hash.as_bytes()), Digest::of(&bytes));
            let left_size = left_subtree_len(size as u64) as usize;
            let mut open = vec![(right, left_size..size), (left, 0..left_size)];
            let mut leaves = Vec::new();
            while let Some((value, range)) = open.pop() {
                if range.len() <= GROUP {
                    leaves.push(value);
                    continue;
                }
                let [left, right] = pairs.next().unwrap();
                assert_eq!(merge_subtrees_non_root(&left, &right, Mode::Hash), value);
                let middle = range.start + left_subtree_len(range.len() as u64) as usize;
                open.push((right, middle..range.end));
                open.push((left, range.start..middle));
            }
            assert_eq!(leaves, hashes.values(), "{size}");
            assert!(pairs.next().is_none());
        }
        assert!(GroupHashes::of(b"abc").outboard().next().is_none());
    }
}
