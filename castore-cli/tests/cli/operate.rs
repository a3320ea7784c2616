//! Verifying and repairing a store.

use std::path::PathBuf;

use crate::support::{Place, noise};

/// A store with a few blobs, and a copy of it in `backup`.
fn stored() -> Place {
    let place = Place::new();
    for number in 0..4 {
        place.write(&format!("in{number}"), &noise(1_000_000, number));
    }
    place.ok(&["put", "in0", "in1", "in2", "in3"]);
    place.ok(&["-s", "backup", "put", "in0", "in1", "in2", "in3"]);
    place
}

/// The chunks, largest first: the tests may damage the first ones.
fn chunks(place: &Place) -> Vec<PathBuf> {
    let mut chunks = place.objects();
    chunks.retain(|path| path.starts_with(place.path("store/chunks")));
    chunks.sort();
    chunks
}

fn name(path: &std::path::Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

fn flip(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn a_good_store_is_found_to_be_good() {
    let place = stored();
    for level in ["index", "data", "blob"] {
        let ran = place.run(&["verify", "--level", level]);
        assert_eq!((ran.code, ran.text().as_str()), (0, ""), "{ran:?}");
        assert!(ran.stderr.contains("4 blobs") && ran.stderr.contains("all good"), "{ran:?}");
    }
}

#[test]
fn damage_is_told_and_repaired_from_another_store() {
    let place = stored();
    let chunks = chunks(&place);
    std::fs::remove_file(&chunks[0]).unwrap();
    flip(&chunks[1]);
    let ran = place.run(&["verify"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert_eq!(ran.text().lines().count(), 1, "{ran:?}");
    assert!(ran.text().starts_with("missing-chunk  chunks/b3/"), "{ran:?}");
    assert!(ran.text().contains(name(&chunks[0])) && ran.text().contains("in blob "), "{ran:?}");
    let ran = place.run(&["verify", "--level", "data", "--json"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.stderr.is_empty(), "{ran:?}");
    let text = ran.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 3, "{ran:?}");
    assert!(text.contains("\"problem\":\"corrupt-chunk\"") && text.contains(name(&chunks[1])));
    assert!(lines[2].contains("\"type\":\"summary\"") && lines[2].contains("\"damaged\":2"));

    let dry = place.run(&["repair", "--from", "backup", "--dry-run"]);
    assert_eq!(dry.code, 0, "{dry:?}");
    assert_eq!(place.run(&["verify", "--level", "data"]).code, 3);
    let repair = place.run(&["repair", "--from", "backup"]);
    assert_eq!((repair.code, repair.text()), (0, dry.text()), "{repair:?}");
    assert!(repair.text().lines().all(|line| line.starts_with("repaired ")), "{repair:?}");
    assert!(repair.stderr.contains("2 repaired"), "{repair:?}");
    assert_eq!(place.run(&["verify", "--level", "blob"]).code, 0);
}

#[test]
fn damage_is_repaired_from_the_files() {
    let place = stored();
    let chunks = chunks(&place);
    flip(&chunks[2]);
    std::fs::write(&chunks[3], b"").unwrap();
    place.ok(&["-q", "repair", "--from", "in0", "--from", "in1", "--from", "in2", "--from", "in3"]);
    assert_eq!(place.run(&["verify", "--level", "blob"]).code, 0);
}

#[test]
fn chunks_that_no_source_has_are_moved_aside_and_put_again() {
    let place = stored();
    let bad = chunks(&place).remove(4);
    flip(&bad);
    let object = std::fs::read(&bad).unwrap();
    let ran = place.run(&["repair"]);
    assert_eq!(ran.code, 3, "{ran:?}");
    assert!(ran.text().starts_with("quarantined  corrupt-chunk  chunks/b3/"), "{ran:?}");
    assert!(ran.text().contains("-> quarantine/chunks/b3/"), "{ran:?}");
    let aside = bad.strip_prefix(place.path("store")).unwrap().to_owned();
    assert_eq!(std::fs::read(place.path("store/quarantine").join(aside)).unwrap(), object);
    assert!(!bad.exists());
    place.ok(&["-q", "put", "in0", "in1", "in2", "in3"]);
    assert_eq!(place.run(&["verify", "--level", "blob"]).code, 0);
}

#[test]
fn put_with_a_check_stores_bad_chunks_again() {
    let place = stored();
    flip(&chunks(&place)[5]);
    let args = ["put", "in0", "in1", "in2", "in3"];
    place.ok(&args);
    assert_eq!(place.run(&["verify", "--level", "data"]).code, 3, "it is not noticed");
    let ran = place.run(&[&args[..], &["--check"]].concat());
    assert!(ran.code == 0 && ran.stderr.contains("1 chunks new (1 of them bad before)"), "{ran:?}");
    assert_eq!(place.run(&["verify", "--level", "data"]).code, 0);
}

#[test]
fn strays_are_told_and_are_no_damage() {
    let place = stored();
    std::fs::write(place.path("store/chunks/notes.txt"), "x").unwrap();
    let ran = place.run(&["verify"]);
    assert_eq!((ran.code, ran.text().as_str()), (0, "stray  chunks/notes.txt\n"), "{ran:?}");
    assert!(ran.stderr.contains("1 objects that are no part of it"), "{ran:?}");
}

#[test]
fn wrong_usage_is_said_in_one_line() {
    let place = stored();
    for args in [
        &["verify", "--sample", "0%"][..],
        &["verify", "--sample", "lots"],
        &["verify", "--since", "yesterday"],
        &["verify", "--level", "index", "--since", "1d"],
        &["repair", "--from", "gopher://x"],
    ] {
        place.fails(2, args);
    }
    place.fails(10, &["-s", "nowhere", "verify"]);
    let failure = place.fails(10, &["repair", "--from", "nowhere"]);
    assert!(failure.contains("--from"), "{failure}");
    place.write("state", b"something else");
    let failure = place.fails(2, &["verify", "--level", "data", "--resume", "state"]);
    assert!(failure.contains("state"), "{failure}");
}

#[test]
fn a_sample_and_what_is_new_are_read() {
    let place = stored();
    let bad = chunks(&place).remove(0);
    flip(&bad);
    let codes: Vec<i32> = ["0", "1", "2", "3"]
        .map(|part| place.run(&["verify", "--sample", "25%", "--part", part]).code)
        .to_vec();
    assert_eq!(codes.iter().filter(|code| **code == 3).count(), 1, "{codes:?}");
    assert_eq!(place.run(&["verify", "--since", "1h"]).code, 3);
    let file = std::fs::File::options().write(true).open(&bad).unwrap();
    file.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(7200)).unwrap();
    assert_eq!(place.run(&["verify", "--since", "1h"]).code, 0);
}
