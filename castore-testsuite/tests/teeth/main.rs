//! The suite has teeth: a service with a flaw fails in the cases that are there to find it, and in
//! no other. A service without a flaw passes them all.
//!
//! - `flaw.rs` is the list of flaws: one plausible bug each.
//! - `service.rs`, `sink.rs` and `source.rs`, and the modules they use, are a blob service over the
//!   records of `records.rs`. The service is sound except for its flaw, at the places in the code
//!   that name a `Flaw::…`.
//! - `expected.rs` and the files below it list, for each flaw, the cases in which it fails.
//!
//! A new case of the suite needs a flaw that it is meant for: `every_case_is_meant_for_a_flaw`.

use std::collections::BTreeSet;

mod check;
mod chunk;
mod expected;
mod flaw;
mod groups;
mod harness;
mod index;
mod once;
mod one_thread;
mod publish;
mod records;
mod service;
mod sink;
mod source;
mod store;

/// Cases that no flaw of a service is meant for, because castore-core guarantees their subject for
/// every service. They fail only if something else is wrong first.
const GUARANTEED_BY_CORE: [(&str, &str); 6] = [
    (
        "writer::close_twice_returns_the_same",
        "BlobWriter closes its sink once, and keeps the result",
    ),
    ("writer::shutdown_is_close", "both are the same function of BlobWriter"),
    (
        "writer::write_after_close_is_invalid_input",
        "BlobWriter has no sink any more that could write",
    ),
    ("reader::read_sizes", "BlobReader asks for the same pieces, whatever the size of a read"),
    ("reader::empty_ranges", "BlobReader asks for no range without bytes"),
    ("faults::close_again_returns_the_same_error", "BlobWriter drops a sink that has failed"),
];

#[test]
fn sound_service_passes() {
    check::check_sound();
}

#[test]
fn sound_service_passes_on_one_thread() {
    check::check_sound_on_one_thread();
}

#[test]
fn every_flaw_has_a_test() {
    let tested: Vec<_> = expected::all().map(|teeth| teeth.flaw).collect();
    let flaws: BTreeSet<_> = tested.iter().copied().collect();
    assert_eq!(flaws.len(), tested.len(), "a flaw is listed twice");
    assert_eq!(flaws.into_iter().collect::<Vec<_>>(), flaw::Flaw::ALL);
}

#[test]
fn every_case_is_meant_for_a_flaw() {
    let meant: BTreeSet<&str> = expected::all().flat_map(|teeth| teeth.meant).copied().collect();
    let guaranteed: BTreeSet<&str> = GUARANTEED_BY_CORE.iter().map(|(case, _)| *case).collect();
    let both: Vec<_> = GUARANTEED_BY_CORE.iter().filter(|(case, _)| meant.contains(case)).collect();
    assert!(both.is_empty(), "guaranteed, but a flaw is meant for them: {both:#?}");

    let all = check::all_cases();
    let toothless: Vec<_> = all.difference(&(&meant | &guaranteed)).copied().collect();
    assert!(toothless.is_empty(), "no flaw is meant for these cases: {toothless:#?}");
    assert!(guaranteed.is_subset(&all), "the list of what is guaranteed has other cases as well");
}
