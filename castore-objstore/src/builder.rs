//! Building a service: which store, and how it is used.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::available_parallelism;
use std::time::Duration;

use castore_chunker::ChunkParams;
use castore_core::{Error, ErrorKind, Result};
use object_store::ObjectStore;
use object_store::path::Path;

use crate::exec::gate::Gate;
use crate::exec::limits::Limits;
use crate::maintain::{CLOCK_ERROR, LOOK_LASTS};
use crate::objects::barrier::Barrier;
use crate::objects::client::Requests;
use crate::objects::filesystem::flush_directory;
use crate::objects::filesystem::open_files;
use crate::objects::local::Local;
use crate::objects::metrics::{Hook, Metrics};
use crate::objects::retry::{Backend, Patience};
use crate::service::ObjectStoreBlobService;
use crate::store::Store;
use crate::store::codec::Codec;
use crate::store::layout::Layout;
use crate::store::pages::Indexes;
use crate::store::presence::Known;
use crate::store::recheck::DEFAULT_GRACE;
use crate::store::safeguards::Safeguards;

/// The default of [`Builder::memory`]: 64 MiB.
pub const DEFAULT_MEMORY: usize = 64 * 1024 * 1024;

/// The default of [`Builder::requests`]: 128, which over 20 ms per request and chunks of 256 KiB is
/// 1.6 GB/s to read, and half of that to store, as a new chunk takes two.
pub const DEFAULT_REQUESTS: usize = 128;

/// The default of [`Builder::zstd_level`], and that of other implementations.
pub const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// The default of [`Builder::retry_timeout`] for a store that a URL names: 5 minutes.
pub const DEFAULT_RETRY_TIMEOUT: Duration = Duration::from_secs(300);

/// The memory that a service works with, in bytes: from 1 MiB to what an address can reach.
const MEMORY: RangeInclusive<usize> = 1024 * 1024..=isize::MAX as usize;

/// More requests at once than this are no use anywhere, and a mistake.
const MAX_REQUESTS: usize = 65_536;

/// More threads than this do not cut faster, and a mistake.
const MAX_CUTTING_THREADS: usize = 256;

/// A hundred years. Clocks can be asked for the time after that, and not for any time.
const MAX_TIME: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Says how an [`ObjectStoreBlobService`] is to be built.
///
/// From [`ObjectStoreBlobService::builder`], [`ObjectStoreBlobService::local`] or
/// [`parse_url`](crate::parse_url()).
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    target: Target,
    base_path: String,
    params: ChunkParams,
    zstd_level: i32,
    memory: usize,
    requests: usize,
    durable: Option<bool>,
    check_reused: bool,
    cutting_threads: Option<NonZeroUsize>,
    grace: Duration,
    retry_timeout: Option<Duration>,
    longest_request: Option<Duration>,
    metrics: Hook,
    rules: Safeguards,
}

#[derive(Clone)]
enum Target {
    Store(Arc<dyn ObjectStore>, Backend),
    Directory { path: PathBuf, create: bool },
}

impl fmt::Debug for Target {
    /// A store's own `Debug` may show keys and tokens.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Store(store, _) => {
                f.debug_tuple("Store").field(&format_args!("{store}")).finish()
            }
            Target::Directory { path, create } => {
                f.debug_struct("Directory").field("path", path).field("create", create).finish()
            }
        }
    }
}

impl ObjectStoreBlobService {
    /// A service over `store`, with the defaults unless the builder is told otherwise.
    pub fn builder(store: Arc<dyn ObjectStore>) -> Builder {
        Builder::new(Target::Store(store, Backend::default()))
    }

    /// A service over the directory `path` of the local filesystem.
    pub fn local(path: impl Into<PathBuf>) -> Builder {
        Builder::of_directory(path.into())
    }
}

