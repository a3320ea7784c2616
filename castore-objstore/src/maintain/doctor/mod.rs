//! Checks whether a store is fit for castore, by requests to a bucket or a directory, under a
//! prefix of their own.
//!
//! A [`Doctor`] makes the requests that castore would make, on objects of its own, and compares the
//! answers with castore's assumptions. The [`DoctorReport`] gives the verdict of each check, and
//! says for each [`Operation`] whether the store is fit for it.
//!
//! A doctor examines the store of a service ([`ObjectStoreBlobService::doctor`]) or any
//! [`ObjectStore`]: the author of a store can use it as a test.
//!
//! ```
//! use std::sync::Arc;
//!
//! use castore_objstore::doctor::{Doctor, Operation, DoctorOptions};
//! use object_store::memory::InMemory;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> castore_core::Result<()> {
//! let doctor = Doctor::of_store(Arc::new(InMemory::new()), "some/base")?;
//! let report = doctor.examine(&DoctorOptions::default(), &()).await?;
//! for operation in Operation::ALL {
//!     assert!(report.is_fit(operation), "{report}");
//! }
//! # Ok(())
//! # }
//! ```

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use castore_core::{Digest, Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;
use tokio::time::Instant;

use crate::maintain::observer::{Observer, Phase};
use crate::objects::client::Place as Objects;
use crate::service::ObjectStoreBlobService;
use crate::store::layout::{Kind, Layout};

mod check;
mod copies;
mod deletes;
mod directory;
mod fault;
mod listing;
mod load;
mod objects;
mod place;
mod report;
mod times;

pub use check::Operation;
pub use report::{Check, DoctorReport, Fitness, Verdict};

use check::{CHECKS, Definition, For};
use fault::{Flaw, Kind as FaultKind};
use place::{Place, Target};
use times::{LocalClock, Sample};

const OPERATION: &str = "examine the store";

/// The directory of all examinations, beside those of the format: no other operation looks there.
const DIRECTORY: &str = "castore-doctor";

/// The shard of the chunks that single checks write.
const SHARD: &str = "f00d";

/// The number of requests at once to a store that has refused some.
const FEW: usize = 4;

/// DoctorOptions of an examination.
#[derive(Debug, Clone)]
#[must_use = "options do nothing by themselves"]
pub struct DoctorOptions {
    objects: usize,
    at_once: usize,
    large: usize,
    timeout: Duration,
}

impl Default for DoctorOptions {
    fn default() -> DoctorOptions {
        DoctorOptions {
            objects: 1100,
            at_once: 64,
            large: 4 << 20,
            timeout: Duration::from_secs(30),
        }
    }
}

impl DoctorOptions {
    /// The number of objects in the longest listing; by default 1100, more than a page of S3 holds.
    pub fn objects(mut self, objects: usize) -> DoctorOptions {
        self.objects = objects.max(1);
        self
    }

    /// The number of requests at once, up to 512; by default 64.
    pub fn at_once(mut self, requests: usize) -> DoctorOptions {
        self.at_once = requests.clamp(1, 512);
        self
    }

    /// The size of the largest object in bytes; by default 4 MiB.
    pub fn large(mut self, bytes: usize) -> DoctorOptions {
        self.large = bytes;
        self
    }

    /// The time limit of a request; by default 30 seconds. After three requests in a row without an
    /// answer the store is asked no more.
    pub fn timeout(mut self, timeout: Duration) -> DoctorOptions {
        self.timeout = timeout;
        self
    }
}

/// Examines a store: see [the module](self).
///
/// Clones examine the same store under the same prefix.
#[derive(Clone)]
pub struct Doctor {
    place: Place,
}

impl std::fmt::Debug for Doctor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Doctor").field("prefix", &self.prefix()).finish_non_exhaustive()
    }
}

impl ObjectStoreBlobService {
    /// Examines the store of this service, through the client of the service. The store may be
    /// empty. The examination neither reads nor changes objects that the store already holds.
    pub fn doctor(&self) -> Doctor {
        let target = match self.shared.requests.place() {
            Objects::Store(store) => Target::Store(store),
            Objects::Directory(local) => Target::Directory(local),
        };
        Doctor::new(target, &self.shared.layout.part(DIRECTORY))
    }
}

