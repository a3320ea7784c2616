//! Every way in which an index object can be wrong, and some in which one is only unusual.

use castore_core::{BlobIndex, Digest, IndexError, MAX_CHUNK_SIZE, MAX_CHUNKS};
use castore_proto::DecodeError::{DigestLength, Entry, Framing, Index};
use castore_proto::{DecodeError, FramingError, MAX_INDEX_SIZE, decode, encode};

/// A field of wire type 2.
fn delimited(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).ok().filter(|length| *length < 0x80).unwrap();
    [&[number << 3 | 2, length], bytes].concat()
}

/// A field of wire type 0.
fn varint(number: u8, mut value: u64) -> Vec<u8> {
    let mut bytes = vec![number << 3];
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
    bytes
}

/// An entry with any fields.
fn entry(fields: &[Vec<u8>]) -> Vec<u8> {
    delimited(2, &fields.concat())
}

fn digest(name: &str) -> Vec<u8> {
    delimited(1, Digest::of(name.as_bytes()).as_bytes())
}

fn size(size: u64) -> Vec<u8> {
    varint(2, size)
}

/// The entry of the chunk `name`, of 3 bytes.
fn good(name: &str) -> Vec<u8> {
    entry(&[digest(name), size(3)])
}

/// The blob that the objects in this file belong to.
fn blob() -> Digest {
    Digest::of(b"blob")
}

fn decoded(objects: &[Vec<u8>]) -> Result<Option<BlobIndex>, DecodeError> {
    decode(&blob(), &objects.concat())
}

/// The sizes of the chunks of a valid object.
fn sizes(objects: &[Vec<u8>]) -> Vec<u64> {
    decoded(objects).unwrap().unwrap().iter().map(|chunk| chunk.size).collect()
}

#[test]
fn no_entries_stand_for_a_blob_of_one_chunk() {
    assert_eq!(decoded(&[]), Ok(None));
    assert_eq!(decoded(&[delimited(3, b"bao")]), Ok(None));
}

#[test]
fn no_entries_are_the_empty_blob() {
    assert_eq!(decode(&Digest::EMPTY, b""), Ok(Some(BlobIndex::empty())));
    let unknown = delimited(9, b"unknown");
    assert_eq!(decode(&Digest::EMPTY, &unknown), Ok(Some(BlobIndex::empty())));
}

#[test]
fn entries_of_the_empty_blob() {
    let result = decode(&Digest::EMPTY, &good("a"));
    assert_eq!(result, Err(Index(IndexError::ChunksOfEmpty)));
}

#[test]
fn the_only_chunk_is_another_blob() {
    let other = Digest::of(b"a");
    assert_eq!(decoded(&[good("a")]), Err(Index(IndexError::OtherBlob(other))));
}

#[test]
fn the_index_lists_itself() {
    let result = decoded(&[good("a"), good("blob")]);
    assert_eq!(result, Err(Index(IndexError::ListsItself(1))));
}

#[test]
fn an_entry_without_a_digest() {
    let wrong = DigestLength { number: 1, length: 0 };
    assert_eq!(decoded(&[good("a"), entry(&[size(3)])]), Err(wrong));
}

#[test]
fn an_empty_entry() {
    let wrong = DigestLength { number: 1, length: 0 };
    assert_eq!(decoded(&[good("a"), entry(&[])]), Err(wrong));
}

#[test]
fn a_digest_of_another_length() {
    for length in [1, 31, 33, 64] {
        let object = entry(&[delimited(1, &vec![7; length]), size(3)]);
        assert_eq!(decoded(&[object]), Err(DigestLength { number: 0, length }));
    }
}

#[test]
fn a_chunk_without_a_size() {
    let result = decoded(&[good("a"), entry(&[digest("b")])]);
    assert_eq!(result, Err(Index(IndexError::EmptyChunk(1))));
}

#[test]
fn a_chunk_of_no_bytes() {
    let result = decoded(&[good("a"), entry(&[digest("b"), size(0)])]);
    assert_eq!(result, Err(Index(IndexError::EmptyChunk(1))));
}

#[test]
fn a_chunk_that_is_too_large() {
    let with = |large| decoded(&[good("a"), entry(&[digest("b"), size(large)])]);
    assert_eq!(with(MAX_CHUNK_SIZE).unwrap().unwrap().size(), 3 + MAX_CHUNK_SIZE);
    for large in [MAX_CHUNK_SIZE + 1, u64::MAX - 1, u64::MAX] {
        assert_eq!(with(large), Err(Index(IndexError::LargeChunk(1, large))));
    }
}

