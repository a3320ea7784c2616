//! An object store that records requests, and misbehaves as told.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload,
    ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
    PutResult, RenameOptions, Result,
};
use tokio::sync::watch;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Head,
    Get,
    Put,
    Delete,
    List,
    /// Requests that the service never makes: uploads in parts, copies.
    Other,
}

/// The half of the store that a key belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Blobs,
    Chunks,
}

/// The effect of a fault on a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Effect {
    /// The request fails with this error, and has no other effect.
    Fail(fn() -> Error),
    /// The body of a GET ends after this many bytes, although the answer states the full size.
    CutBody(usize),
    /// Every GET returns this whole page, whatever it asked for.
    Page(&'static [u8]),
    /// One bit in the middle of a GET's body is flipped.
    FlipBit,
    /// A GET states this size in bytes for its object.
    ClaimSize(u64),
    /// A copy has only half of the bytes, like an unfinished one.
    CutCopy,
}

/// Every request, for [`Probe::fault`].
pub(crate) const ALWAYS: Range<usize> = 0..usize::MAX;

/// Watches a store, by default one in memory. Clones share the state.
#[derive(Debug, Clone)]
pub(crate) struct Probe {
    inner: Arc<dyn ObjectStore>,
    state: Arc<Mutex<State>>,
    /// The kind of request that must wait, if any.
    held: Arc<watch::Sender<Option<Kind>>>,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<(Kind, Path)>,
    in_flight: usize,
    peak_in_flight: usize,
    put_bytes: usize,
    peak_put_bytes: usize,
    bodies_read: usize,
    latency: Duration,
    body_piece: Option<usize>,
    /// If more requests than this are under way, further ones are refused.
    at_most: Option<usize>,
    refused: usize,
    /// The bytes per second that all PUTs share, and until when the line is busy with the bytes so
    /// far.
    uplink: Option<(u32, Option<Instant>)>,
    faults: Vec<Fault>,
    failing_keys: Vec<FailingKeys>,
}

/// Requests of a kind for keys that contain the text fail with this error.
type FailingKeys = (Kind, String, fn() -> Error);

#[derive(Debug)]
struct Fault {
    kind: Kind,
    part: Part,
    /// The affected ones of the matching requests, counted from 0 since the fault was set up.
    numbers: Range<usize>,
    seen: usize,
    effect: Effect,
}

impl Probe {
    pub(crate) fn new() -> Probe {
        Probe::over(Arc::new(InMemory::new()))
    }

    pub(crate) fn over(inner: Arc<dyn ObjectStore>) -> Probe {
        Probe { inner, state: Arc::default(), held: Arc::new(watch::Sender::new(None)) }
    }

    /// Makes every request take `latency` of tokio's time.
    pub(crate) fn with_latency(self, latency: Duration) -> Probe {
        self.state().latency = latency;
        self
    }

    /// Serves only `requests` at once, and refuses any others.
    pub(crate) fn with_at_most(self, requests: usize) -> Probe {
        self.state().at_most = Some(requests);
        self
    }

    /// Makes all PUTs share a line that carries this many bytes per second of tokio's time.
    pub(crate) fn with_uplink(self, bytes_per_second: u32) -> Probe {
        self.state().uplink = Some((bytes_per_second, None));
        self
    }

    /// The number of requests that were refused because there were too many.
    pub(crate) fn refused(&self) -> usize {
        self.state().refused
    }

    /// Waits until the line has carried `bytes`, sharing evenly with other PUTs.
    async fn carry(&self, mut bytes: usize) {
        const PIECE: usize = 16 * 1024;
        while bytes > 0 {
            let piece = bytes.min(PIECE);
            bytes -= piece;
            let carried = {
                let mut state = self.state();
                let Some((rate, carried)) = &mut state.uplink else { return };
                let begin = carried.unwrap_or_else(Instant::now).max(Instant::now());
                let end = begin + Duration::from_secs_f64(piece as f64 / f64::from(*rate));
                *carried = Some(end);
                end
            };
            tokio::time::sleep_until(carried).await;
        }
    }

    /// Returns bodies in pieces of `bytes`.
    pub(crate) fn with_body_pieces(self, bytes: usize) -> Probe {
        self.state().body_piece = Some(bytes);
        self
    }

    /// Applies `effect` to matching future requests with these numbers (counted from 0).
    pub(crate) fn fault(&self, kind: Kind, part: Part, numbers: Range<usize>, effect: Effect) {
        self.state().faults.push(Fault { kind, part, numbers, seen: 0, effect });
    }

    /// Fails all requests of `kind` for keys that contain `text`.
    pub(crate) fn fail_keys(&self, kind: Kind, text: impl Into<String>, error: fn() -> Error) {
        self.state().failing_keys.push((kind, text.into(), error));
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.failing_keys.clear();
    }

    /// Keeps requests of `kind` waiting until [`release`](Probe::release).
    pub(crate) fn hold(&self, kind: Kind) {
        self.held.send_replace(Some(kind));
    }

