//! The top level of a protobuf message, one field at a time.
//!
//! A message that is decoded as a whole can take twenty times the memory of its bytes, because an
//! entry of two bytes becomes a struct of forty. Walking the top level keeps one entry at a time.

use crate::error::FramingError;

/// How deep groups may nest: as deep as prost allows within an entry.
pub(crate) const MAX_NESTING: usize = 100;

/// The number of the field that holds an entry.
pub(crate) const ENTRY_FIELD: u32 = 2;

/// The number of the field that holds the list of group hashes.
pub(crate) const GROUPS_FIELD: u32 = 3;

/// A field of the index message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known<'a> {
    Entry(&'a [u8]),
    Groups(&'a [u8]),
}

/// The top-level fields of a message, in order.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    bytes: &'a [u8],
    offset: usize,
    /// Whether the field that was decoded last, or that has failed, is a list of group hashes.
    is_at_list: bool,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Fields<'a> {
        Fields { bytes, offset: 0, is_at_list: false }
    }

    /// The number of bytes taken so far.
    pub(crate) fn offset(&self) -> usize {
        self.offset
    }

    /// Whether the field that was decoded last, or that has failed, is a list of group hashes.
    pub(crate) fn is_at_list(&self) -> bool {
        self.is_at_list
    }

    /// The next entry or list of group hashes, or `None` if none is left.
    ///
    /// All other fields are skipped, whatever their type. An error comes with the offset at which
    /// the field starts.
    pub(crate) fn next_known(&mut self) -> Result<Option<Known<'a>>, (usize, FramingError)> {
        while self.offset < self.bytes.len() {
            let start = self.offset;
            if let Some(known) = self.field().map_err(|error| (start, error))? {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    fn field(&mut self) -> Result<Option<Known<'a>>, FramingError> {
        self.is_at_list = false;
        let key = self.key()?;
        self.is_at_list = key == (GROUPS_FIELD, 2);
        match key {
            (ENTRY_FIELD, 2) => self.delimited().map(|bytes| Some(Known::Entry(bytes))),
            (ENTRY_FIELD, other) => Err(FramingError::WireType(other)),
            (GROUPS_FIELD, 2) => self.delimited().map(|bytes| Some(Known::Groups(bytes))),
            (number, wire_type) => self.skip(number, wire_type).map(|()| None),
        }
    }

    /// Skips the value of an unknown field; of a group, all fields up to its end.
    fn skip(&mut self, number: u32, wire_type: u8) -> Result<(), FramingError> {
        let mut open = Vec::new();
        let (mut number, mut wire_type) = (number, wire_type);
        loop {
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.take(8)?),
                2 => drop(self.delimited()?),
                3 if open.len() == MAX_NESTING => return Err(FramingError::Nesting),
                3 => open.push(number),
                4 if open.pop() == Some(number) => {}
                4 => return Err(FramingError::GroupEnd),
                5 => drop(self.take(4)?),
                other => return Err(FramingError::WireType(other)),
            }
            if open.is_empty() {
                return Ok(());
            }
            (number, wire_type) = self.key()?;
        }
    }

    /// A field number and a wire type (0 to 7).
    pub(crate) fn key(&mut self) -> Result<(u32, u8), FramingError> {
        let key = u32::try_from(self.varint()?).map_err(|_| FramingError::FieldNumber)?;
        match key >> 3 {
            0 => Err(FramingError::FieldNumber),
            number => Ok((number, (key & 7) as u8)),
        }
    }

    pub(crate) fn delimited(&mut self) -> Result<&'a [u8], FramingError> {
        let length = usize::try_from(self.varint()?).map_err(|_| FramingError::Truncated)?;
        self.take(length)
    }

    pub(crate) fn varint(&mut self) -> Result<u64, FramingError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            // The tenth byte has room for one bit only.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FramingError::Varint)
    }

    pub(crate) fn take(&mut self, length: usize) -> Result<&'a [u8], FramingError> {
        let rest = &self.bytes[self.offset..];
        let taken = rest.get(..length).ok_or(FramingError::Truncated)?;
        self.offset += length;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All fields 2 of `bytes`.
    fn walk(bytes: &[u8]) -> Result<Vec<&[u8]>, (usize, FramingError)> {
        let mut fields = Fields::new(bytes);
        let entry = |known| match known {
            Known::Entry(bytes) => bytes,
            Known::Groups(_) => panic!("there is no field 3"),
        };
        std::iter::from_fn(|| fields.next_known().map(|known| known.map(entry)).transpose())
            .collect()
    }

    #[test]
    fn varints_have_at_most_64_bits() {
        let varint = |bytes: &[u8]| Fields::new(bytes).varint();
        assert_eq!(varint(&[0]), Ok(0));
        assert_eq!(varint(&[0xac, 2]), Ok(300));
        assert_eq!(varint(&[0x80, 0]), Ok(0), "a longer encoding than needed is allowed");
        let max = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1];
        assert_eq!(varint(&max), Ok(u64::MAX));
        let more = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2];
        assert_eq!(varint(&more), Err(FramingError::Varint));
        assert_eq!(varint(&[0x80; 11]), Err(FramingError::Varint));
        assert_eq!(varint(&[0x80; 9]), Err(FramingError::Truncated));
        assert_eq!(varint(&[]), Err(FramingError::Truncated));
    }

    #[test]
    fn only_the_wanted_field_is_returned() {
        assert_eq!(walk(&[]), Ok(vec![]));
        assert_eq!(walk(&[0x0a, 1, b'x', 0x12, 2, b'y', b'z', 0x12, 0]), Ok(vec![&b"yz"[..], b""]));
    }

    #[test]
    fn a_list_of_group_hashes_is_known_by_number_and_type() {
        let mut fields = Fields::new(&[0x1a, 1, b'x', 0x18, 5, 0x1b, 0x1c, 0x1d, 1, 2, 3, 4]);
        assert_eq!(fields.next_known(), Ok(Some(Known::Groups(b"x"))));
        assert_eq!(fields.next_known(), Ok(None));
    }

    #[test]
    fn groups_are_skipped_whole() {
        // Group 5 holds a varint, a field 2, and group 6 with a field 2 of its own.
        let group = [0x2b, 8, 1, 0x12, 1, b'a', 0x33, 0x12, 0, 0x34, 0x2c, 0x12, 1, b'b'];
        assert_eq!(walk(&group), Ok(vec![&b"b"[..]]));
    }

    #[test]
    fn groups_nest_to_a_limit() {
        let nested = |depth| [vec![0x2b; depth], vec![0x2c; depth]].concat();
        assert_eq!(walk(&nested(MAX_NESTING)), Ok(vec![]));
        assert_eq!(walk(&nested(MAX_NESTING + 1)), Err((0, FramingError::Nesting)));
    }
}
