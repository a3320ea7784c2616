//! The parameters that, besides a blob's bytes, decide at which positions it is cut.

use crate::gear;

const MINIMUM_MIN: usize = 64;
const MINIMUM_MAX: usize = 1024 * 1024;
const AVERAGE_MIN: usize = 256;
const AVERAGE_MAX: usize = 4 * 1024 * 1024;
const MAXIMUM_MIN: usize = 1024;
const MAXIMUM_MAX: usize = 16 * 1024 * 1024;

/// The minimum, average and maximum size of a chunk, in bytes; normalization and seed.
///
/// Only valid parameters exist:
/// - the average is 256 B to 4 MiB, and a power of two, because releases of `fastcdc` disagree on
///   where other averages cut;
/// - the minimum is 64 B to 1 MiB, the maximum 1 KiB to 16 MiB, and both are even, because FastCDC
///   2020 looks at bytes in pairs;
/// - minimum <= average <= maximum. Equal values are allowed: if all three are equal, only the size
///   decides.
///
/// The ranges are those of the `fastcdc` crate.
///
/// Other parameters cut the same blob at other positions, so only blobs that were cut with the same
/// parameters share chunks. The [`Default`] is the format's: 128 KiB, 256 KiB, 512 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ChunkParams {
    min_size: usize,
    avg_size: usize,
    max_size: usize,
    normalization: Normalization,
    seed: u64,
}

/// How strongly the sizes of chunks are drawn to the average: cuts are rarer before the average,
/// and more frequent after it.
///
/// The storage format uses level 1. Higher levels make sizes more alike, and so make chunks of the
/// maximum size rarer. With lower levels the content has more influence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Normalization {
    /// Cuts are as likely before the average as after it.
    Level0,
    /// Cuts are half as likely before the average, and twice as likely after it.
    #[default]
    Level1,
    /// Cuts are a quarter as likely before the average, and four times as likely after it.
    Level2,
    /// Cuts are an eighth as likely before the average, and eight times as likely after it.
    Level3,
}

/// The rule of [`ChunkParams`] that is broken. All sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParamsError {
    /// The average is outside its range.
    #[error("the average chunk size is {0} bytes, not from {AVERAGE_MIN} to {AVERAGE_MAX}")]
    AvgOutOfRange(usize),
    /// The average is not a power of two.
    #[error("the average chunk size is {0} bytes, not a power of two")]
    AvgNotPowerOfTwo(usize),
    /// The minimum is outside its range.
    #[error("the minimum chunk size is {0} bytes, not from {MINIMUM_MIN} to {MINIMUM_MAX}")]
    MinOutOfRange(usize),
    /// The minimum is odd.
    #[error("the minimum chunk size is {0} bytes, not an even number")]
    MinOdd(usize),
    /// The maximum is outside its range.
    #[error("the maximum chunk size is {0} bytes, not from {MAXIMUM_MIN} to {MAXIMUM_MAX}")]
    MaxOutOfRange(usize),
    /// The maximum is odd.
    #[error("the maximum chunk size is {0} bytes, not an even number")]
    MaxOdd(usize),
    /// The minimum is larger than the average.
    #[error("the minimum chunk size is {min_size} bytes, more than the average of {avg_size}")]
    MinAboveAvg {
        /// The minimum.
        min_size: usize,
        /// The average.
        avg_size: usize,
    },
    /// The average is larger than the maximum.
    #[error("the average chunk size is {avg_size} bytes, more than the maximum of {max_size}")]
    AvgAboveMax {
        /// The average.
        avg_size: usize,
        /// The maximum.
        max_size: usize,
    },
}

impl ChunkParams {
    /// Parameters for chunks of `min_size` to `max_size` bytes, most of them around `avg_size`.
    ///
    /// The last chunk of a blob may be smaller than the minimum.
    ///
    /// # Errors
    /// Fails if the sizes break one of the rules above. The error names the first broken rule, in
    /// that order.
    pub fn new(
        min_size: usize,
        avg_size: usize,
        max_size: usize,
    ) -> Result<ChunkParams, ParamsError> {
        if !(AVERAGE_MIN..=AVERAGE_MAX).contains(&avg_size) {
            return Err(ParamsError::AvgOutOfRange(avg_size));
        }
        if !avg_size.is_power_of_two() {
            return Err(ParamsError::AvgNotPowerOfTwo(avg_size));
        }
        if !(MINIMUM_MIN..=MINIMUM_MAX).contains(&min_size) {
            return Err(ParamsError::MinOutOfRange(min_size));
        }
        if !min_size.is_multiple_of(2) {
            return Err(ParamsError::MinOdd(min_size));
        }
        if !(MAXIMUM_MIN..=MAXIMUM_MAX).contains(&max_size) {
            return Err(ParamsError::MaxOutOfRange(max_size));
        }
        if !max_size.is_multiple_of(2) {
            return Err(ParamsError::MaxOdd(max_size));
        }
        if min_size > avg_size {
            return Err(ParamsError::MinAboveAvg { min_size, avg_size });
        }
        if avg_size > max_size {
            return Err(ParamsError::AvgAboveMax { avg_size, max_size });
        }
        Ok(ChunkParams::of_valid(min_size, avg_size, max_size))
    }

    /// Parameters with an average of `avg_size` bytes, a minimum of half and a maximum of twice
    /// that.
    ///
    /// # Errors
    /// Fails if `avg_size` is not a power of two from 512 B to 2 MiB. 256 B and 4 MiB are valid
    /// averages too, but twice the one is too small a maximum, and half the other is too large a
    /// minimum.
    pub fn with_average(avg_size: usize) -> Result<ChunkParams, ParamsError> {
        ChunkParams::new(avg_size / 2, avg_size, avg_size.saturating_mul(2))
    }

