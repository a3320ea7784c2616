//! `castore gc`

use std::fs::{File, FileTimes};
use std::time::Duration;

use crate::support::{Place, noise};

/// Makes every object of the store, and every record of a collector, look older.
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

/// The number of files under the store's directory `part`.
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
    let dry = place.run(&["gc", "--max-fraction", "1"]);
    assert_eq!(dry.code, 0);
    assert!(dry.stderr.contains("--run"), "{dry:?}");
    assert_eq!(number(&dry.text(), "set aside"), garbage);
    assert_eq!(place.objects(), objects, "a dry run changes nothing");

    let json = place.ok(&["--json", "gc", "--run", "--max-fraction", "1"]);
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
    place.ok(&["gc", "--run", "--max-fraction", "1"]);
    // The index of a writer that found the chunks before they were set aside.
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
    place.ok(&["gc", "--run", "--keep", "keep", "--max-fraction", "0.6"]);
    assert_eq!(place.ok(&["ls"]), format!("{digest}\n"));
    assert_eq!(place.run(&["cat", digest]).stdout, noise(300_000, 1));
    place.fails(4, &["cat", &other]);

    // Until a blob is removed, it comes back if a list keeps it after all.
    place.write("keep", format!("{digest}\n{other}\n").as_bytes());
    place.ok(&["gc", "--run", "--keep", "keep"]);
    assert_eq!(place.run(&["cat", &other]).stdout, noise(300_000, 2));
}

#[test]
fn a_list_that_names_nothing_of_the_store_is_refused() {
    let place = Place::new();
    place.write("a", &noise(300_000, 1));
    place.ok(&["put", "a"]);
    let_pass(&place, DAY);
    place.write("keep", format!("{}\n{}\n", "0".repeat(64), "1".repeat(64)).as_bytes());
    let objects = place.objects();
    let more = ["--allow-absent", "--max-fraction", "1"];
    let line = place.fails(2, &[&["gc", "--run", "--keep", "keep"][..], &more].concat());
    assert!(line.contains("none of the 2 blobs"), "{line}");
    assert_eq!(place.objects().len(), objects.len() + 1, "only gc/clock is new");
}

#[test]
fn a_blob_that_is_to_be_kept_and_is_absent_stops_the_run_unless_that_is_allowed() {
    let place = Place::new();
    place.write("a", b"a");
    place.write("b", b"b");
    let kept = place.ok(&["put", "a"])[..64].to_owned();
    place.ok(&["put", "b"]);
    let_pass(&place, DAY);
    let absent = "0".repeat(64);
    place.write("keep", format!("{kept}\n{absent}\n").as_bytes());
    let ran = place.run(&["-q", "gc", "--run", "--keep", "keep"]);
    assert_eq!(ran.code, 4, "{ran:?}");
    assert!(ran.stderr.contains(&absent) && ran.stderr.contains("allow-absent"), "{ran:?}");
    assert_eq!(count(&place, "blobs"), 2);

    let ran = place.run(&["gc", "--run", "--keep", "keep", "--allow-absent"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stderr.contains(&absent), "{ran:?}");
    assert_eq!((number(&ran.text(), "named"), number(&ran.text(), "blobs set aside")), (2, 1));
}

#[test]
fn a_run_that_would_take_more_than_the_share_is_refused_with_its_numbers() {
    let place = Place::new();
    for name in ["a", "b", "c"] {
        place.write(name, &noise(300_000, u64::from(name.as_bytes()[0])));
        place.ok(&["put", name]);
    }
    let digests = place.ok(&["ls"]);
    let mut digests = digests.lines();
    place.ok(&["rm", &digests.next().unwrap()[..64]]);
    place.ok(&["rm", &digests.next().unwrap()[..64]]);
    let_pass(&place, DAY);
    let chunks = count(&place, "chunks");
    let line = place.fails(1, &["gc", "--run"]);
    assert!(line.contains("max-fraction") && line.contains('%'), "{line}");
    assert_eq!(count(&place, "chunks"), chunks);
    place.ok(&["gc", "--run", "--max-fraction", "0.8"]);
    assert!(count(&place, "chunks") < chunks);
    assert_eq!(place.run(&["gc", "--max-fraction", "2"]).code, 2);
}

#[test]
fn lists_of_blobs_to_keep_are_read_with_care() {
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
