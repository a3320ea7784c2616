//! `castore gc`

use std::fs::{File, FileTimes};
use std::time::Duration;

use crate::support::{Place, noise};

/// Lets every object of the store, and every record of a collector, look as if it were older.
fn let_pass(place: &Place, time: Duration) {
    for path in place.objects() {
        let file = File::options().write(true).open(path).unwrap();
        let modified = file.metadata().unwrap().modified().unwrap();
        file.set_times(FileTimes::new().set_modified(modified - time)).unwrap();
    }
}

const DAY: Duration = Duration::from_secs(25 * 3600);

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line[16..].split_whitespace().next().unwrap().parse().unwrap()
}

/// How many files there are under the store's directory `part`.
fn count(place: &Place, part: &str) -> usize {
    let part = place.path("store").join(part);
    place.objects().iter().filter(|path| path.starts_with(&part)).count()
}

/// The file of a blob's index.
fn index_of(place: &Place, digest: &str) -> std::path::PathBuf {
    place.path("store/blobs/b3").join(&digest[..4]).join(digest)
}

#[test]
fn garbage_is_shown_then_set_aside_then_removed() {
    let place = Place::new();
    place.write("wanted", &noise(700_000, 1));
    let unwanted = place.write("unwanted", &noise(900_000, 2)).to_string();
    let wanted = place.ok(&["put", "wanted"])[..64].to_owned();
    place.ok(&["put", "unwanted"]);
    let before = count(&place, "chunks");
    place.ok(&["rm", &unwanted]);
    let kept = place.ok(&["--json", "stat", &wanted]);
    assert!(kept.contains("\"distinct_chunks\""));

    let shown = place.ok(&["-q", "gc", "--run"]);
    assert_eq!(number(&shown, "set aside"), 0, "it is too young\n{shown}");
    let garbage = number(&shown, "too young");
    assert!(garbage > 0);

    let_pass(&place, DAY);
    let objects = place.objects();
    let dry = place.run(&["gc"]);
    assert_eq!(dry.code, 0);
    assert!(dry.stderr.contains("--run"), "{dry:?}");
    assert_eq!(number(&dry.text(), "set aside"), garbage);
    assert_eq!(place.objects(), objects, "a dry run changes nothing");

    let json = place.ok(&["--json", "gc", "--run"]);
    assert!(json.contains("\"set_aside\":{\"bytes\":"), "{json}");
    assert_eq!(count(&place, "chunks"), before - garbage as usize);
    assert_eq!(count(&place, "gc/chunks"), garbage as usize);
    let shown = place.ok(&["-q", "gc", "--run"]);
    assert_eq!((number(&shown, "waiting"), number(&shown, "removed")), (garbage, 0));

    let_pass(&place, DAY);
    let shown = place.ok(&["-q", "gc", "--run"]);
    assert_eq!((number(&shown, "waiting"), number(&shown, "removed")), (0, garbage));
    assert_eq!(count(&place, "gc/chunks"), 0);
    assert_eq!(count(&place, "gc/batches"), 0);
    assert_eq!(place.run(&["cat", &wanted]).stdout, noise(700_000, 1));
}

#[test]
fn a_chunk_that_is_only_aside_is_not_missing() {
    let place = Place::new();
    let digest = place.write("a", &noise(300_000, 1)).to_string();
    place.ok(&["put", "a"]);
    let path = index_of(&place, &digest);
    let index = std::fs::read(&path).unwrap();
    place.ok(&["rm", &digest]);
    let_pass(&place, DAY);
    place.ok(&["gc", "--run"]);
    // As a writer would that had found the chunks before they were set aside.
    std::fs::write(path, index).unwrap();
    let aside = count(&place, "gc/chunks");
    assert!(aside > 0);

    let shown = place.ok(&["stat", &digest]);
    assert!(shown.contains(&format!("aside   {aside} chunks")), "{shown}");
    let listed = place.ok(&["stat", "--chunks", &digest]);
    assert_eq!(listed.lines().filter(|line| line.ends_with(" aside")).count(), aside, "{listed}");
    assert!(place.ok(&["--json", "stat", &digest]).contains(&format!("\"chunks_aside\":{aside}")));

    place.ok(&["gc", "--run"]);
    let shown = place.ok(&["stat", &digest]);
    assert!(!shown.contains("aside"), "{shown}");
}

#[test]
fn only_what_is_to_be_kept_stays() {
    let place = Place::new();
    place.write("a", &noise(300_000, 1));
    place.write("b", &noise(300_000, 2));
    let kept = place.ok(&["put", "a"]);
    let (kept, digest) = (kept.trim(), &kept[..64]);
    let other = place.ok(&["put", "b"])[..64].to_owned();
    place.write("keep", format!("# what stays\n\n{kept}\n").as_bytes());
    let_pass(&place, DAY);
    place.ok(&["gc", "--run", "--keep", "keep"]);
    assert_eq!(place.ok(&["ls"]), format!("{digest}\n"));
    assert_eq!(place.run(&["cat", digest]).stdout, noise(300_000, 1));
    place.fails(4, &["cat", &other]);

    // Until it is removed, it comes back if it is to be kept after all.
    place.write("keep", format!("{digest}\n{other}\n").as_bytes());
    place.ok(&["gc", "--run", "--keep", "keep"]);
    assert_eq!(place.run(&["cat", &other]).stdout, noise(300_000, 2));
}

#[test]
fn a_blob_that_is_to_be_kept_and_is_not_there_is_reported() {
    let place = Place::new();
    place.write("a", b"a");
    place.ok(&["put", "a"]);
    let absent = "0".repeat(64);
    place.write("keep", format!("{absent}\n").as_bytes());
    let ran = place.run(&["-q", "gc", "--keep", "keep"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains(&absent), "{ran:?}");
}

#[test]
fn what_is_to_be_kept_is_read_with_care() {
    let place = Place::new();
    place.write("a", b"a");
    place.ok(&["put", "a"]);
    place.write("empty", b"# nothing\n");
    assert!(place.fails(2, &["gc", "--keep", "empty"]).contains("empty"));
    place.write("typo", b"12345678\n");
    let line = place.fails(2, &["gc", "--keep", "typo"]);
    assert!(
        line.contains("typo") && line.contains("line 1") && line.contains("12345678"),
        "{line}"
    );
    assert_eq!(place.run(&["gc", "--grace", "yesterday"]).code, 2);
    assert!(place.fails(10, &["-s", "nowhere", "gc"]).contains("no castore store"));
}

#[test]
fn an_index_that_cannot_be_read_stops_everything() {
    let place = Place::new();
    let digest = place.write("a", &noise(300_000, 1)).to_string();
    place.ok(&["put", "a"]);
    let index = index_of(&place, &digest);
    std::fs::write(index, b"garbage").unwrap();
    let_pass(&place, DAY);
    let objects = count(&place, "chunks");
    let line = place.fails(3, &["gc", "--run"]);
    assert!(line.contains(&digest), "{line}");
    assert_eq!(count(&place, "chunks"), objects);
}
