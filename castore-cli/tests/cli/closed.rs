//! A closed or full standard output ends only the printing, and hides no failure.

use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::process::Stdio;

use castore_core::Digest;

use crate::support::{Place, Ran, noise, ran};

/// Runs the program with a standard output whose reader has already closed it.
fn closed(place: &Place, args: &[&str]) -> Ran {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    ran(&place.command(args).stdout(writer).output().unwrap())
}

/// A store with blobs of several chunks each, one of them damaged; and the damaged chunk.
fn damaged() -> (Place, PathBuf) {
    let place = Place::new();
    place.write("in", &noise(1_000_000, 1));
    place.ok(&["put", "in"]);
    let mut chunks = place.objects();
    chunks.retain(|path| path.starts_with(place.path("store/chunks")));
    chunks.sort();
    std::fs::write(&chunks[1], b"junk".repeat(1000)).unwrap();
    let chunk = chunks.swap_remove(1);
    (place, chunk)
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let place = Place::new();
    let data = noise(8_000_000, 1);
    let digest = place.write("in", &data).to_string();
    place.ok(&["put", "in"]);
    let mut child = place.command(&["cat", &digest]).spawn().unwrap();
    let mut first = [0; 100];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let cat = ran(&child.wait_with_output().unwrap());
    assert_eq!((cat.code, cat.stderr.as_str(), first.as_slice()), (0, "", &data[..100]));
    for args in [
        &["-q", "ls"][..],
        &["-q", "verify"],
        &["-q", "repair"],
        &["-q", "stats"],
        &["-q", "stat", &digest],
        &["-q", "diff", &digest, &digest],
        &["-q", "gc"],
        &["-q", "hash", "in"],
        &["-q", "chunk", "--list", "in"],
        &["-q", "--json", "verify"],
        &["completions", "bash"],
    ] {
        let run = closed(&place, args);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn damage_is_an_exit_code_into_a_closed_pipe_too() {
    let (place, chunk) = damaged();
    let junk = std::fs::read(&chunk).unwrap();
    for args in [
        &["verify", "--level", "data"][..],
        &["-q", "verify", "--level", "data"],
        &["--json", "verify", "--level", "data"],
        &["-q", "repair"],
    ] {
        assert_eq!(closed(&place, args).code, 3, "{args:?}");
    }
    assert!(!chunk.exists() && !junk.is_empty(), "the repair moved it all the same");
    assert_eq!(closed(&place, &["stats"]).code, 3);
    assert_eq!(closed(&place, &["stat", &place.ok(&["ls"])[..64]]).code, 3);
}

#[test]
fn a_file_that_fails_is_an_exit_code_into_a_closed_pipe_too() {
    let place = Place::new();
    place.write("a", b"a");
    place.write("b", b"b");
    for args in [
        &["-q", "hash", "a", "gone", "b"][..],
        &["-q", "chunk", "--list", "a", "gone", "b"],
        &["-q", "put", "a", "gone", "b"],
        &["-q", "--json", "hash", "a", "gone", "b"],
    ] {
        let run = closed(&place, args);
        assert_eq!(run.code, 1, "{args:?}");
        assert_eq!(run.stderr, "castore: gone: No such file or directory\n", "{args:?}");
    }
    let absent = "0".repeat(64);
    assert_eq!(closed(&place, &["cat", &absent]).code, 4);
    place.write("keep", format!("{}\n{absent}\n", Digest::of(b"a")).as_bytes());
    assert_ne!(closed(&place, &["gc", "--keep", "keep"]).code, 0);
}

#[test]
fn all_is_stored_removed_and_copied_though_the_output_is_closed() {
    let place = Place::new();
    let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    for name in &names {
        place.write(name, name.as_bytes());
    }
    let mut args = vec!["-q", "put"];
    args.extend(names.iter().map(String::as_str));
    let put = closed(&place, &args);
    assert_eq!((put.code, put.stderr.as_str()), (0, ""));
    let listed = place.ok(&["ls"]);
    assert_eq!(listed.lines().count(), 100);

    let copy = closed(&place, &["-q", "copy", "--all", "--to", "other"]);
    assert_eq!((copy.code, copy.stderr.as_str()), (0, ""));
    assert_eq!(place.ok(&["-s", "other", "ls"]).lines().count(), 100);

    place.write("list", listed.as_bytes());
    let rm = closed(&place, &["--json", "rm", "--list", "list"]);
    assert_eq!(rm.code, 0);
    assert!(rm.stderr.contains("standard output was closed"), "{rm:?}");
    assert_eq!(place.ok(&["ls"]), "");
}

#[test]
fn a_verification_whose_findings_were_lost_can_be_resumed() {
    let (place, chunk) = damaged();
    let args = ["verify", "--level", "data", "--resume", "record"];
    let lost = closed(&place, &args);
    assert_eq!(lost.code, 3);
    assert!(lost.stderr.contains("--resume record"), "{lost:?}");
    let again = place.run(&args);
    assert_eq!(again.code, 3);
    let name = chunk.file_name().unwrap().to_str().unwrap();
    assert!(again.text().contains(name), "{again:?}");
    assert!(again.stderr.contains(" 1 DAMAGED"), "{again:?}");
    assert!(!place.path("record").exists(), "all findings were printed");

    // Without a finding no output is lost.
    place.ok(&["put", "in", "--check"]);
    assert_eq!(closed(&place, &args).code, 0);
    assert!(!place.path("record").exists());
}

#[test]
fn the_record_of_a_verification_is_of_one_store_wherever_that_is() {
    let (place, _) = damaged();
    let args = ["verify", "--level", "data", "--resume", "record"];
    assert_eq!(closed(&place, &args).code, 3);
    // Another store takes the place of this one.
    std::fs::rename(place.path("store"), place.path("before")).unwrap();
    std::fs::create_dir(place.path("else")).unwrap();
    std::fs::rename(place.path("before"), place.path("else/store")).unwrap();
    let record = place.path("record").into_os_string().into_string().unwrap();
    let mut elsewhere =
        place.command(&["-s", "store", "verify", "--level", "data", "--resume", &record]);
    let other = ran(&elsewhere.current_dir(place.path("else")).output().unwrap());
    assert!(other.code == 2 && other.stderr.contains("another store"), "{other:?}");
}

#[test]
fn a_resumed_verification_does_not_forget_objects_that_could_not_be_read() {
    let (place, _) = damaged();
    let args = ["verify", "--level", "data", "--resume", "record"];
    assert_eq!(closed(&place, &args).code, 3);
    place.ok(&["put", "in", "--check"]);
    let record = std::fs::read_to_string(place.path("record")).unwrap();
    for (counts, code, said) in [
        ((0, 1), 1, "1 could not be read, the rest is good"),
        ((1, 0), 3, "1 DAMAGED"),
        ((1, 1), 3, "1 DAMAGED, 1 could not be read"),
        ((0, 0), 0, "all good"),
    ] {
        let mut record: serde_json::Value = serde_json::from_str(&record).unwrap();
        assert_eq!((&record["damaged"], &record["unknown"]), (&0.into(), &0.into()));
        (record["damaged"], record["unknown"]) = (counts.0.into(), counts.1.into());
        place.write("record", record.to_string().as_bytes());
        let resumed = place.run(&args);
        assert_eq!(resumed.code, code, "{resumed:?}");
        assert!(resumed.stderr.contains(&format!(": {said}")), "{resumed:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_a_failure_but_no_panic() {
    let place = Place::new();
    place.write("in", b"hello");
    place.ok(&["put", "in"]);
    let full = || Stdio::from(File::options().write(true).open("/dev/full").unwrap());
    let hash = ran(&place.command(&["hash", "in", "in"]).stdout(full()).output().unwrap());
    let line = "castore: standard output: No space left on device\n";
    assert_eq!((hash.code, hash.stderr.as_str()), (1, line));
    for verbose in ["-q", "-v", "-vv"] {
        let put = ran(&place.command(&[verbose, "put", "in"]).stderr(full()).output().unwrap());
        assert_eq!((put.code, put.text()), (0, format!("{}  in\n", Digest::of(b"hello"))));
    }
    let digest = Digest::of(b"hello").to_string();
    let cat = ran(&place.command(&["cat", &digest]).stdout(full()).output().unwrap());
    assert_eq!((cat.code, cat.stderr.as_str()), (1, line));
    let wrong = ran(&place.command(&["cat", "xyz"]).stderr(full()).output().unwrap());
    assert_eq!(wrong.code, 2);

    let rm = ran(&place.command(&["--json", "rm", &digest]).stdout(full()).output().unwrap());
    assert_eq!(rm.code, 1);
    assert!(rm.stderr.starts_with(line), "{rm:?}");
    assert_eq!(place.ok(&["ls"]), "", "it was removed all the same");
}