impl Builder {
    /// A store that does not try requests again by itself: the service does.
    #[cfg_attr(
        not(any(feature = "aws", feature = "gcp", feature = "azure", feature = "http")),
        allow(dead_code)
    )]
    pub(crate) fn of_backend(store: Arc<dyn ObjectStore>, backend: Backend) -> Builder {
        Builder::new(Target::Store(store, backend)).retry_timeout(DEFAULT_RETRY_TIMEOUT)
    }

    pub(crate) fn of_directory(path: PathBuf) -> Builder {
        Builder::new(Target::Directory { path, create: false })
    }

    fn new(target: Target) -> Builder {
        Builder {
            target,
            base_path: String::new(),
            params: ChunkParams::default(),
            zstd_level: DEFAULT_ZSTD_LEVEL,
            memory: DEFAULT_MEMORY,
            requests: DEFAULT_REQUESTS,
            durable: None,
            check_reused: false,
            cutting_threads: None,
            grace: DEFAULT_GRACE,
            retry_timeout: None,
            longest_request: None,
            metrics: Hook::default(),
            rules: Safeguards::ALL,
        }
    }

    /// What every object lies under, parts separated by `/`; the default is the store's root.
    pub fn base_path(mut self, path: impl Into<String>) -> Builder {
        self.base_path = path.into();
        self
    }

    /// Makes the directory of a local store where it is not there yet; the default is not to.
    pub fn create(mut self, create: bool) -> Builder {
        if let Target::Directory { create: setting, .. } = &mut self.target {
            *setting = create;
        }
        self
    }

    /// The chunk sizes of what is written; the default is 128, 256 and 512 KiB.
    ///
    /// Blobs of any chunk sizes can be read. But only equal sizes make equal chunks: blobs that
    /// are written with other sizes share nothing with those that are there.
    pub fn chunk_params(mut self, params: ChunkParams) -> Builder {
        self.params = params;
        self
    }

    /// The compression level of what is written, from -7 (fast) to 22 (small).
    pub fn zstd_level(mut self, level: i32) -> Builder {
        self.zstd_level = level;
        self
    }

    /// The memory for chunks in flight, in bytes, however many writers and readers there are: one
    /// half for writing and one half for reading.
    ///
    /// Beyond it, each open writer holds what is not a chunk yet, each open reader the chunk that it is
    /// at and the index of its blob, and each processor what it compresses to or from. Readers of
    /// one blob share its index. An index of more than 640 KiB (of a blob of 4 GiB with usual chunks) is
    /// not held, but read in pages, of which the service keeps a sixteenth of its memory.
    pub fn memory(mut self, bytes: usize) -> Builder {
        self.memory = bytes;
        self
    }

    /// How many requests may be under way at once, however many writers and readers there are.
    pub fn requests(mut self, requests: usize) -> Builder {
        self.requests = requests;
        self
    }

    /// How many threads look for the cut points of one blob, where it is the only one that is being
    /// written; by default 2 where there are four processors or more, and 1 where there are fewer.
    ///
    /// Where cuts are made does not depend on it.
    pub fn cutting_threads(mut self, threads: NonZeroUsize) -> Builder {
        self.cutting_threads = Some(threads);
        self
    }

    /// Whether closing a writer waits until its blob would survive a power cut; on by default.
    ///
    /// Only for a local store: others are as durable as they are.
    pub fn durable(mut self, durable: bool) -> Builder {
        self.durable = Some(durable);
        self
    }

    /// The shortest grace period with which any program collects garbage in this store: a day, unless
    /// told otherwise.
    ///
    /// A writer that needs more than half of it looks for its chunks once more before its blob
    /// is there. The shortest that makes sense is four times the
    /// [longest request](Builder::longest_request) and 11 minutes (docs/gc.md, "The shortest grace
    /// period").
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = grace;
        self
    }

    /// How long a request is tried again that the store does not answer, or answers with an error of
    /// its own or with "too many requests": 5 minutes for a store that a URL names. Zero means not at
    /// all.
    ///
    /// The time counts from the request's first failure since the store last answered any request of
    /// this service; a store that never answered is waited for no longer than 12 s. Meanwhile the
    /// request gives its share of [`requests`](Builder::requests) back, and of a store that answers
    /// "too many requests" fewer are asked at once. A request that the store has taken counts as
    /// failed when it does not get on for a minute, however slow the line is.
    ///
    /// A store of the caller's own ([`ObjectStoreBlobService::builder`]) tries again as it sees fit,
    /// and this service does so only when this is set. For a local directory it has no meaning.
    pub fn retry_timeout(mut self, timeout: Duration) -> Builder {
        self.retry_timeout = Some(timeout);
        self
    }

    /// How long one request may be under way: 15 seconds for a directory, 61 minutes for a URL that is
    /// reached through a network, and 15 minutes for any other store, unless told otherwise. The
    /// [grace period](Builder::grace) has to allow for it.
    ///
    /// Where this service tries requests again ([`retry_timeout`](Builder::retry_timeout)), it gives up
    /// each attempt that takes longer. Otherwise the caller vouches for the store's own retries, too.
    pub fn longest_request(mut self, time: Duration) -> Builder {
        self.longest_request = Some(time);
        self
    }

    /// Reports every request of the service and its clones to `metrics`; no hook is set by default.
    pub fn metrics(mut self, metrics: Arc<dyn Metrics>) -> Builder {
        self.metrics = Hook::new(metrics);
        self
    }

    #[cfg(test)]
    pub(crate) fn rules(mut self, rules: Safeguards) -> Builder {
        self.rules = rules;
        self
    }

    /// Whether a writer reads and verifies a chunk that is in the store already before it counts as
    /// stored, and stores it again where it is missing, cut short, wrong or cannot be read; off by
    /// default.
    ///
    /// Then a blob whose writer is closed can be read, whatever was in the store before. Each chunk
    /// is read once by a service and its clones, for an hour or as long as it is remembered (65536 of
    /// them are), so that storing what is there already costs as much as reading it. An index that is
    /// there is read as well, and is written again where it is not the one that would be written.
    pub fn check_reused(mut self, check: bool) -> Builder {
        self.check_reused = check;
        self
    }

    /// # Errors
    /// `InvalidInput` for a setting outside of its bounds.
    fn check(&self) -> Result<()> {
        let problem = if !(-7..=22).contains(&self.zstd_level) {
            format!("zstd level {} is not in -7..=22", self.zstd_level)
        } else if self.memory < *MEMORY.start() {
            format!("{} bytes of memory are less than 1 MiB", self.memory)
        } else if self.memory > *MEMORY.end() {
            format!("{} bytes of memory are more than there can be", self.memory)
        } else if self.requests == 0 {
            "no request would ever be allowed".to_owned()
        } else if self.requests > MAX_REQUESTS {
            format!("{} requests at once are more than {MAX_REQUESTS}", self.requests)
        } else if self.cutting_threads.is_some_and(|threads| threads.get() > MAX_CUTTING_THREADS) {
            format!("more than {MAX_CUTTING_THREADS} threads to cut a blob")
        } else if self.grace > MAX_TIME {
            "a grace period of more than 100 years".to_owned()
        } else if self.retry_timeout.is_some_and(|timeout| timeout > MAX_TIME) {
            "requests tried again for more than 100 years".to_owned()
        } else {
            return Ok(());
        };
        Err(wrong(problem))
    }

    /// The service. Makes no request.
    ///
    /// # Errors
    /// `InvalidInput` for a setting outside of its bounds; `StoreNotFound` where the directory of
    /// a local store is not there, `PermissionDenied` or `Unavailable` where it cannot be opened.
    pub fn build(self) -> Result<ObjectStoreBlobService> {
        self.check()?;
        let longest_request = self.longest_request.unwrap_or(match self.target {
            Target::Directory { .. } => LONGEST_REQUEST_OF_A_DIRECTORY,
            Target::Store(..) => LONGEST_REQUEST,
        });
        check_grace(self.grace, longest_request).map_err(wrong)?;
        let base = Path::parse(&self.base_path)
            .map_err(|error| wrong("the base path is malformed".to_owned()).with_source(error))?;

        let processors = available_parallelism().map_or(1, usize::from);
        let requests = match self.target {
            Target::Directory { .. } => requests_with_files(self.requests, open_files()),
            Target::Store(..) => self.requests,
        };
        let limits = Arc::new(Limits::new(self.memory, requests, processors));
        let indexes = Indexes::new(limits.reading_bytes() / 8);
        let directory = match &self.target {
            Target::Directory { path, .. } => Some(path.clone()),
            Target::Store(..) => None,
        };
        let patience = match &self.target {
            Target::Directory { .. } => None,
            Target::Store(_, backend) => {
                self.retry_timeout.map(|timeout| Patience::new(timeout, longest_request, *backend))
            }
        };
        let (requests, barrier) = match self.target {
            Target::Directory { path, create } => {
                let (local, barrier) = open_directory(&path, create, self.durable.unwrap_or(true))?;
                (Requests::local(local, Arc::clone(&limits)), barrier)
            }
            Target::Store(store, _) if self.durable.is_none() => {
                (Requests::remote(store, Arc::clone(&limits), patience), None)
            }
            Target::Store(..) => {
                return Err(wrong("durability is a setting of local stores only".to_owned()));
            }
        };
        let requests = requests.reported_to(self.metrics);
        // A blob's digest and the digests of its chunks take two processors; others are to spare.
        let cutting_threads = self.cutting_threads.unwrap_or(match processors {
            0..=3 => NonZeroUsize::MIN,
            _ => NonZeroUsize::MIN.saturating_add(1),
        });
        // Two largest chunks are enough to keep cutting busy; a quarter of the memory leaves room
        // for other work to be under way meanwhile.
        let batch_size = (2 * self.params.max_size()).min(self.memory / 8);
        // Several threads gain where each has a few chunks to itself.
        let large_batch_size = match cutting_threads.get() {
            1 => batch_size,
            threads => threads.saturating_mul(4 * self.params.max_size()).min(self.memory / 8),
        };
        Ok(ObjectStoreBlobService::new(Store {
            requests,
            limits,
            layout: Layout::new(&base),
            codec: Arc::new(Codec::new(self.zstd_level)),
            known: Known::new(),
            indexes,
            directory,
            barrier,
            check_reused: self.check_reused,
            params: self.params,
            recheck_after: self.grace / 2,
            rules: self.rules,
            cutting_threads,
            batch_size,
            large_batch_size,
            writers: AtomicUsize::new(0),
            gate: Gate::new(),
        }))
    }
}