    fn of_valid(min_size: usize, avg_size: usize, max_size: usize) -> ChunkParams {
        ChunkParams { min_size, avg_size, max_size, normalization: Normalization::Level1, seed: 0 }
    }

    /// The same sizes with another normalization; the default is level 1, the storage format's.
    #[must_use]
    pub fn with_normalization(self, normalization: Normalization) -> ChunkParams {
        ChunkParams { normalization, ..self }
    }

    /// The same sizes with another seed; the default is 0, the storage format's.
    ///
    /// Without the seed, an observer of the sizes of chunks cannot infer their content.
    #[must_use]
    pub fn with_seed(self, seed: u64) -> ChunkParams {
        ChunkParams { seed, ..self }
    }

    /// The minimum size in bytes of every chunk except a blob's last.
    pub fn min_size(&self) -> usize {
        self.min_size
    }

    /// The size in bytes from which on cuts are more likely.
    pub fn avg_size(&self) -> usize {
        self.avg_size
    }

    /// The maximum size in bytes of a chunk.
    pub fn max_size(&self) -> usize {
        self.max_size
    }

    /// How strongly sizes are drawn to the average.
    pub fn normalization(&self) -> Normalization {
        self.normalization
    }

    /// The seed that varies the table of the hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The masks, each with the size in bytes up to which it applies.
    pub(crate) fn masks(&self) -> [(usize, u64); 2] {
        let bits = self.avg_size.ilog2();
        let level = self.normalization as u32;
        [(self.avg_size, gear::mask(bits + level)), (self.max_size, gear::mask(bits - level))]
    }
}

impl Default for ChunkParams {
    fn default() -> ChunkParams {
        ChunkParams::of_valid(128 * 1024, 256 * 1024, 512 * 1024)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    #[test]
    fn default_is_the_average_of_the_format() {
        let params = ChunkParams::default();
        assert_eq!(Ok(params), ChunkParams::with_average(262_144));
        assert_eq!(params.min_size(), 131_072);
        assert_eq!(params.avg_size(), 262_144);
        assert_eq!(params.max_size(), 524_288);
    }

    #[test]
    fn the_limits_themselves_are_allowed() {
        for (min, avg, max) in [
            (64, 256, 1024),
            (MIB, 4 * MIB, 16 * MIB),
            (256, 256, 1024),
            (64, 1024, 1024),
            (1024, 1024, 1024),
            (MIB, MIB, MIB),
        ] {
            let params = ChunkParams::new(min, avg, max).unwrap();
            assert_eq!((params.min_size(), params.avg_size(), params.max_size()), (min, avg, max));
        }
    }

    #[test]
    fn a_broken_rule_is_named() {
        let broken = |min, avg, max| ChunkParams::new(min, avg, max).unwrap_err();
        assert_eq!(broken(64, 128, 1024), ParamsError::AvgOutOfRange(128));
        assert_eq!(broken(64, 8 * MIB, 16 * MIB), ParamsError::AvgOutOfRange(8 * MIB));
        assert_eq!(broken(64, 258, 1024), ParamsError::AvgNotPowerOfTwo(258));
        assert_eq!(broken(64, 257, 1024), ParamsError::AvgNotPowerOfTwo(257));
        assert_eq!(broken(62, 256, 1024), ParamsError::MinOutOfRange(62));
        assert_eq!(broken(0, 256, 1024), ParamsError::MinOutOfRange(0));
        assert_eq!(broken(MIB + 2, 4 * MIB, 8 * MIB), ParamsError::MinOutOfRange(MIB + 2));
        assert_eq!(broken(65, 256, 1024), ParamsError::MinOdd(65));
        assert_eq!(broken(64, 256, 1022), ParamsError::MaxOutOfRange(1022));
        assert_eq!(broken(64, 256, 16 * MIB + 2), ParamsError::MaxOutOfRange(16 * MIB + 2));
        assert_eq!(broken(64, 256, 1025), ParamsError::MaxOdd(1025));
        assert_eq!(
            broken(258, 256, 1024),
            ParamsError::MinAboveAvg { min_size: 258, avg_size: 256 }
        );
        assert_eq!(
            broken(64, 2048, 1024),
            ParamsError::AvgAboveMax { avg_size: 2048, max_size: 1024 }
        );
    }

    #[test]
    fn an_average_alone_needs_its_half_and_double_in_range() {
        for power in 9..=21 {
            let params = ChunkParams::with_average(1 << power).unwrap();
            assert_eq!(params.min_size() * 4, params.max_size());
        }
        let broken = |avg| ChunkParams::with_average(avg).unwrap_err();
        assert_eq!(broken(256), ParamsError::MaxOutOfRange(512));
        assert_eq!(broken(4 * MIB), ParamsError::MinOutOfRange(2 * MIB));
        assert_eq!(broken(0), ParamsError::AvgOutOfRange(0));
        assert_eq!(broken(usize::MAX), ParamsError::AvgOutOfRange(usize::MAX));
        assert_eq!(broken(300_000), ParamsError::AvgNotPowerOfTwo(300_000));
    }

    #[test]
    fn errors_say_the_rule_in_words() {
        let text = |min, avg, max| ChunkParams::new(min, avg, max).unwrap_err().to_string();
        assert_eq!(text(2, 256, 1024), "the minimum chunk size is 2 bytes, not from 64 to 1048576");
        assert_eq!(text(64, 300, 1024), "the average chunk size is 300 bytes, not a power of two");
    }
}
