//! The guide quotes the code literally.

use std::fs;
use std::path::Path;

/// The snippets of the guide that name a file, with the name.
fn quotations(guide: &str) -> Vec<(&str, &str)> {
    let blocks = guide.split("```rust\n").skip(1);
    let blocks = blocks.map(|block| block.split_once("```").expect("a block ends").0);
    blocks.filter_map(|block| block.strip_prefix("// ")?.split_once('\n')).collect()
}

/// The lines without their indentation, which may differ.
fn lines(text: &str) -> Vec<&str> {
    text.lines().map(str::trim).collect()
}

#[test]
fn quotes_of_the_guide_are_in_the_source() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = fs::read_to_string(root.join("README.md")).unwrap();
    let quotations = quotations(&guide);
    assert_eq!(quotations.len(), 3, "quotations in the guide");
    for (file, quotation) in quotations {
        let source = fs::read_to_string(root.join(file)).unwrap();
        let source = lines(&source);
        for paragraph in quotation.split("\n\n").map(lines) {
            let found = source.windows(paragraph.len()).any(|window| window == paragraph);
            let is_use = paragraph.iter().all(|line| line.starts_with("use "));
            assert!(found || is_use, "{file} does not have this:\n{}", paragraph.join("\n"));
        }
    }
}
