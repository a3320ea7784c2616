//! The results of all checks, and the operations that the store is fit for.

use std::fmt;
use std::time::Duration;

use super::check::Operation;
use super::place::Tally;

/// A check and its verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Check {
    /// The name, such as `overwrite`.
    pub name: &'static str,
    /// The group of checks on the same subject, such as `objects`.
    pub group: &'static str,
    /// The ability that a passed check proves, as a sentence.
    pub promise: &'static str,
    /// The verdict of the check.
    pub verdict: Verdict,
    /// The operations that fail, or may lose data, if the check fails.
    pub needed_by: &'static [Operation],
    /// The operations that still work if the check fails, but not as well.
    pub helps: &'static [Operation],
}

/// The verdict of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The store behaves as it should. The remark may be empty.
    Passed(String),
    /// The store does not behave as it should, for this reason.
    Failed(String),
    /// The result is unknown, for this reason: for instance, a request was not answered.
    Unknown(String),
    /// The check was skipped, for this reason: an earlier check did not pass.
    Skipped(String),
}

/// The fitness of a store for an operation. Each reason is a line.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fitness {
    /// The store is fit.
    Fit,
    /// The store is fit, with these limits.
    Limited(Vec<String>),
    /// The fitness is unknown, for these reasons.
    Unknown(Vec<String>),
    /// The store is not fit, for these reasons.
    Unfit(Vec<String>),
}

/// The results of all checks of a store. `Display` is a table of several lines.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DoctorReport {
    /// The checks, in the order in which they ran.
    pub checks: Vec<Check>,
    /// The number of attempts, over all requests.
    pub requests: u64,
    /// The number of attempts that the store refused because there were too many requests.
    pub refused: u64,
    /// The number of attempts that failed in another way and were repeated.
    pub repeated: u64,
    /// The median time of a request.
    pub median: Duration,
    /// The longest time of a request.
    pub slowest: Duration,
    /// The time of all checks.
    pub took: Duration,
    /// The prefix reserved for the checks.
    pub prefix: String,
    /// The keys of objects that could not be removed, or may remain.
    pub left: Vec<String>,
    /// The number of objects that other examinations have left or still use.
    pub left_by_others: usize,
}

impl DoctorReport {
    pub(super) fn new(
        checks: Vec<Check>,
        tally: Tally,
        took: Duration,
        prefix: String,
    ) -> DoctorReport {
        let Tally { requests, refused, repeated, mut times, .. } = tally;
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let slowest = times.last().copied().unwrap_or_default();
        let (left, left_by_others) = Default::default();
        DoctorReport {
            checks,
            requests,
            refused,
            repeated,
            median,
            slowest,
            took,
            prefix,
            left,
            left_by_others,
        }
    }

    /// The check of this name; `None` also for a check that does not apply to this kind of store.
    pub fn check(&self, name: &str) -> Option<&Check> {
        self.checks.iter().find(|check| check.name == name)
    }

    /// The fitness of the store for `operation`, with the reasons.
    pub fn fitness(&self, operation: Operation) -> Fitness {
        let (mut unfit, mut unknown, mut limits) = <(Vec<_>, Vec<_>, Vec<_>)>::default();
        let mut skipped = Vec::new();
        let add = |reasons: &mut Vec<String>, reason: &String| {
            if !reasons.contains(reason) {
                reasons.push(reason.clone());
            }
        };
        for check in &self.checks {
            let (needed, helps) =
                (check.needed_by.contains(&operation), check.helps.contains(&operation));
            match &check.verdict {
                Verdict::Failed(reason) if needed => add(&mut unfit, reason),
                Verdict::Unknown(reason) if needed => add(&mut unknown, reason),
                Verdict::Skipped(_) if needed => skipped.push(check.name),
                Verdict::Failed(reason) if helps => {
                    add(&mut limits, &format!("{}: {reason}", check.name));
                }
                _ => {}
            }
        }
        // The reason for a skipped check lies in an earlier one.
        if unknown.is_empty() && !skipped.is_empty() {
            unknown.push(format!("not tried: {}", skipped.join(", ")));
        }
        match (unfit.is_empty(), unknown.is_empty(), limits.is_empty()) {
            (false, _, _) => Fitness::Unfit(unfit),
            (_, false, _) => Fitness::Unknown(unknown),
            (_, _, false) => Fitness::Limited(limits),
            _ => Fitness::Fit,
        }
    }

    /// Whether the store is fit for `operation`, even if with limits.
    pub fn is_fit(&self, operation: Operation) -> bool {
        matches!(self.fitness(operation), Fitness::Fit | Fitness::Limited(_))
    }
}

