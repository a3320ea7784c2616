//! Requests for parts of an object, and for an object that is too large to be held in memory.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::mem::take;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStoreExt, Result as StoreResult};

use super::client::{Backend, Fetched, Request, Requests, too_large, unless_absent, unreadable};
use super::line::{ANSWER_TIME, Load};
use super::local::Local;
use super::metrics::{Answered, RequestKind};
use super::remote::{Remote, USUAL_OBJECT, stalled, within};
use crate::error::Broken;
use crate::exec::context::{in_own_task, run_blocking};

/// The taker receives at least this many bytes at once, unless the object ends.
const PIECE: usize = 256 * 1024;

/// Up to this many bytes are taken on the calling thread, even on an async one.
const AT_ONCE: usize = 16 * 1024;

/// Takes an object piece by piece.
pub(crate) trait Take: Send + Sized + 'static {
    /// Begins an object of `size` bytes. Forgets the bytes of an earlier attempt.
    fn begin(&mut self, size: u64);

    /// Takes the next bytes. May compute: many bytes are handed over off the async threads.
    fn take(&mut self, piece: &[u8]) -> Result<()>;
}

/// Counts the bytes of the attempt that succeeds.
struct Counted<T> {
    taker: T,
    bytes: u64,
}

impl<T: Take> Take for Counted<T> {
    fn begin(&mut self, size: u64) {
        self.bytes = size;
        self.taker.begin(size);
    }

    fn take(&mut self, piece: &[u8]) -> Result<()> {
        self.taker.take(piece)
    }
}

impl Requests {
    /// The bytes `range` of an object, or `None` if it does not exist. Fewer bytes if the object
    /// ends earlier.
    pub(crate) async fn get_range(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
        range: Range<u64>,
    ) -> Result<Option<Bytes>> {
        let (this, request) = (self.clone(), Request::new(operation, digest));
        let place = path.clone();
        let get = async move {
            this.counters.requests_get.add(1);
            let local = match &this.backend {
                Backend::Remote(remote) => {
                    return unless_absent(request, remote.get_range(&path, range).await);
                }
                Backend::Local(local) => local,
            };
            let get = move |local: &Local| {
                let (file, _) = local.open_object(&path)?;
                Ok(Fetched::File(file, range.start, range.end - range.start).read())
            };
            let read = this.locally(local, request, get).await?.transpose();
            read.map_err(|error| unreadable(operation, digest, error))
        };
        let answered =
            |bytes: &Option<Bytes>| Answered::of(bytes.as_ref(), |bytes| bytes.len() as u64);
        let work = in_own_task(operation, request.guard(place, get));
        self.metrics.observe(RequestKind::Get, operation, answered, work).await
    }

    /// Fetches an object and hands it to `taker` piece by piece. Returns the taker once it has all
    /// pieces, or `None` if the object does not exist. An object of more than `max_size` bytes is
    /// `Corrupt`, and is not fetched.
    pub(crate) async fn get_pieces<T: Take>(
        &self,
        operation: &'static str,
        digest: Digest,
        path: Path,
        max_size: u64,
        taker: T,
    ) -> Result<Option<T>> {
        let (this, request) = (self.clone(), Request::new(operation, digest));
        let place = path.clone();
        let taker = Counted { taker, bytes: 0 };
        let get = async move {
            this.counters.requests_get.add(1);
            let local = match &this.backend {
                Backend::Remote(remote) => {
                    let too_large = |size| too_large(operation, digest, size, max_size);
                    let got = remote.get_pieces(operation, &path, max_size, taker).await;
                    return match unless_absent(request, got)? {
                        None => Ok(None),
                        Some(Pieces::TooLarge(size)) => Err(too_large(size)),
                        Some(Pieces::Taken(taken)) => taken.map(Some),
                        Some(Pieces::File(file, start, size, taker)) => {
                            let take =
                                move || take_file(operation, digest, file, start, size, taker);
                            run_blocking(operation, take).await?.map(Some)
                        }
                    };
                }
                Backend::Local(local) => local,
            };
            let get = move |local: &Local| {
                let (file, size) = local.open_object(&path)?;
                Ok(match size <= max_size {
                    true => take_file(operation, digest, file, 0, size, taker),
                    false => Err(too_large(operation, digest, size, max_size)),
                })
            };
            this.locally(local, request, get).await?.transpose()
        };
        let answered =
            |counted: &Option<Counted<T>>| Answered::of(counted.as_ref(), |counted| counted.bytes);
        let work = in_own_task(operation, request.guard(place, get));
        let counted = self.metrics.observe(RequestKind::Get, operation, answered, work).await?;
        Ok(counted.map(|counted| counted.taker))
    }
}

