//! Compares a run with an earlier one.

use crate::results::{Measurement, Run};
use crate::stats::{change, median};
use crate::table::{Columns, number};

const COLUMNS: Columns = Columns::new(
    &[("who", 20), ("scenario", 13), ("store", 13), ("corpus", 18)],
    &[("old s", 7), ("new s", 7), ("change", 8)],
);

/// The comparison of the measurements that both runs have, as lines of text.
pub(crate) fn compare(old: &Run, new: &Run) -> String {
    let mut text = String::new();
    if old.machine.line() != new.machine.line() {
        text += &format!("then: {}\nnow:  {}\n", old.machine.line(), new.machine.line());
    }
    text += &(COLUMNS.line(&COLUMNS.names()) + "   95% interval\n");
    for now in &new.measurements {
        let is_same = |found: &&Measurement| {
            found.who == now.who && found.is_of(now) && has_as_many_bytes(found, now)
        };
        if let Some(then) = old.measurements.iter().find(is_same) {
            text += &(line(then, now) + "\n");
        }
    }
    text
}

/// Measurements of different sizes cannot be compared.
fn has_as_many_bytes(one: &Measurement, other: &Measurement) -> bool {
    let bytes = |found: &Measurement| found.outcomes.first().map(|outcome| outcome.bytes);
    bytes(one) == bytes(other)
}

fn line(then: &Measurement, now: &Measurement) -> String {
    let (old, new) = (then.wall_seconds(), now.wall_seconds());
    let percent = |ratio: f64| format!("{:+.1}%", (ratio - 1.0) * 100.0);
    let ratio = median(&new) / median(&old);
    let [scenario, store, corpus] = now.case().map(str::to_owned);
    let cells = [
        now.who.clone(),
        scenario,
        store,
        corpus,
        number(median(&old)),
        number(median(&new)),
        percent(ratio),
    ];
    let verdict = match change(&old, &new) {
        None => "measured once: nothing can be said".to_owned(),
        Some(change) => {
            let interval = format!("{} to {}", percent(change.low), percent(change.high));
            match change.is_seen() {
                false => format!("{interval}: no change seen"),
                true if change.ratio < 1.0 => format!("{interval}: faster"),
                true => format!("{interval}: slower"),
            }
        }
    };
    format!("{}   {verdict}", COLUMNS.line(&cells))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::{measurement, run};

    #[test]
    fn a_comparison_says_what_changed_and_what_did_not() {
        let old = run();
        let mut new = run();
        new.measurements[0] = measurement("castore", "put_new", &[0.31, 0.30, 0.32]);
        let text = compare(&old, &new);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].contains("0.50") && lines[1].contains("0.31"), "{text}");
        assert!(lines[1].contains("-38.0%") && lines[1].ends_with("faster"), "{text}");
        assert!(lines[2].ends_with("no change seen"), "{text}");
        assert!(lines[3].ends_with("nothing can be said"), "{text}");
    }

    #[test]
    fn other_sizes_are_not_compared() {
        let old = run();
        let mut new = run();
        new.measurements[0].outcomes[0].bytes = 1;
        assert_eq!(compare(&old, &new).lines().count(), compare(&old, &old).lines().count() - 1);
    }
}