const OPEN: &str = "open the store";

/// How many requests to a directory may be under way, where the process may have so many files open: a
/// request opens two of them at the most, and some are open for other purposes.
fn requests_with_files(requests: usize, files: Option<u64>) -> usize {
    const OTHERS: u64 = 32;

    let most = files.map_or(usize::MAX, |files| {
        usize::try_from(files.saturating_sub(OTHERS) / 2).unwrap_or(usize::MAX).max(1)
    });
    requests.min(most)
}

fn wrong(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, OPEN, message)
}

/// How long one request to a store of unknown kind may be under way.
const LONGEST_REQUEST: Duration = Duration::from_secs(15 * 60);

/// The same for a directory: a disk that is busy, or one in another house.
const LONGEST_REQUEST_OF_A_DIRECTORY: Duration = Duration::from_secs(15);

/// Refuses a grace period within which a writer of this crate and a collector cannot keep to their
/// times: `W + F + e <= G` in docs/gc.md, where `W` is half of `G` and a request, and `F` a look and a
/// request.
fn check_grace(grace: Duration, longest_request: Duration) -> std::result::Result<(), String> {
    let half = longest_request
        .checked_mul(2)
        .and_then(|requests| requests.checked_add(LOOK_LASTS + CLOCK_ERROR))
        .unwrap_or(Duration::MAX);
    if grace / 2 >= half {
        return Ok(());
    }
    Err(format!(
        "a grace period of {} s is too short: a writer may take half of it and one request, and a \
         collector's delete {} s and one request; with requests of up to {} s, the shortest is {} s",
        grace.as_secs(),
        LOOK_LASTS.as_secs(),
        longest_request.as_secs(),
        half.as_secs().saturating_mul(2),
    ))
}

