//! Requests for parts of an object, and for an object that is too large to be held.

use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;

use bytes::Bytes;
use castore_core::{Digest, Error, ErrorKind, Result};
use futures_util::StreamExt;
use object_store::path::Path;
use object_store::{GetResult, GetResultPayload};

use super::client::{Backend, Fetched, Request, Requests, too_large, unless_absent, unreadable};
use super::local::Local;
use crate::exec::limits::{driven, off_thread};

/// So many bytes are handed over at once, at least, unless the object ends.
const PIECE: usize = 256 * 1024;

/// Up to so many bytes are taken wherever they are, on an async thread too.
const AT_ONCE: usize = 16 * 1024;

/// Takes an object piece by piece.
pub(crate) trait Take: Send + Sized + 'static {
    /// Begins to take an object of `size` bytes.
    fn begin(&mut self, size: u64);

    /// Takes the next bytes. May compute: it is called off the async threads where there are many.
    fn take(&mut self, piece: &[u8]) -> Result<()>;
}

impl Requests {
    /// The bytes `range` of an object, or `None` where there is no such object. Fewer bytes where the
    /// object ends before.
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
        driven(operation, request.guard(place, get)).await
    }

    /// Fetches an object and hands it to `taker` piece by piece; returns it when it has taken all, or
    /// `None` where there is no object. One of more than `max_size` bytes is `Corrupt`, and is not
    /// fetched.
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
        let get = async move {
            this.counters.requests_get.add(1);
            let local = match &this.backend {
                Backend::Remote(remote) => {
                    let take = |answer| take_answer(request, digest, max_size, taker, answer);
                    return remote.get(&path, take).await;
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
        driven(operation, request.guard(place, get)).await
    }
}

async fn take_answer<T: Take>(
    request: Request,
    digest: Digest,
    max_size: u64,
    mut taker: T,
    answer: object_store::Result<GetResult>,
) -> Result<Option<T>> {
    let operation = request.operation;
    let Some(result) = unless_absent(request, answer)? else { return Ok(None) };
    let size = result.meta.size;
    if size > max_size {
        return Err(too_large(operation, digest, size, max_size));
    }
    let mut stream = match result.payload {
        GetResultPayload::File(file, _) => {
            let start = result.range.start;
            let take = move || take_file(operation, digest, file, start, size, taker);
            return off_thread(operation, take).await?.map(Some);
        }
        GetResultPayload::Stream(stream) => stream,
    };
    taker.begin(size);
    let (mut got, mut gathered, mut bytes) = (0, Vec::new(), 0);
    loop {
        let piece = stream.next().await.transpose().map_err(|error| request.error(error))?;
        let ended = piece.is_none();
        if let Some(piece) = piece {
            got += piece.len() as u64;
            bytes += piece.len();
            gathered.push(piece);
        }
        if got > size || ended && got < size {
            let message = format!("the store sent {got} bytes of an object of {size}");
            let error = Error::new(ErrorKind::Unavailable, operation, message);
            return Err(error.with_digest(digest));
        }
        if bytes >= PIECE || ended {
            taker = take_all(operation, taker, std::mem::take(&mut gathered), bytes).await?;
            bytes = 0;
        }
        if ended {
            return Ok(Some(taker));
        }
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
    if bytes <= AT_ONCE { take() } else { off_thread(operation, take).await? }
}

/// Blocks: call it off the async threads.
fn take_file<T: Take>(
    operation: &'static str,
    digest: Digest,
    mut file: std::fs::File,
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
