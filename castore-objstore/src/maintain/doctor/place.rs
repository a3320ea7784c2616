//! The requests of the checks. Each has a time limit and a few attempts, and the keys that it
//! writes are recorded.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::fault::Fault;
use crate::error::Trouble;
use crate::exec::context::run_blocking;
use crate::objects::answer::noting;
use crate::objects::local::{Local, LocalError, Put};
use crate::objects::meta::{Entry, Meta};

/// The number of attempts for a request, if the store is unreachable or takes no more requests.
const ATTEMPTS: u32 = 6;

/// The wait before the second attempt; it doubles before each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// After this many unanswered requests in a row, the store is asked no more.
const SILENCE: u32 = 3;

/// The time limit of a whole listing, in multiples of that of a page.
const PAGES: u32 = 20;

/// The largest number of requests under way at once.
const UNDER_WAY: usize = 1024;

/// The number of requests at once while the remains of the checks are removed.
const CLEANING: usize = 32;

/// How long requests under way may take to end before the remains of the checks are removed.
const ENDING: Duration = Duration::from_secs(10);

pub(super) type Answer<T> = Result<T, Fault>;

/// The store, and the part of it reserved for the checks.
#[derive(Clone)]
pub(super) struct Place {
    target: Target,
    /// The prefix for all runs of the checks.
    parent: Path,
    /// The prefix for this run.
    scratch: Path,
    timeout: Duration,
    /// The keys of the objects that this run may have written.
    written: Arc<Mutex<BTreeSet<Path>>>,
    tally: Arc<Mutex<Tally>>,
    under_way: Arc<Semaphore>,
}

#[derive(Clone)]
pub(super) enum Target {
    Store(Arc<dyn ObjectStore>),
    Directory(Local),
}

/// The number of requests, their failures and their times.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) requests: u64,
    /// Requests that the store answered with "too many requests".
    pub(super) refused: u64,
    /// Requests that failed in another way and were tried again.
    pub(super) repeated: u64,
    /// The times of all answers.
    pub(super) times: Vec<Duration>,
    silent_in_a_row: u32,
}

/// The objects that the checks leave behind, by key.
#[derive(Debug, Clone, Default)]
pub(super) struct Remains {
    /// Objects of this run that still exist, or may exist.
    pub(super) own: BTreeSet<Path>,
    /// How many objects other runs have left or still use.
    pub(super) of_others: usize,
}

impl Place {
    pub(super) fn new(target: Target, parent: Path, scratch: Path) -> Place {
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        let (written, tally) = Default::default();
        let timeout = super::DoctorOptions::default().timeout;
        Place { target, parent, scratch, timeout, written, tally, under_way }
    }

    pub(super) fn with_timeout(&self, timeout: Duration) -> Place {
        Place { timeout, ..self.clone() }
    }

    pub(super) fn scratch(&self) -> &Path {
        &self.scratch
    }

    /// The examined directory; `None` for any other store.
    pub(super) fn directory(&self) -> Option<&Local> {
        match &self.target {
            Target::Directory(local) => Some(local),
            Target::Store(_) => None,
        }
    }

    pub(super) fn tally(&self) -> Tally {
        lock(&self.tally).clone()
    }

    /// Puts an object durably, as castore puts a chunk.
    pub(super) async fn put(&self, path: &Path, bytes: Bytes) -> Answer<()> {
        self.put_one(path, bytes, Put::Durable).await?;
        self.flush().await
    }

    /// Puts many objects, `at_once` at a time, and flushes them together. Ends at the first
    /// failure.
    pub(super) async fn put_all(
        &self,
        objects: impl IntoIterator<Item = (Path, Bytes)>,
        at_once: usize,
        mut done: impl FnMut(),
    ) -> Answer<()> {
        let puts = objects
            .into_iter()
            .map(|(path, bytes)| async move { self.put_one(&path, bytes, Put::Durable).await });
        let mut puts = stream::iter(puts).buffer_unordered(at_once);
        while let Some(put) = puts.next().await {
            put?;
            done();
        }
        self.flush().await
    }

