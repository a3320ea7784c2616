//! The tables: printed line by line on the screen, and as Markdown.

use crate::results::{Measurement, Run};
use crate::subject::AT_A_TIME;

/// A number with three significant digits.
pub(crate) fn number(value: f64) -> String {
    match value {
        value if !value.is_finite() => "-".to_owned(),
        value if value >= 100.0 => format!("{value:.0}"),
        value if value >= 10.0 => format!("{value:.1}"),
        value => format!("{value:.2}"),
    }
}

/// The same for a number that may be unknown.
pub(crate) fn optional(value: Option<f64>) -> String {
    value.map_or("-".to_owned(), number)
}

/// A table: the names and widths of its columns. The first columns are text, aligned to the left;
/// the others are numbers.
pub(crate) struct Columns {
    text: &'static [(&'static str, usize)],
    numbers: &'static [(&'static str, usize)],
}

/// Castore beside the reference.
pub(crate) const SCENARIOS: Columns = Columns {
    text: &[("scenario", 13), ("store", 13), ("corpus", 18)],
    numbers: &[
        ("MB/s", 6),
        ("CPU s/GB", 8),
        ("CPU/work", 8),
        ("of work", 7),
        ("peak MB", 7),
        ("HEAD", 6),
        ("GET", 6),
        ("PUT", 6),
        ("ref. MB/s", 9),
        ("ref. CPU", 8),
        ("ratio", 7),
    ],
};

/// The parts of the work.
pub(crate) const COMPONENTS: Columns = Columns {
    text: &[("component", 13), ("corpus", 13)],
    numbers: &[("MB/s", 6), ("CPU s/GB", 8)],
};

impl Columns {
    pub(crate) const fn new(
        text: &'static [(&'static str, usize)],
        numbers: &'static [(&'static str, usize)],
    ) -> Columns {
        Columns { text, numbers }
    }

    /// Whether the column of that number is text.
    pub(crate) fn is_text(&self, number: usize) -> bool {
        number < self.text.len()
    }

    /// The names of the columns.
    pub(crate) fn names(&self) -> Vec<String> {
        self.text.iter().chain(self.numbers).map(|(name, _)| (*name).to_owned()).collect()
    }

    /// Aligns the cells in their columns.
    pub(crate) fn line(&self, cells: &[String]) -> String {
        let text = self.text.iter().map(|(_, width)| (true, *width));
        let widths = text.chain(self.numbers.iter().map(|(_, width)| (false, *width)));
        let cells = cells.iter().zip(widths).map(|(cell, (is_text, width))| match is_text {
            true => format!("{cell:<width$}"),
            false => format!("{cell:>width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }

    /// The whole table as Markdown.
    pub(crate) fn markdown(&self, rows: &[Vec<String>]) -> String {
        let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let rules = self.text.iter().map(|_| "---").chain(self.numbers.iter().map(|_| "---:"));
        let rules: Vec<String> = rules.map(str::to_owned).collect();
        row(&self.names()) + &row(&rules) + &rows.iter().map(|cells| row(cells)).collect::<String>()
    }
}

pub(crate) fn scenario_heading() -> String {
    SCENARIOS.line(&SCENARIOS.names())
}

pub(crate) fn component_heading() -> String {
    COMPONENTS.line(&COMPONENTS.names())
}

/// The cells of a case: castore's numbers, the reference's, and their ratio.
pub(crate) fn scenario_cells(run: &Run, castore: &Measurement) -> Vec<String> {
    let reference = run.beside(castore, "reference");
    let requests = castore.requests().unwrap_or_default();
    let ratio = reference.map(|found| castore.mb_per_second() / found.mb_per_second());
    vec![
        castore.scenario.clone(),
        castore.store.clone(),
        castore.corpus.clone(),
        number(castore.mb_per_second()),
        optional(castore.cpu_per_gb()),
        optional(run.cpu_over_work(castore)),
        optional(run.speed_over_work(castore)),
        castore.peak_mb().map_or("-".to_owned(), |peak| format!("{peak:.0}")),
        requests.head.to_string(),
        requests.get.to_string(),
        requests.put.to_string(),
        optional(reference.map(Measurement::mb_per_second)),
        optional(reference.and_then(Measurement::cpu_per_gb)),
        ratio.map_or("-".to_owned(), |ratio| format!("{}x", number(ratio))),
    ]
}

/// A line of the table on the screen, with remarks.
pub(crate) fn scenario_row(run: &Run, castore: &Measurement) -> String {
    let mut row = SCENARIOS.line(&scenario_cells(run, castore));
    let both = [Some(castore), run.beside(castore, "reference")];
    if let ("random_reads", [Some(castore), Some(reference)]) = (&*castore.scenario, both) {
        row += &format!(
            "\n  a read takes {} ms, {AT_A_TIME} at a time; the reference's {} ms, one at a time",
            number(castore.ms_per_operation() * AT_A_TIME as f64),
            number(reference.ms_per_operation()),
        );
    }
    for found in both.into_iter().flatten() {
        if let Some(wrong) = found.wrong() {
            row += &format!("\n  WRONG: {}: {wrong}", found.who);
        }
    }
    row
}

pub(crate) fn component_cells(measurement: &Measurement) -> Vec<String> {
    vec![
        measurement.scenario.clone(),
        measurement.corpus.clone(),
        number(measurement.mb_per_second()),
        optional(measurement.cpu_per_gb()),
    ]
}

pub(crate) fn component_row(measurement: &Measurement) -> String {
    let mut row = COMPONENTS.line(&component_cells(measurement));
    if let Some(wrong) = measurement.wrong() {
        row += &format!("\n  WRONG: {wrong}");
    }
    row
}

/// The rows of castore beside the reference.
pub(crate) fn scenario_rows(run: &Run) -> Vec<Vec<String>> {
    run.scenarios().map(|castore| scenario_cells(run, castore)).collect()
}

/// The rows of the parts.
pub(crate) fn component_rows(run: &Run) -> Vec<Vec<String>> {
    run.of("component").map(component_cells).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::run;

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!(number(1234.5), "1234");
        assert_eq!(number(12.345), "12.3");
        assert_eq!(number(1.2345), "1.23");
        assert_eq!(number(f64::NAN), "-");
        assert_eq!(optional(None), "-");
    }

    #[test]
    fn a_row_has_both_numbers_and_their_ratio() {
        let run = run();
        let row = scenario_row(&run, run.scenarios().next().unwrap());
        for cell in ["put_new", "local", "sources", " 200 ", " 90.9 ", "2.20x", " 1.25 "] {
            assert!(row.contains(cell), "{cell}: {row}");
        }
        let markdown = SCENARIOS.markdown(&scenario_rows(&run));
        assert_eq!(markdown.lines().count(), 3);
        assert!(markdown.contains("| put_new | local | sources | 200 |"), "{markdown}");
    }

    #[test]
    fn a_wrong_answer_is_loud() {
        let mut run = run();
        run.measurements[1].outcomes[2].wrong = Some("other bytes".to_owned());
        let row = scenario_row(&run, run.scenarios().next().unwrap());
        assert!(row.ends_with("WRONG: reference: other bytes"), "{row}");
    }
}
