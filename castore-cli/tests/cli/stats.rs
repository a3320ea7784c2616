//! The contents of a store, and the chunks that two blobs share.

use serde_json::Value;

use crate::support::{Place, noise};

/// A store with two blobs that share most of their chunks, and their digests.
fn filled() -> (Place, [String; 2]) {
    let place = Place::new();
    let shared = noise(2_000_000, 1);
    let old = place.write("old", &[&noise(300_000, 2)[..], &shared].concat()).to_string();
    let new = place.write("new", &[&noise(300_000, 3)[..], &shared].concat()).to_string();
    place.ok(&["-q", "put", "old", "new"]);
    (place, [old, new])
}

fn json(place: &Place, args: &[&str]) -> Value {
    serde_json::from_str(place.ok(args).trim()).unwrap()
}

#[test]
fn stats_tell_of_sizes_and_ratios_with_a_plot() {
    let (place, [old, _]) = filled();
    let stats = json(&place, &["--json", "stats"]);
    assert_eq!((&stats["blobs"], &stats["logical_bytes"]), (&2.into(), &4_600_000.into()));
    let ratio = stats["deduplication_ratio"].as_f64().unwrap();
    assert!(ratio > 1.5 && ratio < 2.0, "{ratio}");
    let objects = place.objects();
    let bytes: u64 = objects.iter().map(|path| path.metadata().unwrap().len()).sum();
    assert_eq!((&stats["objects"], &stats["bytes_stored"]), (&objects.len().into(), &bytes.into()));
    let classes = stats["chunk_sizes"].as_array().unwrap();
    let chunks: u64 = classes.iter().map(|class| class["chunks"].as_u64().unwrap()).sum();
    assert_eq!(stats["chunks"], chunks);

    let text = place.ok(&["stats"]);
    assert!(text.contains("blobs         2, 4600000 (4.4 MiB)"), "{text}");
    assert!(text.contains(&format!("objects       {}", objects.len())), "{text}");
    // The longest bar has its full length.
    assert!(text.lines().any(|line| line.ends_with(&format!("  {}", "#".repeat(40)))), "{text}");
    assert!(!text.contains("missing") && !text.contains(" at "), "{text}");

    place.ok(&["rm", &old]);
    let after = json(&place, &["--json", "stats"]);
    assert!(after["chunks_unreferenced"].as_u64().unwrap() > 0, "{after}");
    assert_eq!(after["objects"], objects.len() - 1);
}

#[test]
fn costs_are_computed_by_given_prices_alone() {
    let (place, _) = filled();
    let prices = ["--prices", "gib-month=1024,put=1000", "--prices", "get=0.5"];
    let text = place.ok(&[&["stats"], &prices[..]].concat());
    let objects = place.objects().len();
    assert!(text.contains("store it for a month: "), "{text}");
    assert!(text.contains(&format!("1000 PUT at 1000 = {objects}.0000")), "{text}");
    let stats = json(&place, &[&["--json", "stats"], &prices[..]].concat());
    let lines = stats["estimate"].as_array().unwrap();
    let month = lines.iter().find(|line| line["unit"] == "GiB-month").unwrap();
    let expected = stats["bytes_stored"].as_f64().unwrap() / f64::from(1 << 20);
    assert!((month["cost"].as_f64().unwrap() - expected).abs() < 1e-9, "{month}");
    for wrong in ["gold=1", "put", "put=-1"] {
        assert!(place.fails(2, &["stats", "--prices", wrong]).contains("price"), "{wrong}");
    }
}

#[test]
fn a_damaged_store_is_told_of() {
    let (place, _) = filled();
    let chunk = place.objects().into_iter().find(|p| p.starts_with(place.path("store/chunks")));
    std::fs::remove_file(chunk.unwrap()).unwrap();
    let stats = place.run(&["stats"]);
    assert_eq!(stats.code, 3, "{stats:?}");
    assert!(stats.stderr.contains("1 chunks are missing"), "{stats:?}");
    assert!(stats.text().contains("missing       1 chunks"), "{stats:?}");
    assert!(place.fails(10, &["-s", "none", "stats"]).contains("no castore store"));
}

#[test]
fn diff_tells_what_two_blobs_share() {
    let (place, [old, new]) = filled();
    let diff = json(&place, &["--json", "diff", &old, &new[..8]]);
    let bytes = |part: &str| diff[part]["bytes"].as_u64().unwrap();
    assert_eq!(bytes("shared") + bytes("first"), 2_300_000);
    assert_eq!(bytes("shared") + bytes("second"), 2_300_000);
    assert!(bytes("shared") > 1_000_000 && bytes("first") >= 300_000, "{diff}");
    assert_eq!(
        (&diff["first"]["digest"], &diff["first"]["size"]),
        (&old.into(), &2_300_000.into())
    );

    let text = place.ok(&["diff", &new, &new]);
    assert!(text.starts_with("shared       2300000 (2.2 MiB), "), "{text}");
    assert!(text.contains("only first   0 (0 B), 0 chunks"), "{text}");
    assert!(place.fails(4, &["diff", &new, &"0".repeat(64)]).contains("no blob"));
}