#[test]
fn a_size_of_more_than_64_bits() {
    let long = [&[0x10][..], &[0xff; 10], &[1]].concat();
    let result = decoded(&[good("a"), entry(&[digest("b"), long])]);
    assert!(matches!(result, Err(Entry { number: 1, .. })), "{result:?}");
}

#[test]
fn more_chunks_than_the_format_allows() {
    // Without the last entry the index is valid.
    let object = good("a").repeat(MAX_CHUNKS + 1);
    assert_eq!(decode(&blob(), &object), Err(Index(IndexError::TooManyChunks)));
}

#[test]
fn the_largest_index_fits_the_stated_size() {
    let large = entry(&[digest("a"), size(MAX_CHUNK_SIZE)]);
    let entries = large.len() as u64 * MAX_CHUNKS as u64;
    assert_eq!(MAX_INDEX_SIZE - entries, 32 * (1 << 24) + 64 * 1024);
    let index = decoded(&[large.clone(), large.clone()]).unwrap().unwrap();
    assert_eq!(encode(&index), large.repeat(2));
}

#[test]
fn empty_entries_are_not_amplified() {
    // Decoded as a whole, these two megabytes would take forty before any check.
    let object = entry(&[]).repeat(1_000_000);
    assert_eq!(decode(&blob(), &object), Err(DigestLength { number: 0, length: 0 }));
}

#[test]
fn an_object_that_is_cut_short() {
    let object = [good("a"), good("b")].concat();
    let one = good("a").len();
    for length in 1..object.len() {
        let result = decode(&blob(), &object[..length]);
        if length == one {
            assert!(matches!(result, Err(Index(IndexError::OtherBlob(_)))));
        } else {
            let offset = if length < one { 0 } else { one };
            assert_eq!(result, Err(Framing { offset, source: FramingError::Truncated }));
        }
    }
}

#[test]
fn an_entry_that_is_cut_short() {
    let fields = [digest("a"), size(3)].concat();
    // Without the size the entry is a message, of a chunk without bytes.
    for length in (1..34).chain([35]) {
        let result = decoded(&[delimited(2, &fields[..length])]);
        assert!(matches!(result, Err(Entry { number: 0, .. })), "{length}: {result:?}");
    }
}

#[test]
fn a_length_that_is_larger_than_memory() {
    let mut object = vec![0x12];
    object.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
    let wrong = Framing { offset: 0, source: FramingError::Truncated };
    assert_eq!(decode(&blob(), &object), Err(wrong));
    object[0] = 0x4a;
    let wrong = Framing { offset: 0, source: FramingError::Truncated };
    assert_eq!(decode(&blob(), &object), Err(wrong), "of an unknown field");
    object[0] = 0x0a;
    let result = decode(&blob(), &delimited(2, &object));
    assert!(matches!(result, Err(Entry { number: 0, .. })), "of a digest: {result:?}");
}

#[test]
fn a_number_of_more_than_64_bits() {
    let wrong = |object: &[u8]| {
        let expected = Framing { offset: 0, source: FramingError::Varint };
        assert_eq!(decode(&blob(), object), Err(expected));
    };
    wrong(&[0xff; 10]);
    wrong(&[&[0x12][..], &[0xff; 10]].concat());
    wrong(&[&[0x48][..], &[0xff; 10]].concat());
}

#[test]
fn a_field_number_that_is_not_valid() {
    for key in [&[0x00][..], &[0x02, 0], &[0x80, 0x80, 0x80, 0x80, 0x10, 0]] {
        let object = [&good("a"), key].concat();
        let offset = good("a").len();
        let wrong = Framing { offset, source: FramingError::FieldNumber };
        assert_eq!(decode(&blob(), &object), Err(wrong));
    }
}

#[test]
fn a_wire_type_that_does_not_exist() {
    for wire_type in [6, 7] {
        let wrong = Framing { offset: 0, source: FramingError::WireType(wire_type) };
        assert_eq!(decode(&blob(), &[9 << 3 | wire_type, 0]), Err(wrong));
    }
}

#[test]
fn entries_of_another_wire_type() {
    for wire_type in [0, 1, 3, 4, 5] {
        let wrong = Framing { offset: 0, source: FramingError::WireType(wire_type) };
        assert_eq!(decode(&blob(), &[2 << 3 | wire_type, 0, 0, 0, 0, 0, 0, 0, 0]), Err(wrong));
    }
}

