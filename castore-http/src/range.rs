//! The header `Range` (RFC 9110, section 14.2).

use std::ops::Range;

use axum::http::{HeaderMap, header};

/// The part of a blob that a request asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it: no header, one that is malformed, or one with several ranges.
    Whole,
    /// These bytes, which are at least one and end within the blob.
    Part(Range<u64>),
    /// A range without any byte of the blob.
    Unsatisfiable,
}

/// One range as a header states it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spec {
    From { first: u64, last: u64 },
    Suffix(u64),
}

impl Wanted {
    /// The part that the headers ask for, of a blob of `size` bytes.
    pub(crate) fn of(headers: &HeaderMap, size: u64) -> Wanted {
        let mut values = headers.get_all(header::RANGE).iter();
        // The header is no list: several of it are malformed.
        let (Some(value), None) = (values.next(), values.next()) else { return Wanted::Whole };
        match value.to_str().ok().and_then(parse) {
            Some(spec) => spec.of(size),
            None => Wanted::Whole,
        }
    }
}

impl Spec {
    fn of(self, size: u64) -> Wanted {
        match self {
            Spec::From { first, .. } if first >= size => Wanted::Unsatisfiable,
            Spec::From { first, last } => Wanted::Part(first..last.saturating_add(1).min(size)),
            Spec::Suffix(0) => Wanted::Unsatisfiable,
            // A suffix of the empty blob is satisfiable, but `Content-Range` cannot express it.
            Spec::Suffix(_) if size == 0 => Wanted::Whole,
            Spec::Suffix(length) => Wanted::Part(size.saturating_sub(length)..size),
        }
    }
}

/// The only range of a header's value; `None` for several ranges, and for malformed values.
///
/// The second range ends the work: a header of thousands of ranges costs no more than one of two.
fn parse(value: &str) -> Option<Spec> {
    let (unit, set) = value.split_once('=')?;
    if !unit.eq_ignore_ascii_case("bytes") {
        return None;
    }
    // A list may have empty elements.
    let specs = set.split(',').map(|spec| spec.trim_matches([' ', '\t']));
    let mut specs = specs.filter(|spec| !spec.is_empty());
    let (Some(spec), None) = (specs.next(), specs.next()) else { return None };
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        return number(last).map(Spec::Suffix);
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    (first <= last).then_some(Spec::From { first, last })
}

/// A number of digits only. One that is too large for 64 bits is past the end of every blob.
fn number(digits: &str) -> Option<u64> {
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wanted(value: &str, size: u64) -> Wanted {
        let mut headers = HeaderMap::new();
        headers.insert(header::RANGE, value.parse().unwrap());
        Wanted::of(&headers, size)
    }

    #[test]
    fn one_range_is_clipped_to_the_blob() {
        for (value, range) in [
            ("bytes=0-0", 0..1),
            ("bytes=0-", 0..10),
            ("bytes=0-9", 0..10),
            ("bytes=3-5", 3..6),
            ("bytes=9-9", 9..10),
            ("bytes=9-", 9..10),
            ("bytes=5-10", 5..10),
            ("bytes=5-18446744073709551615", 5..10),
            ("bytes=5-99999999999999999999999", 5..10),
            ("bytes=-1", 9..10),
            ("bytes=-10", 0..10),
            ("bytes=-11", 0..10),
            ("bytes=-99999999999999999999999", 0..10),
            ("bytes=0003-005", 3..6),
            ("BYTES=3-5", 3..6),
            ("bytes= 3-5", 3..6),
            ("bytes=3-5\t", 3..6),
            ("bytes=,3-5 ,, ", 3..6),
        ] {
            assert_eq!(wanted(value, 10), Wanted::Part(range), "{value}");
        }
    }

    #[test]
    fn a_range_without_a_byte_of_the_blob_is_unsatisfiable() {
        for (value, size) in [
            ("bytes=10-", 10),
            ("bytes=10-10", 10),
            ("bytes=11-20", 10),
            ("bytes=18446744073709551615-", 10),
            ("bytes=99999999999999999999999-", 10),
            ("bytes=-0", 10),
            ("bytes=-0", 0),
            ("bytes=0-", 0),
            ("bytes=0-0", 0),
        ] {
            assert_eq!(wanted(value, size), Wanted::Unsatisfiable, "{value} of {size}");
        }
        assert_eq!(wanted("bytes=-5", 0), Wanted::Whole);
    }

    #[test]
    fn malformed_and_several_ranges_are_ignored() {
        for value in [
            "",
            "bytes",
            "bytes=",
            "bytes=,",
            "bytes=-",
            "bytes=5",
            "bytes=a-b",
            "bytes=1-b",
            "bytes=5-4",
            "bytes=+1-2",
            "bytes=1-+2",
            "bytes=1 - 2",
            "bytes=1--2",
            "bytes=--2",
            "bytes=0x1-2",
            "bytes =1-2",
            " bytes=1-2",
            "bytes:1-2",
            "items=1-2",
            "bytes=1-2;",
            "bytes=1-2-3",
            "bytes=0-1,3-4",
            "bytes=0-1,0-1",
            "bytes=0-1,x",
            "bytes=-1,-2",
            "bytes=99-,0-1",
        ] {
            assert_eq!(wanted(value, 10), Wanted::Whole, "{value}");
        }
        let bomb = format!("bytes={}", "0-,".repeat(20_000));
        assert_eq!(wanted(&bomb, 10), Wanted::Whole);
    }

    #[test]
    fn two_headers_are_ignored_and_so_is_one_that_is_not_ascii() {
        let mut headers = HeaderMap::new();
        assert_eq!(Wanted::of(&headers, 10), Wanted::Whole);
        headers.append(header::RANGE, "bytes=1-2".parse().unwrap());
        headers.append(header::RANGE, "bytes=1-2".parse().unwrap());
        assert_eq!(Wanted::of(&headers, 10), Wanted::Whole);
        let value = axum::http::HeaderValue::from_bytes(b"bytes=1-2\xff").unwrap();
        headers.insert(header::RANGE, value);
        assert_eq!(Wanted::of(&headers, 10), Wanted::Whole);
    }

    proptest! {
        #[test]
        fn no_value_gives_a_range_outside_of_the_blob(
            value in "(bytes)?=?[-0-9, ]{0,30}",
            size in prop_oneof![0..20u64, any::<u64>()],
        ) {
            if let Wanted::Part(range) = wanted(&value, size) {
                prop_assert!(range.start < range.end && range.end <= size, "{:?}", range);
            }
        }

        #[test]
        fn every_range_is_the_one_that_its_numbers_say(
            first: u64, last: u64, size in prop_oneof![1..20u64, any::<u64>()],
        ) {
            let end = (u128::from(last) + 1).min(size.into());
            match wanted(&format!("bytes={first}-{last}"), size) {
                Wanted::Whole => prop_assert!(first > last),
                Wanted::Unsatisfiable => prop_assert!(first <= last && first >= size),
                Wanted::Part(range) => {
                    prop_assert!(first <= last && first < size);
                    prop_assert_eq!(range.start, first);
                    prop_assert_eq!(u128::from(range.end), end);
                }
            }
        }
    }
}
