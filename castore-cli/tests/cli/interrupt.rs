//! Ctrl-C: what is there is good, and nothing half done is left.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::support::{Place, noise, ran};

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

/// Sends the signal once it is time, unless the program has ended by then.
fn signal_when(child: &mut Child, name: &str, time: impl Fn() -> bool) {
    while !time() {
        if child.try_wait().unwrap().is_some() {
            return;
        }
        std::thread::yield_now();
    }
    signal(child, name);
}

#[test]
fn an_endless_put_ends_and_leaves_a_good_store() {
    let place = Place::new();
    let old = place.write("old", &noise(1_000_000, 1)).to_string();
    place.ok(&["put", "old"]);
    let before = place.objects().len();
    let mut child = place.command(&["-q", "put", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut seed = 2;
    while place.objects().len() < before + 40 {
        stdin.write_all(&noise(1 << 20, seed)).unwrap();
        seed += 1;
    }
    // Standard input stays open: a read of it is under way, and must not keep the program.
    signal(&child, "INT");
    let put = ran(&child.wait_with_output().unwrap());
    drop(stdin);
    assert_eq!((put.code, put.stdout.as_slice()), (130, &b""[..]));
    assert!(put.stderr.starts_with("castore: interrupted;"), "{put:?}");
    let names = place.objects();
    assert!(names.iter().all(|path| !path.to_string_lossy().contains('#')), "{names:?}");
    assert_eq!(place.ok(&["ls"]).trim(), old);
    place.ok(&["get", &old, "-o", "out"]);
}

#[test]
fn an_interrupted_get_leaves_nothing() {
    let place = Place::new();
    let digest = place.write("in", &noise(64 << 20, 1)).to_string();
    place.ok(&["put", "in"]);
    std::fs::create_dir(place.path("d")).unwrap();
    let mut interrupted = 0;
    for (name, code) in [("INT", 130), ("TERM", 143)].into_iter().cycle().take(16) {
        let mut child = place.command(&["get", &digest, "-o", "d/out"]).spawn().unwrap();
        // As early as can be: the file is there before a chunk was asked for.
        signal_when(&mut child, name, || !place.names("d").is_empty());
        let get = ran(&child.wait_with_output().unwrap());
        if get.code == 0 {
            // It was faster than the signal.
            assert_eq!(place.names("d"), ["out"]);
            std::fs::remove_file(place.path("d/out")).unwrap();
            continue;
        }
        interrupted += 1;
        assert_eq!(get.code, code, "{get:?}");
        assert_eq!(place.names("d"), Vec::<String>::new());
    }
    assert!(interrupted > 0, "no run was interrupted");
}

#[test]
fn an_interrupted_verification_says_how_to_resume_and_does() {
    let place = Place::new();
    place.write("in", &noise(64 << 20, 1));
    place.ok(&["put", "in"]);
    let args = ["verify", "--level", "data", "--resume", "state"];
    let mut interrupted = 0;
    for _ in 0..16 {
        let mut child = place.command(&args).spawn().unwrap();
        let state = || std::fs::read_to_string(place.path("state")).unwrap_or_default();
        signal_when(&mut child, "INT", || state().contains("chunks:"));
        let verify = ran(&child.wait_with_output().unwrap());
        if verify.code == 0 {
            // It was faster than the signal.
            assert_eq!(place.names("."), ["in", "store"]);
            continue;
        }
        interrupted += 1;
        assert_eq!(verify.code, 130, "{verify:?}");
        assert!(verify.stderr.contains("--resume state"), "{verify:?}");
        let other = place.fails(2, &["verify", "--level", "blob", "--resume", "state"]);
        assert!(other.contains("other options"), "{other}");
        let rest = place.run(&args);
        assert!(rest.code == 0 && rest.stderr.contains("goes on from chunks:"), "{rest:?}");
        assert_eq!(place.names("."), ["in", "store"], "the record is gone");
        break;
    }
    assert!(interrupted > 0, "no run was interrupted");
}
