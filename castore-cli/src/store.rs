//! Finds the store: from the command line, the environment, or the platform.

use std::ops::Deref;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use castore_core::{BlobIndex, BlobReader, BlobService, Digest};
use castore_objstore::doctor::Doctor;
use castore_objstore::{Builder, ObjectStoreBlobService, local_path, parse_url_opts};
use etcetera::BaseStrategy;

use crate::failure::{Failure, NO_BLOB, NO_STORE, Result, USAGE, on_interrupt, say};
use crate::output;
use crate::redact::redacted;

/// The most keys printed of objects that could not be removed.
const KEYS: usize = 5;

/// The fewest digits to which a digest may be shortened.
const SHORTEST_PREFIX: usize = 8;

/// The stores that the command writes to.
static WRITTEN: Mutex<Vec<ObjectStoreBlobService>> = Mutex::new(Vec::new());

/// The running examination, whose objects an interrupt would leave behind.
static EXAMINATION: Mutex<Option<Doctor>> = Mutex::new(None);

/// The time for unfinished work to end after an interrupt: a few chunks' writes.
pub(crate) const ENDING: Duration = Duration::from_secs(2);

/// The same for an examination, which has objects to remove.
const CLEANING: Duration = Duration::from_secs(60);

/// Registers an examination whose objects an interrupt removes.
pub(crate) fn clean_up_after_interrupt(doctor: Doctor) {
    let prefix = doctor.prefix();
    *lock(&EXAMINATION) = Some(doctor);
    on_interrupt(format!("objects may be left below {prefix}/: remove them"));
}

/// Says that the objects of the examination are removed, or have been reported.
pub(crate) fn nothing_to_clean_up() {
    *lock(&EXAMINATION) = None;
}

/// The time limit of [`settle`].
pub(crate) fn settling_time() -> Duration {
    if lock(&EXAMINATION).is_some() { CLEANING } else { ENDING }
}

/// Leaves the stores in order after an interrupt: flushes completed writes, and removes the objects
/// of an examination. A failed flush is not worth a line: the next run stores the same data again.
pub(crate) async fn settle() {
    let examination = lock(&EXAMINATION).take();
    if let Some(doctor) = examination {
        let left = doctor.clean_up().await;
        say_left(&left);
        if left.is_empty() {
            on_interrupt("the objects of the examination were removed");
        }
    }
    flush_written().await;
}

