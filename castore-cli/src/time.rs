//! Points in time, as people write them: an age, or a date.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 60 * 60;

/// The time `text` ago (`90s`, `15m`, `12h`, `7d`, `2w`), or the start of the day `text`
/// (`2026-11-25`, UTC).
pub(crate) fn point(text: &str, now: SystemTime) -> Result<SystemTime, String> {
    let point = match text.contains('-') {
        true => date(text).map(|days| UNIX_EPOCH + Duration::from_secs(days * DAY)),
        false => {
            age(text).and_then(|age| now.checked_sub(age)).filter(|point| *point >= UNIX_EPOCH)
        }
    };
    point.ok_or_else(|| {
        format!("{text:?} is neither an age such as 12h or 7d nor a date such as 2026-11-25")
    })
}

/// The days since 1970-01-01.
pub(crate) fn today(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs() / DAY
}

fn age(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => DAY,
        "w" => 7 * DAY,
        _ => return None,
    };
    Some(Duration::from_secs(number.parse::<u64>().ok()?.checked_mul(seconds)?))
}

/// The days from 1970-01-01 to a date of the Gregorian calendar.
fn date(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut part = |len: usize| {
        let part = parts.next().filter(|part| part.len() == len)?;
        part.bytes().all(|byte| byte.is_ascii_digit()).then(|| part.parse::<u64>().ok())?
    };
    let (year, month, day) = (part(4)?, part(2)?, part(2)?);
    if parts.next().is_some() || year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let length = |month: u64| match month {
        2 => 28 + u64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    };
    if !(1..=length(month)).contains(&day) {
        return None;
    }
    let years: u64 = (1970..year).map(|year| 365 + u64::from(is_leap(year))).sum();
    let months: u64 = (1..month).map(length).sum();
    Some(years + months + day - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        let now = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let point = point(text, now).ok()?;
        Some(point.duration_since(UNIX_EPOCH).unwrap().as_secs())
    }

    #[test]
    fn ages_and_dates_are_points_in_time() {
        assert_eq!(seconds("0s"), Some(1_000_000_000));
        assert_eq!(seconds("2m"), Some(999_999_880));
        assert_eq!(seconds("1w"), Some(1_000_000_000 - 604_800));
        assert_eq!(seconds("1970-01-01"), Some(0));
        assert_eq!(seconds("2000-02-29"), Some(951_782_400));
        assert_eq!(seconds("2026-11-25"), Some(1_795_564_800));
        for bad in [
            "",
            "7",
            "d",
            "-1d",
            "7y",
            "1.5h",
            "99999999999999999999d",
            "9999999999999w",
            "2026-13-01",
            "2026-02-29",
            "2026-11-31",
            "2026-1-1",
            "1969-12-31",
            "2026-11-25-1",
            "2026-+1-01",
        ] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn days_are_counted_from_1970() {
        assert_eq!(today(UNIX_EPOCH + Duration::from_secs(3 * DAY - 1)), 2);
    }
}
