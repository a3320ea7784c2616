//! Files that hold stored blobs or parts of them, as sources of a repair.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter};
use castore_core::groups::GroupHasher;
use castore_core::{Digest, Error, ErrorKind, MAX_CHUNK_SIZE, Result};

use super::source::is_chunk;
use super::{Finding, OPERATION};
use crate::exec::context::run_blocking;
use crate::store::Store;

/// The size of a read in bytes.
const PIECE: usize = 1024 * 1024;

/// The files of a repair, and the blobs and chunks that they hold.
#[derive(Debug, Default)]
pub(super) struct Files {
    files: Vec<PathBuf>,
    /// The number of each file, by the digest of the whole file.
    blobs: HashMap<Digest, usize>,
    /// Bad chunks that a file holds: the number of the file, and the range in it.
    chunks: HashMap<Digest, (usize, Range<u64>)>,
}

impl Files {
    pub(super) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Reads the file once, to compute its digest, and to find the `wanted` chunks that cutting the
    /// file yields.
    pub(super) async fn add(
        &mut self,
        shared: &Store,
        path: &Path,
        wanted: &BTreeMap<Digest, Finding>,
    ) -> Result<()> {
        let (params, opened) = (shared.params, path.to_owned());
        let mut chunks = Vec::new();
        // Only wanted chunks are kept, looked up by digest.
        let wanted: std::collections::HashSet<Digest> = wanted.keys().copied().collect();
        let read = run_blocking(OPERATION, move || {
            let whole = cut_file(&opened, params, |digest, range| {
                if wanted.contains(&digest) {
                    chunks.push((digest, range));
                }
            })?;
            Ok((whole, chunks))
        });
        let (whole, chunks) = read.await?.map_err(|error: io::Error| unreadable(path, error))?;
        let number = self.files.len();
        self.files.push(path.to_owned());
        self.blobs.insert(whole, number);
        for (digest, range) in chunks {
            self.chunks.insert(digest, (number, range));
        }
        Ok(())
    }

    /// The file with exactly the contents of the blob.
    pub(super) fn blob(&self, blob: &Digest) -> Option<&Path> {
        self.blobs.get(blob).map(|number| self.files[*number].as_path())
    }

    /// The verified bytes of a chunk, if a file has them: at one of its own cuts, or at one of the
    /// `places` in a blob that is a file.
    pub(super) async fn chunk(
        &self,
        shared: &Store,
        digest: &Digest,
        places: &[(Digest, Range<u64>)],
    ) -> Result<Option<Bytes>> {
        let cut = self.chunks.get(digest).map(|(number, range)| (*number, range.clone()));
        let listed = places.iter().filter_map(|(blob, range)| {
            self.blobs.get(blob).map(|number| (*number, range.clone()))
        });
        for (number, range) in cut.into_iter().chain(listed) {
            let Some(path) = self.files.get(number).cloned() else { continue };
            let named = path.clone();
            let read = run_blocking(OPERATION, move || read_part(&path, range)).await?;
            let bytes = read.map_err(|error| unreadable(&named, error))?;
            if let Some(chunk) = is_chunk(shared, bytes, *digest).await? {
                return Ok(Some(chunk));
            }
        }
        Ok(None)
    }
}

/// The error for a file that the caller named and that cannot be read.
pub(super) fn unreadable(path: &Path, error: io::Error) -> Error {
    let message = format!("{} cannot be read", path.display());
    Error::new(ErrorKind::InvalidInput, OPERATION, message).with_source(error)
}

/// Cuts a file like a blob, and returns the digest of the whole file.
fn cut_file(
    path: &Path,
    params: ChunkParams,
    mut each: impl FnMut(Digest, Range<u64>),
) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut cutter = Cutter::new(params);
    let mut whole = GroupHasher::new();
    let mut start = 0;
    let mut take = |chunk: &[u8]| {
        let end = start + chunk.len() as u64;
        each(Digest::of(chunk), start..end);
        start = end;
    };
    loop {
        let piece = next_piece(&mut file)?;
        if piece.is_empty() {
            break;
        }
        whole.update(&piece);
        cutter.push(piece, |chunk| take(&chunk));
    }
    if let Some(last) = cutter.finish() {
        take(&last);
    }
    Ok(whole.finish().digest)
}

/// The next bytes of a file; empty at its end.
pub(super) fn next_piece(file: &mut File) -> io::Result<Bytes> {
    let mut piece = Vec::with_capacity(PIECE);
    file.take(PIECE as u64).read_to_end(&mut piece)?;
    Ok(piece.into())
}

fn read_part(path: &Path, range: Range<u64>) -> io::Result<Bytes> {
    let size = range.end.saturating_sub(range.start).min(MAX_CHUNK_SIZE);
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(range.start))?;
    let mut bytes = Vec::with_capacity(size as usize);
    file.take(size).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}
