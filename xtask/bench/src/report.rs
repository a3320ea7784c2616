//! The page with the plots, and the tables as Markdown.

mod plots;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::job::Requests;
use crate::peers;
use crate::results::{Measurement, Run};
use crate::table::{self, COMPONENTS, Columns, SCENARIOS};
use plots::{Group, Line, bars, lines};

/// All tables with the notes they need, for a README.
pub(crate) fn markdown(run: &Run) -> String {
    let mut text = format!("{}\n\n", about(run));
    for (_, columns, rows) in tables(run) {
        text += &(columns.markdown(&rows) + "\n");
    }
    for note in &run.notes {
        text += &format!("- {note}\n");
    }
    text
}

fn about(run: &Run) -> String {
    let mb = run.corpus_bytes / 1_000_000;
    let machine = run.machine.line();
    format!("Medians of {}, corpora of {mb} MB. {machine}.", run.repetitions)
}

/// The tables that have rows: the title, the columns, and the rows.
fn tables(run: &Run) -> Vec<(&'static str, &'static Columns, Vec<Vec<String>>)> {
    let all = [
        ("castore beside the reference", &SCENARIOS, table::scenario_rows(run)),
        ("Other programs", &peers::PEERS, peers::rows(run)),
        ("The parts of the work, and all of it", &COMPONENTS, table::component_rows(run)),
    ];
    all.into_iter().filter(|(_, _, rows)| !rows.is_empty()).collect()
}

/// Writes the page into `directory`, and returns its path.
pub(crate) fn write(run: &Run, directory: &Path) -> Result<PathBuf> {
    let path = directory.join("index.html");
    let page = page(run)?;
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&path, page))
        .with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

const STYLE: &str = "\
body { font: 15px/1.5 sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: 1em 0 }
td, th { padding: 2px 9px; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
.text { text-align: left }
svg { display: block; margin: 1.5em 0; max-width: 100%; height: auto }
.scroll { overflow-x: auto }";

fn page(run: &Run) -> Result<String> {
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <title>castore: benchmarks</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>\n\
         <h1>castore: benchmarks</h1>\n<p>{}</p>\n",
        escape(&about(run))
    );
    page += "<p>The reference is the obvious implementation: one chunk after another, a streaming \
             encoder, one thread. docs/benchmarks.md says how all of this is measured.</p>\n";
    for svg in pictures(run)? {
        page += &(svg + "\n");
    }
    for (title, columns, rows) in tables(run) {
        page += &format!("<h2>{}</h2>\n{}", escape(title), html_table(columns, &rows));
    }
    if !run.notes.is_empty() {
        page += "<h2>Notes</h2>\n<ul>\n";
        for note in &run.notes {
            page += &format!("<li>{}</li>\n", escape(note));
        }
        page += "</ul>\n";
    }
    Ok(page + "</body>\n</html>\n")
}

