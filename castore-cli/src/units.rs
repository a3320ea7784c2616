//! Sizes, rates and times for people; sizes and ranges from people.

use std::time::Duration;

use bytesize::ByteSize;

/// `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    ByteSize(bytes).display().iec().to_string()
}

/// `1.5 MiB (1572864 bytes)`, or only the bytes where they are few.
pub(crate) fn exact_size(bytes: u64) -> String {
    match bytes {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{bytes} bytes"),
        _ => format!("{} ({bytes} bytes)", size(bytes)),
    }
}

/// `1 chunk`, `2 chunks`.
pub(crate) fn count(number: u64, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// How many bytes one stored byte stands for; `None` where nothing is stored.
pub(crate) fn ratio(bytes: u64, stored: u64) -> Option<f64> {
    (stored > 0).then(|| bytes as f64 / stored as f64)
}

/// `0.12 s`, `75 s`.
pub(crate) fn seconds(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match seconds < 10.0 {
        true => format!("{seconds:.2} s"),
        false => format!("{seconds:.0} s"),
    }
}

/// `512.0 MiB/s`.
pub(crate) fn rate(bytes: u64, time: Duration) -> String {
    let per_second = bytes as f64 / time.as_secs_f64().max(1e-6);
    format!("{}/s", size(per_second as u64))
}

/// A range of bytes as it was asked for; an end that is left out is that of the blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteRange {
    pub(crate) start: u64,
    pub(crate) end: Option<u64>,
}

/// Parses `A..B`, `A..`, `..B` and `..`; A and B are bytes, or have a unit such as `KiB`.
pub(crate) fn parse_range(text: &str) -> Result<ByteRange, String> {
    let (start, end) = text.split_once("..").ok_or("a range is A..B, A.. or ..B")?;
    let bound = |bound: &str| match bound {
        "" => Ok(None),
        bound => parse_size(bound).map(Some),
    };
    let (start, end) = (bound(start)?.unwrap_or(0), bound(end)?);
    match end {
        Some(end) if end < start => Err("it ends before it starts".to_owned()),
        end => Ok(ByteRange { start, end }),
    }
}

/// Parses a number of bytes: `65536`, `64KiB`, `1MiB`, `2GiB`.
fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number of bytes such as 65536, 64KiB or 1MiB");
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return Err(wrong()),
    };
    number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_may_be_open() {
        let range = |start, end| Ok(ByteRange { start, end });
        assert_eq!(parse_range("1..2"), range(1, Some(2)));
        assert_eq!(parse_range("1KiB.."), range(1024, None));
        assert_eq!(parse_range("..2m"), range(0, Some(2 << 20)));
        assert_eq!(parse_range(".."), range(0, None));
        assert_eq!(parse_range("3..3"), range(3, Some(3)));
        for bad in ["", "1", "1-2", "2..1", "a..b", "1..2..3", "-1..2", "1.5K..", "99999999TiB.."] {
            assert!(parse_range(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_for_people() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(exact_size(1), "1 byte");
        assert_eq!(exact_size(1000), "1000 bytes");
        assert_eq!(exact_size(1 << 30), "1.0 GiB (1073741824 bytes)");
        assert_eq!(rate(1 << 20, Duration::from_millis(500)), "2.0 MiB/s");
        assert_eq!(seconds(Duration::from_millis(1234)), "1.23 s");
        assert_eq!(count(1, "chunk"), "1 chunk");
    }
}
