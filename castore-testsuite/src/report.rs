//! The table of results, group by group.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write as _;
use std::sync::{Mutex, PoisonError};

/// All groups, in the order of the table, each with the hook it needs.
const GROUPS: [(&str, &str); 7] = [
    ("contract", "Harness"),
    ("current_thread", "Harness"),
    ("tamper", "Tamper"),
    ("verified_ranges", "ReplaceIndex"),
    ("faults", "Faults"),
    ("restart", "Restart"),
    ("faults_and_restart", "FaultsAndRestart"),
];

/// The results of each group of cases. `Display` prints a table, one line for each group.
///
/// [`conformance!`](crate::conformance!) keeps one, and prints it to the standard error after the
/// last of its cases. A program that runs the lists of cases itself keeps its own:
///
/// ```
/// use std::sync::Arc;
///
/// use castore_core::MemoryBlobService;
/// use castore_testsuite::{CONTRACT, Report, time_limit};
///
/// let report = Report::new("memory")
///     .claim("contract", CONTRACT.len())
///     .leave_out("restart", "nothing in memory survives a crash");
/// for case in CONTRACT.iter().filter(|case| !case.name().starts_with("model::")) {
///     let service = MemoryBlobService::new();
///     let result = case.run(Arc::new(move || service.clone()), time_limit());
///     report.note("contract", case.name(), result.is_ok());
/// }
/// report.note_skipped("contract", "model::random_operations", "this example is to be fast");
/// assert!(report.is_complete());
/// println!("{report}");
/// ```
#[derive(Debug)]
pub struct Report {
    subject: String,
    /// The number of cases in each claimed group.
    claimed: BTreeMap<&'static str, usize>,
    left_out: BTreeMap<&'static str, String>,
    outcomes: Mutex<Vec<(&'static str, String, Outcome)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    Passed,
    Failed,
    Skipped(String),
}

impl Report {
    /// Makes a report about the backend or test `subject`, without any group.
    pub fn new(subject: impl Into<String>) -> Report {
        Report {
            subject: subject.into(),
            claimed: BTreeMap::new(),
            left_out: BTreeMap::new(),
            outcomes: Mutex::default(),
        }
    }

    /// Adds `group`, which consists of `cases` cases, to the report.
    #[must_use]
    pub fn claim(mut self, group: &'static str, cases: usize) -> Report {
        self.claimed.insert(group, cases);
        self
    }

    /// Adds the reason `why` the tests leave out `group`.
    #[must_use]
    pub fn leave_out(mut self, group: &'static str, why: impl Into<String>) -> Report {
        self.left_out.insert(group, why.into());
        self
    }

    /// Records that a case has ended.
    pub fn note(&self, group: &'static str, case: &str, passed: bool) {
        self.push(group, case, if passed { Outcome::Passed } else { Outcome::Failed });
    }

    /// Records that a case was not run, and why.
    pub fn note_skipped(&self, group: &'static str, case: &str, why: impl Into<String>) {
        self.push(group, case, Outcome::Skipped(why.into()));
    }

    fn push(&self, group: &'static str, case: &str, outcome: Outcome) {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.push((group, case.to_owned(), outcome));
    }

    /// Whether every case of every claimed group has been recorded.
    pub fn is_complete(&self) -> bool {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        outcomes.len() >= self.claimed.values().sum()
    }

    /// Records a case, and prints the table after the last one. The output bypasses the test
    /// harness's capture, which would hide it.
    pub(crate) fn note_and_print(&self, group: &'static str, case: &str, passed: bool) {
        self.note(group, case, passed);
        if self.is_complete() {
            let _ = std::io::stderr().write_all(format!("\n{self}\n").as_bytes());
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        writeln!(f, "castore-testsuite on {}", self.subject)?;
        writeln!(f, "{:<20}{:>7}{:>8}{:>8}{:>9}", "group", "cases", "passed", "failed", "skipped")?;
        let mut reasons: BTreeMap<&str, BTreeMap<&str, usize>> = BTreeMap::new();
        for (group, hook) in GROUPS {
            let Some(cases) = self.claimed.get(group) else {
                match self.left_out.get(group) {
                    Some(why) => writeln!(f, "{group:<20}left out: {why}")?,
                    None => writeln!(f, "{group:<20}not claimed: it needs the hook `{hook}`")?,
                }
                continue;
            };
            let (mut passed, mut failed, mut skipped) = (0, 0, 0);
            for (_, _, outcome) in outcomes.iter().filter(|(of, ..)| *of == group) {
                match outcome {
                    Outcome::Passed => passed += 1,
                    Outcome::Failed => failed += 1,
                    Outcome::Skipped(why) => {
                        skipped += 1;
                        *reasons.entry(why).or_default().entry(group).or_default() += 1;
                    }
                }
            }
            writeln!(f, "{group:<20}{cases:>7}{passed:>8}{failed:>8}{skipped:>9}")?;
        }
        for (why, groups) in reasons {
            let groups = groups.iter().map(|(group, cases)| format!("{cases} of {group}"));
            writeln!(f, "skipped {}: {why}", groups.collect::<Vec<_>>().join(", "))?;
        }
        for (group, case, _) in outcomes.iter().filter(|(_, _, how)| *how == Outcome::Failed) {
            writeln!(f, "failed in {group}: {case}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_line_for_each_group_and_the_reasons() {
        let report = Report::new("a backend")
            .claim("contract", 2)
            .claim("tamper", 2)
            .leave_out("restart", "it cannot crash");
        report.note("contract", "writer::one", true);
        report.note("contract", "writer::two", false);
        report.note("tamper", "tamper::one", true);
        assert!(!report.is_complete());
        report.note_skipped("tamper", "tamper::two", "no server");
        assert!(report.is_complete());
        let expected = "\
castore-testsuite on a backend
group                 cases  passed  failed  skipped
contract                  2       1       1        0
current_thread      not claimed: it needs the hook `Harness`
tamper                    2       1       0        1
verified_ranges     not claimed: it needs the hook `ReplaceIndex`
faults              not claimed: it needs the hook `Faults`
restart             left out: it cannot crash
faults_and_restart  not claimed: it needs the hook `FaultsAndRestart`
skipped 1 of tamper: no server
failed in contract: writer::two
";
        assert_eq!(report.to_string(), expected);
    }
}
