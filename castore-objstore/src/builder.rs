//! The builder of a service: the store, and the settings for its use.

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;
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
use crate::store::codec::Codec;
use crate::store::layout::Layout;
use crate::store::pages::Indexes;
use crate::store::presence::Presence;
use crate::store::recheck::DEFAULT_GRACE;
use crate::store::safeguards::Safeguards;
use crate::store::{Store, Verify};
use crate::write::Pacing;

/// The default of [`Builder::memory`]: 64 MiB.
pub const DEFAULT_MEMORY: usize = 64 * 1024 * 1024;

/// The default of [`Builder::requests`]: 128. With 20 ms per request and chunks of 256 KiB, that
/// many requests read 1.6 GB/s, and store half of that, as a new chunk takes two requests.
pub const DEFAULT_REQUESTS: usize = 128;

/// The default of [`Builder::zstd_level`]: 3, as in other implementations of the format.
pub const DEFAULT_ZSTD_LEVEL: i32 = 3;

/// The default of [`Builder::retry_timeout`] for a store that a URL names: 5 minutes.
pub const DEFAULT_RETRY_TIMEOUT: Duration = Duration::from_secs(300);

/// The allowed memory of a service in bytes: from 1 MiB to the largest address.
const MEMORY: RangeInclusive<usize> = 1024 * 1024..=isize::MAX as usize;

/// The largest accepted number of requests at once: no store profits from more.
const MAX_REQUESTS: usize = 65_536;

/// The largest accepted number of cutting threads: no machine cuts one blob faster with more.
const MAX_CUTTING_THREADS: usize = 256;

/// The longest accepted time: a hundred years. The clocks of the system can represent a time that
/// far ahead, but not every `Duration`.
const MAX_TIME: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// The settings of an [`ObjectStoreBlobService`].
///
/// A builder comes from [`ObjectStoreBlobService::builder`], [`ObjectStoreBlobService::local`] or
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
    group_hashes: bool,
    verify: Verify,
    cutting_threads: Option<NonZeroUsize>,
    grace: Duration,
    retry_timeout: Option<Duration>,
    longest_request: Option<Duration>,
    metrics: Hook,
    safeguards: Safeguards,
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
    /// A builder of a service over `store`.
    pub fn builder(store: Arc<dyn ObjectStore>) -> Builder {
        Builder::new(Target::Store(store, Backend::default()))
    }

    /// A builder of a service over the directory `path` of the local filesystem.
    pub fn local(path: impl Into<PathBuf>) -> Builder {
        Builder::of_directory(path.into())
    }
}

