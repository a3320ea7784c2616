//! The form of the output: names that need escapes, JSON, no colours.

use castore_core::Digest;

use crate::support::{Place, ran};

#[cfg(unix)]
#[test]
fn names_of_all_kinds_are_printed_as_b3sum_does() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = Place::new();
    let digest = Digest::of(b"x");
    for (name, line) in [
        (&b"a b"[..], format!("{digest}  a b\n")),
        (b"a\\b", format!("\\{digest}  a\\\\b\n")),
        (b"a\nb", format!("\\{digest}  a\\nb\n")),
        (b"a\xffb", format!("\\{digest}  a\\xffb\n")),
        (b"a\xfeb", format!("\\{digest}  a\\xfeb\n")),
        ("a\u{fffd}b".as_bytes(), format!("{digest}  a\u{fffd}b\n")),
    ] {
        let name = OsStr::from_bytes(name);
        std::fs::write(place.path(".").join(name), b"x").unwrap();
        for command in ["put", "hash"] {
            let done = ran(&place.command(&["-q", command]).arg(name).output().unwrap());
            assert_eq!((done.code, done.text()), (0, line.clone()), "{name:?}");
        }
        // The output of put is also a list for rm.
        std::fs::write(place.path("list"), &line).unwrap();
        assert_eq!(place.ok(&["--json", "rm", "--list", "list"]).lines().count(), 1);
    }
}

#[cfg(unix)]
#[test]
fn names_that_differ_are_different_in_json() {
    use std::collections::HashSet;
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let place = Place::new();
    let names = [&b"a\xffb"[..], b"a\xfeb", b"a\\xffb", "a\u{fffd}b".as_bytes(), b"a\\b", b"a\nb"];
    for name in names {
        std::fs::write(place.path(".").join(OsStr::from_bytes(name)), b"x").unwrap();
    }
    for command in [&["-q", "--json", "hash"][..], &["-q", "--json", "put"]] {
        let mut command = place.command(command);
        let run = ran(&command
            .args(names.map(OsStr::from_bytes))
            .arg(OsStr::from_bytes(b"\xff"))
            .output()
            .unwrap());
        assert_eq!(
            (run.code, run.stderr.as_str()),
            (1, "castore: \"\\xff\": No such file or directory\n")
        );
        let lines: Vec<serde_json::Value> =
            run.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let printed: Vec<_> = lines.iter().filter_map(|line| line["name"].as_str()).collect();
        assert_eq!(printed[..2], ["a\\xffb", "a\\xfeb"]);
        assert_eq!(printed[3..], ["a\u{fffd}b", "a\\b", "a\nb", "\\xff"]);
        assert_eq!(printed.iter().collect::<HashSet<_>>().len(), names.len() + 1);
    }
}

#[test]
fn each_failure_is_an_object_in_json() {
    let place = Place::new();
    place.write("in", b"hello");
    for command in ["put", "hash", "chunk"] {
        let run = place.run(&["-q", "--json", command, "gone", "in"]);
        assert_eq!((run.code, run.stderr.lines().count()), (1, 1), "{run:?}");
        let expected = r#"{"error":"No such file or directory","name":"gone","type":"error"}"#;
        assert_eq!(run.text().lines().next(), Some(expected), "{run:?}");
    }
    let absent = "0".repeat(64);
    let run = place.run(&["--json", "rm", &absent]);
    let expected = format!(
        r#"{{"digest":"{absent}","error":"no blob {absent} in the store","removed":false}}"#
    );
    assert_eq!((run.code, run.text().trim()), (4, expected.as_str()));
}

#[test]
fn no_colours_go_where_no_terminal_is() {
    let place = Place::new();
    place.write("in", b"hello");
    for verbose in ["-v", "-vv"] {
        let run = place.run(&[verbose, "put", "in", "gone"]);
        assert!(run.code == 1 && !run.stderr.contains('\u{1b}'), "{run:?}");
    }
    // A terminal would get colours. This checks that the log itself exists.
    let log = place.run(&[
        "-vv",
        "-s",
        "s3://bucket",
        "-o",
        "endpoint=http://127.0.0.1:1",
        "--json",
        "hash",
        "in",
    ]);
    assert!(!log.stderr.contains('\u{1b}'), "{log:?}");
}

#[test]
fn json_is_an_object_per_line() {
    let place = Place::new();
    let digest = place.write("in", b"hello").to_string();
    let expected = format!(r#"{{"digest":"{digest}","name":"in","size":5,"type":"blob"}}"#);
    assert_eq!(place.ok(&["--json", "put", "in"]).lines().next(), Some(expected.as_str()));
    for args in
        [&["--json", "ls", "-l"][..], &["--json", "stat", &digest], &["--json", "hash", "in"]]
    {
        let text = place.ok(args);
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(value["digest"], digest.as_str(), "{args:?}");
    }
}
