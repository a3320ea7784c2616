//! Runs the cases: prepares, measures in turn, prints, and keeps the numbers.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use crate::args::Options;
use crate::cases::{self, Case, StoreKind};
use crate::children::{self, Server};
use crate::corpus::{self, Corpus, Made};
use crate::job::{Component, ComponentJob, Job, Outcome, Place, Scenario, ScenarioJob, Who};
use crate::machine::{self, Machine};
use crate::results::{Measurement, Run};
use crate::{peers, table};

/// With less free space than this on the filesystem, in bytes, stores are removed right after their
/// measurement.
const ROOM: u64 = 20_000_000_000;

/// The state of a run.
pub(crate) struct Runner<'a> {
    pub(crate) options: &'a Options,
    /// The directory of the corpora.
    data: PathBuf,
    /// The directory of the stores; removed at the end.
    work: TempDir,
    corpora: HashMap<Corpus, Option<Made>>,
    servers: HashMap<&'static str, Option<Server>>,
    /// The number of stores made so far.
    stores: usize,
    pub(crate) run: Run,
}

impl<'a> Runner<'a> {
    pub(crate) fn new(options: &'a Options, data: &Path) -> Result<Runner<'a>> {
        // The path is absolute, because other programs run in directories of their own.
        let data = std::fs::create_dir_all(data)
            .and_then(|()| data.canonicalize())
            .with_context(|| format!("cannot make {}", data.display()))?;
        let work = tempfile::Builder::new().prefix("stores-").tempdir_in(&data)?;
        let machine = Machine::look(&data);
        Ok(Runner {
            options,
            data,
            work,
            corpora: HashMap::new(),
            servers: HashMap::new(),
            stores: 0,
            run: Run {
                machine,
                corpus_bytes: options.size(),
                repetitions: options.repeat(),
                measurements: Vec::new(),
                notes: Vec::new(),
            },
        })
    }

    /// Prints a note, and keeps it beside the numbers.
    pub(crate) fn note(&mut self, note: String) {
        if !self.run.notes.contains(&note) {
            println!("note: {note}");
            self.run.notes.push(note);
        }
    }

    /// Makes all selected measurements.
    pub(crate) fn run_all(&mut self) -> Result<()> {
        println!("{}", self.run.machine.line());
        let (size, repeat) = (self.options.size() / 1_000_000, self.options.repeat());
        println!("corpora of {size} MB; medians of {repeat}; MB are 10^6 bytes, GB 10^9");
        self.components()?;
        self.scenarios()?;
        if self.options.peers {
            peers::measure(self)?;
        }
        Ok(())
    }

    fn scenarios(&mut self) -> Result<()> {
        let options = self.options;
        let size = options.size();
        let mut is_first = true;
        for case in cases::all(options.quick, options.report.is_some(), size) {
            let name = case.data_name(size);
            if !options.wants(&[case.scenario.name(), &case.store.name(), &name]) {
                continue;
            }
            if self.corpus(case.corpus)?.is_none() || !self.server(case.store)? {
                continue;
            }
            if is_first {
                println!("\n{}", table::scenario_heading());
                is_first = false;
            }
            let castore = self.case(&case, &name)?;
            println!("{}", table::scenario_row(&self.run, &castore));
        }
        Ok(())
    }

    /// The corpus; if it cannot be made, `None` and a note, once.
    pub(crate) fn corpus(&mut self, corpus: Corpus) -> Result<Option<Made>> {
        if let Some(made) = self.corpora.get(&corpus) {
            return Ok(made.clone());
        }
        children::check_interrupted()?;
        let size = self.options.size();
        let made = match corpus::make(corpus, size, &self.data) {
            Ok(made) => {
                if made.size < size && corpus != Corpus::Edited {
                    let (has, name) = (made.size / 1_000_000, corpus.name());
                    self.note(format!(
                        "the corpus {name} has only {has} MB: there is no more of it"
                    ));
                }
                Some(made)
            }
            Err(error) => {
                self.note(format!("there is no corpus {}: {error:#}", corpus.name()));
                None
            }
        };
        self.corpora.insert(corpus, made.clone());
        Ok(made)
    }

    /// Starts the server that the store needs; if it cannot start, returns `false` with a note,
    /// once.
    fn server(&mut self, store: StoreKind) -> Result<bool> {
        let name = match store {
            StoreKind::S3 => "s3",
            StoreKind::Minio => "minio",
            _ => return Ok(true),
        };
        if !self.servers.contains_key(name) {
            let directory = self.work.path().join(name).to_string_lossy().into_owned();
            let server = match name {
                "s3" => Some(Server::start(&["s3", &directory])?),
                _ => match crate::server::minio_program() {
                    Some(program) => {
                        let program = program.to_string_lossy();
                        Some(Server::start(&["minio", &program, &directory])?)
                    }
                    None => {
                        let note = "no MinIO: neither `minio` on the PATH nor CASTORE_TEST_MINIO";
                        self.note(note.to_owned());
                        None
                    }
                },
            };
            self.servers.insert(name, server);
        }
        Ok(self.servers[name].is_some())
    }

    /// Makes an empty store.
    fn place(&mut self, store: StoreKind) -> Result<Place> {
        self.stores += 1;
        let directory = self.work.path().join(self.stores.to_string());
        let of_server = |name| {
            let server = self.servers.get(name).and_then(Option::as_ref);
            let endpoint = server.context("the server runs")?.endpoint.clone();
            Ok(Place::S3 { endpoint, base_path: format!("store/{}", self.stores) })
        };
        match store {
            StoreKind::Memory => Ok(Place::Memory { latency_ms: 0 }),
            StoreKind::Latency(latency_ms) => Ok(Place::Memory { latency_ms }),
            StoreKind::Local => Ok(Place::Local { directory, durable: false }),
            StoreKind::Durable => Ok(Place::Local { directory, durable: true }),
            StoreKind::S3 => of_server("s3"),
            StoreKind::Minio => of_server("minio"),
        }
    }

    /// Measures castore and the reference in turn, so that noise hits both.
    fn case(&mut self, case: &Case, name: &str) -> Result<Measurement> {
        let corpus = self.corpus(case.corpus)?.context("the corpus was there")?;
        let before = match case.scenario {
            Scenario::PutEdited => self.corpus(Corpus::Sources)?.map(|made| made.path),
            _ => None,
        };
        let subjects = [Who::Castore, Who::Reference];
        let mut outcomes = [Vec::new(), Vec::new()];
        let mut kept: [Option<Place>; 2] = [None, None];
        for _ in 0..self.options.repeat() {
            for (number, who) in subjects.into_iter().enumerate() {
                let place = match kept[number].take() {
                    Some(place) => place,
                    None => self.place(case.store)?,
                };
                let is_prepared = self.stores_kept(case, &place) && !outcomes[number].is_empty();
                let mut job = ScenarioJob {
                    who,
                    scenario: case.scenario,
                    place: place.clone(),
                    corpus: corpus.path.clone(),
                    before: before.clone(),
                    limit: case.limit.min(corpus.size),
                    count: case.count,
                    prepare: matches!(place, Place::Memory { .. }),
                };
                if job.scenario.needs_stored() && !job.prepare && !is_prepared {
                    prepare(&job)?;
                }
                job.before = before.clone();
                outcomes[number].push(measure(&Job::Scenario(job)));
                children::check_interrupted()?;
                if self.stores_kept(case, &place) {
                    kept[number] = Some(place);
                } else {
                    self.done_with(&place)?;
                }
            }
        }
        kept.iter().flatten().try_for_each(|place| self.done_with(place))?;
        let [castore, reference] = outcomes;
        let mut castore = measurement("castore", case, name, castore);
        let mut reference = measurement("reference", case, name, reference);
        compare_chunks(&mut castore, &mut reference);
        self.run.measurements.extend([castore.clone(), reference]);
        Ok(castore)
    }

    /// Whether the next repetition can reuse the store of this one.
    fn stores_kept(&self, case: &Case, place: &Place) -> bool {
        case.scenario.leaves_store() && !matches!(place, Place::Memory { .. })
    }

    /// Measures the parts of the work, on the corpora that the scenarios put.
    fn components(&mut self) -> Result<()> {
        let mut is_first = true;
        for corpus in [Corpus::Libraries, Corpus::Sources, Corpus::Random, Corpus::Zeros] {
            for component in Component::ALL {
                let is_index = matches!(component, Component::IndexEncode | Component::IndexDecode);
                // The index does not depend on the corpus.
                let name = if is_index { "-" } else { corpus.name() };
                let names = [component.name(), "component", name];
                if !self.options.wants(&names) || (is_index && corpus != Corpus::Libraries) {
                    continue;
                }
                if !component.can_run() {
                    self.note(format!("this processor cannot run {}", component.name()));
                    continue;
                }
                let Some(made) = self.corpus(corpus)? else { continue };
                let job = ComponentJob { component, corpus: made.path, limit: made.size };
                let outcomes = (0..self.options.repeat())
                    .map(|_| {
                        children::check_interrupted()?;
                        Ok(measure(&Job::Component(job.clone())))
                    })
                    .collect::<Result<_>>()?;
                children::check_interrupted()?;
                let measurement = Measurement {
                    who: "component".to_owned(),
                    scenario: component.name().to_owned(),
                    store: "component".to_owned(),
                    corpus: name.to_owned(),
                    outcomes,
                };
                if is_first {
                    println!("\n{}", table::component_heading());
                    is_first = false;
                }
                println!("{}", table::component_row(&measurement));
                self.run.measurements.push(measurement);
            }
        }
        Ok(())
    }

    /// Removes a store, or leaves it to the end if there is room: for minutes after a mass
    /// deletion, some filesystems create new files slowly.
    fn done_with(&self, place: &Place) -> Result<()> {
        match place {
            Place::Local { directory, .. } => self.remove(directory),
            // Objects on a server go with the server, and objects in memory with the child.
            Place::S3 { .. } | Place::Memory { .. } => Ok(()),
        }
    }

    /// Removes a directory, now or at the end.
    pub(crate) fn remove(&self, directory: &Path) -> Result<()> {
        match machine::free_bytes(self.work.path()) {
            Some(free) if free >= ROOM => Ok(()),
            _ => Ok(std::fs::remove_dir_all(directory)?),
        }
    }

    /// Makes a new directory that is removed at the end.
    pub(crate) fn directory(&mut self) -> Result<PathBuf> {
        self.stores += 1;
        let directory = self.work.path().join(self.stores.to_string());
        std::fs::create_dir(&directory)?;
        Ok(directory)
    }
}

/// Measures once. A child that fails is a wrong answer: the other measurements go on.
pub(crate) fn measure(job: &Job) -> Outcome {
    children::run(job)
        .unwrap_or_else(|error| Outcome { wrong: Some(format!("{error:#}")), ..Outcome::default() })
}

/// Fills the store for the scenario, in a process that is not measured.
fn prepare(job: &ScenarioJob) -> Result<()> {
    let job = ScenarioJob {
        scenario: Scenario::PutNew,
        corpus: job.before.clone().unwrap_or_else(|| job.corpus.clone()),
        before: None,
        ..job.clone()
    };
    let outcome = children::run(&Job::Scenario(job))?;
    match outcome.wrong {
        None => Ok(()),
        Some(wrong) => Err(anyhow::anyhow!("the preparation failed: {wrong}")),
    }
}

fn measurement(who: &str, case: &Case, name: &str, outcomes: Vec<Outcome>) -> Measurement {
    Measurement {
        who: who.to_owned(),
        scenario: case.scenario.name().to_owned(),
        store: case.store.name(),
        corpus: name.to_owned(),
        outcomes,
    }
}

/// Both cut by the same rule: a different number of chunks is a wrong answer.
fn compare_chunks(castore: &mut Measurement, reference: &mut Measurement) {
    for (castore, reference) in castore.outcomes.iter_mut().zip(&reference.outcomes) {
        if let (Some(ours), Some(theirs)) = (castore.chunks, reference.chunks)
            && ours != theirs
            && castore.wrong.is_none()
        {
            castore.wrong = Some(format!("{ours} chunks, where the reference has {theirs}"));
        }
    }
}
