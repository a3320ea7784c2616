//! A store in memory with one flaw.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetRange, GetResult, GetResultPayload, ListResult,
    MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions,
    PutPayload, PutResult, RenameOptions, Result,
};

/// The one flaw of the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flaw {
    /// No flaw.
    None,
    /// A listing ends after one page.
    ListOnePage,
    /// Every nth object is omitted from listings.
    ListOmits(usize),
    /// The last object of each page is also the first one of the next.
    ListTwice,
    ListShowsDeleted,
    ListUnordered,
    ListSizes,
    ListPrefixByText,
    OffsetIgnored,
    OffsetSkipsOne,
    /// A GET after an overwrite returns the old object.
    StaleGet,
    StaleHead,
    /// A GET returns a cached absence.
    RemembersAbsence,
    HeadSize,
    DeleteDoesNothing,
    DeleteAbsentFails,
    CopyLater,
    CopyCut,
    CopyAbsentSucceeds,
    Epoch,
    /// The clock is off by this many seconds.
    ClockOff(i64),
    /// The clock of every other request is off.
    ClockTorn,
    /// The time of an object is that of the first write of its key.
    TimeOfFirstWrite,
    HeadLater,
    RangeIgnored,
    EmptyLost,
    /// The store refuses objects larger than this.
    TooLarge(usize),
    Torn,
    KeysFolded,
    /// The store answers "too many requests" if more than this many are under way.
    Refuses(usize),
    /// The first attempts of some requests fail.
    Unsteady,
    Denies(&'static str),
    Hangs(&'static str),
    Fails(&'static str),
    Unsupported(&'static str),
    Panics(&'static str),
    NoBucket,
}

#[derive(Debug, Clone)]
pub(super) struct Broken {
    pub(super) inner: Arc<InMemory>,
    flaw: Flaw,
    under_way: Arc<AtomicUsize>,
    requests: Arc<AtomicUsize>,
    old: Arc<Mutex<BTreeMap<Path, Option<Bytes>>>>,
    first: Arc<Mutex<BTreeMap<Path, ObjectMeta>>>,
    deleted: Arc<Mutex<Vec<ObjectMeta>>>,
}

struct UnderWay(Arc<AtomicUsize>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}

impl Broken {
    pub(super) fn new(flaw: Flaw) -> Broken {
        Broken {
            inner: Arc::default(),
            flaw,
            under_way: Arc::default(),
            requests: Arc::default(),
            old: Arc::default(),
            first: Arc::default(),
            deleted: Arc::default(),
        }
    }

    async fn begin(&self, request: &'static str) -> Result<UnderWay> {
        let number = self.requests.fetch_add(1, SeqCst);
        let under_way = self.under_way.fetch_add(1, SeqCst) + 1;
        let guard = UnderWay(Arc::clone(&self.under_way));
        // Other requests begin meanwhile.
        tokio::time::sleep(Duration::from_millis(1)).await;
        let generic = |text: &'static str| Error::Generic { store: "S3", source: text.into() };
        match self.flaw {
            Flaw::Refuses(most) if under_way > most => {
                Err(generic("Server returned non-2xx status code: 503 x: <Code>SlowDown</Code>"))
            }
            Flaw::Unsteady if number % 7 == 3 => Err(generic(
                "Server returned non-2xx status code: 500 x: <Code>InternalError</Code>",
            )),
            Flaw::Denies(denied) if denied == request || denied == "all" => {
                let source =
                    "Server returned non-2xx status code: 403 Forbidden: <Code>AccessDenied</Code>";
                Err(Error::PermissionDenied { path: "x".to_owned(), source: source.into() })
            }
            Flaw::Fails(fails) if fails == request || fails == "all" => Err(generic(
                "Server returned non-2xx status code: 500 x: <Code>InternalError</Code>",
            )),
            Flaw::Unsupported(name) if name == request => Err(generic(
                "Server returned non-2xx status code: 501 x: <Code>NotImplemented</Code>",
            )),
            Flaw::Hangs(hangs) if hangs == request || hangs == "all" => {
                std::future::pending().await
            }
            Flaw::Panics(panics) if panics == request => panic!("as it was told"),
            Flaw::NoBucket => {
                let source = "<Error><Code>NoSuchBucket</Code></Error>".into();
                Err(Error::NotFound { path: "x".to_owned(), source })
            }
            _ => Ok(guard),
        }
    }

    fn key(&self, path: &Path) -> Path {
        match self.flaw {
            // For example, a server that cuts names at a dot.
            Flaw::KeysFolded => {
                let text = path.to_string();
                Path::from(text.split('.').next().unwrap_or_default())
            }
            _ => path.clone(),
        }
    }

    fn meta(&self, mut meta: ObjectMeta, number: usize) -> ObjectMeta {
        let seconds = |seconds| chrono_seconds(meta.last_modified, seconds);
        meta.last_modified = match self.flaw {
            Flaw::Epoch => {
                let since = meta.last_modified.timestamp_nanos_opt().unwrap();
                meta.last_modified - Duration::from_nanos(since.unsigned_abs())
            }
            Flaw::ClockOff(off) => seconds(off),
            Flaw::ClockTorn if number % 5 < 2 => seconds(-3600),
            Flaw::TimeOfFirstWrite => {
                let mut first = self.first.lock().unwrap();
                first.entry(meta.location.clone()).or_insert(meta.clone()).last_modified
            }
            _ => meta.last_modified,
        };
        meta
    }

    fn listing(
        &self,
        prefix: Option<&Path>,
        offset: Option<&Path>,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        let (this, prefix, offset) = (self.clone(), prefix.cloned(), offset.cloned());
        let list = async move {
            let _under_way = this.begin("list").await?;
            let under = match (&prefix, this.flaw) {
                (Some(prefix), Flaw::ListPrefixByText) => {
                    let text = prefix.to_string();
                    let all: Vec<_> = this.inner.list(None).try_collect().await?;
                    all.into_iter()
                        .filter(|meta| meta.location.as_ref().starts_with(&text))
                        .collect()
                }
                _ => this.inner.list(prefix.as_ref()).try_collect::<Vec<_>>().await?,
            };
            let mut listed: Vec<ObjectMeta> =
                under.into_iter().map(|meta| this.meta(meta, 4)).collect();
            listed.sort_by(|a, b| a.location.cmp(&b.location));
            if let Some(offset) = offset.filter(|_| this.flaw != Flaw::OffsetIgnored) {
                listed.retain(|meta| meta.location > offset);
                if this.flaw == Flaw::OffsetSkipsOne && !listed.is_empty() {
                    listed.remove(0);
                }
            }
            match this.flaw {
                Flaw::ListOnePage => listed.truncate(1000),
                Flaw::ListOmits(nth) => {
                    let mut number = 0;
                    listed.retain(|_| {
                        number += 1;
                        number % nth != 0
                    });
                }
                Flaw::ListTwice if listed.len() > 1000 => listed.insert(1000, listed[999].clone()),
                Flaw::ListUnordered => listed.reverse(),
                Flaw::ListSizes => listed.iter_mut().for_each(|meta| meta.size += 1),
                Flaw::ListShowsDeleted => {
                    let deleted = this.deleted.lock().unwrap();
                    let below = |meta: &&ObjectMeta| {
                        prefix.as_ref().is_none_or(|prefix| meta.location.prefix_matches(prefix))
                    };
                    listed.extend(deleted.iter().filter(below).cloned());
                }
                _ => {}
            }
            Ok::<_, Error>(stream::iter(listed.into_iter().map(Ok)))
        };
        stream::once(list).try_flatten().boxed()
    }
}

fn chrono_seconds<T>(time: T, seconds: i64) -> T
where
    T: std::ops::Add<Duration, Output = T> + std::ops::Sub<Duration, Output = T>,
{
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { time - by } else { time + by }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for Broken {
    async fn put_opts(
        &self,
        location: &Path,
        payload: PutPayload,
        opts: PutOptions,
    ) -> Result<PutResult> {
        let _under_way = self.begin("put").await?;
        let location = self.key(location);
        let size = payload.content_length();
        if let Flaw::TooLarge(most) = self.flaw
            && size > most
        {
            let text = "Server returned non-2xx status code: 413 Payload Too Large: x";
            return Err(Error::Generic { store: "S3", source: text.into() });
        }
        if self.flaw == Flaw::EmptyLost && size == 0 {
            return Ok(PutResult { e_tag: None, version: None, extensions: Default::default() });
        }
        let old = match self.inner.get(&location).await {
            Ok(old) => Some(old.bytes().await?),
            Err(_) => None,
        };
        if self.flaw == Flaw::Torn && size > 100_000 {
            let half = Bytes::from(payload.clone());
            let half = PutPayload::from(half.slice(..size / 2));
            self.inner.put_opts(&location, half, opts.clone()).await?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.old.lock().unwrap().insert(location.clone(), old);
        self.inner.put_opts(&location, payload, opts).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let location = &self.key(location);
        let number = self.requests.load(SeqCst);
        let _under_way = self.begin(if head { "head" } else { "get" }).await?;
        let old = self.old.lock().unwrap().get(location).cloned();
        let stale = match (self.flaw, head, old) {
            (Flaw::StaleGet, false, Some(Some(old))) => Some(old),
            (Flaw::StaleHead, true, Some(Some(old))) => Some(old),
            (Flaw::RemembersAbsence, false, Some(None)) => {
                return Err(Error::NotFound {
                    path: location.to_string(),
                    source: "cached".into(),
                });
            }
            _ => None,
        };
        let ranged = options.range.is_some();
        let mut result = match (self.flaw, &options.range) {
            (Flaw::RangeIgnored, Some(GetRange::Bounded(_))) => {
                self.inner.get_opts(location, GetOptions { range: None, ..options.clone() }).await?
            }
            _ => self.inner.get_opts(location, options).await?,
        };
        result.meta = self.meta(result.meta, number);
        if self.flaw == Flaw::HeadLater && head {
            result.meta.last_modified = chrono_seconds(result.meta.last_modified, 1);
        }
        if self.flaw == Flaw::HeadSize && head {
            result.meta.size += 1;
        }
        if let Some(old) = stale.filter(|_| !ranged) {
            result.meta.size = old.len() as u64;
            result.range = 0..old.len() as u64;
            result.payload = GetResultPayload::Stream(stream::iter([Ok(old)]).boxed());
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(
        &self,
        locations: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        let this = self.clone();
        let delete = move |location: Result<Path>| {
            let this = this.clone();
            async move {
                let location = location?;
                let _under_way = this.begin("delete").await?;
                let key = this.key(&location);
                if this.flaw == Flaw::DeleteDoesNothing {
                    return Ok(location);
                }
                match this.inner.head(&key).await {
                    Ok(meta) => this.deleted.lock().unwrap().push(meta),
                    Err(_) if this.flaw == Flaw::DeleteAbsentFails => {
                        let source = "Server returned non-2xx status code: 405 x: nothing there";
                        return Err(Error::Generic { store: "S3", source: source.into() });
                    }
                    Err(_) => {}
                }
                this.old.lock().unwrap().remove(&key);
                this.first.lock().unwrap().remove(&key);
                this.inner.delete(&key).await?;
                Ok(location)
            }
        };
        locations.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, None)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.listing(prefix, Some(offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let _under_way = self.begin("copy").await?;
        let (from, to) = (self.key(from), self.key(to));
        match self.flaw {
            Flaw::CopyLater => {
                let inner = Arc::clone(&self.inner);
                tokio::spawn(async move {
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    let _ = inner.copy_opts(&from, &to, options).await;
                });
                Ok(())
            }
            Flaw::CopyCut => {
                let bytes = self.inner.get(&from).await?.bytes().await?;
                let half = PutPayload::from(bytes.slice(..bytes.len() / 2));
                self.inner.put(&to, half).await.map(drop)
            }
            Flaw::CopyAbsentSucceeds => {
                let _ = self.inner.copy_opts(&from, &to, options).await;
                Ok(())
            }
            _ => self.inner.copy_opts(&from, &to, options).await,
        }
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Broken({:?})", self.flaw)
    }
}
