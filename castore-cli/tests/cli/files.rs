//! Files that are read and restored: changes during a read, holes, modes, standard input.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use castore_core::Digest;
use serde_json::Value;

use crate::support::{Place, Ran, noise, ran};

fn mode(place: &Place, name: &str) -> u32 {
    place.path(name).metadata().unwrap().mode() & 0o7777
}

fn set_mode(place: &Place, name: &str, mode: u32) {
    std::fs::set_permissions(place.path(name), PermissionsExt::from_mode(mode)).unwrap();
}

/// Runs the program in a shell, as `castore ARGUMENTS REDIRECTIONS`.
fn shell(place: &Place, args: &[&str], redirections: &str) -> Ran {
    let script = format!("exec \"$@\" {redirections}");
    ran(&place.through(&["sh", "-c", &script, "sh"], args).output().unwrap())
}

#[test]
fn a_file_that_changes_while_it_is_read_is_said_to_and_fails() {
    let place = Place::new();
    place.write("log", &noise(32 << 20, 1));
    place.write("still", b"still");
    for command in ["put", "hash", "chunk"] {
        let file = File::options().write(true).open(place.path("log")).unwrap();
        let ended = AtomicBool::new(false);
        let run = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Relaxed) {
                    file.write_all_at(b"x", 7).unwrap();
                }
            });
            let run = place.run(&["-q", "--json", command, "log", "still"]);
            ended.store(true, Relaxed);
            run
        });
        assert_eq!((run.code, run.stderr.lines().count()), (1, 1), "{command}: {run:?}");
        let line = "castore: warning: log changed while it was read (it was written to)";
        assert!(run.stderr.starts_with(line), "{run:?}");
        if command != "chunk" {
            let text = run.text();
            let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let log = lines.find(|line| line["name"] == "log").unwrap();
            assert!(log["warning"].as_str().unwrap().contains("changed"), "{log}");
            let still = lines.find(|line| line["name"] == "still").unwrap();
            assert!(still["warning"].is_null(), "{still}");
        }
    }
    assert_eq!(place.run(&["-q", "put", "log"]).code, 0);
}

#[test]
fn a_closed_standard_input_is_no_empty_one() {
    let place = Place::new();
    let digest = Digest::EMPTY.to_string();
    place.write("a", b"a");
    place.ok(&["-q", "put", "a"]);
    let commands = [
        &["-q", "put", "-"][..],
        &["hash"],
        &["-q", "chunk", "-"],
        &["rm", "--list", "-"],
        &["gc", "--keep", "-"],
    ];
    for args in commands {
        for redirection in ["<&-", "0>/dev/null", "<>/dev/null"] {
            let run = shell(&place, args, redirection);
            assert_eq!((run.code, run.stderr.lines().count()), (1, 1), "{args:?}: {run:?}");
            assert!(run.stderr.starts_with("castore: -: "), "{args:?}: {run:?}");
        }
    }
    for redirection in ["</dev/null", "<empty"] {
        place.write("empty", b"");
        assert_eq!(shell(&place, &["hash"], redirection).text(), format!("{digest}  -\n"));
        let put = shell(&place, &["-q", "put", "-"], redirection);
        assert_eq!((put.code, put.text()), (0, format!("{digest}  -\n")));
    }
    // A file of which another program has read a part.
    place.write("lines", b"first\nrest\n");
    let rest = place.through(&["sh", "-c", "{ read line; exec \"$@\"; } <lines", "sh"], &["hash"]);
    let rest = ran(&{ rest }.output().unwrap());
    assert_eq!((rest.code, &rest.text()[..64]), (0, &Digest::of(b"rest\n").to_string()[..]));
}

#[test]
fn long_runs_of_zeros_are_restored_as_holes() {
    let place = Place::new();
    let data = [noise(100_000, 1), vec![0; 16 << 20], noise(5, 2), vec![0; 1 << 20]].concat();
    let digest = place.write("in", &data).to_string();
    place.ok(&["-q", "put", "in"]);
    let blocks = |name: &str| place.path(name).metadata().unwrap().blocks() * 512;
    for (args, least, most) in [
        (&[][..], 0, 1 << 20),
        (&["--sparse=auto"], 0, 1 << 20),
        (&["--sparse=never"], 17 << 20, 1 << 30),
    ] {
        place.ok(&[&["get", &digest, "-f", "-o", "out"], args].concat());
        assert!(std::fs::read(place.path("out")).unwrap() == data, "{args:?}");
        assert!((least..most).contains(&blocks("out")), "{args:?}: {}", blocks("out"));
    }
    assert!(place.run(&["cat", &digest]).stdout == data);
}