/// Names the objects that could not be removed.
pub(crate) fn say_left(left: &[String]) {
    for key in left.iter().take(KEYS) {
        say(format_args!("castore: could not remove {}", output::one_line(key)));
    }
    if left.len() > KEYS {
        let more = left.len() - KEYS;
        say(format_args!("castore: could not remove {more} more objects beside them"));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn flush_written() {
    let written = std::mem::take(&mut *lock(&WRITTEN));
    for service in written {
        let _ = service.flush().await;
    }
}

/// The store given to a command, not opened yet.
pub(crate) struct Location {
    url: String,
    options: Vec<(String, String)>,
    /// Whether this is the user's own store, which no other user may read.
    personal: bool,
    /// Whether to verify reused data.
    check: bool,
}

/// An open store, although its place may hold none.
pub(crate) struct Store {
    service: ObjectStoreBlobService,
    name: String,
    /// Whether the place is known to hold a store.
    recognised: AtomicBool,
}

impl Location {
    pub(crate) fn new(store: Option<String>, options: Vec<(String, String)>) -> Result<Location> {
        let (url, personal) = match store {
            Some(url) => (url, false),
            None => (personal()?, true),
        };
        Ok(Location { url, options, personal, check: false })
    }

    /// The same location; verifies data that is already in the store if `check` is true.
    pub(crate) fn checking(self, check: bool) -> Location {
        Location { check, ..self }
    }

    /// The URL or path, without secrets.
    pub(crate) fn name(&self) -> String {
        redacted(&self.url).into_owned()
    }

    /// A text that is the same for the same store, wherever the command runs: for a directory its
    /// path without links; for any other store the URL, and the settings that identify its server.
    pub(crate) fn identity(&self) -> String {
        if let Ok(Some(path)) = local_path(&self.url) {
            let path = path.canonicalize().unwrap_or(path);
            return path.to_string_lossy().into_owned();
        }
        let names_server = |key: &str| key.to_ascii_lowercase().contains("endpoint");
        let options = self.options.iter().filter(|(key, _)| names_server(key));
        let variables = std::env::vars_os().filter_map(|(key, value)| {
            let key = key.into_string().ok().filter(|key| names_server(key))?;
            Some((key, value.to_string_lossy().into_owned()))
        });
        let mut servers: Vec<String> = options
            .cloned()
            .chain(variables)
            .map(|(key, value)| format!(" {key}={}", redacted(&value)))
            .collect();
        servers.sort_unstable();
        self.name() + &servers.concat()
    }

    /// Opens the store for reading. A directory must exist.
    pub(crate) fn open(&self) -> Result<Store> {
        match local_path(&self.url)? {
            Some(path) if !self.is_there(&path)? => Err(no_store(&self.name())),
            _ => Ok(self.store(self.builder()?.build()?)),
        }
    }

    /// Opens the place of a store, with or without a store in it. A directory must exist.
    pub(crate) fn open_place(&self) -> Result<Store> {
        match local_path(&self.url)? {
            Some(path) if !self.is_there(&path)? => {
                let message =
                    format!("there is no directory {}; make it, or check the path", self.name());
                Err(Failure::new(NO_STORE, message))
            }
            _ => Ok(self.store(self.builder()?.build()?)),
        }
    }

    /// Opens the store for writing. Makes one if there is none, and says so unless `quiet`.
    pub(crate) async fn open_or_create(&self, quiet: bool) -> Result<Store> {
        let missing = match local_path(&self.url)? {
            Some(path) if !self.is_there(&path)? => Some(path),
            _ => None,
        };
        let mut builder = self.builder()?;
        if let Some(path) = &missing {
            if self.personal {
                make_private(path).map_err(|error| Failure::from(error).about(self.name()))?;
            }
            builder = builder.create(true);
        }
        let store = self.store(builder.build()?);
        lock(&WRITTEN).push((*store).clone());
        let is_new = store.create_marker().await?;
        store.recognised.store(true, Relaxed);
        if is_new && !quiet {
            say(format_args!("castore: made a new store at {}", store.name));
        }
        Ok(store)
    }

    /// Whether the directory exists; a failure if that is not known.
    fn is_there(&self, path: &Path) -> Result<bool> {
        path.try_exists().map_err(|error| Failure::from(error).about(self.name()))
    }

    fn builder(&self) -> Result<Builder> {
        if let Some(path) = local_path(&self.url)?
            && path.exists()
            && !path.is_dir()
        {
            let message = format!(
                "there is no castore store at {}: it is not a directory; name one with -s",
                self.name()
            );
            return Err(Failure::new(NO_STORE, message));
        }
        let options = self.options.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        Ok(parse_url_opts(&self.url, options)?.check_reused(self.check))
    }

    fn store(&self, service: ObjectStoreBlobService) -> Store {
        Store { service, name: self.name(), recognised: false.into() }
    }
}

impl Store {
    /// The service, whose clones share everything.
    pub(crate) fn service(&self) -> &ObjectStoreBlobService {
        &self.service
    }

    /// Fails if the place holds no store. Asks only once. For commands that found nothing: an
    /// unmounted directory or a mistyped path looks like an empty store.
    pub(crate) async fn must_exist(&self) -> Result<()> {
        if !self.recognised.load(Relaxed) {
            if !self.service.exists().await? {
                return Err(no_store(&self.name));
            }
            self.recognised.store(true, Relaxed);
        }
        Ok(())
    }
}

impl Deref for Store {
    type Target = ObjectStoreBlobService;

    fn deref(&self) -> &ObjectStoreBlobService {
        &self.service
    }
}

fn no_store(name: &str) -> Failure {
    let message = format!(
        "there is no castore store at {name}; check the path or URL, or make one with `castore -s {name} \
         put FILE`"
    );
    Failure::new(NO_STORE, message)
}

/// The directory of the user's own store.
fn personal() -> Result<String> {
    let strategy = etcetera::choose_base_strategy().map_err(|error| {
        let message = format!("there is no home directory ({error}); name a store with -s");
        Failure::new(USAGE, message)
    })?;
    let path = strategy.data_dir().join("castore");
    path.into_os_string().into_string().map_err(|path| {
        let path = crate::names::shown(Path::new(&path));
        Failure::new(USAGE, format!("{path} is not UTF-8; name a store with -s"))
    })
}

/// Makes a directory that only the user can access, with its parents.
fn make_private(path: &Path) -> std::io::Result<()> {
    let mut directory = std::fs::DirBuilder::new();
    directory.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut directory, 0o700);
    directory.create(path)
}

/// The digest in `text`, or the one that starts with `text`.
pub(crate) async fn resolve(store: &Store, text: &str) -> Result<Digest> {
    if let Some(digest) = check_digest(text)? {
        return Ok(digest);
    }
    match store.find(text).await?.as_slice() {
        [] => Err(absent(store, text).await),
        [digest] => Ok(*digest),
        several => {
            let list: Vec<String> = several.iter().take(5).map(Digest::to_string).collect();
            let list = list.join(", ");
            let message = format!("{text} is the start of {} digests: {list}", several.len());
            Err(Failure::new(USAGE, message))
        }
    }
}

pub(crate) async fn chunks(store: &Store, digest: &Digest) -> Result<BlobIndex> {
    match store.chunks(digest).await? {
        Some(index) => Ok(index),
        None => Err(absent(store, digest).await),
    }
}

pub(crate) async fn open_read(store: &Store, digest: &Digest) -> Result<BlobReader> {
    match store.open_read(digest).await? {
        Some(reader) => Ok(reader),
        None => Err(absent(store, digest).await),
    }
}

/// The failure for an absent blob, or for an absent store: both look alike.
pub(crate) async fn absent(store: &Store, digest: impl std::fmt::Display) -> Failure {
    match store.must_exist().await {
        Ok(()) => Failure::new(NO_BLOB, format!("no blob {digest} in the store")),
        Err(failure) => failure,
    }
}

/// The digest in `text`; `None` if `text` is the start of one, and a failure if it is neither.
pub(crate) fn check_digest(text: &str) -> Result<Option<Digest>> {
    let malformed = match text.parse::<Digest>() {
        Ok(digest) => return Ok(Some(digest)),
        Err(error) => error,
    };
    let hexadecimal = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !hexadecimal || text.len() > 2 * Digest::LEN {
        return Err(Failure::new(USAGE, format!("{text:?} is not a digest: {malformed}")));
    }
    if text.len() < SHORTEST_PREFIX {
        let message = format!("{text:?} is too short; give {SHORTEST_PREFIX} digits or more");
        return Err(Failure::new(USAGE, message));
    }
    Ok(None)
}
