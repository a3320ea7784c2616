//! Group hashes: outboards, and indexes without them.

use bao_tree::BlockSize;
use bao_tree::io::outboard::PreOrderMemOutboard;

use crate::support::{Place, noise};

/// Stores `in` without group hashes.
const PLAIN: [&str; 4] = ["-o", "group-hashes=false", "put", "in"];

#[test]
fn outboards_are_those_of_bao_tree() {
    let place = Place::new();
    for size in [0, 1000, 262_144, 262_145, 2_000_000] {
        for plain in [true, false] {
            let data = noise(size, 1);
            let digest = place.write("in", &data).to_string();
            place.ok(if plain { &PLAIN } else { &["put", "in"] });
            let oracle = PreOrderMemOutboard::create(&data, BlockSize::from_chunk_log(8)).data;
            let ran = place.run(&["outboard", &digest]);
            assert!(ran.code == 0 && ran.stderr.is_empty(), "{ran:?}");
            assert!(ran.stdout == oracle, "{size} {plain}");
            assert!(place.run(&["outboard", &digest[..12], "-o", "-"]).stdout == oracle);
            assert_eq!(place.ok(&["outboard", &digest, "-f", "-o", "out"]), "");
            assert!(std::fs::read(place.path("out")).unwrap() == oracle, "{size} {plain}");
        }
    }
    assert_eq!(place.names("."), ["in", "out", "store"]);
}

#[test]
fn an_outboard_fails_in_one_line() {
    let place = Place::new();
    let digest = place.write("in", &noise(1_000_000, 1)).to_string();
    place.ok(&PLAIN);
    place.write("out", b"mine");
    assert!(place.fails(1, &["outboard", &digest, "-o", "out"]).contains("-f replaces it"));
    assert_eq!(std::fs::read(place.path("out")).unwrap(), b"mine");
    place.fails(2, &["outboard", &digest, "-o", "."]);
    place.fails(2, &["outboard", "xyz"]);
    place.fails(4, &["outboard", &"0".repeat(64)]);
    place.fails(10, &["-s", "nowhere", "outboard", &digest]);
    let chunks = place.objects();
    let chunk = chunks.iter().find(|path| path.starts_with(place.path("store/chunks"))).unwrap();
    std::fs::write(chunk, b"garbage").unwrap();
    place.fails(3, &["outboard", &digest, "-o", "new"]);
    assert!(!place.path("new").exists());
}

#[test]
fn a_verification_counts_indexes_without_group_hashes_and_a_repair_adds_them() {
    let place = Place::new();
    place.write("in", &noise(1_000_000, 1));
    place.ok(&PLAIN);
    let told = "1 blobs have no group hashes; `castore repair --add-group-hashes`";
    let verify = place.run(&["verify"]);
    assert!(verify.code == 0 && verify.stderr.contains("all good"), "{verify:?}");
    assert!(verify.stderr.contains(told), "{verify:?}");
    assert!(place.ok(&["verify", "--json"]).contains("\"without_group_hashes\":1"));

    let add = ["repair", "--add-group-hashes"];
    let dry = place.run(&[&add[..], &["--dry-run"]].concat());
    assert!(dry.code == 0 && dry.stderr.contains("1 indexes would get group hashes"), "{dry:?}");
    let refused = place.fails(2, &[&["-o", "group-hashes=false"], &add[..]].concat());
    assert!(refused.contains("without group hashes"), "{refused}");
    let json = place.ok(&[&add[..], &["--json"]].concat());
    assert!(json.contains("\"group_hashes_added\":1"), "{json}");
    let verify = place.run(&["verify", "--level", "blob"]);
    assert!(verify.code == 0 && !verify.stderr.contains("group hashes"), "{verify:?}");
    let again = place.run(&add);
    assert!(again.code == 0 && !again.stderr.contains("group hashes"), "{again:?}");
}
