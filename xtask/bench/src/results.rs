//! All measurements of one run, and how they are saved.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use crate::job::{Outcome, Requests};
use crate::machine::Machine;
use crate::stats::median;

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    /// The size of a corpus, in bytes.
    pub(crate) corpus_bytes: u64,
    pub(crate) repetitions: u64,
    pub(crate) measurements: Vec<Measurement>,
    /// The remarks that a reader needs beside the numbers.
    pub(crate) notes: Vec<String>,
}

/// All repetitions of one implementation in one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Measurement {
    /// `castore`, `reference`, `component`, or the name of a program.
    pub(crate) who: String,
    pub(crate) scenario: String,
    pub(crate) store: String,
    pub(crate) corpus: String,
    pub(crate) outcomes: Vec<Outcome>,
}

impl Measurement {
    pub(crate) fn is_of(&self, other: &Measurement) -> bool {
        self.case() == other.case()
    }

    pub(crate) fn case(&self) -> [&str; 3] {
        [&self.scenario, &self.store, &self.corpus]
    }

    pub(crate) fn wall_seconds(&self) -> Vec<f64> {
        self.outcomes.iter().map(|outcome| outcome.wall_seconds).collect()
    }

    fn bytes(&self) -> f64 {
        self.outcomes.first().map_or(0.0, |outcome| outcome.bytes as f64)
    }

    /// The median of 10^6 bytes per second.
    pub(crate) fn mb_per_second(&self) -> f64 {
        self.bytes() / 1e6 / median(&self.wall_seconds())
    }

    /// The median of the milliseconds per operation, with as many at a time as the scenario has.
    pub(crate) fn ms_per_operation(&self) -> f64 {
        let operations = self.outcomes.first().map_or(1, |outcome| outcome.operations.max(1));
        median(&self.wall_seconds()) * 1e3 / operations as f64
    }

    /// The median of the CPU seconds per 10^9 bytes.
    pub(crate) fn cpu_per_gb(&self) -> Option<f64> {
        let seconds: Option<Vec<f64>> =
            self.outcomes.iter().map(|outcome| outcome.cpu_seconds).collect();
        Some(median(&seconds?) / (self.bytes() / 1e9))
    }

    /// The greatest peak, in 10^6 bytes.
    pub(crate) fn peak_mb(&self) -> Option<f64> {
        let peaks = self.outcomes.iter().filter_map(|outcome| outcome.peak_bytes);
        peaks.max().map(|bytes| bytes as f64 / 1e6)
    }

    pub(crate) fn stored_mb(&self) -> Option<f64> {
        self.outcomes.first()?.stored_bytes.map(|bytes| bytes as f64 / 1e6)
    }

    /// The requests of the last repetition; they hardly differ between repetitions.
    pub(crate) fn requests(&self) -> Option<Requests> {
        self.outcomes.last()?.requests
    }

    /// The error in the answers, if any.
    pub(crate) fn wrong(&self) -> Option<&str> {
        self.outcomes.iter().find_map(|outcome| outcome.wrong.as_deref())
    }
}

impl Run {
    /// The measurement of `who` in the same case as `other`.
    pub(crate) fn beside(&self, other: &Measurement, who: &str) -> Option<&Measurement> {
        self.measurements.iter().find(|found| found.who == who && found.is_of(other))
    }

    /// The cases measured for both `castore` and the reference, as castore's measurements.
    pub(crate) fn scenarios(&self) -> impl Iterator<Item = &Measurement> {
        self.of("castore").filter(|found| self.beside(found, "reference").is_some())
    }

    pub(crate) fn of(&self, who: &str) -> impl Iterator<Item = &Measurement> {
        self.measurements.iter().filter(move |found| found.who == who)
    }

    /// The measurement of the bare work, on all processors, that this put or read needs.
    pub(crate) fn work(&self, of: &Measurement) -> Option<&Measurement> {
        let name = match &*of.scenario {
            "put_new" => "put_work",
            "put_again" => "again_work",
            "read" => "read_work",
            _ => return None,
        };
        // A case with less data has its size after a comma.
        let corpus = of.corpus.split(',').next()?;
        self.of("component").find(|found| found.scenario == name && found.corpus == corpus)
    }

    /// The ratio of CPU seconds to those of the bare work.
    pub(crate) fn cpu_over_work(&self, of: &Measurement) -> Option<f64> {
        Some(of.cpu_per_gb()? / self.work(of)?.cpu_per_gb()?)
    }

    /// The ratio of the speed to that of the bare work.
    pub(crate) fn speed_over_work(&self, of: &Measurement) -> Option<f64> {
        Some(of.mb_per_second() / self.work(of)?.mb_per_second())
    }

    pub(crate) fn save(&self, path: &Path) -> Result<()> {
        let name = || format!("cannot write {}", path.display());
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).with_context(name)?;
        }
        fs::write(path, serde_json::to_string_pretty(self)? + "\n").with_context(name)
    }

    pub(crate) fn load(path: &Path) -> Result<Run> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("there are no measurements in {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not of this program", path.display()))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn measurement(who: &str, scenario: &str, walls: &[f64]) -> Measurement {
        let outcome = |wall: &f64| Outcome {
            wall_seconds: *wall,
            cpu_seconds: Some(2.0 * wall),
            peak_bytes: Some(30_000_000),
            bytes: 100_000_000,
            operations: 1,
            requests: Some(Requests { head: 1, get: 2, put: 3 }),
            stored_bytes: Some(40_000_000),
            chunks: Some(400),
            wrong: None,
            memory: vec![(0.0, 1), (0.5, 30_000_000)],
        };
        Measurement {
            who: who.to_owned(),
            scenario: scenario.to_owned(),
            store: "local".to_owned(),
            corpus: "sources".to_owned(),
            outcomes: walls.iter().map(outcome).collect(),
        }
    }

    pub(crate) fn run() -> Run {
        let component = |name, wall| measurement("component", name, &[wall]);
        Run {
            machine: Machine::default(),
            corpus_bytes: 100_000_000,
            repetitions: 3,
            measurements: vec![
                measurement("castore", "put_new", &[0.5, 0.4, 0.6]),
                measurement("reference", "put_new", &[1.0, 1.1, 1.2]),
                component("cut", 0.1),
                component("put_work", 0.4),
            ],
            notes: vec!["a note".to_owned()],
        }
    }

    #[test]
    fn the_numbers_have_their_units() {
        let run = run();
        let put = run.scenarios().next().unwrap();
        assert_eq!(put.mb_per_second(), 200.0);
        assert_eq!(put.cpu_per_gb(), Some(10.0));
        assert_eq!(put.peak_mb(), Some(30.0));
        assert_eq!(put.ms_per_operation(), 500.0);
        let ratios = [run.cpu_over_work(put).unwrap(), run.speed_over_work(put).unwrap()];
        assert!((ratios[0] - 1.25).abs() < 1e-9 && (ratios[1] - 0.8).abs() < 1e-9, "{ratios:?}");
        let small = Measurement { corpus: "sources, 32 MB".to_owned(), ..put.clone() };
        assert_eq!(run.work(&small), run.work(put));
        assert_eq!(run.work(&Measurement { scenario: "put_edited".to_owned(), ..small }), None);
    }

    #[test]
    fn saved_results_are_loaded() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/run.json");
        run().save(&path).unwrap();
        assert_eq!(Run::load(&path).unwrap(), run());
        let error = Run::load(&directory.path().join("none")).unwrap_err();
        assert!(error.to_string().contains("no measurements"), "{error}");
    }
}
