//! `chunk` shows the effect of `put`, and changes nothing.

use serde_json::Value;

use crate::support::{Place, noise};

fn summary(text: &str) -> Value {
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

#[test]
fn a_dry_run_foretells_put() {
    let place = Place::new();
    let mut data = noise(3_000_000, 1);
    place.write("a", &data);
    data[1_500_000] ^= 1;
    place.write("b", &data);

    let run = place.run(&["--json", "chunk", "a", "b"]);
    assert!(run.code == 0 && run.stderr.is_empty() | run.stderr.contains("no store"), "{run:?}");
    let foretold = summary(&run.text());
    assert_eq!(foretold["bytes_read"], 6_000_000);
    assert_eq!(place.names("."), ["a", "b"]);

    place.ok(&["put", "a"]);
    let foretold = summary(&place.ok(&["--json", "chunk", "b"]));
    let done = summary(&place.ok(&["--json", "put", "b"]));
    assert_eq!(foretold["bytes_new"], done["bytes_new"]);
    assert!(done["bytes_new"].as_u64().unwrap() < 1_100_000, "{done}");
    assert_eq!(summary(&place.ok(&["--json", "chunk", "a", "b"]))["bytes_new"], 0);
}

#[test]
fn the_list_covers_the_file_and_a_bad_file_hides_no_other() {
    let place = Place::new();
    place.write("a", &noise(3_000_000, 1));
    let run = place.run(&["-q", "chunk", "--list", "gone", "a"]);
    assert_eq!((run.code, run.stderr.as_str()), (1, "castore: gone: No such file or directory\n"));
    let text = run.text();
    let mut end = 0;
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [offset, size, digest] = fields[..] else { break };
        if digest.len() != 64 {
            break;
        }
        assert_eq!(offset.parse(), Ok(end));
        end += size.parse::<u64>().unwrap();
    }
    assert_eq!(end, 3_000_000);
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let place = Place::new();
    place.write("a", &noise(30_000_000, 7));
    let one = place.ok(&["-q", "chunk", "--list", "--threads", "1", "a"]);
    assert!(one.lines().count() > 60);
    for threads in ["2", "3", "1000"] {
        assert_eq!(place.ok(&["-q", "chunk", "--list", "--threads", threads, "a"]), one);
    }
    let run = place.run(&["chunk", "--threads", "0", "a"]);
    assert!(run.code == 2 && run.stderr.contains("'0'"), "{run:?}");
}
