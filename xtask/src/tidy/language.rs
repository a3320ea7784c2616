//! Comments and documents name their subjects, in lines that fit a screen.
//!
//! A sentence that begins with "it" or with a question word makes the reader look for its subject.
//! Generated code, and code in comments, are not prose and do not count.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

use crate::cargo::git_files;

/// Words that may not begin a sentence, as written there.
const OPENERS: [&str; 8] = ["What", "Whatever", "Who", "Whoever", "Whose", "Where", "It", "Its"];

/// Words that may not occur at all.
const PERSONS: [&str; 3] = ["nobody", "somebody", "whoever"];

/// The most such sentences in 1,000 lines of a crate's comments, or of the documents. Good prose of
/// other projects has about 2 or 3.
const MAX_PER_THOUSAND: usize = 3;

const MAX_COLUMNS: usize = 100;

/// A line of a comment or of a document.
#[derive(Clone, Copy)]
struct Line<'a> {
    number: usize,
    /// `//`, `///` or `//!`; empty in documents; `None` if code precedes the comment.
    marker: Option<&'a str>,
    text: &'a str,
    columns: usize,
}

pub(super) fn check(root: &Path) -> Result<Vec<String>> {
    let mut violations = Vec::new();
    let mut groups = BTreeMap::<String, (usize, Vec<String>)>::new();
    for file in git_files(root, &["--", "*.rs", "*.md"])? {
        let Some(group) = group_of(&file) else { continue };
        let text =
            fs::read_to_string(root.join(&file)).with_context(|| format!("cannot read {file}"))?;
        let lines = if file.ends_with(".md") { document(&text) } else { comments(&text) };
        violations.extend(
            long_lines(&lines)
                .iter()
                .map(|number| format!("{file}:{number}: has more than {MAX_COLUMNS} columns")),
        );
        let (total, flagged) = groups.entry(group).or_default();
        *total += lines.len();
        for (number, sentence) in unclear(&lines) {
            flagged.push(format!("{file}:{number}: names no subject: {sentence}"));
        }
    }
    for (group, (total, flagged)) in groups {
        if flagged.len() * 1000 > total * MAX_PER_THOUSAND {
            let count = flagged.len();
            violations.extend(flagged);
            violations.push(format!("{group}: {count} of these in {total} lines are too many"));
        }
    }
    Ok(violations)
}

/// The crate of a Rust file, or "documents". `None` for files that are not checked.
fn group_of(file: &str) -> Option<String> {
    let (top, rest) = file.split_once('/').unwrap_or(("", file));
    if file.ends_with(".rs") {
        (!rest.split('/').any(|part| part == "generated")).then(|| top.into())
    } else {
        matches!(top, "" | "docs").then(|| "documents".into())
    }
}

/// All lines of a document's prose.
fn document(text: &str) -> Vec<Line<'_>> {
    let lines = text.lines().zip(1..).map(|(text, number)| Line {
        number,
        marker: Some(""),
        text,
        columns: text.chars().count(),
    });
    prose(lines)
}

/// All lines of the `//` comments in Rust code. A text that looks like one, in a string literal of
/// several lines, counts as well.
fn comments(source: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    for (line, number) in source.lines().zip(1..) {
        let mut starts = line.match_indices("//").map(|(at, _)| line.split_at(at));
        // Within a string literal, the number of quotes before is odd.
        let start = starts.find(|(code, _)| code.matches('"').count() % 2 == 0);
        let Some((code, comment)) = start else { continue };
        let text = comment.trim_start_matches('/');
        let text = text.strip_prefix('!').unwrap_or(text);
        let marker = &comment[..comment.len() - text.len()];
        lines.push(Line {
            number,
            marker: code.trim().is_empty().then_some(marker),
            text,
            columns: line.chars().count(),
        });
    }
    lines
}

/// Leaves out the lines between code fences, and tables.
fn prose<'a>(lines: impl Iterator<Item = Line<'a>>) -> Vec<Line<'a>> {
    let mut kept = Vec::new();
    let (mut is_code, mut previous) = (false, None);
    for line in lines {
        is_code &= continues(previous, line);
        previous = Some(line);
        let text = line.text.trim_start();
        if text.starts_with("```") {
            is_code = !is_code;
        } else if !is_code && !text.starts_with('|') {
            kept.push(line);
        }
    }
    kept
}

fn continues(previous: Option<Line<'_>>, line: Line<'_>) -> bool {
    previous.is_some_and(|previous| {
        previous.number + 1 == line.number
            && line.marker.is_some()
            && previous.marker == line.marker
    })
}

