//! Numbers with units, as options and command lines have them.

use std::time::Duration;

/// Parses a number of bytes with a binary unit: `64MiB`, `64M`, `65536`. Units are `k`, `m`, `g`
/// and `t`, with or without `iB`, in either case. `None` for any other text, and for a number above
/// 2^64.
///
/// ```
/// use castore_objstore::units::parse_size;
///
/// assert_eq!(parse_size("64KiB"), Some(65_536));
/// assert_eq!(parse_size("64KB"), None);
/// ```
pub fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split(text);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Parses a time with a unit: `90s`, `15m`, `24h`, `7d`. Only `0` needs no unit. `None` for any
/// other text, and for a time of more than 2^64 seconds.
///
/// ```
/// use castore_objstore::units::parse_time;
/// use std::time::Duration;
///
/// assert_eq!(parse_time("90s"), Some(Duration::from_secs(90)));
/// assert_eq!(parse_time("90"), None);
/// ```
pub fn parse_time(text: &str) -> Option<Duration> {
    let (number, unit) = split(text);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 24 * 3600,
        "" if number == "0" => 1,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds).map(Duration::from_secs)
}

/// The digits at the start, and the rest.
fn split(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        assert_eq!(parse_time("24h"), Some(Duration::from_secs(86_400)));
        assert_eq!(parse_time("7d"), Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(parse_time("0"), Some(Duration::ZERO));
        for bad in ["", "24", "h", "1.5h", "+1h", "-1h", "99999999999999999999d", "1w", "1\u{b5}"] {
            assert_eq!(parse_time(bad), None, "{bad}");
        }
    }

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("0"), Some(0));
        assert_eq!(parse_size("64MiB"), Some(64 << 20));
        assert_eq!(parse_size("3k"), Some(3072));
        assert_eq!(parse_size("2T"), Some(2 << 40));
        for bad in ["", "MiB", "1.5M", "-1", "1MB", "1 MiB", "99999999999999999999", "99999999t"] {
            assert_eq!(parse_size(bad), None, "{bad}");
        }
    }
}