    /// Puts an object as the garbage collector puts a record, whose time matters.
    pub(super) async fn put_record(&self, path: &Path) -> Answer<()> {
        self.put_one(path, Bytes::new(), Put::AtOnce).await
    }

    async fn put_one(&self, path: &Path, bytes: Bytes, how: Put) -> Answer<()> {
        self.writing(path, "put", || {
            let (target, path, bytes) = (self.target.clone(), path.clone(), bytes.clone());
            async move {
                match target {
                    Target::Store(store) => {
                        let put = async { store.put(&path, PutPayload::from_bytes(bytes)).await };
                        of_store("put", put).await.map(drop)
                    }
                    Target::Directory(local) => {
                        of_directory("put", move || local.put(&path, &bytes, how)).await
                    }
                }
            }
        })
        .await
    }

    /// Makes all puts durable. Does nothing except for a directory.
    pub(super) async fn flush(&self) -> Answer<()> {
        let Some(local) = self.directory() else { return Ok(()) };
        self.ask("flush", || {
            let local = local.clone();
            async move {
                let flushed = run_blocking("flush", move || local.flush(true)).await;
                let flushed =
                    flushed.map_err(|error| Fault::failed("flush", &error.to_string()))?;
                flushed.map_err(|error| Fault::io("flush", &error))
            }
        })
        .await
    }

    /// Gets the whole object.
    pub(super) async fn get(&self, path: &Path) -> Answer<Bytes> {
        self.ask("get", || {
            let (target, path) = (self.target.clone(), path.clone());
            async move {
                match target {
                    Target::Store(store) => {
                        let get = async { store.get(&path).await?.bytes().await };
                        of_store("get", get).await
                    }
                    Target::Directory(local) => {
                        of_directory("get", move || {
                            let (file, size) = local.open_object(&path)?;
                            read(file, 0, size, &path)
                        })
                        .await
                    }
                }
            }
        })
        .await
    }

    /// Gets the bytes `range` of an object, by a request for just these.
    pub(super) async fn get_range(
        &self,
        path: &Path,
        range: std::ops::Range<u64>,
    ) -> Answer<Bytes> {
        self.ask("get a range", || {
            let (target, path, range) = (self.target.clone(), path.clone(), range.clone());
            async move {
                match target {
                    Target::Store(store) => {
                        of_store("get a range", async { store.get_range(&path, range).await }).await
                    }
                    Target::Directory(local) => {
                        of_directory("get a range", move || {
                            let (file, _) = local.open_object(&path)?;
                            read(file, range.start, range.end - range.start, &path)
                        })
                        .await
                    }
                }
            }
        })
        .await
    }

    pub(super) async fn head(&self, path: &Path) -> Answer<Meta> {
        self.ask("head", || {
            let (target, path) = (self.target.clone(), path.clone());
            async move {
                match target {
                    Target::Store(store) => {
                        of_store("head", async { store.head(&path).await }).await.map(Meta::from)
                    }
                    Target::Directory(local) => {
                        of_directory("head", move || local.head(&path)).await
                    }
                }
            }
        })
        .await
    }

    /// Deletes an object. The fault for an absent object is an absence.
    pub(super) async fn delete(&self, path: &Path) -> Answer<()> {
        self.ask("delete", || {
            let (target, path) = (self.target.clone(), path.clone());
            async move {
                match target {
                    Target::Store(store) => {
                        of_store("delete", async { store.delete(&path).await }).await
                    }
                    Target::Directory(local) => {
                        of_directory("delete", move || local.delete(&path)).await
                    }
                }
            }
        })
        .await
    }

    pub(super) async fn copy(&self, from: &Path, to: &Path) -> Answer<()> {
        self.writing(to, "copy", || {
            let (target, from, to) = (self.target.clone(), from.clone(), to.clone());
            async move {
                match target {
                    Target::Store(store) => {
                        of_store("copy", async { store.copy(&from, &to).await }).await
                    }
                    Target::Directory(local) => {
                        of_directory("copy", move || local.copy(&from, &to)).await
                    }
                }
            }
        })
        .await
    }