    pub(crate) fn release(&self) {
        self.held.send_replace(None);
    }

    /// The bytes of an object. This method and the following ones do not count as requests.
    pub(crate) async fn object(&self, key: &Path) -> Bytes {
        self.inner.get(key).await.unwrap().bytes().await.unwrap()
    }

    pub(crate) async fn overwrite(&self, key: &Path, object: impl Into<PutPayload>) {
        self.inner.put(key, object.into()).await.unwrap();
    }

    pub(crate) async fn remove(&self, key: &Path) {
        self.inner.delete(key).await.unwrap();
    }

    /// The keys of all objects in a part of the store.
    pub(crate) async fn objects(&self, part: Part) -> Vec<Path> {
        let objects = self.inner.list(None).map_ok(|object| object.location);
        let keys: Vec<Path> = objects.try_collect().await.unwrap();
        keys.into_iter().filter(|key| part_of(key) == Some(part)).collect()
    }

    /// Forgets the requests and peaks so far.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.requests.clear();
        state.bodies_read = 0;
        state.peak_in_flight = state.in_flight;
        state.peak_put_bytes = state.put_bytes;
    }

    /// The number of requests so far.
    pub(crate) fn total(&self) -> usize {
        self.state().requests.len()
    }

    pub(crate) fn count(&self, kind: Kind, part: Part) -> usize {
        self.keys(kind, part).len()
    }

    /// The keys of the requests of a kind for a part, in order.
    pub(crate) fn keys(&self, kind: Kind, part: Part) -> Vec<Path> {
        let state = self.state();
        let matching =
            state.requests.iter().filter(|(k, key)| *k == kind && part_of(key) == Some(part));
        matching.map(|(_, key)| key.clone()).collect()
    }

    /// The number of requests under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.state().in_flight
    }

    pub(crate) fn peak_in_flight(&self) -> usize {
        self.state().peak_in_flight
    }

    /// The peak size of PUT payloads under way at once, in bytes.
    pub(crate) fn peak_put_bytes(&self) -> usize {
        self.state().peak_put_bytes
    }

    /// The number of GET bodies that a reader began to read.
    pub(crate) fn bodies_read(&self) -> usize {
        self.state().bodies_read
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Counts a request, lets it wait, and returns the effects on it.
    async fn begin(&self, kind: Kind, key: &Path, put_bytes: usize) -> Result<Begun> {
        let (latency, effects, refused) = {
            let mut state = self.state();
            state.requests.push((kind, key.clone()));
            state.in_flight += 1;
            state.put_bytes += put_bytes;
            state.peak_in_flight = state.peak_in_flight.max(state.in_flight);
            state.peak_put_bytes = state.peak_put_bytes.max(state.put_bytes);
            let effects = state.faults.iter_mut().filter_map(|fault| fault.next(kind, key));
            let mut effects: Vec<Effect> = effects.collect();
            let failing = state.failing_keys.iter();
            let failing = failing.filter(|(k, text, _)| *k == kind && key.as_ref().contains(text));
            effects.extend(failing.map(|(_, _, error)| Effect::Fail(*error)));
            let refused = state.at_most.is_some_and(|most| state.in_flight > most);
            state.refused += usize::from(refused);
            (state.latency, effects, refused)
        };
        let in_flight = InFlight { state: Arc::clone(&self.state), put_bytes };
        if refused {
            return Err(too_many());
        }
        let mut held = self.held.subscribe();
        held.wait_for(|held| *held != Some(kind)).await.expect("the sender is ours");
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        for effect in &effects {
            if let Effect::Fail(error) = effect {
                return Err(error());
            }
        }
        Ok(Begun { effects, in_flight })
    }

    fn listing(
        &self,
        prefix: Option<Path>,
        list: impl FnOnce(&dyn ObjectStore) -> BoxStream<'static, Result<ObjectMeta>> + Send + 'static,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let probe = self.clone();
        let list = async move {
            match probe.begin(Kind::List, &prefix.unwrap_or_default(), 0).await {
                Ok(_) => list(&*probe.inner),
                Err(error) => stream::iter([Err(error)]).boxed(),
            }
        };
        stream::once(list).flatten().boxed()
    }

    fn body(&self, bytes: &Bytes, in_flight: InFlight) -> GetResultPayload {
        let state = Arc::clone(&self.state);
        let piece = self.state().body_piece.unwrap_or(usize::MAX);
        let pieces: Vec<Bytes> = bytes.chunks(piece).map(|piece| bytes.slice_ref(piece)).collect();
        let first = stream::once(async move {
            state.lock().unwrap().bodies_read += 1;
            stream::iter(pieces)
        });
        let body = first.flatten().map(move |piece| {
            let _lasts_as_long_as_the_body = &in_flight;
            Ok(piece)
        });
        GetResultPayload::Stream(body.boxed())
    }
}