impl Builder {
    /// A builder for a store that does not retry requests itself: the service retries them.
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
            group_hashes: true,
            verify: Verify::Groups,
            cutting_threads: None,
            grace: DEFAULT_GRACE,
            retry_timeout: None,
            longest_request: None,
            metrics: Hook::default(),
            safeguards: Safeguards::ALL,
        }
    }

    /// The prefix of every object's key, with parts separated by `/`; the store's root by default.
    pub fn base_path(mut self, path: impl Into<String>) -> Builder {
        self.base_path = path.into();
        self
    }

    /// Creates the directory of a local store if the directory does not exist; off by default.
    pub fn create(mut self, create: bool) -> Builder {
        if let Target::Directory { create: setting, .. } = &mut self.target {
            *setting = create;
        }
        self
    }

    /// The chunk sizes that writers use; 128, 256 and 512 KiB (smallest, average, largest) by
    /// default.
    ///
    /// Readers read blobs of any chunk sizes. But only equal sizes make equal chunks: new blobs
    /// with other sizes share no chunk with the stored ones.
    pub fn chunk_params(mut self, params: ChunkParams) -> Builder {
        self.params = params;
        self
    }

    /// The zstd level of new chunks, from -7 (fast) to 22 (small).
    pub fn zstd_level(mut self, level: i32) -> Builder {
        self.zstd_level = level;
        self
    }

    /// The memory for chunks in flight, in bytes, however many writers and readers there are: one
    /// half for writing and one half for reading.
    ///
    /// Beyond this limit, each open writer holds the bytes that are not yet part of a chunk, each
    /// open reader holds its current chunk with its group, and the index of its blob, and each
    /// processor holds one chunk in its compressed or decompressed form. Readers of one blob share
    /// its index. An index of more than 640 KiB (of a blob of 2 GiB with usual chunks) is not held,
    /// but read in pages; the service keeps up to a sixteenth of its memory in pages.
    pub fn memory(mut self, bytes: usize) -> Builder {
        self.memory = bytes;
        self
    }

    /// The number of requests that may be in flight at once, for all writers and readers together.
    pub fn requests(mut self, requests: usize) -> Builder {
        self.requests = requests;
        self
    }

    /// The number of threads that look for the cut points of a blob while no other blob is written;
    /// by default 2 on four processors or more, and 1 on fewer.
    ///
    /// The number changes no cut point.
    pub fn cutting_threads(mut self, threads: NonZeroUsize) -> Builder {
        self.cutting_threads = Some(threads);
        self
    }

    /// Whether closing a writer waits until its blob would survive a power cut; on by default.
    ///
    /// The setting exists for local stores only: any other store decides about durability itself.
    pub fn durable(mut self, durable: bool) -> Builder {
        self.durable = Some(durable);
        self
    }

    /// The shortest grace period with which any program collects garbage in this store; a day by
    /// default.
    ///
    /// A writer that needs more than half of the grace period looks for its chunks once more before
    /// it writes the index. The shortest accepted grace period is four times the [longest
    /// request](Builder::longest_request) and 11 minutes (docs/gc.md, "The shortest grace period").
    pub fn grace(mut self, grace: Duration) -> Builder {
        self.grace = grace;
        self
    }

    /// The time for which the service retries a request that the store does not answer, or answers
    /// with an error of its own or with "too many requests"; 5 minutes by default for a store that
    /// a URL names. Zero means that the service does not retry.
    ///
    /// The time counts from the request's first failure since the store last answered any request
    /// of this service. The service waits no longer than 12 s for a store that has never answered.
    /// A request that waits for its next attempt gives its share of [`requests`](Builder::requests)
    /// back, and the service sends fewer requests at once to a store that answers "too many
    /// requests". A request counts as failed after a minute without progress, however slow the line
    /// is.
    ///
    /// A store of the caller's own ([`ObjectStoreBlobService::builder`]) decides about retries
    /// itself; there the service retries only if this is set. The setting has no meaning for a
    /// local directory.
    pub fn retry_timeout(mut self, timeout: Duration) -> Builder {
        self.retry_timeout = Some(timeout);
        self
    }

    /// The longest time that one request may take; by default 15 seconds for a directory, 61
    /// minutes for a URL of a store behind a network, and 15 minutes for any other store. The
    /// [grace period](Builder::grace) must allow for this time.
    ///
    /// If this service retries requests ([`retry_timeout`](Builder::retry_timeout)), it gives up
    /// each attempt that takes longer. Otherwise the caller guarantees this time for the store's
    /// requests and the store's own retries.
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
    pub(crate) fn safeguards(mut self, safeguards: Safeguards) -> Builder {
        self.safeguards = safeguards;
        self
    }

    /// Whether a writer reads and verifies each chunk that is already in the store before it relies
    /// on the chunk, and stores the chunk again if that is missing, cut short, wrong or unreadable;
    /// off by default.
    ///
    /// With this setting, a blob whose writer is closed can be read, whatever was in the store
    /// before. A service and its clones read each chunk once an hour at most, as long as they
    /// remember it (they remember 65536 chunks), so that storing a present blob again costs as much
    /// as reading it. The writer also reads an index that is in the store already, and replaces an
    /// index that differs from its own.
    pub fn check_reused(mut self, check: bool) -> Builder {
        self.check_reused = check;
        self
    }

    /// Whether the indexes that writers store carry the [group hashes](castore_core::groups) of
    /// their blobs, 32 bytes for each 256 KiB; on by default.
    ///
    /// Readers verify ranges by them. Other implementations of the format ignore them.
    pub fn group_hashes(mut self, group_hashes: bool) -> Builder {
        self.group_hashes = group_hashes;
        self
    }

    /// The proof that a reader has for bytes before it returns them; the blob's own digest by
    /// default.
    ///
    /// By default, a range that was not read before costs the chunks of all groups (of 256 KiB)
    /// that it touches; the readers of one blob remember which groups are proven. A program that
    /// trusts all writers of the store, or that rescues parts of a damaged blob, chooses
    /// [`Verify::Chunks`].
    pub fn verify(mut self, verify: Verify) -> Builder {
        self.verify = verify;
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

    /// Builds the service. Makes no request to the store.
    ///
    /// # Errors
    /// `InvalidInput` for a setting outside of its bounds; `StoreNotFound` if the directory of
    /// a local store does not exist, `PermissionDenied` or `Unavailable` if it cannot be opened.
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
        let pacing = Pacing::new(&self.params, self.memory, processors, self.cutting_threads);
        let store = Store {
            requests,
            limits,
            layout: Layout::new(&base),
            codec: Arc::new(Codec::new(self.zstd_level)),
            presence: Presence::new(),
            indexes,
            barrier,
            check_reused: self.check_reused,
            params: self.params,
            group_hashes: self.group_hashes,
            verify: self.verify,
            recheck_after: self.grace / 2,
            safeguards: self.safeguards,
            gate: Gate::new(),
        };
        Ok(ObjectStoreBlobService::new(store, pacing))
    }
}

const OPEN: &str = "open the store";

/// The number of requests to a directory that may be in flight at once in a process that may have
/// `files` open files: a request opens two files at most, and some files are open for other
/// purposes.
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

/// The longest time that one request to a store of unknown kind may take.
const LONGEST_REQUEST: Duration = Duration::from_secs(15 * 60);

/// The same for a directory: long enough for a busy disk, or a network filesystem.
const LONGEST_REQUEST_OF_A_DIRECTORY: Duration = Duration::from_secs(15);

/// Refuses a grace period that is too short for the times which a writer of this crate and a
/// collector need: `W + F + e <= G` in docs/gc.md, where `W` is half of `G` and a request, and `F`
/// a look and a request.
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

/// Creates the directory and its missing parents. For a `durable` store the names of these
/// directories are flushed here, as later flushes begin at the root of the store.
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