    /// Lists all objects below `prefix` in the order of the store, or those after `offset` if
    /// given.
    pub(super) async fn list(&self, prefix: &Path, offset: Option<&Path>) -> Answer<Vec<Meta>> {
        let limit = self.timeout;
        // Each page has its time limit, and the whole listing has that of many pages.
        let longer = self.with_timeout(self.timeout.saturating_mul(PAGES));
        let listed = longer.ask("list", || {
            let (target, prefix, offset) = (self.target.clone(), prefix.clone(), offset.cloned());
            async move {
                match target {
                    Target::Store(store) => list_store(&*store, &prefix, offset, limit).await,
                    Target::Directory(local) => {
                        of_directory("list", move || list_directory(&local, &prefix)).await
                    }
                }
            }
        });
        listed.await
    }

    /// Makes a request that may create an object at `path`, and records the key first.
    async fn writing<F: Future<Output = Answer<()>> + Send + 'static>(
        &self,
        path: &Path,
        request: &'static str,
        attempt: impl Fn() -> F,
    ) -> Answer<()> {
        let is_new = lock(&self.written).insert(path.clone());
        let answer = self.ask(request, attempt).await;
        // A refused request has created nothing.
        if is_new && answer.as_ref().is_err_and(|fault| fault.kind == super::fault::Kind::Denied) {
            lock(&self.written).remove(path);
        }
        answer
    }

    /// Makes attempts until one is answered. Each attempt is a task of its own, which runs to its
    /// end even if the caller is dropped: the remains are removed only after that.
    async fn ask<T, F>(&self, request: &'static str, attempt: impl Fn() -> F) -> Answer<T>
    where
        T: Send + 'static,
        F: Future<Output = Answer<T>> + Send + 'static,
    {
        let mut wait = FIRST_WAIT;
        for number in 1.. {
            if lock(&self.tally).silent_in_a_row >= SILENCE {
                return Err(Fault::given_up());
            }
            // An error would mean that the semaphore is closed; no code closes it.
            let permit = Arc::clone(&self.under_way).acquire_owned().await.ok();
            let (work, limit) = (attempt(), self.timeout);
            let begun = Instant::now();
            let task = tokio::spawn(async move {
                let _permit = permit;
                match tokio::time::timeout(limit, work).await {
                    Ok(answer) => answer,
                    Err(_) => Err(Fault::silent(request, limit)),
                }
            });
            let answer = task.await.unwrap_or_else(|error| {
                let text = if error.is_panic() { "the client panicked" } else { "interrupted" };
                Err(Fault::failed(request, text))
            });
            let trouble = answer.as_ref().err().and_then(|fault| fault.trouble);
            let trouble = trouble.filter(|_| number < ATTEMPTS);
            self.count(&answer, begun.elapsed(), trouble);
            if trouble.is_none() {
                return answer;
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the last attempt returns")
    }

    fn count<T>(&self, answer: &Answer<T>, took: Duration, trouble: Option<Trouble>) {
        let mut tally = lock(&self.tally);
        tally.requests += 1;
        let is_silent =
            answer.as_ref().is_err_and(|fault| fault.kind == super::fault::Kind::Silent);
        tally.silent_in_a_row = if is_silent { tally.silent_in_a_row + 1 } else { 0 };
        tally.times.push(took);
        match (trouble, answer) {
            (Some(Trouble::Refused), _) => tally.refused += 1,
            (Some(_), _) => tally.repeated += 1,
            (None, Err(fault)) if fault.trouble == Some(Trouble::Refused) => tally.refused += 1,
            _ => {}
        }
    }

    /// Removes everything that the checks have written, and returns the objects that may be left.
    pub(super) async fn clean(&self) -> Remains {
        let all = self.under_way.acquire_many(UNDER_WAY as u32);
        let _ = tokio::time::timeout(ENDING, all).await;
        lock(&self.tally).silent_in_a_row = 0;
        if self.directory().is_some() {
            // Files that wait for a flush would be renamed to their keys later.
            let _ = self.flush().await;
        }
        // Each key is forgotten once its object is gone: so this may be interrupted and repeated.
        let written = lock(&self.written).clone();
        let mut own = self.delete_all(written).await;
        let mut of_others = 0;
        if let Ok(listed) = self.list(&self.parent, None).await {
            let (mine, others): (Vec<_>, Vec<_>) =
                listed.into_iter().partition(|meta| meta.path.prefix_matches(&self.scratch));
            of_others = others.len();
            // A listing may be out of date; a listed object that is absent is gone.
            let listed = mine.into_iter().map(|meta| meta.path).collect();
            own.extend(self.delete_all(listed).await);
        }
        if let Some(local) = self.directory() {
            let (local, scratch, parent) =
                (local.clone(), self.scratch.clone(), self.parent.clone());
            let removed =
                run_blocking("remove", move || local.remove_directory(&scratch, &parent)).await;
            match removed {
                Ok(Ok(())) => own.clear(),
                _ => drop(own.insert(self.scratch.clone())),
            }
        }
        lock(&self.written).clone_from(&own);
        Remains { own, of_others }
    }

    /// Deletes objects. Returns those that still exist, or may exist.
    async fn delete_all(&self, paths: BTreeSet<Path>) -> BTreeSet<Path> {
        let deletes = paths.into_iter().map(|path| async move {
            let gone = match self.delete(&path).await {
                // A store may confirm a delete without doing it.
                Ok(()) => self.head(&path).await.is_err_and(|fault| fault.is_absence()),
                Err(fault) => {
                    fault.is_absence()
                        || self.head(&path).await.is_err_and(|fault| fault.is_absence())
                }
            };
            if gone {
                lock(&self.written).remove(&path);
            }
            (!gone).then_some(path)
        });
        let left = stream::iter(deletes).buffer_unordered(CLEANING);
        left.filter_map(std::future::ready).collect().await
    }
}

async fn of_store<T>(
    request: &'static str,
    work: impl Future<Output = object_store::Result<T>>,
) -> Answer<T> {
    let (answer, status) = noting(work).await;
    answer.map_err(|error| Fault::of_store(request, error, status))
}

async fn of_directory<T: Send + 'static>(
    request: &'static str,
    work: impl FnOnce() -> Result<T, LocalError> + Send + 'static,
) -> Answer<T> {
    match run_blocking(request, work).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(Fault::of_directory(request, &error)),
        Err(error) => Err(Fault::failed(request, &error.to_string())),
    }
}

