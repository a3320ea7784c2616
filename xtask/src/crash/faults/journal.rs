//! The journal that the shim writes: each change of the store, and each flush, in order.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// A change or a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    Create {
        path: String,
        inode: u64,
    },
    Truncate {
        inode: u64,
        size: u64,
    },
    Write {
        inode: u64,
        offset: u64,
        bytes: Vec<u8>,
    },
    Rename {
        from: String,
        to: String,
    },
    Link {
        from: String,
        to: String,
    },
    Unlink {
        path: String,
    },
    MakeDirectory {
        path: String,
    },
    RemoveDirectory {
        path: String,
    },
    /// A flush covers the records before the offset at which it began.
    FlushFile {
        inode: u64,
        begun: u64,
    },
    FlushDirectory {
        path: String,
        begun: u64,
    },
    FlushAll {
        begun: u64,
    },
    /// A failed flush: the file's unflushed bytes never reach the disk.
    LoseFile {
        inode: u64,
    },
    LoseAll,
}

/// An event, the offset of its record in bytes, and its time since the epoch.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) at: u64,
    pub(super) time: Duration,
    pub(super) event: Event,
}

/// Reads the first `length` bytes of a journal.
pub(super) fn read(path: &Path, length: u64) -> Result<Vec<Record>> {
    let bytes = fs::read(path)?;
    let mut rest = bytes.get(..length as usize).context("the journal is shorter than it says")?;
    let mut records = Vec::new();
    while !rest.is_empty() {
        let at = length - rest.len() as u64;
        let [kind, path1, path2, data] = [(); 4].map(|()| number(&mut rest, 4));
        let [inode, number, nanos] = [(); 3].map(|()| number(&mut rest, 8));
        let path = String::from_utf8(take(&mut rest, path1)?.to_vec())?;
        let to = String::from_utf8(take(&mut rest, path2)?.to_vec())?;
        let bytes = take(&mut rest, data)?.to_vec();
        let event = match kind {
            1 => Event::Create { path, inode },
            2 => Event::Truncate { inode, size: number },
            3 => Event::Write { inode, offset: number, bytes },
            4 => Event::Rename { from: path, to },
            5 => Event::Link { from: path, to },
            6 => Event::Unlink { path },
            7 => Event::MakeDirectory { path },
            8 => Event::RemoveDirectory { path },
            9 => Event::FlushFile { inode, begun: number },
            10 => Event::FlushDirectory { path, begun: number },
            11 => Event::FlushAll { begun: number },
            12 => Event::LoseFile { inode },
            13 => Event::LoseAll,
            _ => bail!("a record of the unknown kind {kind}"),
        };
        records.push(Record { at, time: Duration::from_nanos(nanos), event });
    }
    Ok(records)
}

/// The next number of `size` bytes; 0 at the end of the journal, which `take` then notices.
fn number(rest: &mut &[u8], size: usize) -> u64 {
    let mut number = [0; 8];
    if let Ok(bytes) = take(rest, size as u64) {
        number[..size].copy_from_slice(bytes);
    }
    u64::from_le_bytes(number)
}

fn take<'a>(rest: &mut &'a [u8], size: u64) -> Result<&'a [u8]> {
    ensure!(size <= rest.len() as u64, "a record of the journal is cut short");
    let (taken, left) = rest.split_at(size as usize);
    *rest = left;
    Ok(taken)
}