impl Verdict {
    /// One word or two: `ok`, `FAILED`, `not known`, `not tried`.
    pub fn word(&self) -> &'static str {
        match self {
            Verdict::Passed(_) => "ok",
            Verdict::Failed(_) => "FAILED",
            Verdict::Unknown(_) => "not known",
            Verdict::Skipped(_) => "not tried",
        }
    }

    /// The remark or the reason; it may be empty.
    pub fn reason(&self) -> &str {
        match self {
            Verdict::Passed(text)
            | Verdict::Failed(text)
            | Verdict::Unknown(text)
            | Verdict::Skipped(text) => text,
        }
    }
}

impl Fitness {
    /// One word or two: `fit`, `fit, but`, `not known`, `not fit`.
    pub fn word(&self) -> &'static str {
        match self {
            Fitness::Fit => "fit",
            Fitness::Limited(_) => "fit, but",
            Fitness::Unknown(_) => "not known",
            Fitness::Unfit(_) => "not fit",
        }
    }

    /// The reasons, or the limits.
    pub fn reasons(&self) -> &[String] {
        match self {
            Fitness::Fit => &[],
            Fitness::Limited(reasons) | Fitness::Unknown(reasons) | Fitness::Unfit(reasons) => {
                reasons
            }
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<9}  {:<13}  ", self.verdict.word(), self.name)?;
        match &self.verdict {
            Verdict::Passed(remark) if remark.is_empty() => f.write_str(self.promise),
            Verdict::Passed(remark) => write!(f, "{} ({remark})", self.promise),
            Verdict::Skipped(reason) => write!(f, "{}: {reason}", self.promise),
            Verdict::Failed(reason) | Verdict::Unknown(reason) => f.write_str(reason),
        }
    }
}

/// The number of reasons on the line of an operation; the checks above the line show all reasons.
const SHOWN: usize = 2;

impl fmt::Display for Fitness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        let separator = if matches!(self, Fitness::Limited(_)) { " " } else { ": " };
        let reasons = self.reasons();
        for (number, reason) in reasons.iter().take(SHOWN).enumerate() {
            write!(f, "{}{reason}", if number == 0 { separator } else { "; " })?;
        }
        match reasons.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl fmt::Display for DoctorReport {
    /// The checks by group, the requests, and a line for each operation.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut group = "";
        for check in &self.checks {
            if check.group != group {
                let space = if group.is_empty() { "" } else { "\n" };
                group = check.group;
                writeln!(f, "{space}{group}")?;
            }
            writeln!(f, "  {check}")?;
        }
        write!(
            f,
            "\n{} requests in {}: half within {}, the slowest {}",
            self.requests,
            time(self.took),
            time(self.median),
            time(self.slowest)
        )?;
        match self.refused + self.repeated {
            0 => writeln!(f, "\n")?,
            _ => writeln!(
                f,
                "; {} refused as too many, {} failed and made again\n",
                self.refused, self.repeated
            )?,
        }
        for (number, operation) in Operation::ALL.into_iter().enumerate() {
            let line = if number == 0 { "" } else { "\n" };
            write!(f, "{line}{:<8}{}", operation.name(), self.fitness(operation))?;
        }
        Ok(())
    }
}

fn time(time: Duration) -> String {
    match time.as_secs_f64() {
        seconds if seconds >= 10.0 => format!("{seconds:.0} s"),
        seconds if seconds >= 1.0 => format!("{seconds:.1} s"),
        seconds if seconds >= 0.01 => format!("{:.0} ms", 1000.0 * seconds),
        seconds => format!("{:.1} ms", 1000.0 * seconds),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdicts: &[(&'static str, Verdict)]) -> DoctorReport {
        let check = |(name, verdict): &(&'static str, Verdict)| Check {
            name,
            group: "group",
            promise: "it does",
            verdict: verdict.clone(),
            needed_by: &[Operation::Put, Operation::Gc],
            helps: &[Operation::Get],
        };
        let checks = verdicts.iter().map(check).collect();
        DoctorReport::new(checks, Tally::default(), Duration::ZERO, "prefix".to_owned())
    }

    #[test]
    fn the_worst_verdict_decides_and_each_reason_is_told_once() {
        let failed = || Verdict::Failed("no".to_owned());
        let unknown = || Verdict::Unknown("who knows".to_owned());
        let skipped = || Verdict::Skipped("`a` failed".to_owned());
        let passed = || Verdict::Passed(String::new());
        for (verdicts, put, get) in [
            (vec![passed()], "fit", "fit"),
            (vec![passed(), failed(), failed(), unknown()], "not fit: no", "fit, but b: no; c: no"),
            (vec![passed(), skipped(), unknown()], "not known: who knows", "fit"),
            (vec![passed(), skipped()], "not known: not tried: b", "fit"),
        ] {
            let named: Vec<_> = ["a", "b", "c", "d"].into_iter().zip(verdicts).collect();
            let report = report(&named);
            assert_eq!(report.fitness(Operation::Put).to_string(), put);
            assert_eq!(report.fitness(Operation::Get).to_string(), get);
            assert_eq!(report.fitness(Operation::Copy), Fitness::Fit);
        }
    }
}
