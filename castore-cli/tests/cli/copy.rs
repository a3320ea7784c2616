//! Copies from store to store.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Place, noise, ran};

/// A store with three blobs, of many chunks, one and none; and their digests, sorted.
fn filled() -> (Place, Vec<String>) {
    let place = Place::new();
    let mut digests: Vec<String> = [("a", 2_000_000), ("b", 1000), ("c", 0)]
        .into_iter()
        .map(|(name, size)| place.write(name, &noise(size, 1)).to_string())
        .collect();
    place.ok(&["-q", "put", "a", "b", "c"]);
    digests.sort();
    (place, digests)
}

fn sorted(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn all_blobs_are_copied_and_each_is_told_of() {
    let (place, digests) = filled();
    let copy = place.run(&["copy", "--to", "other", "--all"]);
    assert_eq!((copy.code, sorted(&copy.text())), (0, digests.clone()), "{copy:?}");
    assert!(copy.stderr.contains("made a new store at other"), "{copy:?}");
    assert!(copy.stderr.contains("3 blobs copied, 0 there already; "), "{copy:?}");
    for (name, size) in [("a", 2_000_000), ("b", 1000), ("c", 0)] {
        let digest = blake3::hash(&noise(size, 1)).to_string();
        place.ok(&["-s", "other", "get", &digest, "-o", &format!("{name}.copy")]);
        let copied = std::fs::read(place.path(&format!("{name}.copy"))).unwrap();
        assert!(copied == noise(size, 1));
    }
    let again = place.run(&["copy", "--to", "other", "--all"]);
    assert_eq!((again.code, sorted(&again.text())), (0, digests));
    assert!(again.stderr.contains("0 blobs copied, 3 there already; 0 chunks"), "{again:?}");
}

#[test]
fn some_blobs_are_copied_by_digest_and_by_list() {
    let (place, digests) = filled();
    place.ok(&["copy", "-t", "one", &digests[1][..8]]);
    assert_eq!(place.ok(&["-s", "one", "ls"]), format!("{}\n", digests[1]));

    let mut command = place.command(&["copy", "-t", "two", "--list", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let list = format!("{}  a name\n\n{}\n", digests[0], digests[2]);
    child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
    assert_eq!(ran(&child.wait_with_output().unwrap()).code, 0);
    let listed = sorted(&place.ok(&["-s", "two", "ls"]));
    assert_eq!(listed, [digests[0].clone(), digests[2].clone()]);
}

#[test]
fn nothing_is_copied_that_was_not_asked_for() {
    let (place, digests) = filled();
    for args in [
        &["copy", "--to", "other"][..],
        &["copy", &digests[0]],
        &["copy", "--to", "other", "--all", &digests[0]],
        &["copy", "--to", "other", "--list", "-", "--list", "-"],
        &["copy", "--to", "gopher://x", "--all"],
        &["copy", "--to", "other", "--to-option", "colour=red", "--all"],
    ] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
    assert_eq!(place.names("."), ["a", "b", "c", "store"]);
    assert_eq!(place.fails(10, &["-s", "none", "copy", "-t", "other", "--all"]).lines().count(), 1);
    assert_eq!(place.names("."), ["a", "b", "c", "store"]);
}

#[test]
fn absent_or_damaged_blobs_stop_no_others() {
    let (place, digests) = filled();
    let absent = "0".repeat(64);
    let copy = place.run(&["-q", "copy", "-t", "other", "00000000", "xyz", &absent, &digests[0]]);
    assert_eq!((copy.text(), copy.stderr.lines().count()), (format!("{}\n", digests[0]), 3));
    assert!(copy.code == 4 || copy.code == 2, "{copy:?}");

    // One chunk of the large blob is cut short.
    let chunk = place.objects().into_iter().find(|path| {
        path.starts_with(place.path("store/chunks")) && path.metadata().unwrap().len() > 100_000
    });
    let chunk = chunk.unwrap();
    let bytes = std::fs::read(&chunk).unwrap();
    std::fs::write(&chunk, &bytes[..bytes.len() / 2]).unwrap();
    let large = place.write("a", &noise(2_000_000, 1)).to_string();
    let copy = place.run(&["-q", "copy", "-t", "third", "--all"]);
    assert_eq!((copy.code, copy.stderr.lines().count()), (3, 1), "{copy:?}");
    assert!(copy.stderr.contains(&large), "{copy:?}");
    assert!(copy.stderr.contains(chunk.file_name().unwrap().to_str().unwrap()), "{copy:?}");
    assert_eq!(sorted(&place.ok(&["-s", "third", "ls"])), sorted(&copy.text()));
    assert_eq!(copy.text().lines().count(), 2);

    // Blobs at the target are verified only on request.
    let there =
        place.path("fifth/chunks").join(chunk.strip_prefix(place.path("store/chunks")).unwrap());
    std::fs::create_dir_all(there.parent().unwrap()).unwrap();
    let mut wrong = bytes.clone();
    wrong[bytes.len() / 2] ^= 1;
    std::fs::write(&there, &wrong).unwrap();
    std::fs::write(&chunk, &bytes).unwrap();
    let copy = place.run(&["-q", "copy", "-t", "fifth", "--verify", &large]);
    assert_eq!((copy.code, copy.text().as_str()), (3, ""), "{copy:?}");
    assert!(copy.stderr.contains("at the target"), "{copy:?}");
    assert_eq!(place.run(&["-q", "copy", "-t", "fifth", &large]).code, 0);
    std::fs::write(&chunk, &bytes[..bytes.len() / 2]).unwrap();

    // Damage decides the exit code, whichever failure comes first.
    let copy = place.run(&["-q", "copy", "-t", "fourth", &absent, &large]);
    assert_eq!(copy.code, 3, "{copy:?}");
}

#[test]
fn json_tells_of_each_blob_and_of_all() {
    let (place, digests) = filled();
    place.ok(&["copy", "-t", "other", &digests[0]]);
    let mut args = vec!["--json", "copy", "-t", "other"];
    args.extend(digests.iter().map(String::as_str));
    let text = place.ok(&args);
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 4);
    for line in &lines[..3] {
        let there = line["digest"] == digests[0].as_str();
        assert_eq!(line["outcome"], if there { "there" } else { "copied" }, "{line}");
        assert_eq!(line["type"], "blob");
    }
    assert_eq!(lines[3]["type"], "summary");
    assert_eq!((&lines[3]["blobs_copied"], &lines[3]["blobs_there"]), (&2.into(), &1.into()));
}
