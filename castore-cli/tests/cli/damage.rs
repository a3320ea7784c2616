//! Stores that are damaged or full.

use crate::support::{Place, noise};

#[test]
fn a_flipped_byte_is_found_and_nothing_is_left_behind() {
    let place = Place::new();
    let digest = place.write("in", &noise(2_000_000, 1)).to_string();
    place.ok(&["put", "in"]);
    let chunk =
        place.objects().into_iter().find(|path| path.starts_with(place.path("store/chunks")));
    let chunk = chunk.unwrap();
    let mut bytes = std::fs::read(&chunk).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&chunk, bytes).unwrap();
    let name = chunk.file_name().unwrap().to_str().unwrap();
    for args in
        [&["get", &digest, "-o", "out"][..], &["get", "-o", "-", &digest], &["cat", &digest]]
    {
        assert!(place.fails(3, args).contains(name));
    }
    std::fs::remove_file(&chunk).unwrap();
    for args in [&["get", &digest, "-o", "out"][..], &["stat", &digest]] {
        let ran = place.run(args);
        assert!(ran.code == 3 && ran.stderr.contains(name), "{ran:?}");
    }
    assert_eq!(place.names("."), ["in", "store"]);
}

#[test]
fn bytes_before_a_bad_chunk_are_written() {
    let place = Place::new();
    let data = noise(2_000_000, 1);
    let digest = place.write("in", &data).to_string();
    place.ok(&["put", "in"]);
    let mut longest = 0;
    for path in place.objects() {
        if path.starts_with(place.path("store/chunks")) {
            let good = std::fs::read(&path).unwrap();
            std::fs::write(&path, &good[1..]).unwrap();
            let cat = place.run(&["cat", &digest]);
            std::fs::write(&path, good).unwrap();
            assert!(cat.code == 3 && data.starts_with(&cat.stdout), "{}", cat.stderr);
            longest = longest.max(cat.stdout.len());
        }
    }
    // All but the last chunk, and the part of its first group that lies before it.
    assert!(longest >= data.len() - 524_288 - 262_144, "{longest}");
}

/// A small filesystem, until it is dropped.
#[cfg(target_os = "linux")]
struct Small(std::path::PathBuf);

#[cfg(target_os = "linux")]
impl Small {
    fn mount(path: std::path::PathBuf) -> Option<Small> {
        std::fs::create_dir(&path).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(&path);
        let mounted = mount.output().is_ok_and(|output| output.status.success());
        mounted.then_some(Small(path))
    }
}

#[cfg(target_os = "linux")]
impl Drop for Small {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg(&self.0).status();
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_said_once_and_leaves_a_good_store() {
    let place = Place::new();
    let Some(_small) = Small::mount(place.path("small")) else {
        eprintln!(
            "NOT RUN: a_full_disk_is_said_once_and_leaves_a_good_store: cannot mount a tmpfs"
        );
        return;
    };
    let small = place.write("a", b"small").to_string();
    place.ok(&["-s", "small/store", "put", "a"]);
    for number in 0..20 {
        place.write(&format!("big{number}"), &noise(3_000_000, number));
    }
    let mut args = vec!["-q", "-s", "small/store", "put"];
    let names: Vec<String> = (0..20).map(|number| format!("big{number}")).collect();
    args.extend(names.iter().map(String::as_str));
    let ran = place.run(&args);
    assert_eq!(ran.code, 1, "{ran:?}");
    assert!(ran.stderr.contains("no space is left"), "{ran:?}");
    assert_eq!(ran.stderr.lines().count(), 2, "{ran:?}");
    assert_eq!(place.ok(&["-s", "small/store", "cat", &small]), "small");
}