fn read(file: std::fs::File, start: u64, size: u64, path: &Path) -> Result<Bytes, LocalError> {
    let fetched = crate::objects::fetched::Fetched::File(file, start, size);
    let path = std::path::PathBuf::from(path.as_ref());
    fetched.read().map_err(|source| LocalError::Io { action: "read", path, source })
}

async fn list_store(
    store: &dyn ObjectStore,
    prefix: &Path,
    offset: Option<Path>,
    limit: Duration,
) -> Answer<Vec<Meta>> {
    let mut listing = match &offset {
        None => store.list(Some(prefix)),
        Some(offset) => store.list_with_offset(Some(prefix), offset),
    };
    let mut listed = Vec::new();
    loop {
        let next = tokio::time::timeout(limit, noting(listing.next())).await;
        let Ok((next, status)) = next else { return Err(Fault::silent("list", limit)) };
        match next {
            None => return Ok(listed),
            Some(Ok(meta)) => listed.push(Meta::from(meta)),
            Some(Err(error)) => return Err(Fault::of_store("list", error, status)),
        }
    }
}

/// Lists by the walk that a service uses. The walk visits every directory below that of the checks.
fn list_directory(local: &Local, prefix: &Path) -> Result<Vec<Meta>, LocalError> {
    let mut walk = local.walk(prefix, Arc::new(|_| true));
    let mut listed = Vec::new();
    loop {
        let entries = walk.step()?;
        if entries.is_empty() {
            return Ok(listed);
        }
        listed.extend(entries.into_iter().filter_map(|entry| match entry {
            Entry::Object(meta) => Some(meta),
            Entry::Stray(_) => None,
        }));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
