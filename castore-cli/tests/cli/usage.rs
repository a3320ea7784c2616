//! Wrong usage: one line that names the thing, and an exit code of its own.

use crate::support::Place;

#[test]
fn a_malformed_digest_is_wrong_usage() {
    let place = Place::new();
    place.write("a", b"a");
    place.ok(&["put", "a"]);
    let long = "0".repeat(65);
    for (digest, said) in
        [("xyz", "'x' at position 0"), ("abcd", "8 digits"), (long.as_str(), "65 characters")]
    {
        for command in ["cat", "stat", "rm"] {
            let line = place.fails(2, &[command, digest]);
            assert!(line.contains(digest) && line.contains(said), "{line}");
        }
    }
}

#[test]
fn a_wrong_url_or_option_is_wrong_usage() {
    let place = Place::new();
    place.write("a", b"a");
    for (args, named) in [
        (&["-s", "gopher://x/y", "put", "a"][..], "gopher"),
        (&["-s", "s3://", "put", "a"], "s3://"),
        (&["-s", "s3://u:secret@bucket", "put", "a"], "password"),
        (&["-o", "colour=red", "put", "a"], "colour"),
        (&["-o", "zstd-level=99", "put", "a"], "99"),
        (&["put", "-", "-"], "standard input"),
    ] {
        let line = place.fails(2, args);
        assert!(line.contains(named) && !line.contains("secret"), "{line}");
        assert!(!line.contains("::"), "{line}");
    }
    assert_eq!(place.names("."), ["a"]);
    for args in [&["-o", "x", "put", "a"][..], &["frobnicate"], &["put"], &["get", "00000000"]] {
        assert_eq!(place.run(args).code, 2, "{args:?}");
    }
}

#[test]
fn a_directory_is_not_put() {
    let place = Place::new();
    std::fs::create_dir(place.path("d")).unwrap();
    let line = place.run(&["-q", "put", "d"]).stderr;
    assert!(line.starts_with("castore: d: ") && line.contains("tar c"), "{line}");
}

#[test]
fn an_unreadable_file_is_named() {
    let place = Place::new();
    place.write("a", b"a");
    assert_eq!(place.fails(1, &["-q", "put", "a/b"]), "castore: a/b: Not a directory\n");
    assert_eq!(
        place.fails(1, &["-q", "hash", "gone"]),
        "castore: gone: No such file or directory\n"
    );
}

#[test]
fn get_spares_what_is_there() {
    let place = Place::new();
    let digest = place.write("a", b"new").to_string();
    place.write("old", b"old");
    std::fs::create_dir(place.path("d")).unwrap();
    place.ok(&["put", "a"]);
    assert_eq!(
        place.fails(1, &["get", &digest, "-o", "old"]),
        "castore: old exists; -f replaces it\n"
    );
    assert_eq!(std::fs::read(place.path("old")).unwrap(), b"old");
    assert!(place.fails(2, &["get", &digest, "-o", "d"]).contains("is a directory"));
    place.ok(&["get", "-f", &digest, "-o", "old"]);
    assert_eq!(std::fs::read(place.path("old")).unwrap(), b"new");
}

#[cfg(unix)]
#[test]
fn get_neither_replaces_a_pipe_nor_a_link() {
    use std::os::unix::fs::FileTypeExt;

    let place = Place::new();
    let digest = place.write("a", b"new").to_string();
    place.ok(&["put", "a"]);
    assert!(std::process::Command::new("mkfifo").arg(place.path("p")).status().unwrap().success());
    let line = place.fails(2, &["get", "-f", &digest, "-o", "p"]);
    assert!(line.contains("castore cat"), "{line}");
    assert!(place.path("p").metadata().unwrap().file_type().is_fifo());

    place.write("target", b"old");
    std::os::unix::fs::symlink("target", place.path("link")).unwrap();
    place.ok(&["get", "-f", &digest, "-o", "link"]);
    assert!(place.path("link").is_symlink());
    assert_eq!(std::fs::read(place.path("target")).unwrap(), b"new");
}
