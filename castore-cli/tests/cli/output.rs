//! Where the output goes: pipes that close, names that need escapes, JSON.

use std::io::Read;
use std::process::Stdio;

use castore_core::Digest;

use crate::support::{Place, noise, ran};

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
}

#[test]
fn put_stores_everything_though_nobody_reads_its_output() {
    let place = Place::new();
    let names: Vec<String> = (0..100).map(|number| format!("f{number}")).collect();
    for name in &names {
        place.write(name, name.as_bytes());
    }
    let mut args = vec!["-q", "put"];
    args.extend(names.iter().map(String::as_str));
    let mut child = place.command(&args).spawn().unwrap();
    drop(child.stdout.take());
    let put = ran(&child.wait_with_output().unwrap());
    assert_eq!((put.code, put.stderr.as_str()), (0, ""));
    assert_eq!(place.ok(&["ls"]).lines().count(), 100);
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_a_failure_but_no_panic() {
    let place = Place::new();
    place.write("in", b"hello");
    place.ok(&["put", "in"]);
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
    let hash = ran(&place.command(&["hash", "in"]).stdout(full()).output().unwrap());
    assert!(hash.code == 1 && hash.stderr.contains("No space left"), "{hash:?}");
    let put = ran(&place.command(&["put", "in"]).stderr(full()).output().unwrap());
    assert_eq!((put.code, put.text()), (0, format!("{}  in\n", Digest::of(b"hello"))));
    let digest = Digest::of(b"hello").to_string();
    let cat = ran(&place.command(&["cat", &digest]).stdout(full()).output().unwrap());
    let line = "castore: standard output: No space left";
    assert!(cat.code == 1 && cat.stderr.starts_with(line), "{cat:?}");
    let wrong = ran(&place.command(&["cat", "xyz"]).stderr(full()).output().unwrap());
    assert_eq!(wrong.code, 2);
}

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
        (b"a\xffb", format!("{digest}  a\u{fffd}b\n")),
    ] {
        let name = OsStr::from_bytes(name);
        std::fs::write(place.path(".").join(name), b"x").unwrap();
        for command in ["put", "hash"] {
            let done = ran(&place.command(&["-q", command]).arg(name).output().unwrap());
            assert_eq!((done.code, done.text()), (0, line.clone()), "{name:?}");
        }
    }
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
