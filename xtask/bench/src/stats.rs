//! The statistics that a comparison needs.

use crate::random::Random;

/// The median; NaN for no values.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => sorted[middle],
        _ => f64::midpoint(sorted[middle - 1], sorted[middle]),
    }
}

/// The comparison of `new` with `old`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Change {
    /// The ratio of the medians, new / old.
    pub(crate) ratio: f64,
    /// The bounds of 95% of the ratios when both samples are drawn again.
    pub(crate) low: f64,
    pub(crate) high: f64,
}

impl Change {
    /// Whether the data show a change.
    pub(crate) fn is_seen(&self) -> bool {
        !(self.low <= 1.0 && 1.0 <= self.high)
    }
}

/// The change, with a bootstrap interval; `None` if a sample is too small.
///
/// With three values in each sample, the interval reaches about from the least ratio to the
/// greatest: it errs on the side of seeing no change.
pub(crate) fn change(old: &[f64], new: &[f64]) -> Option<Change> {
    const ROUNDS: usize = 4000;
    if old.len() < 2 || new.len() < 2 {
        return None;
    }
    let mut random = Random::new("bootstrap");
    let mut draw = |values: &[f64]| {
        let drawn: Vec<f64> =
            values.iter().map(|_| values[random.below(values.len() as u64) as usize]).collect();
        median(&drawn)
    };
    let mut ratios: Vec<f64> = (0..ROUNDS).map(|_| draw(new) / draw(old)).collect();
    ratios.sort_by(f64::total_cmp);
    Some(Change {
        ratio: median(new) / median(old),
        low: ratios[ROUNDS / 40],
        high: ratios[ROUNDS - 1 - ROUNDS / 40],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
        assert_eq!(median(&[7.0]), 7.0);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn a_clear_change_is_seen_and_noise_is_not() {
        let old = [1.00, 1.02, 0.99, 1.01, 1.03];
        let faster = change(&old, &[0.80, 0.81, 0.79, 0.82, 0.80]).unwrap();
        assert!(faster.is_seen() && faster.high < 0.9, "{faster:?}");
        assert!((faster.ratio - 0.80 / 1.01).abs() < 1e-9);
        let same = change(&old, &[1.01, 1.00, 1.04, 0.98, 1.02]).unwrap();
        assert!(!same.is_seen() && same.low < same.high, "{same:?}");
    }

    #[test]
    fn one_value_tells_nothing() {
        assert_eq!(change(&[1.0], &[2.0, 2.0]), None);
        assert_eq!(change(&[1.0, 1.0], &[2.0]), None);
    }
}