struct Begun {
    effects: Vec<Effect>,
    in_flight: InFlight,
}

/// A request under way, until this is dropped.
struct InFlight {
    state: Arc<Mutex<State>>,
    put_bytes: usize,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let mut state = self.state.lock().unwrap();
        state.in_flight -= 1;
        state.put_bytes -= self.put_bytes;
    }
}

impl Fault {
    fn next(&mut self, kind: Kind, key: &Path) -> Option<Effect> {
        if self.kind != kind || Some(self.part) != part_of(key) {
            return None;
        }
        self.seen += 1;
        self.numbers.contains(&(self.seen - 1)).then_some(self.effect)
    }
}

/// The part of a key; `None` for a key outside of the format.
fn part_of(key: &Path) -> Option<Part> {
    let is = |name: &str| key.as_ref().split('/').any(|part| part == name);
    match (is("blobs"), is("chunks")) {
        (true, false) => Some(Part::Blobs),
        (false, true) => Some(Part::Chunks),
        _ => None,
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Probe {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let _begun = self.begin(Kind::Put, location, payload.content_length()).await?;
        self.carry(payload.content_length()).await;
        self.inner.put_opts(location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let _begun = self.begin(Kind::Other, location, 0).await?;
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let kind = if options.head { Kind::Head } else { Kind::Get };
        let Begun { effects, in_flight } = self.begin(kind, location, 0).await?;
        let result = self.inner.get_opts(location, options).await?;
        if kind == Kind::Head {
            return Ok(result);
        }
        let (mut meta, mut range) = (result.meta.clone(), result.range.clone());
        let (attributes, extensions) = (result.attributes.clone(), result.extensions.clone());
        let mut bytes = result.bytes().await?;
        for effect in effects {
            match effect {
                Effect::CutBody(len) => bytes.truncate(len),
                Effect::Page(page) => {
                    bytes = Bytes::from_static(page);
                    (meta.size, range) = (page.len() as u64, 0..page.len() as u64);
                }
                Effect::FlipBit => {
                    let mut flipped = bytes.to_vec();
                    flipped[bytes.len() / 2] ^= 1;
                    bytes = flipped.into();
                }
                Effect::ClaimSize(size) => meta.size = size,
                Effect::Fail(_) | Effect::CutCopy => {}
            }
        }
        let payload = self.body(&bytes, in_flight);
        Ok(GetResult { payload, meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let _begun = self.begin(Kind::Other, location, 0).await?;
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let probe = self.clone();
        let delete = move |location: Result<Path>| {
            let probe = probe.clone();
            async move {
                let location = location?;
                let _begun = probe.begin(Kind::Delete, &location, 0).await?;
                probe.inner.delete(&location).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let prefix = prefix.cloned();
        self.listing(prefix.clone(), move |inner| inner.list(prefix.as_ref()))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (prefix, offset) = (prefix.cloned(), offset.clone());
        self.listing(prefix.clone(), move |inner| inner.list_with_offset(prefix.as_ref(), &offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let _begun = self.begin(Kind::List, &prefix.cloned().unwrap_or_default(), 0).await?;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let begun = self.begin(Kind::Other, from, 0).await?;
        self.inner.copy_opts(from, to, options).await?;
        if begun.effects.iter().any(|effect| matches!(effect, Effect::CutCopy)) {
            let bytes = self.inner.get_opts(to, GetOptions::default()).await?.bytes().await?;
            let half = PutPayload::from(bytes.slice(..bytes.len() / 2));
            self.inner.put_opts(to, half, PutOptions::default()).await?;
        }
        Ok(())
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let _begun = self.begin(Kind::Other, from, 0).await?;
        self.inner.rename_opts(from, to, options).await
    }
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Probe({})", self.inner)
    }
}

/// An error of no particular kind.
pub(crate) fn broken() -> Error {
    Error::Generic { store: "Probe", source: "it is broken".into() }
}

/// The error of a reset connection.
pub(crate) fn reset() -> Error {
    let source = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
    Error::Generic { store: "Probe", source: Box::new(source) }
}

/// The error that object_store returns for S3's answer to too many requests.
pub(crate) fn too_many() -> Error {
    let text =
        "Server returned non-2xx status code: 503 Service Unavailable: <Code>SlowDown</Code>";
    Error::Generic { store: "Probe", source: text.into() }
}

pub(crate) fn denied() -> Error {
    Error::PermissionDenied { path: "somewhere".to_owned(), source: "no".into() }
}

/// The error that object_store returns for an absent object.
pub(crate) fn not_found() -> Error {
    Error::NotFound { path: "somewhere".to_owned(), source: "404".into() }
}

/// The error that object_store returns for S3's answer if the bucket itself does not exist.
pub(crate) fn no_bucket() -> Error {
    let source = "<Error><Code>NoSuchBucket</Code></Error>".into();
    Error::NotFound { path: "somewhere".to_owned(), source }
}
