//! The tree above the groups of a blob.
//!
//! Of the groups below a node, the left child has the largest power of two that leaves one for the
//! right child. So the shape follows from the number of groups alone: all groups but the last are
//! full, and BLAKE3 gives the left child the largest power of two of bytes.

use blake3::hazmat::{Mode, merge_subtrees_non_root, merge_subtrees_root};

use super::ChainingValue;
use crate::Digest;

/// The digest of the blob whose groups, or whose full subtrees of equal height, have these values:
/// at least two.
pub(super) fn root(values: &[ChainingValue]) -> Digest {
    let (left, right) = halves(values);
    let hash = merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
    Digest::from_bytes(*hash.as_bytes())
}

/// The value of the subtree above these values. The depth of the recursion is the height of the
/// tree: at most 64.
pub(super) fn subtree(values: &[ChainingValue]) -> ChainingValue {
    match values {
        [value] => *value,
        _ => {
            let (left, right) = halves(values);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

/// The pairs of all nodes above these values, parents first.
pub(super) fn pre_order(values: &[ChainingValue]) -> Vec<[ChainingValue; 2]> {
    let mut pairs = Vec::with_capacity(values.len().saturating_sub(1));
    if values.len() > 1 {
        add_pre_order(values, &mut pairs);
    }
    pairs
}

/// Adds the pairs of all nodes above these values, parents first; returns the value of the subtree.
fn add_pre_order(values: &[ChainingValue], pairs: &mut Vec<[ChainingValue; 2]>) -> ChainingValue {
    if let [value] = values {
        return *value;
    }
    let (left, right) = halves(values);
    // The pair is known after those of the children, and stands before them.
    let own = pairs.len();
    pairs.push([[0; 32]; 2]);
    let left = add_pre_order(left, pairs);
    let right = add_pre_order(right, pairs);
    pairs[own] = [left, right];
    merge_subtrees_non_root(&left, &right, Mode::Hash)
}

/// The values of the left and of the right child.
fn halves(values: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    values.split_at(values.len().next_power_of_two() / 2)
}
