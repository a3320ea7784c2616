//! Lists of group hashes that are too long to be held in memory.

use std::ops::Range;

use super::{
    ChainingValue, Expected, GroupProof, GroupsError, check_count, groups_of, range_of, tree,
};
use crate::Digest;

/// The number of values in a page; the last page may have fewer. A page has 32 KiB, for 256 MiB of
/// the blob.
pub const PAGE_GROUPS: usize = 1024;

/// Checks a list of group hashes that comes value by value, without keeping the list.
#[derive(Debug, Clone, Default)]
pub struct GroupPager {
    /// The values of the last page, which is complete only when another value follows: the values
    /// of a list of one page merge to the digest.
    page: Vec<ChainingValue>,
    /// The value of the subtree of each page before the last.
    pages: Vec<ChainingValue>,
}

/// A checked list of group hashes, of which only the value of each page's subtree is kept: 32 bytes
/// for each 256 MiB of the blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPages {
    size: u64,
    pages: Vec<ChainingValue>,
}

/// A page of a list of group hashes, which is proven by the value of its subtree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupPage {
    /// The first group, as a number.
    first: usize,
    /// The size of the blob in bytes.
    size: u64,
    values: Vec<ChainingValue>,
}

impl GroupPager {
    /// A pager that has no values yet.
    pub fn new() -> GroupPager {
        GroupPager::default()
    }

    /// Takes the next value of the list.
    pub fn push(&mut self, value: ChainingValue) {
        if self.page.len() == PAGE_GROUPS {
            self.pages.push(tree::subtree(&self.page));
            self.page.clear();
        }
        self.page.push(value);
    }

    /// The number of values taken so far.
    pub fn len(&self) -> usize {
        self.pages.len() * PAGE_GROUPS + self.page.len()
    }

    /// Whether no value was taken so far.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends the list, which must be that of the blob `digest` of `size` bytes.
    ///
    /// # Errors
    /// Those of [`GroupHashes::new`](super::GroupHashes::new).
    pub fn finish(mut self, digest: Digest, size: u64) -> Result<GroupPages, GroupsError> {
        check_count(size, self.len() as u64)?;
        if !self.is_empty() {
            let found = self.root();
            if found != digest {
                return Err(GroupsError::OtherBlob(found));
            }
            self.pages.push(tree::subtree(&self.page));
        }
        Ok(GroupPages { size, pages: self.pages })
    }

    /// The digest of the blob with these values, of which there are at least two.
    pub(super) fn root(&self) -> Digest {
        match &*self.pages {
            [] => tree::root(&self.page),
            pages => tree::root(&[pages, &[tree::subtree(&self.page)]].concat()),
        }
    }
}

impl GroupPages {
    /// The number of pages; none for a blob of at most one group.
    pub fn pages(&self) -> usize {
        self.pages.len()
    }

    /// The value of the subtree of the page `number`.
    pub fn value(&self, number: usize) -> Option<ChainingValue> {
        self.pages.get(number).copied()
    }

    /// The page that has the value of the group `number`.
    pub fn page_of(group: usize) -> usize {
        group / PAGE_GROUPS
    }

    /// The numbers of the groups whose values the page `number` has.
    pub fn groups(&self, number: usize) -> Range<usize> {
        let all = match groups_of(self.size) {
            0 | 1 => 0,
            groups => groups as usize,
        };
        let start = number.saturating_mul(PAGE_GROUPS).min(all);
        start..start.saturating_add(PAGE_GROUPS).min(all)
    }

    /// The page `number` with these values, or `None` if they are not the values of that page.
    pub fn page(&self, number: usize, values: Vec<ChainingValue>) -> Option<GroupPage> {
        let groups = self.groups(number);
        let is_right = !values.is_empty()
            && values.len() == groups.len()
            && self.pages.get(number) == Some(&tree::subtree(&values));
        is_right.then_some(GroupPage { first: groups.start, size: self.size, values })
    }
}

impl GroupPage {
    /// The proof of the group `number` of the blob, if this page has it.
    pub fn proof(&self, number: usize) -> Option<GroupProof> {
        let value = self.values.get(number.checked_sub(self.first)?)?;
        let range = range_of(number, self.size);
        let expected = Expected::Value(*value);
        Some(GroupProof { number, size: range.end - range.start, expected })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::groups::{GROUP_SIZE, GroupHashes};

    fn values(count: usize) -> Vec<ChainingValue> {
        (0..count).map(|number| *blake3::hash(&number.to_le_bytes()).as_bytes()).collect()
    }

    #[test]
    fn pages_are_the_list_at_every_length() {
        let counts = [2, 3, 1023, 1024, 1025, 2047, 2048, 2049, 3072, 4096, 5000];
        let all = values(5000);
        for count in counts {
            let values = &all[..count];
            let (digest, size) = (tree::root(values), (count as u64 - 1) * GROUP_SIZE + 1);
            let whole = GroupHashes::new(digest, size, values.to_vec()).unwrap();
            let mut pager = GroupPager::new();
            assert!(pager.is_empty());
            for (number, value) in values.iter().enumerate() {
                assert_eq!(pager.len(), number);
                assert!(pager.page.len() <= PAGE_GROUPS);
                pager.push(*value);
            }
            assert_eq!(pager.root(), digest, "{count}");
            let other = pager.clone().finish(Digest::of(b"other"), size);
            assert_eq!(other, Err(GroupsError::OtherBlob(digest)));
            let longer = pager.clone().finish(digest, size + GROUP_SIZE);
            assert!(matches!(longer, Err(GroupsError::Count { .. })), "{longer:?}");

            let pages = pager.finish(digest, size).unwrap();
            assert_eq!(pages.pages(), count.div_ceil(PAGE_GROUPS));
            assert_eq!(pages.groups(pages.pages()), count..count);
            for number in 0..pages.pages() {
                let groups = pages.groups(number);
                let own = values[groups.clone()].to_vec();
                let page = pages.page(number, own.clone()).unwrap();
                for group in groups.clone() {
                    assert_eq!(page.proof(group), whole.proof(group), "{count} {group}");
                }
                assert_eq!(page.proof(groups.end), None);
                assert_eq!(groups.start.checked_sub(1).and_then(|at| page.proof(at)), None);
                let mut wrong = own.clone();
                wrong[groups.len() / 2][3] ^= 1;
                assert_eq!(pages.page(number, wrong), None);
                assert_eq!(pages.page(number, own[1..].to_vec()), None);
                assert_eq!(pages.page(number + 1, own), None);
            }
        }
    }

    #[test]
    fn a_blob_of_one_group_has_no_page() {
        let digest = Digest::of(b"one");
        let pages = GroupPager::new().finish(digest, GROUP_SIZE).unwrap();
        assert_eq!((pages.pages(), pages.groups(0)), (0, 0..0));
        assert_eq!(pages.page(0, Vec::new()), None);
        let mut pager = GroupPager::new();
        pager.push([0; 32]);
        assert!(pager.finish(digest, GROUP_SIZE).is_err());
    }
}
