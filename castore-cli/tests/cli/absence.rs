//! What is not there: blobs and stores.

use crate::support::Place;

#[test]
fn an_absent_blob_has_its_exit_code() {
    let place = Place::new();
    place.write("a", b"a");
    place.ok(&["put", "a"]);
    for digest in ["00000000".to_owned(), "0".repeat(64)] {
        for args in [&["cat", &digest][..], &["stat", &digest], &["rm", &digest]] {
            assert!(place.fails(4, args).contains(&digest));
        }
        assert!(place.fails(4, &["get", &digest, "-o", "out"]).contains(&digest));
    }
    assert_eq!(place.names("."), ["a", "store"]);
}

#[test]
fn rm_removes_what_it_can() {
    let place = Place::new();
    let digest = place.write("a", b"a").to_string();
    place.ok(&["put", "a"]);
    place.fails(4, &["rm", "00000000", &digest]);
    assert_eq!(place.ok(&["ls"]), "");
}

#[test]
fn a_missing_store_has_its_exit_code() {
    let place = Place::new();
    place.write("a", b"a");
    let digest = "0".repeat(64);
    for args in [&["ls"][..], &["cat", &digest], &["stat", &digest], &["rm", &digest]] {
        let line = place.fails(10, args);
        assert!(line.contains("store") && line.contains("put FILE"), "{line}");
    }
    assert!(place.fails(10, &["-s", "a", "ls"]).contains("not a directory"));
    assert_eq!(place.names("."), ["a"]);
}

#[test]
fn a_prefix_of_several_digests_lists_them() {
    let place = Place::new();
    let shard = place.path("store/blobs/b3/abcd");
    std::fs::create_dir_all(&shard).unwrap();
    let digests = [1, 2].map(|last| format!("abcd1234{}{last}", "0".repeat(55)));
    for digest in &digests {
        std::fs::write(shard.join(digest), b"").unwrap();
    }
    let line = place.fails(2, &["cat", "abcd1234"]);
    assert!(digests.iter().all(|digest| line.contains(digest)), "{line}");
}