/// The numbers of the lines that are too long. A URL or the target of a link cannot be broken.
fn long_lines(lines: &[Line<'_>]) -> Vec<usize> {
    let is_link = |text: &str| text.contains("://") || text.trim_start().starts_with('[');
    let long = lines.iter().filter(|line| line.columns > MAX_COLUMNS && !is_link(line.text));
    long.map(|line| line.number).collect()
}

/// The sentences that name no subject, with the numbers of the lines that they begin in.
fn unclear(lines: &[Line<'_>]) -> Vec<(usize, String)> {
    let mut sentences = Vec::<(usize, String)>::new();
    let (mut is_open, mut previous) = (false, None);
    for line in prose(lines.iter().copied()) {
        let text = line.text.trim();
        let is_item = text.starts_with(['-', '*', '>']) && text[1..].starts_with(' ');
        is_open &= continues(previous, line) && !is_item;
        previous = Some(line);
        if text.is_empty() || text.starts_with('#') {
            is_open = false;
            continue;
        }
        for word in text.split_whitespace() {
            match sentences.last_mut() {
                Some((_, sentence)) if is_open => *sentence += &format!(" {word}"),
                _ => sentences.push((line.number, word.into())),
            }
            let end = word.trim_end_matches([')', '"', '*', '_']);
            is_open = !end.ends_with(['.', ':', ';', '!', '?']);
        }
    }
    sentences.retain(|(_, sentence)| is_unclear(sentence));
    sentences
}

fn is_unclear(sentence: &str) -> bool {
    let start = sentence.trim_start_matches(|c: char| !c.is_alphanumeric() && c != '`');
    // Every other part is code, between backticks.
    let mut prose = sentence.split('`').step_by(2).flat_map(words);
    words(start).next().is_some_and(|word| OPENERS.contains(&word))
        || prose.any(|word| PERSONS.contains(&word.to_lowercase().as_str()))
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The flagged sentences of Rust code.
    fn flagged(code: &str) -> Vec<(usize, String)> {
        unclear(&comments(code))
    }

    #[test]
    fn unclear_sentences_are_found() {
        for (code, number, sentence) in [
            ("/// What is left.", 1, "What is left."),
            ("//! A store. Its chunks.", 1, "Its chunks."),
            ("f() // It ends.", 1, "It ends."),
            ("// The store\n// waits. It\n// then ends.", 2, "It then ends."),
            ("/// - Where it lies", 1, "- Where it lies"),
            ("/// One, two: (Who asks.)", 1, "(Who asks.)"),
            ("/// Tells whoever asks.", 1, "Tells whoever asks."),
            ("/// ```\n/// f();\n/// ```\n/// Nobody asks.", 4, "Nobody asks."),
            ("/// ```\n/// f();\n\n/// It ends.", 4, "It ends."),
        ] {
            assert_eq!(flagged(code), [(number, sentence.to_owned())], "{code}");
        }
    }

    #[test]
    fn clear_sentences_and_code_are_not_reported() {
        for code in [
            "/// The store keeps it where it lies, and what it holds.",
            "/// Items of the store. Italic text. Whole chunks.",
            "/// A user named `nobody`. `It` is a type.",
            "/// ```\n/// f() // It ends.\n/// ```",
            "/// The chunks that\n/// It holds are few.",
            "/// # What it costs",
            "/// | chunk |\n/// | What is left. |",
            "let text = \"// It ends.\";",
            "let url = \"http://It\";",
        ] {
            assert_eq!(flagged(code), [], "{code}");
        }
        assert_eq!(unclear(&document("A store:\n\n```\nIt ends.\n```\n")), []);
    }

    #[test]
    fn long_lines_are_found_unless_they_hold_a_link() {
        let words = "ä".repeat(96);
        assert_eq!(long_lines(&comments(&format!("/// {words}\n/// {words}ä\n"))), [2]);
        assert_eq!(long_lines(&comments(&format!("let a = 1; // {words}"))), [1]);
        assert_eq!(long_lines(&comments(&format!("/// https://{words}"))), [0; 0]);
        let code = format!("let text = {words}{words};");
        assert_eq!(long_lines(&comments(&code)), [0; 0]);
        assert_eq!(long_lines(&document(&format!("```\n{code}\n```\n| {code} |\n{code}"))), [5]);
    }

    #[test]
    fn documents_and_handwritten_code_are_checked() {
        let groups = ["xtask/src/main.rs", "docs/gc.md", "README.md"].map(group_of);
        assert_eq!(groups, ["xtask", "documents", "documents"].map(|group| Some(group.into())));
        assert_eq!(["castore-proto/src/generated/a.rs", "fuzz/a.md"].map(group_of), [None, None]);
    }
}