#[test]
fn a_device_is_written_in_place() {
    let place = Place::new();
    let digest = place.write("in", &[0; 1 << 20]).to_string();
    place.ok(&["-q", "put", "in"]);
    place.ok(&["get", "-f", &digest, "-o", "/dev/null"]);
    assert!(!std::path::Path::new("/dev/null").metadata().unwrap().is_file());
    assert!(place.fails(1, &["get", &digest, "-o", "/dev/null"]).contains("-f"));
    if cfg!(target_os = "linux") {
        assert!(place.fails(1, &["get", "-f", &digest, "-o", "/dev/full"]).contains("No space"));
    }
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode() {
    let place = Place::new();
    let digest = place.write("in", b"private").to_string();
    place.ok(&["-q", "put", "in"]);
    for wanted in [0o600, 0o640, 0o755, 0o400, 0o666] {
        place.write("out", b"old");
        set_mode(&place, "out", wanted);
        place.ok(&["get", "-f", &digest, "-o", "out"]);
        assert_eq!(mode(&place, "out"), wanted);
        assert_eq!(std::fs::read(place.path("out")).unwrap(), b"private");
        std::fs::remove_file(place.path("out")).unwrap();
    }
    for (mask, wanted) in [("022", 0o644), ("077", 0o600), ("002", 0o664)] {
        let script = format!("umask {mask}; exec \"$@\"");
        let get = ["get", "-f", &digest, "-o", "out"];
        let get = ran(&place.through(&["sh", "-c", &script, "sh"], &get).output().unwrap());
        assert_eq!((get.code, mode(&place, "out")), (0, wanted), "{get:?}");
        std::fs::remove_file(place.path("out")).unwrap();
    }
}

#[test]
fn a_file_that_is_replaced_keeps_its_owner_where_that_is_allowed() {
    let place = Place::new();
    let digest = place.write("in", b"private").to_string();
    place.ok(&["-q", "put", "in"]);
    place.write("out", b"old");
    let owner = (Some(54_321), Some(54_322));
    if std::os::unix::fs::chown(place.path("out"), owner.0, owner.1).is_err() {
        eprintln!(
            "NOT RUN: a_file_that_is_replaced_keeps_its_owner_where_that_is_allowed: not root"
        );
        return;
    }
    set_mode(&place, "out", 0o4640);
    place.ok(&["get", "-f", &digest, "-o", "out"]);
    let metadata = place.path("out").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), mode(&place, "out")), (54_321, 54_322, 0o4640));

    // Another user who may replace the file does not become its owner, and the group of that user
    // gets no rights.
    let through = ["setpriv", "--reuid=54323", "--regid=54323", "--clear-groups"];
    for path in [".", "store"] {
        set_mode(&place, path, 0o777);
    }
    let get = place.through(&through, &["get", "-f", &digest, "-o", "out"]).output();
    let get = ran(&get.unwrap());
    assert_eq!((get.code, get.stderr.as_str()), (0, ""));
    let metadata = place.path("out").metadata().unwrap();
    assert_eq!((metadata.uid(), metadata.gid(), mode(&place, "out")), (54_323, 54_323, 0o600));
}

#[test]
fn the_personal_store_is_private_and_others_follow_the_umask() {
    let place = Place::new();
    place.write("in", b"hello");
    let script = ["sh", "-c", "umask 022; unset CASTORE_STORE; exec \"$@\"", "sh"];
    let put = ran(&place.through(&script, &["put", "in"]).output().unwrap());
    assert!(put.code == 0 && put.stderr.contains("made a new store at"), "{put:?}");
    let mut found = 0;
    for directory in ["home/.local/share/castore", "home/Library/Application Support/castore"] {
        if place.path(directory).exists() {
            assert_eq!(mode(&place, directory), 0o700);
            found += 1;
        }
    }
    assert_eq!(found, 1);
    let script = ["sh", "-c", "umask 027; exec \"$@\"", "sh"];
    let put = ran(&place.through(&script, &["put", "in"]).stdin(Stdio::null()).output().unwrap());
    assert_eq!((put.code, mode(&place, "store")), (0, 0o750), "{put:?}");
}