/// The outcome of a request for an object piece by piece.
enum Pieces<T> {
    /// The taker has all pieces, or it refused one.
    Taken(Result<T>),
    /// An object of this many bytes, more than the request allows.
    TooLarge(u64),
    /// An open file of the store, an offset, and the number of bytes from that offset on.
    File(File, u64, u64, T),
}

impl Remote {
    /// Fetches an object unless it has more than `max_size` bytes. An attempt that fails in the
    /// middle starts again from the beginning.
    async fn get_pieces<T: Take>(
        &self,
        operation: &'static str,
        path: &Path,
        max_size: u64,
        taker: T,
    ) -> StoreResult<Pieces<T>> {
        let limit = self.limit(ANSWER_TIME);
        let line = self.patience.as_ref().map(|patience| (&patience.down, USUAL_OBJECT));
        // One attempt at a time holds the taker, and returns it if the store fails.
        let slot = &Mutex::new(Some(taker));
        let locked = || slot.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = |mut load: Option<Load>| async move {
            let result = match within(limit, self.store.get(path)).await {
                Ok(result) => result,
                Err(error) => return Err(stalled(load, error)),
            };
            let size = result.meta.size;
            if size > max_size {
                return Ok(Pieces::TooLarge(size));
            }
            let Some(mut taker) = locked().take() else {
                let message = "the object was taken before";
                return Ok(Pieces::Taken(Err(Error::new(ErrorKind::Other, operation, message))));
            };
            let mut stream = match result.payload {
                GetResultPayload::File(file, _) => {
                    return Ok(Pieces::File(file, result.range.start, size, taker));
                }
                GetResultPayload::Stream(stream) => stream,
            };
            if let Some(load) = &mut load {
                load.resize(size);
            }
            taker.begin(size);
            let (mut got, mut gathered, mut bytes) = (0, Vec::new(), 0);
            loop {
                let piece = within(limit, stream.next().map(Option::transpose)).await;
                let piece = piece.and_then(|piece| {
                    got += piece.as_ref().map_or(0, Bytes::len) as u64;
                    match got > size || piece.is_none() && got < size {
                        true => Err(Broken::Length { got, size }.into()),
                        false => Ok(piece),
                    }
                });
                let piece = match piece {
                    Ok(piece) => piece,
                    Err(error) => {
                        *locked() = Some(taker);
                        return Err(stalled(load, error));
                    }
                };
                let ended = piece.is_none();
                bytes += piece.as_ref().map_or(0, Bytes::len);
                gathered.extend(piece);
                if bytes >= PIECE || ended {
                    taker = match take_all(operation, taker, take(&mut gathered), bytes).await {
                        Ok(taker) => taker,
                        Err(error) => return Ok(Pieces::Taken(Err(error))),
                    };
                    bytes = 0;
                }
                if ended {
                    if let Some(load) = load {
                        load.arrived();
                    }
                    return Ok(Pieces::Taken(Ok(taker)));
                }
            }
        };
        self.persist(line, |_| false, attempt).await
    }
}

async fn take_all<T: Take>(
    operation: &'static str,
    mut taker: T,
    pieces: Vec<Bytes>,
    bytes: usize,
) -> Result<T> {
    let take = move || {
        pieces.iter().try_for_each(|piece| taker.take(piece))?;
        Ok(taker)
    };
    if bytes <= AT_ONCE { take() } else { run_blocking(operation, take).await? }
}

/// Blocks: call it off the async threads.
fn take_file<T: Take>(
    operation: &'static str,
    digest: Digest,
    mut file: File,
    start: u64,
    size: u64,
    mut taker: T,
) -> Result<T> {
    taker.begin(size);
    let unreadable = |error| unreadable(operation, digest, error);
    file.seek(SeekFrom::Start(start)).map_err(unreadable)?;
    let mut buffer = vec![0; PIECE.min(size as usize)];
    let mut left = size;
    while left > 0 {
        let piece = buffer.len().min(left as usize);
        let piece = &mut buffer[..piece];
        file.read_exact(piece).map_err(unreadable)?;
        taker.take(piece)?;
        left -= piece.len() as u64;
    }
    Ok(taker)
}