impl Doctor {
    /// Examines any store, under the prefix `base`.
    ///
    /// # Errors
    /// `InvalidInput` for a malformed prefix.
    pub fn of_store(store: Arc<dyn ObjectStore>, base: &str) -> Result<Doctor> {
        let base = Path::parse(base).map_err(|error| {
            Error::new(ErrorKind::InvalidInput, OPERATION, "the prefix is malformed")
                .with_source(error)
        })?;
        Ok(Doctor::new(Target::Store(store), &base.join(DIRECTORY)))
    }

    fn new(target: Target, parent: &Path) -> Doctor {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Each `RandomState` has its own random keys.
        let random = RandomState::new().build_hasher().finish();
        let scratch = parent.clone().join(format!("{now:x}-{random:016x}"));
        Doctor { place: Place::new(target, parent.clone(), scratch) }
    }

    /// The prefix reserved for this examination, below which it writes.
    pub fn prefix(&self) -> String {
        self.place.scratch().to_string()
    }

    /// Runs all checks, removes the objects that they have written, and reports.
    ///
    /// Takes about 5000 requests. Needs a tokio runtime. A failed check, or a store that refuses
    /// requests or leaves them unanswered, is a part of the report and no error.
    ///
    /// Dropping the future leaves objects behind: call [`clean_up`](Self::clean_up) then.
    ///
    /// # Errors
    /// `StoreNotFound` if the bucket does not exist; `Unavailable` if the store does not answer the
    /// first request.
    pub async fn examine(
        &self,
        options: &DoctorOptions,
        observer: &dyn Observer,
    ) -> Result<DoctorReport> {
        let begun = Instant::now();
        let place = self.place.with_timeout(options.timeout);
        reach(&place).await?;
        let is_directory = place.directory().is_some();
        let x = Examination {
            layout: Layout::new(place.scratch()),
            place,
            options,
            observer,
            begun,
            clock: LocalClock::start(),
            memory: Mutex::default(),
        };
        let suits = |check: &&Definition| match check.stores {
            For::Any => true,
            For::Directory => is_directory,
            For::ObjectStore => !is_directory,
        };
        let definitions: Vec<&Definition> = CHECKS.iter().filter(suits).collect();
        let mut phase = x.phase("check the store", definitions.len() as u64);
        let mut checks: Vec<Check> = Vec::new();
        for definition in definitions {
            let verdict = match obstacle(definition, &checks) {
                Some(reason) => Verdict::Skipped(reason),
                None => match (definition.run)(&x).await {
                    Ok(remark) => Verdict::Passed(remark),
                    Err(Flaw::Unfit(reason)) => Verdict::Failed(reason),
                    Err(Flaw::Unknown(reason)) => Verdict::Unknown(reason),
                },
            };
            let passed = matches!(verdict, Verdict::Passed(_));
            checks.push(Check {
                name: definition.name,
                group: definition.group,
                promise: definition.promise,
                verdict,
                needed_by: definition.needed_by,
                helps: definition.helps,
            });
            // More samples of the store's clock, over a longer time, make its checks more precise.
            if passed
                && checks.iter().any(|check| check.name == "put")
                && let Ok(sample) = times::sample(&x).await
            {
                x.keep_sample(sample);
            }
            phase.step();
        }
        let (tally, took) = (x.place.tally(), begun.elapsed());
        let mut report = DoctorReport::new(checks, tally, took, self.prefix());
        let remains = x.place.clean().await;
        report.left = remains.own.iter().map(Path::to_string).collect();
        report.left_by_others = remains.of_others;
        Ok(report)
    }

    /// Removes all objects of an unfinished examination, after waiting for requests that are under
    /// way. Returns the keys of the objects that still exist, or may exist.
    pub async fn clean_up(&self) -> Vec<String> {
        let remains = self.place.clean().await;
        remains.own.iter().map(Path::to_string).collect()
    }
}