fn html_table(columns: &Columns, rows: &[Vec<String>]) -> String {
    let row = |tag: &str, cells: &[String]| {
        let cell = |(number, cell): (usize, &String)| {
            let class = if columns.is_text(number) { " class=\"text\"" } else { "" };
            format!("<{tag}{class}>{}</{tag}>", escape(cell))
        };
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    let rows: String = rows.iter().map(|cells| row("td", cells)).collect();
    format!("<div class=\"scroll\"><table>\n{}{rows}</table></div>\n", row("th", &columns.names()))
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// The plots of the measurements.
fn pictures(run: &Run) -> Result<Vec<String>> {
    let both = ["castore", "reference"];
    let mut pictures = Vec::new();
    let mut add = |groups: Vec<Group>, title: &str, series: &[&str], logarithmic| -> Result<()> {
        if !groups.is_empty() {
            pictures.push(bars(title, series, &groups, logarithmic)?);
        }
        Ok(())
    };
    let is_swept = |found: &Measurement| found.store.ends_with(" ms");
    let is_new = |found: &Measurement| !found.scenario.starts_with("put_again") && is_put(found);
    let groups = |is_wanted: &dyn Fn(&Measurement) -> bool, value: fn(&Measurement) -> f64| {
        let wanted = run.scenarios().filter(|found| is_wanted(found) && found.wrong().is_none());
        let group = |found: &Measurement| {
            let reference = run.beside(found, "reference");
            (label(found), vec![Some(value(found)), reference.map(value)])
        };
        wanted.map(group).collect::<Vec<Group>>()
    };
    let speed = Measurement::mb_per_second;
    let put = groups(&|found| is_new(found) && !is_swept(found), speed);
    add(put, "Storing what is new, MB/s", &both, false)?;
    let again = groups(&|found| is_put(found) && !is_new(found), speed);
    add(again, "Storing what is there already, MB/s", &both, false)?;
    let read = groups(&|found| !is_put(found) && !is_swept(found), speed);
    add(read, "Reading, MB/s", &both, false)?;
    for corpus in ["libraries", "sources"] {
        let (names, groups) = beside_peers(run, corpus);
        for (names, groups) in names.chunks(6).zip(groups) {
            add(groups, &format!("Programs, {corpus}, MB/s"), names, false)?;
        }
    }
    let requests = |found: &Measurement| {
        let Requests { head, get, put } = found.requests().unwrap_or_default();
        (head + get + put) as f64
    };
    add(groups(&|_| true, requests), "Requests to the store (logarithmic)", &both, true)?;

    let sweep = sweep(run);
    if !sweep.is_empty() {
        let axes = ["milliseconds per request", "MB/s"];
        pictures.push(lines("Over latency (both axes logarithmic)", axes, &sweep, true)?);
    }
    let memory = memory(run);
    if !memory.is_empty() {
        let axes = ["seconds", "MB"];
        pictures.push(lines("Memory while one long blob is put", axes, &memory, false)?);
    }
    Ok(pictures)
}

fn is_put(found: &Measurement) -> bool {
    !found.scenario.contains("read")
}

fn label(found: &Measurement) -> String {
    format!("{}, {}, {}", found.scenario, found.store, found.corpus)
}

/// The programs, six per plot, with their speeds in the three steps.
fn beside_peers<'a>(run: &'a Run, corpus: &str) -> (Vec<&'a str>, Vec<Vec<Group>>) {
    let of_step = |step: &'static str| {
        run.measurements.iter().filter(move |found| {
            peers::is_peer(found) && found.scenario == step && found.corpus == corpus
        })
    };
    let names: Vec<&str> = of_step("put_new").map(|found| found.who.as_str()).collect();
    let groups = names.chunks(6).map(|names| {
        let group = |step| {
            let value = |name: &&str| {
                let found = of_step(step).find(|found| found.who == *name)?;
                found.wrong().is_none().then(|| found.mb_per_second())
            };
            (step.to_owned(), names.iter().map(value).collect())
        };
        ["put_new", "put_again", "read"].map(group).to_vec()
    });
    let groups = groups.collect();
    (names, groups)
}

/// Speeds by the latency of the store.
fn sweep(run: &Run) -> Vec<Line> {
    let mut lines = Vec::new();
    for scenario in ["put_new", "read"] {
        for who in ["castore", "reference"] {
            let points: Vec<(f64, f64)> = run
                .of(who)
                .filter(|found| found.scenario == scenario && found.wrong().is_none())
                .filter_map(|found| {
                    let latency = found.store.strip_suffix(" ms")?.parse().ok()?;
                    Some((latency, found.mb_per_second()))
                })
                .collect();
            if !points.is_empty() {
                lines.push(Line { name: format!("{who}, {scenario}"), points });
            }
        }
    }
    lines
}

/// Memory over time, of the last repetition.
fn memory(run: &Run) -> Vec<Line> {
    let traced = run.measurements.iter().filter(|found| found.scenario == "long_put");
    let lines = traced.filter_map(|found| {
        let samples = &found.outcomes.last()?.memory;
        let points = samples.iter().map(|(time, bytes)| (*time, *bytes as f64 / 1e6)).collect();
        (!samples.is_empty()).then(|| Line { name: found.who.clone(), points })
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{measurement, run};

    #[test]
    fn the_page_has_the_numbers_and_the_pictures() {
        let mut run = run();
        for who in ["castore", "reference"] {
            for store in ["5 ms", "20 ms"] {
                let mut swept = measurement(who, "read", &[0.25]);
                swept.store = store.to_owned();
                run.measurements.push(swept);
            }
            run.measurements.push(measurement(who, "long_put", &[2.5]));
        }
        let page = page(&run).unwrap();
        for text in [
            "<td>200</td>",
            "<td>90.9</td>",
            "2.20x",
            "a note",
            "Requests",
            "Over latency",
            "Memory",
        ] {
            assert!(page.contains(text), "{text}");
        }
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.matches("<svg").count() >= 4);
        assert!(!page.contains("http://") || !page.contains("src="), "it needs nothing else");
    }

    #[test]
    fn text_cannot_become_markup() {
        let mut run = run();
        run.notes.push("<b>&".to_owned());
        assert!(page(&run).unwrap().contains("&lt;b&gt;&amp;"));
        assert!(markdown(&run).contains("- <b>&"));
    }
}
