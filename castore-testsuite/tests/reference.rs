//! The suite on the reference implementation.

use castore_core::MemoryBlobService;
use castore_testsuite::{Harness, conformance};

fn harness() -> impl Harness {
    let service = MemoryBlobService::new();
    move || service.clone()
}

conformance!(harness());

/// Every public case function is in the list, once.
#[test]
fn every_case_is_listed() {
    let sources = [
        ("writer", include_str!("../src/cases/writer.rs")),
        ("reader", include_str!("../src/cases/reader.rs")),
        ("storage", include_str!("../src/cases/storage.rs")),
    ];
    let defined: Vec<String> = sources
        .iter()
        .flat_map(|(module, source)| {
            let names = source.lines().filter_map(|line| {
                let rest = line.strip_prefix("pub async fn ")?;
                Some(format!("{module}::{}", &rest[..rest.find('(')?]))
            });
            names.collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(defined, castore_testsuite::CASES);
}