/// Asks the store for an absent object. Any answer shows that the store can be reached, even a
/// refusal.
async fn reach(place: &Place) -> Result<()> {
    let Err(fault) = place.get(&place.scratch().clone().join("absent")).await else {
        return Ok(());
    };
    let kind = match fault.kind {
        FaultKind::NoStore => ErrorKind::StoreNotFound,
        FaultKind::Silent => ErrorKind::Unavailable,
        FaultKind::Failed if fault.trouble.is_some() => ErrorKind::Unavailable,
        _ => return Ok(()),
    };
    Err(Error::new(kind, OPERATION, fault.to_string()))
}

/// The reason to skip a check, if any, given the checks made before.
fn obstacle(check: &Definition, made: &[Check]) -> Option<String> {
    let needed =
        check.after.iter().filter_map(|name| made.iter().find(|check| check.name == *name));
    needed
        .map(|check| match check.verdict {
            Verdict::Passed(_) => None,
            Verdict::Failed(_) => Some(format!("`{}` failed", check.name)),
            Verdict::Unknown(_) => Some(format!("`{}` is not known", check.name)),
            Verdict::Skipped(_) => Some(format!("`{}` was not tried", check.name)),
        })
        .find_map(|reason| reason)
}

/// The state that the checks of one examination share.
struct Examination<'a> {
    place: Place,
    /// The layout of a store whose base is the prefix of this examination.
    layout: Layout,
    options: &'a DoctorOptions,
    observer: &'a dyn Observer,
    begun: Instant,
    clock: LocalClock,
    memory: Mutex<Memory>,
}

/// Notes that one check leaves for another.
#[derive(Debug, Default)]
struct Memory {
    samples: Vec<Sample>,
    /// The keys of the long listing, in the order of the listing.
    listed: Vec<Path>,
    refuses: bool,
}

impl Examination<'_> {
    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn samples(&self) -> Vec<Sample> {
        self.memory().samples.clone()
    }

    fn keep_sample(&self, sample: Sample) {
        self.memory().samples.push(sample);
    }

    fn listed(&self) -> Vec<Path> {
        self.memory().listed.clone()
    }

    fn keep_listed(&self, keys: Vec<Path>) {
        self.memory().listed = keys;
    }

    /// Notes that the store refuses many requests at once.
    fn refuses(&self) {
        self.memory().refuses = true;
    }

    /// The number of requests at once that the store takes.
    fn at_once(&self) -> usize {
        match self.memory().refuses {
            true => FEW.min(self.options.at_once),
            false => self.options.at_once,
        }
    }

    /// Seconds since the start of the examination.
    fn elapsed(&self) -> f64 {
        self.begun.elapsed().as_secs_f64()
    }

    fn phase(&self, name: &'static str, total: u64) -> Phase<'_> {
        Phase::new(self.observer, name, Some(total))
    }

    /// The name of the object `number` in a shard: a digest.
    fn name(&self, number: u64, shard: &str) -> String {
        let digest = Digest::of(&number.to_le_bytes()).to_string();
        format!("{shard}{}", &digest[shard.len()..])
    }

    fn digest(&self, number: u64) -> Digest {
        // The name is always a valid digest.
        self.name(number, SHARD).parse().unwrap_or(Digest::EMPTY)
    }

    /// The key of the chunk `number`.
    fn chunk(&self, number: u64) -> Path {
        self.layout.chunk(&self.digest(number))
    }

    /// The key of a copy of the chunk `number`, set aside by a garbage collector.
    fn set_aside(&self, number: u64) -> Path {
        self.layout.aside(Kind::Chunk, &self.digest(number), "6566a0b1-07ab")
    }

    /// Keys of castore that consist of more than digests.
    fn odd_keys(&self) -> Vec<Path> {
        let batches = self.layout.batches();
        let record = |name: &str| batches.clone().join(name);
        let quarantined = self.layout.quarantined(&self.chunk(1));
        vec![
            record("6566a0b1-07ab.begun"),
            record("6566a0b1-07ab.done"),
            record("6566a0b1-07ab.revoked"),
            self.set_aside(1),
            Path::from(format!("{quarantined}.1")),
            quarantined,
            self.layout.marker(),
        ]
    }
}

/// `size` bytes that are unique to object `number`, and the same in each run (xorshift).
fn bytes(number: u64, size: usize) -> Bytes {
    let mut state = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes.into()
}
