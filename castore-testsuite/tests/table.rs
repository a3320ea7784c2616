//! Checks the table of the contract: it has each sentence of the traits' documentation, every case
//! it names exists, and it names every case of the suite.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use castore_testsuite::{CONTRACT, FAULTS, FAULTS_AND_RESTART, RESTART, TAMPER, VERIFIED_RANGES};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of castore-core that document the contract, without their tests.
fn documented() -> String {
    let files = ["service", "reader", "writer"].map(|name| {
        let file = read(&format!("../castore-core/src/{name}.rs"));
        file.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
    });
    files.join("\n")
}

/// Removes markup from text. A link becomes its label.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("](") {
        plain.push_str(before);
        rest = after.split_once(')').map_or("", |(_, rest)| rest);
    }
    plain.push_str(rest);
    plain.replace(['[', ']', '`'], "")
}

/// Splits a paragraph into sentences.
fn sentences(paragraph: &str) -> Vec<String> {
    let text = plain(paragraph);
    let mut sentences = Vec::new();
    let mut rest = text.as_str();
    while let Some(end) = rest
        .match_indices(". ")
        .map(|(at, _)| at + 1)
        .find(|end| rest[*end..].trim_start().starts_with(|c: char| c.is_ascii_uppercase()))
    {
        sentences.push(rest[..end].to_owned());
        rest = rest[end..].trim_start();
    }
    sentences.push(rest.to_owned());
    sentences
}

/// The sentences of the documentation of every public item in the three files.
fn contract() -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let mut paragraphs: Vec<String> = vec![String::new()];
    let mut in_trait = false;
    for line in documented().lines() {
        in_trait = line.starts_with("pub trait") || (in_trait && line != "}");
        let line = line.trim();
        if let Some(doc) = line.strip_prefix("///").map(str::trim) {
            if doc.is_empty() || doc.starts_with('#') || doc.starts_with("- ") {
                paragraphs.push(String::new());
            }
            if let Some(last) = paragraphs.last_mut().filter(|_| !doc.starts_with('#')) {
                *last = format!("{last} {}", doc.trim_start_matches("- ")).trim().to_owned();
            }
        } else if !line.starts_with("#[") {
            let is_method = line.starts_with("fn ") || line.starts_with("async fn ");
            if line.starts_with("pub ") || (in_trait && is_method) {
                let written = paragraphs.iter().filter(|paragraph| !paragraph.is_empty());
                all.extend(written.flat_map(|paragraph| sentences(paragraph)));
            }
            paragraphs = vec![String::new()];
        }
    }
    all
}

/// The rows of the table: a sentence, and the names in the other column.
fn rows() -> Vec<(String, Vec<String>)> {
    let table = read("src/contract.md");
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let rows = rows.filter(|row| *row != "sentence | cases");
    rows.map(|row| {
        let (sentence, cases) = row.rsplit_once(" | ").expect("a row has two columns");
        let names = cases.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        (plain(sentence), names)
    })
    .collect()
}

#[test]
fn the_table_has_every_sentence_of_the_contract_and_no_other() {
    let contract = contract();
    assert!(contract.len() > 100, "the sentences are found: {contract:#?}");
    let table: BTreeSet<String> = rows().into_iter().map(|(sentence, _)| sentence).collect();
    let missing: Vec<_> = contract.difference(&table).collect();
    let stale: Vec<_> = table.difference(&contract).collect();
    assert!(missing.is_empty(), "these sentences are not in src/contract.md: {missing:#?}");
    assert!(stale.is_empty(), "castore-core does not say this any more: {stale:#?}");
}

#[test]
fn the_table_names_every_case_and_no_other() {
    let mut cases: BTreeSet<String> = BTreeSet::new();
    macro_rules! add {
        ($($group:ident)*) => { $(cases.extend($group.iter().map(|c| c.name().to_owned()));)* };
    }
    add!(CONTRACT TAMPER VERIFIED_RANGES FAULTS RESTART FAULTS_AND_RESTART);
    let core: String =
        ["src/checked", "src/reader", "src/whole", "src/writer", "tests/core/pointers"]
            .map(|name| read(&format!("../castore-core/{name}.rs")))
            .concat();
    let mut named = BTreeSet::new();
    for (sentence, names) in rows() {
        for name in names {
            let exists = match name.strip_prefix("core::") {
                Some(test) => core.contains(&format!("fn {test}()")),
                None => cases.contains(&name) || name == "current_thread",
            };
            assert!(exists, "there is no {name}, which the table names for: {sentence}");
            named.insert(name);
        }
    }
    let unnamed: Vec<_> = cases.difference(&named).collect();
    assert!(unnamed.is_empty(), "the table does not name these cases: {unnamed:#?}");
}

#[test]
fn a_sentence_is_tested_or_is_marked() {
    let table = read("src/contract.md");
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let is_heading = row == "| sentence | cases |";
        let is_marked = row.ends_with("| *definition* |") || row.ends_with("| *advice* |");
        assert!(is_heading || is_marked || row.ends_with("` |"), "without a case: {row}");
    }
}
