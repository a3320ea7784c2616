//! Removing many blobs.

use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::support::{Place, ran};

fn filled(count: usize) -> (Place, Vec<String>) {
    let place = Place::new();
    let names: Vec<String> = (0..count).map(|number| format!("f{number}")).collect();
    let digests = names.iter().map(|name| place.write(name, name.as_bytes()).to_string()).collect();
    let mut args = vec!["-q", "put"];
    args.extend(names.iter().map(String::as_str));
    place.ok(&args);
    (place, digests)
}

#[test]
fn a_list_is_removed_past_what_is_absent() {
    let (place, digests) = filled(100);
    let absent = "0".repeat(64);
    let mut list = String::new();
    for digest in &digests[..90] {
        list += &format!("{digest}  a name\n");
    }
    list.insert_str(0, &format!("{absent}\n"));
    place.write("list", list.as_bytes());
    let rm = place.run(&["--json", "rm", &digests[95][..16], "--list", "list"]);
    assert_eq!((rm.code, rm.stderr.lines().count()), (4, 1), "{rm:?}");
    assert!(rm.stderr.contains(&absent), "{rm:?}");
    // The lines come in the order of the arguments.
    let removed: Vec<String> = rm
        .text()
        .lines()
        .map(|line| {
            let line: Value = serde_json::from_str(line).unwrap();
            assert_eq!(line["removed"], line["digest"] != absent.as_str());
            line["digest"].as_str().unwrap().to_owned()
        })
        .filter(|digest| *digest != absent)
        .collect();
    assert_eq!(removed, [&digests[95..96], &digests[..90]].concat());
    let mut left: Vec<String> = place.ok(&["ls"]).lines().map(str::to_owned).collect();
    let mut expected = [&digests[90..95], &digests[96..]].concat();
    left.sort();
    expected.sort();
    assert_eq!(left, expected);
}

#[test]
fn digests_that_ls_prints_can_be_removed() {
    let (place, _) = filled(10);
    let listed = place.ok(&["ls", "--long"]);
    let mut command = place.command(&["rm", "-l", "-"]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(listed.as_bytes()).unwrap();
    let rm = ran(&child.wait_with_output().unwrap());
    assert_eq!((rm.code, rm.text(), rm.stderr), (0, String::new(), String::new()));
    assert_eq!(place.ok(&["ls"]), "");
}

#[test]
fn a_list_that_is_none_is_wrong_usage_or_said_to_be_missing() {
    let (place, _) = filled(1);
    std::fs::create_dir(place.path("d")).unwrap();
    assert!(place.fails(1, &["rm", "--list", "gone"]).starts_with("castore: gone: "));
    assert!(place.fails(2, &["rm", "--list", "d"]).contains("directory"));
    assert!(place.fails(2, &["rm", "--list", "-", "--list", "-"]).contains("standard input"));
    assert_eq!(place.run(&["rm"]).code, 2);
    assert_eq!(place.ok(&["ls"]).lines().count(), 1);
}

#[test]
fn a_list_that_is_wrong_in_its_middle_removes_nothing() {
    let (place, digests) = filled(50);
    let prefix = &digests[1][..20];
    for (wrong, said) in [
        ("xyz".to_owned(), "xyz"),
        ("1234567".to_owned(), "too short"),
        (format!("{}0", digests[0]), "65 characters"),
    ] {
        let list = format!("{}\n{prefix}\n{wrong}\n{}\n", digests[0], digests[2]);
        place.write("list", list.as_bytes());
        let line = place.fails(2, &["rm", "--list", "list"]);
        assert!(line.contains(said), "{line}");
        place.fails(2, &["rm", &digests[0], &wrong]);
    }
    // Two blobs whose digests share their first digits.
    let twin = |last: char| format!("{}{last}", "ab".repeat(31) + "0");
    for last in ['1', '2'] {
        let path = place.path("store/blobs/b3/abab").join(twin(last));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, b"").unwrap();
    }
    assert!(place.fails(2, &["rm", &digests[0], "abababab"]).contains("2 digests"));
    assert!(place.fails(1, &["rm", &digests[0], "--list", "gone"]).starts_with("castore: gone: "));
    assert_eq!(place.ok(&["ls"]).lines().count(), 52);
}
