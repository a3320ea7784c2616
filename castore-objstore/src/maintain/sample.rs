//! A part of all chunks or blobs, chosen by their digests.

use castore_core::{Digest, Error, ErrorKind, Result};

/// A part of all chunks or blobs, chosen by their digests.
///
/// The digests are divided into parts of equal size; a sample is one of them. So parts 0 to 19 of
/// 5% each cover everything: a verification of another part each day has seen everything after 20
/// days.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    width: u128,
    part: u64,
}

/// The number of positions: 64 bits of a digest select its part.
const ALL: u128 = 1 << 64;

impl Sample {
    /// The `part`th part, if each is `fraction` (more than 0, at most 1) of everything. After the
    /// last part, the numbers begin again with the first.
    ///
    /// # Errors
    /// `InvalidInput` for another fraction.
    pub fn new(fraction: f64, part: u64) -> Result<Sample> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            let message = format!("{fraction} of everything is no sample: more than 0, up to 1");
            return Err(Error::new(ErrorKind::InvalidInput, "take a sample", message));
        }
        // Rounded up, so that parts overlap rather than leave a gap.
        let width = ((fraction * ALL as f64).ceil() as u128).clamp(1, ALL);
        Ok(Sample { width, part })
    }

    /// Whether the digest is in the sample.
    pub fn covers(&self, digest: &Digest) -> bool {
        // The last bytes: the first ones decide where an object lies, and the order of the work.
        let [.., a, b, c, d, e, f, g, h] = *digest.as_bytes();
        let position = u128::from(u64::from_be_bytes([a, b, c, d, e, f, g, h]));
        let start = (u128::from(self.part) * self.width) % ALL;
        (position + ALL - start) % ALL < self.width
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests() -> impl Iterator<Item = Digest> {
        (0..20_000_u32).map(|number| Digest::of(&number.to_le_bytes()))
    }

    #[test]
    fn the_parts_cover_everything_once() {
        for (fraction, parts) in [(0.05, 20), (0.25, 4), (1.0, 1), (0.5, 2)] {
            let samples: Vec<Sample> =
                (0..parts).map(|part| Sample::new(fraction, part).unwrap()).collect();
            for digest in digests() {
                assert_eq!(samples.iter().filter(|sample| sample.covers(&digest)).count(), 1);
            }
        }
    }

    #[test]
    fn a_sample_is_as_large_as_it_says_and_parts_begin_again() {
        let count = |sample: Sample| digests().filter(|digest| sample.covers(digest)).count();
        for part in [0, 3, 19] {
            let sample = Sample::new(0.05, part).unwrap();
            assert!((900..1100).contains(&count(sample)), "{}", count(sample));
            let again = Sample::new(0.05, part + 20).unwrap();
            assert!(digests().all(|digest| sample.covers(&digest) == again.covers(&digest)));
        }
    }

    #[test]
    fn a_number_that_is_no_fraction_is_refused() {
        for bad in [0.0, -1.0, 1.01, f64::NAN, f64::INFINITY] {
            assert!(Sample::new(bad, 0).is_err(), "{bad}");
        }
    }
}