#[test]
fn a_digest_or_size_of_another_wire_type() {
    let number = entry(&[varint(1, 5), size(3)]);
    assert!(matches!(decoded(&[number]), Err(Entry { number: 0, .. })));
    let text = entry(&[digest("a"), delimited(2, b"3")]);
    assert!(matches!(decoded(&[text]), Err(Entry { number: 0, .. })));
}

#[test]
fn groups_that_do_not_match() {
    let wrong = |object: &[u8], source| {
        assert_eq!(decode(&blob(), object), Err(Framing { offset: 0, source }));
    };
    wrong(&[0x4c], FramingError::GroupEnd);
    wrong(&[0x4b, 0x54], FramingError::GroupEnd);
    wrong(&[0x4b], FramingError::Truncated);
    wrong(&[0x4b, 0x48], FramingError::Truncated);
    wrong(&[0x4b; 1_000_000], FramingError::Nesting);
}

#[test]
fn groups_nested_deeply_within_an_entry() {
    let nested = [0x4b; 120];
    let result = decoded(&[delimited(2, &nested)]);
    assert!(matches!(result, Err(Entry { number: 0, .. })), "{result:?}");
}

/// A field of each wire type that no version of the message has.
fn unknown() -> Vec<Vec<u8>> {
    vec![
        varint(9, u64::MAX),
        [&[9 << 3 | 1][..], &[0xff; 8]].concat(),
        delimited(9, b"unknown"),
        [vec![9 << 3 | 3], varint(1, 1), good("x"), vec![9 << 3 | 4]].concat(),
        [&[9 << 3 | 5][..], &[0xff; 4]].concat(),
    ]
}

#[test]
fn unknown_fields_are_skipped() {
    for field in unknown() {
        let objects = [field.clone(), good("a"), field.clone(), good("b"), field];
        assert_eq!(sizes(&objects), [3, 3]);
    }
}

#[test]
fn unknown_fields_of_an_entry_are_skipped() {
    let mut fields = unknown();
    // A whole entry inside would make this field longer than one byte of length can express.
    fields[3] = [vec![9 << 3 | 3], varint(1, 1), vec![9 << 3 | 4]].concat();
    for field in fields {
        let objects = [
            entry(&[field.clone(), digest("a"), field.clone(), size(5), field.clone()]),
            good("b"),
        ];
        assert_eq!(sizes(&objects), [5, 3]);
    }
}

#[test]
fn fields_1_and_3_are_skipped() {
    let objects = [delimited(1, b"unused"), good("a"), delimited(3, b"bao"), good("b")];
    assert_eq!(sizes(&objects), [3, 3]);
}

#[test]
fn the_last_of_a_repeated_field_counts() {
    let objects = [entry(&[digest("x"), size(9), digest("a"), size(3)]), good("b")];
    assert_eq!(decoded(&objects), decoded(&[good("a"), good("b")]));
}

#[test]
fn fields_of_an_entry_in_any_order() {
    let objects = [entry(&[size(3), digest("a")]), good("b")];
    assert_eq!(decoded(&objects), decoded(&[good("a"), good("b")]));
}

#[test]
fn nothing_is_carried_over_to_the_next_entry() {
    let result = decoded(&[good("a"), entry(&[size(3)]), good("b")]);
    assert_eq!(result, Err(DigestLength { number: 1, length: 0 }));
}

#[test]
fn the_first_error_is_reported() {
    let result = decoded(&[good("a"), entry(&[]), vec![0]]);
    assert_eq!(result, Err(DigestLength { number: 1, length: 0 }));
    let result = decoded(&[entry(&[digest("a")]), entry(&[])]);
    assert_eq!(result, Err(Index(IndexError::EmptyChunk(0))));
}

#[test]
fn an_error_is_one_line_and_its_source_another() {
    use std::error::Error as _;
    let error = decoded(&[good("a")]).unwrap_err();
    assert_eq!(error.to_string(), "the listed chunks do not make an index of this blob");
    assert!(error.source().unwrap().downcast_ref::<IndexError>().is_some());
    let error = decode(&blob(), &[0x4c]).unwrap_err();
    assert_eq!(error.to_string(), "the field at byte 0 is malformed");
    assert_eq!(error.source().unwrap().to_string(), "a group ends that did not begin");
}
