//! Absent blobs and absent stores.

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

#[test]
fn a_place_without_a_store_is_not_taken_for_an_empty_one() {
    let place = Place::new();
    place.write("a", b"a");
    std::fs::create_dir_all(place.path("unmounted/chunks")).unwrap();
    std::fs::write(place.path("unmounted/notes"), b"x").unwrap();
    let digest = "0".repeat(64);
    for args in [
        &["ls"][..],
        &["ls", "--long"],
        &["verify"],
        &["--json", "verify", "--level", "data"],
        &["verify", "--resume", "record"],
        &["gc"],
        &["gc", "--run"],
        &["repair"],
        &["stats"],
        &["copy", "--to", "other", "--all"],
        &["copy", "--to", "other", &digest],
        &["rm", &digest],
        &["rm", "00000000"],
        &["stat", &digest],
        &["cat", &digest],
        &["get", &digest, "-o", "out"],
        &["diff", &digest, &digest],
        &["-s", "store", "repair", "--from", "unmounted"],
    ] {
        let run = match args.contains(&"-s") {
            true => {
                place.ok(&["-q", "put", "a"]);
                place.run(args)
            }
            false => place.run(&[&["-s", "unmounted"], args].concat()),
        };
        assert_eq!((run.code, run.text().as_str()), (10, ""), "{args:?}: {run:?}");
        assert_eq!(run.stderr.lines().count(), 1, "{args:?}: {run:?}");
        assert!(
            run.stderr.contains("there is no castore store at unmounted; "),
            "{args:?}: {run:?}"
        );
    }
    assert_eq!(place.names("unmounted"), ["chunks", "notes"], "nothing was written there");
    assert_eq!(place.names("."), ["a", "store", "unmounted"]);
}

#[test]
fn a_store_that_is_empty_is_one() {
    let place = Place::new();
    let digest = place.write("a", b"a").to_string();
    let put = place.run(&["put", "a"]);
    assert!(put.stderr.contains("castore: made a new store at store\n"), "{put:?}");
    assert!(!place.run(&["put", "a"]).stderr.contains("made"));
    place.ok(&["rm", &digest]);
    std::fs::remove_dir_all(place.path("store/chunks")).unwrap();
    for args in [&["ls"][..], &["verify"], &["gc", "--run"], &["repair"], &["stats"]] {
        place.ok(args);
    }
    place.ok(&["copy", "--all", "--to", "other"]);
    place.ok(&["-s", "other", "verify"]);
    place.fails(4, &["cat", &digest]);
}

#[test]
fn something_else_at_the_place_of_a_store_is_none() {
    let place = Place::new();
    place.write("a", b"a");
    std::fs::create_dir(place.path("store")).unwrap();
    std::fs::write(place.path("store/castore-format"), b"<html>").unwrap();
    for args in [&["-q", "put", "a"][..], &["ls"], &["gc", "--run"]] {
        let line = place.fails(10, args);
        assert!(line.contains("castore-format") && line.contains("; check the path"), "{line}");
    }
    assert_eq!(place.names("store"), ["castore-format"]);
}
