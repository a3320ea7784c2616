//! Sizes and ranges, as people read and write them.

use std::ops::Range;

use bytesize::ByteSize;
use castore_objstore::units::parse_size;

/// `1.5 MiB`.
pub(crate) fn iec(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// The bytes of a blob of `size` that `A..B`, `A..` or `..B` names.
pub(crate) fn range(text: &str, size: u64) -> Result<Range<u64>, String> {
    let (start, end) =
        text.split_once("..").ok_or_else(|| format!("range {text:?} is not A..B, A.. or ..B"))?;
    let offset = |text: &str, default: u64| match text {
        "" => Ok(default),
        text => parse_size(text).ok_or_else(|| format!("{text:?} is not a number of bytes")),
    };
    let range = offset(start, 0)?..offset(end, size)?;
    if range.start > range.end {
        return Err(format!("range {text:?} ends before it starts"));
    }
    if range.end > size {
        return Err(format!(
            "range {text:?} ends past the end of the blob, which has {size} bytes"
        ));
    }
    Ok(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_exact() {
        assert_eq!(range("1..3", 10), Ok(1..3));
        assert_eq!(range("..", 10), Ok(0..10));
        assert_eq!(range("3..", 10), Ok(3..10));
        assert_eq!(range("..1k", 2000), Ok(0..1024));
        assert_eq!(range("10..", 10), Ok(10..10));
        for bad in
            ["", "3", "5..3", "..11", "11..", "x..", "1.5..", "-1..", "99999999999999999999.."]
        {
            assert!(range(bad, 10).is_err(), "{bad}");
        }
    }
}