fn open_directory(
    path: &std::path::Path,
    create: bool,
    durable: bool,
) -> Result<(Local, Option<Barrier>)> {
    let failed = |message: &str, error: std::io::Error| {
        let kind = match error.kind() {
            std::io::ErrorKind::PermissionDenied => ErrorKind::PermissionDenied,
            std::io::ErrorKind::NotFound => ErrorKind::StoreNotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, OPEN, format!("{}: {message}", path.display())).with_source(error)
    };
    if create {
        create_directories(path, durable).map_err(|error| failed("it cannot be created", error))?;
    }
    let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => failed("there is no such directory", error),
        _ => failed("it cannot be opened", error),
    })?;
    if !metadata.is_dir() {
        let error = std::io::ErrorKind::NotADirectory.into();
        return Err(failed("it is not a directory", error));
    }
    let local = Local::open(path, durable).map_err(|error| failed("it cannot be opened", error))?;
    let barrier = durable.then(|| Barrier::of(&local));
    Ok((local, barrier))
}

/// Creates the directory and those that it lies in. Their names are flushed, too, where the store is to be
/// `durable`: what is stored later is flushed from the root of the store on.
fn create_directories(path: &std::path::Path, durable: bool) -> std::io::Result<()> {
    let is_missing =
        |directory: &&std::path::Path| !directory.as_os_str().is_empty() && !directory.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    std::fs::create_dir_all(path)?;
    if durable {
        for directory in missing.iter().rev() {
            let parent = match directory.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent,
                _ => std::path::Path::new("."),
            };
            flush_directory(parent)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn a_grace_period_allows_for_two_requests_of_a_writer_and_a_collector_each() {
        for (longest, shortest) in [
            (Duration::from_secs(15), 12 * MINUTE),
            (15 * MINUTE, 71 * MINUTE),
            (60 * MINUTE, 251 * MINUTE),
        ] {
            check_grace(shortest, longest).unwrap();
            let refused = check_grace(shortest - Duration::from_secs(1), longest).unwrap_err();
            assert!(refused.contains(&format!("is {} s", shortest.as_secs())), "{refused}");
        }
        check_grace(Duration::ZERO, Duration::ZERO).unwrap_err();
        check_grace(Duration::MAX, Duration::MAX).unwrap_err();
    }

    #[test]
    fn a_builder_refuses_a_grace_period_that_is_too_short() {
        let memory = || Arc::new(object_store::memory::InMemory::new()) as Arc<dyn ObjectStore>;
        let error =
            ObjectStoreBlobService::builder(memory()).grace(Duration::ZERO).build().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains("grace period of 0 s"), "{error}");
        let two_hours = || ObjectStoreBlobService::builder(memory()).grace(120 * MINUTE);
        two_hours().build().unwrap();
        let error = two_hours().longest_request(60 * MINUTE).build().unwrap_err();
        assert!(error.to_string().contains("15060 s"), "{error}");
    }

    #[test]
    fn requests_to_a_directory_leave_files_for_others() {
        assert_eq!(requests_with_files(128, None), 128);
        assert_eq!(requests_with_files(128, Some(1 << 20)), 128);
        assert_eq!(requests_with_files(128, Some(128)), 48);
        assert_eq!(requests_with_files(128, Some(8)), 1);
    }
}
