//! `castore doctor`: the verdict about a place, and the removal of the examination's objects.

use std::net::TcpListener;

use serde_json::Value;

use crate::interrupt::{command, signal_when};
use crate::remote::server;
use crate::support::{Place, Ran, noise, ran};

/// A table without the parts that differ between machines and runs.
fn steady(table: &str) -> String {
    let mut lines = Vec::new();
    let mut is_filesystem = false;
    for line in table.lines() {
        let line = match line {
            line if line.contains(" requests in ") => "N requests in T",
            line if line.starts_with("put ") && is_filesystem => "put     fit",
            line => line,
        };
        // A filesystem that is flushed file by file counts as a filesystem, too.
        let is_of_filesystem = line.contains("  filesystem ");
        is_filesystem |= is_of_filesystem && !line.trim_start().starts_with("ok");
        lines.push(match line.split_once(" (") {
            _ if is_of_filesystem => "  ok         filesystem     N".to_owned(),
            Some((before, _)) => format!("{before} (N)"),
            None => line.to_owned(),
        });
    }
    lines.join("\n")
}

fn json_lines(ran: &Ran) -> Vec<Value> {
    ran.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_directory_is_fit_and_the_table_says_so() {
    let place = Place::new();
    std::fs::create_dir(place.path("store")).unwrap();
    let doctor = place.run(&["doctor", "--objects", "50"]);
    assert_eq!((doctor.code, doctor.stderr.as_str()), (0, ""), "{doctor:?}");
    assert_eq!(place.names("store"), [""; 0], "no store was made, and nothing is left");
    insta::assert_snapshot!(steady(&doctor.text()));
}

#[test]
fn a_store_in_use_is_not_disturbed() {
    let place = Place::new();
    place.write("in", &noise(700_000, 1));
    place.ok(&["put", "in"]);
    let before = place.objects();
    place.ok(&["doctor", "--objects", "50", "--at-once", "8"]);
    assert_eq!(place.objects(), before);
    assert_eq!(place.names("store"), ["blobs", "castore-format", "chunks"]);
    assert_eq!(place.ok(&["verify"]).lines().filter(|line| line.contains("stray")).count(), 0);
}

#[test]
fn json_has_a_line_for_each_check_and_operation() {
    let place = Place::new();
    std::fs::create_dir(place.path("store")).unwrap();
    let doctor = place.run(&["--json", "doctor", "--objects", "20"]);
    assert_eq!((doctor.code, doctor.stderr.as_str()), (0, ""), "{doctor:?}");
    let lines = json_lines(&doctor);
    let of = |kind: &str| lines.iter().filter(|line| line["type"] == kind).collect::<Vec<_>>();
    let copy = of("check").into_iter().find(|check| check["name"] == "copy").unwrap();
    assert_eq!(copy["verdict"], "ok");
    assert_eq!(copy["needed_by"], serde_json::json!(["gc", "repair"]));
    let operations = of("operation");
    assert_eq!(operations.len(), 8);
    assert!(operations.iter().all(|line| line["fitness"] == "fit" || line["fitness"] == "limited"));
    assert_eq!(lines.last().unwrap()["type"], "summary");
    assert_eq!(lines.last().unwrap()["left"], serde_json::json!([]));
}

#[test]
fn a_place_that_is_not_there_is_not_made() {
    let place = Place::new();
    assert!(place.fails(10, &["doctor"]).contains("there is no directory store; make it"));
    place.write("store", b"a file");
    assert!(place.fails(10, &["doctor"]).contains("not a directory"));
    assert_eq!(place.names("."), ["store"]);
    assert_eq!(place.run(&["doctor", "--for", "put,fly"]).code, 2);
    assert_eq!(place.run(&["doctor", "--objects", "0"]).code, 2);
}

fn examine(address: impl std::fmt::Display, args: &[&str]) -> Ran {
    let place = Place::new();
    let mut command = place.command(args);
    command
        .env("CASTORE_STORE", "s3://bucket/base")
        .env("AWS_ENDPOINT", format!("http://{address}"))
        .env("AWS_ACCESS_KEY_ID", "KEYPASSWORD")
        .env("AWS_SECRET_ACCESS_KEY", "SECRETPASSWORD");
    ran(&command.output().unwrap())
}

#[test]
fn refused_keys_make_a_bucket_unfit() {
    let doctor = examine(server("403 Forbidden", "AccessDenied"), &["doctor"]);
    assert_eq!((doctor.code, doctor.stderr.as_str()), (3, ""), "{doctor:?}");
    let text = doctor.text();
    for operation in ["put", "get", "ls", "rm", "verify", "gc", "repair", "copy"] {
        let line = text.lines().find(|line| line.starts_with(&format!("{operation} "))).unwrap();
        assert!(line.contains("not fit: get: refused (403 AccessDenied)"), "{text}");
    }
    assert!(!text.contains("PASSWORD") && !text.contains('<'), "{text}");
}

#[test]
fn a_bucket_that_is_not_there_is_no_store() {
    let doctor = examine(server("404 Not Found", "NoSuchBucket"), &["doctor"]);
    assert_eq!((doctor.code, doctor.stderr.lines().count()), (10, 1), "{doctor:?}");
    assert!(doctor.stderr.contains("the bucket does not exist"), "{doctor:?}");
}

#[test]
fn a_server_that_does_not_answer_is_not_known() {
    // Connections are never answered.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let doctor = examine(address, &["doctor", "--timeout", "1s"]);
    assert_eq!((doctor.code, doctor.stderr.lines().count()), (1, 1), "{doctor:?}");
    assert!(doctor.stderr.contains("no answer within 1s"), "{doctor:?}");
    assert!(!doctor.stderr.contains("PASSWORD"), "{doctor:?}");
}

#[test]
fn an_interrupted_examination_leaves_nothing() {
    let place = Place::new();
    let mut interrupted = 0;
    std::fs::create_dir(place.path("store")).unwrap();
    for (files, signal) in [(1, "INT"), (10, "TERM"), (300, "INT"), (2000, "INT")] {
        let mut child = command(&place, &["doctor", "--objects", "20000"]).spawn().unwrap();
        signal_when(&mut child, signal, || place.objects().len() >= files);
        let doctor = ran(&child.wait_with_output().unwrap());
        assert_eq!(place.names("store"), [""; 0], "{doctor:?}");
        if doctor.code != 0 {
            interrupted += 1;
            assert_eq!(doctor.code, if signal == "TERM" { 143 } else { 130 }, "{doctor:?}");
            let said = "castore: interrupted; the objects of the examination were removed\n";
            assert_eq!(doctor.stderr, said);
        }
    }
    assert!(interrupted > 0, "no run was interrupted");
}

#[test]
fn a_remainder_that_cannot_be_removed_is_told() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("store/castore-doctor/other")).unwrap();
    std::fs::write(place.path("store/castore-doctor/other/left"), "x").unwrap();
    let doctor = place.run(&["doctor", "--objects", "10"]);
    assert_eq!(doctor.code, 0, "{doctor:?}");
    assert!(doctor.stderr.contains("1 objects below castore-doctor/ are of other"), "{doctor:?}");
    assert_eq!(place.names("store/castore-doctor"), ["other"]);
}
