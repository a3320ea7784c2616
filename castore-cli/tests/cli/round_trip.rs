//! Stored files can be restored.

use std::io::Write;
use std::process::Stdio;

use castore_core::Digest;

use crate::support::{Place, noise, ran};

#[test]
fn files_of_many_sizes_come_back() {
    let place = Place::new();
    let sizes = [0, 1, 131_071, 131_072, 131_073, 524_288, 524_289, 1 << 20, 5_000_001];
    for size in sizes {
        let data = noise(size, 1);
        let digest = place.write("in", &data);
        assert_eq!(place.ok(&["-q", "put", "in"]), format!("{digest}  in\n"));
        let digest = digest.to_string();
        place.ok(&["get", &digest, "-o", "out", "-f"]);
        assert!(std::fs::read(place.path("out")).unwrap() == data, "{size}");
        assert!(place.run(&["cat", &digest]).stdout == data, "{size}");
    }
    assert_eq!(place.names("."), ["in", "out", "store"]);
    assert_eq!(place.ok(&["ls"]).lines().count(), sizes.len());
}

#[test]
fn a_pipe_in_and_a_pipe_out() {
    let place = Place::new();
    let data = noise(3_000_000, 2);
    let mut child = place.command(&["put", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(&data).unwrap();
    let put = ran(&child.wait_with_output().unwrap());
    let digest = Digest::of(&data);
    assert_eq!(put.text(), format!("{digest}  -\n"));
    assert!(place.run(&["get", &digest.to_string(), "-o", "-"]).stdout == data);
}

#[test]
fn many_files_keep_their_order_and_a_bad_one_stops_none() {
    let place = Place::new();
    let mut args = vec!["-q".to_owned(), "put".to_owned()];
    let mut expected = String::new();
    for number in 0..50 {
        let name = format!("f{number}");
        let digest = place.write(&name, name.as_bytes());
        expected += &format!("{digest}  {name}\n");
        args.push(name);
        if number == 20 {
            args.push("gone".to_owned());
        }
    }
    let put = place.run(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((put.code, put.text()), (1, expected));
    assert_eq!(put.stderr, "castore: gone: No such file or directory\n");
    assert_eq!(place.ok(&["ls"]).lines().count(), 50);
}

#[test]
fn ranges_are_exact() {
    let place = Place::new();
    let data = noise(2_000_000, 3);
    let digest = place.write("in", &data).to_string();
    place.ok(&["put", "in"]);
    for (range, expected) in [
        ("10..20", &data[10..20]),
        ("1MiB..", &data[1 << 20..]),
        ("..4KiB", &data[..4096]),
        ("..", &data[..]),
        ("2000000..", &[]),
    ] {
        let cat = place.run(&["cat", &digest[..8], "--range", range]);
        assert!(cat.code == 0 && cat.stdout == expected, "{range}");
    }
    for (range, named) in [("0..2000001", "2000000 bytes"), ("5..2", "before it starts")] {
        let line = place.fails(2, &["cat", &digest, "--range", range]);
        assert!(line.contains(named), "{line}");
    }
}

#[test]
fn stat_ls_and_rm_tell_of_the_same_blob() {
    let place = Place::new();
    let data = noise(1_000_000, 4);
    let digest = place.write("in", &[&data[..], &data[..]].concat()).to_string();
    place.ok(&["put", "in"]);
    let stat = place.ok(&["stat", &digest]);
    assert!(stat.contains(&digest) && stat.contains("2000000 (1.9 MiB)"), "{stat}");
    let chunks = place.ok(&["stat", "--chunks", &digest]);
    let size: u64 =
        chunks.lines().map(|l| l.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(size, 2_000_000);
    let long = place.ok(&["ls", "--long"]);
    let fields: Vec<&str> = long.split_whitespace().collect();
    assert_eq!(fields, [&digest, "2000000", &chunks.lines().count().to_string()]);
    place.ok(&["rm", &digest]);
    assert_eq!(place.ok(&["ls"]), "");
    assert!(place.fails(4, &["rm", &digest]).contains(&digest));
}

#[test]
fn a_file_put_again_is_reused() {
    let place = Place::new();
    place.write("in", &noise(2_000_000, 5));
    let summary = |text: String| text.lines().last().unwrap().to_owned();
    let first = summary(place.ok(&["--json", "put", "in"]));
    assert!(first.contains("\"chunks_reused\":0") && first.contains("\"type\":\"summary\""));
    let second = summary(place.ok(&["--json", "put", "in"]));
    assert!(second.contains("\"chunks_new\":0") && second.contains("\"bytes_stored\":0"));
}

#[test]
fn without_a_store_the_first_put_makes_one() {
    let place = Place::new();
    place.write("in", b"hello");
    let run = |args: &[&str]| {
        let mut command = place.command(args);
        ran(&command.env_remove("CASTORE_STORE").output().unwrap())
    };
    let missing = run(&["ls"]);
    assert!(missing.code == 10 && missing.stderr.contains("put FILE"), "{missing:?}");
    let put = run(&["put", "in"]);
    assert!(put.code == 0 && put.stderr.contains("made a new store at"), "{put:?}");
    assert_eq!(run(&["ls"]).text().trim(), Digest::of(b"hello").to_string());
}
