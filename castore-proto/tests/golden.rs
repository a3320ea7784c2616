//! Index objects byte for byte: those that other implementations wrote, and ours with group hashes.
//!
//! Changing a file in `golden/` is a change of the format: see CONTRIBUTING.md.

use castore_core::{BlobIndex, Digest};
use castore_proto::{decode, encode};

const EMPTY: &[u8] = include_bytes!("golden/empty.bin");
const HELLO: &[u8] = include_bytes!("golden/original-hello.bin");
const SMALL: &[u8] = include_bytes!("golden/original-small.bin");
const LARGE: &[u8] = include_bytes!("golden/original-large.bin");
const NUMBERS: &[u8] = include_bytes!("golden/original-numbers.bin");
const GROUPS_LARGE: &[u8] = include_bytes!("golden/groups-large.bin");
const GROUPS_NUMBERS: &[u8] = include_bytes!("golden/groups-numbers.bin");
const LATER_HELLO: &[u8] = include_bytes!("golden/later-hello.bin");
const LATER_SMALL: &[u8] = include_bytes!("golden/later-small.bin");
const LATER_LARGE: &[u8] = include_bytes!("golden/later-large.bin");
const LATER_NUMBERS: &[u8] = include_bytes!("golden/later-numbers.bin");

fn hello() -> Digest {
    Digest::of(b"Hello World")
}

fn small() -> Digest {
    "3acb476fea763612894d6791822106d243b4a0ef05199fa27c6b0a4f399148b5".parse().unwrap()
}

fn large() -> Digest {
    "50194e933c71a995fa2fff52fcbccfd83fe058ec10820b69b3fee135dfa4fd29".parse().unwrap()
}

fn numbers() -> Digest {
    "c8f7bbc7ec56d60b1213320ed1cb3d29033b7ebe861c0c55f6ec45ba08a3e3ca".parse().unwrap()
}

/// Each chunk as its digest in hexadecimal and its size in bytes.
fn listed(index: &BlobIndex) -> Vec<(String, u64)> {
    index.iter().map(|chunk| (chunk.digest.to_string(), chunk.size)).collect()
}

fn expected(chunks: &[(&str, u64)]) -> Vec<(String, u64)> {
    chunks.iter().map(|(digest, size)| (digest.to_string(), *size)).collect()
}

/// Decodes the object, and checks that encoding the index gives the same bytes.
fn index(digest: Digest, object: &[u8]) -> BlobIndex {
    let index = decode(&digest, object).unwrap().unwrap();
    assert_eq!(index.digest(), digest);
    assert_eq!(encode(&index), object);
    index
}

#[test]
fn the_empty_blob() {
    assert_eq!(index(Digest::EMPTY, EMPTY), BlobIndex::empty());
}

#[test]
fn one_chunk_by_the_original_writer() {
    let hello = index(hello(), HELLO);
    assert_eq!(listed(&hello), [(hello.digest().to_string(), 11)]);
    let small = index(small(), SMALL);
    assert_eq!(listed(&small), [(small.digest().to_string(), 100_000)]);
}

#[test]
fn one_chunk_by_the_later_writer() {
    assert_eq!(decode(&hello(), LATER_HELLO), Ok(None));
    assert_eq!(decode(&small(), LATER_SMALL), Ok(None));
}

#[test]
fn five_chunks_of_the_large_blob() {
    let index = index(large(), LARGE);
    assert_eq!(index.size(), 1_500_000);
    assert_eq!(
        listed(&index),
        expected(&[
            ("b0d76e89b4bafde4fb64823326387708a53ac1f282c3b31dc22af127185d3712", 413_869),
            ("f75a34de6dae4189ca9de964466ac493003649d70b30cbb638ae5f8228c75599", 285_896),
            ("cbc968a35328a8d44045c447234387b0a1ccf95751e41f0ab35a8c6571a3cdb7", 486_982),
            ("2ff1e110b8cf7588c828c546397d597901de1ba165bc3a034466d04d9be8d203", 154_527),
            ("1a621252d95fcbdc38ce421be1cf46f99c5f8affb367a3c31098686b5b3935b4", 158_726),
        ])
    );
    assert_eq!(decode(&large(), LATER_LARGE), Ok(Some(index)));
}

#[test]
fn five_chunks_of_the_numbers() {
    let index = index(numbers(), NUMBERS);
    assert_eq!(index.size(), 1_288_890);
    assert_eq!(
        listed(&index),
        expected(&[
            ("48e328d8e93193e02b0fcc49155443a5e7e62ac82609150cc24e04fd9d977837", 173_679),
            ("e73b3ae5093f10efb18f6f04a26884c3c80e298e057cff8b4fab649c48bfdd5e", 325_882),
            ("f3bf68bd9b0d43290b3812e9cabbbcce564e0c1087e71f8de68762f6f44d361f", 269_978),
            ("5d6f2b2f6349e340a899422bb37dc600461ee3fb343302b9391d1046ba604872", 349_312),
            ("f7fd40ed1b4830adc3f55eb0e402f25fa4301b404316c80505616197559fd7b9", 170_039),
        ])
    );
    assert_eq!(decode(&numbers(), LATER_NUMBERS), Ok(Some(index)));
}

/// The index with group hashes, and its values in hexadecimal. Without them the index is the one
/// that other implementations wrote.
fn with_groups(digest: Digest, object: &[u8], original: &[u8]) -> Vec<String> {
    let index = index(digest, object);
    assert!(object.starts_with(original));
    assert_eq!(encode(&index.clone().without_groups()), original);
    let groups = index.groups().expect("it has a list");
    groups.values().iter().map(|value| Digest::from_bytes(*value).to_string()).collect()
}

#[test]
fn group_hashes_of_the_large_blob() {
    assert_eq!(
        with_groups(large(), GROUPS_LARGE, LARGE),
        [
            "a7f12bc05d7ab0ac5354d52f73f32261454630e1d2351c6712bc618292f83b54",
            "7c4714b4d3e68b48beddd435c1dc43c01a036ab70bebabdb2e323a732ae21c82",
            "e29df487b51f86692b9fc8a1a4ef5e9e0ec75a7d617980c76c4caf057f7bf610",
            "3b6d14f5f0b12f8c5c3c0019cc2e805767938b3fa691001e6b0bca06ce914891",
            "34b9727459bb2efa0bfa83eb2465be27a8b51961254010afbca4ee4d1e2f544e",
            "49eb147c30068e9798220c4334c364d2a8afe9014f618e27c3986986d0571c59",
        ]
    );
}

#[test]
fn group_hashes_of_the_numbers() {
    assert_eq!(
        with_groups(numbers(), GROUPS_NUMBERS, NUMBERS),
        [
            "dfcecb3176127f9046878f2db904ada3142f12010ecda45e63094c6a69b9fb45",
            "65568a1eface62173621654b14699bceef051c89607fab888c429d058e934582",
            "14ca45d2e0722d77fd46444b5bd904f651ebd3053137addfa2ed49096049f815",
            "2265020cad2e38fb7ec37f149425f2077b9107f6cc3a998c5ea1900386c8dc55",
            "cc1af503925e7292d23f4e63ab0c13e69425779106e221f9ea376d7cee230c92",
        ]
    );
}
