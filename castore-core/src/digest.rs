//! The name of a blob or chunk: its BLAKE3-256 digest.

use std::fmt;
use std::str::FromStr;

/// The BLAKE3-256 digest of some bytes, and so the name of a blob or chunk.
///
/// `Display` and `FromStr` use 64 hexadecimal digits, lower case on output (as `b3sum` prints them)
/// and either case on input. Digests are ordered by their bytes, which is also the order of their
/// hexadecimal texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; Digest::LEN]);

impl Digest {
    /// The length of a digest, in bytes.
    pub const LEN: usize = 32;

    /// The digest of no bytes at all, and so the name of the empty blob.
    pub const EMPTY: Digest = Digest([
        0xaf, 0x13, 0x49, 0xb9, 0xf5, 0xf9, 0xa1, 0xa6, 0xa0, 0x40, 0x4d, 0xea, 0x36, 0xdc, 0xc9,
        0x49, 0x9b, 0xcb, 0x25, 0xc9, 0xad, 0xc1, 0x12, 0xb7, 0xcc, 0x9a, 0x93, 0xca, 0xe4, 0x1f,
        0x32, 0x62,
    ]);

    /// The digest of `bytes`, computed on the calling thread.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest(*blake3::hash(bytes).as_bytes())
    }

    /// A digest from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; Digest::LEN]) -> Digest {
        Digest(bytes)
    }

    /// The 32 bytes of the digest.
    pub const fn as_bytes(&self) -> &[u8; Digest::LEN] {
        &self.0
    }
}

impl From<[u8; Digest::LEN]> for Digest {
    fn from(bytes: [u8; Digest::LEN]) -> Digest {
        Digest(bytes)
    }
}

impl From<Digest> for [u8; Digest::LEN] {
    fn from(digest: Digest) -> [u8; Digest::LEN] {
        digest.0
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEX: &[u8; 16] = b"0123456789abcdef";
        let mut hex = [0; 2 * Digest::LEN];
        for (pair, byte) in hex.chunks_exact_mut(2).zip(self.0) {
            pair[0] = HEX[usize::from(byte >> 4)];
            pair[1] = HEX[usize::from(byte & 15)];
        }
        f.pad(std::str::from_utf8(&hex).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// The reason why a text is not a digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParseDigestError {
    /// The text does not have 64 characters.
    #[error("a digest has 64 hexadecimal digits, this has {0} characters")]
    Length(usize),
    /// A character is not a hexadecimal digit.
    #[error("{character:?} at position {position} is not a hexadecimal digit")]
    Character {
        /// The offending character.
        character: char,
        /// The position of the character, counted in characters from 0.
        position: usize,
    },
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Digest, ParseDigestError> {
        let bad = text.chars().enumerate().find(|(_, c)| !c.is_ascii_hexdigit());
        if let Some((position, character)) = bad {
            return Err(ParseDigestError::Character { character, position });
        }
        if text.len() != 2 * Digest::LEN {
            return Err(ParseDigestError::Length(text.len()));
        }
        let nibble = |byte: u8| match byte {
            b'0'..=b'9' => byte - b'0',
            _ => (byte | 0x20) - b'a' + 10,
        };
        let mut bytes = [0; Digest::LEN];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            *byte = 16 * nibble(pair[0]) + nibble(pair[1]);
        }
        Ok(Digest(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_is_the_digest_of_no_bytes() {
        assert_eq!(Digest::EMPTY, Digest::of(b""));
    }

    #[test]
    fn hex_as_b3sum_prints_it() {
        let hex = "41f8394111eb713a22165c46c90ab8f0fd9399c92028fd6d288944b23ff5bf76";
        let digest = Digest::of(b"Hello World");
        assert_eq!(digest.to_string(), hex);
        assert_eq!(hex.parse(), Ok(digest));
        assert_eq!(hex.to_uppercase().parse(), Ok(digest));
        assert_eq!(format!("{digest:.8}"), "41f83941");
    }

    #[test]
    fn every_byte_value_survives_the_hex() {
        for byte in 0..=255 {
            let digest = Digest::from_bytes([byte; 32]);
            assert_eq!(digest.to_string().parse(), Ok(digest));
        }
    }

    #[test]
    fn the_error_for_malformed_hex_names_the_reason() {
        let parse = |text: &str| text.parse::<Digest>().unwrap_err();
        assert_eq!(parse("abc"), ParseDigestError::Length(3));
        assert_eq!(parse(&"a".repeat(65)), ParseDigestError::Length(65));
        let at = |character, position| ParseDigestError::Character { character, position };
        assert_eq!(parse("abxd"), at('x', 2));
        assert_eq!(parse(&"é".repeat(32)), at('é', 0));
    }

    #[test]
    fn order_is_that_of_the_hex() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        assert_eq!(a.cmp(&b), a.to_string().cmp(&b.to_string()));
    }
}
