//! Ctrl-C: present data is good, and no unfinished data is left.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use crate::support::{Place, noise, ran};

/// The program, with the default effect of its signals, even if the tests run in the background of
/// a shell without job control, which ignores some.
pub(crate) fn command(place: &Place, args: &[&str]) -> Command {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    // HUP, INT and QUIT.
    match ignored & 0b111 {
        0 => place.command(args),
        _ => place.through(&["env", "--default-signal=HUP,INT,QUIT"], args),
    }
}

pub(crate) fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
}

/// Sends the signal once it is time, unless the program has ended by then.
pub(crate) fn signal_when(child: &mut Child, name: &str, time: impl Fn() -> bool) {
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
    let mut child = command(&place, &["-q", "put", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let mut seed = 2;
    while place.objects().len() < before + 40 {
        stdin.write_all(&noise(1 << 20, seed)).unwrap();
        seed += 1;
    }
    // Standard input stays open. A pending read of it must not keep the program alive.
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
    let signals = [("INT", 130), ("TERM", 143), ("HUP", 129), ("QUIT", 131), ("ALRM", 142)];
    let others = [("USR1", 138), ("USR2", 140), ("XCPU", 152), ("34", 162), ("64", 192)];
    let all = signals.into_iter().chain(others.into_iter().filter(|_| cfg!(target_os = "linux")));
    for (name, code) in all.cycle().take(40) {
        let mut child = command(&place, &["get", &digest, "-o", "d/out"]).spawn().unwrap();
        // As early as possible: the file exists before the first request for a chunk.
        signal_when(&mut child, name, || !place.names("d").is_empty());
        let get = ran(&child.wait_with_output().unwrap());
        if get.code == 0 {
            // The program was faster than the signal.
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
        let mut child = command(&place, &args).spawn().unwrap();
        let state = || std::fs::read_to_string(place.path("state")).unwrap_or_default();
        signal_when(&mut child, "INT", || state().contains("chunks:"));
        let verify = ran(&child.wait_with_output().unwrap());
        if verify.code == 0 {
            // The program was faster than the signal.
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

#[cfg(target_os = "linux")]
#[test]
fn a_signal_that_is_ignored_stays_ignored() {
    let place = Place::new();
    // This is how nohup starts a program, and a shell without job control its background jobs.
    let ignoring = ["env", "--ignore-signal=HUP,INT,USR1", "--default-signal=TERM"];
    let mut child =
        place.through(&ignoring, &["-q", "put", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let data = noise(8 << 20, 3);
    stdin.write_all(&data).unwrap();
    while place.objects().len() < 5 {
        std::thread::yield_now();
    }
    for name in ["HUP", "INT", "USR1"] {
        signal(&child, name);
    }
    drop(stdin);
    let put = ran(&child.wait_with_output().unwrap());
    assert_eq!((put.code, put.stderr.as_str()), (0, ""));
    assert!(put.text().starts_with(&castore_core::Digest::of(&data).to_string()));
}

#[test]
fn a_signal_ends_a_command_that_waits_for_standard_output() {
    let place = Place::new();
    place.write("in", b"x");
    let mut args = vec!["hash"];
    args.resize(4000, "in");
    // A pipe holds less than that, and no process reads it.
    let mut child = command(&place, &args).spawn().unwrap();
    let stdout = child.stdout.take().unwrap();
    let (mut before, mut same) = (0, 0);
    while same < 1000 {
        let held = rustix::io::ioctl_fionread(&stdout).unwrap();
        same = if held > 0 && held == before { same + 1 } else { 0 };
        before = held;
        std::thread::yield_now();
    }
    signal(&child, "TERM");
    let hash = ran(&child.wait_with_output().unwrap());
    assert_eq!(hash.code, 143, "{}", hash.stderr);
}
