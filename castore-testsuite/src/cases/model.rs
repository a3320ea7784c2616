//! Random sequences of operations, against a model: a map from digest to bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::SeekFrom;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bytes::Bytes;
use castore_core::{BlobReader, BlobService, BlobWriter, Digest};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{difference, read_range};
use crate::Harness;
use crate::data::{Numbers, random};

/// How many sequences are tried, and of how many operations each.
const SEQUENCES: usize = 24;
const OPERATIONS: usize = 240;

/// How often a failing sequence is tried again with an operation less, to make it short.
const MOST_TRIES: usize = 300;

/// How many writers and readers are open at once.
const MOST_OPEN: usize = 4;

/// What is done. The numbers choose among what there is at that moment, so that a sequence makes
/// sense also when operations are taken out of it.
#[derive(Debug, Clone, Copy)]
struct Operation {
    kind: Kind,
    a: u64,
    b: u64,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    OpenWriter,
    Write,
    WriteBytes,
    Flush,
    Close,
    Abort,
    DropWriter,
    Ask,
    OpenReader,
    Read,
    Seek,
    Range,
    DropReader,
    Reopen,
}

/// The more often a kind is here, the more often it is done.
const KINDS: [Kind; 27] = [
    Kind::OpenWriter,
    Kind::OpenWriter,
    Kind::OpenWriter,
    Kind::Write,
    Kind::Write,
    Kind::Write,
    Kind::Write,
    Kind::WriteBytes,
    Kind::WriteBytes,
    Kind::Flush,
    Kind::Close,
    Kind::Close,
    Kind::Close,
    Kind::Abort,
    Kind::DropWriter,
    Kind::Ask,
    Kind::Ask,
    Kind::OpenReader,
    Kind::OpenReader,
    Kind::OpenReader,
    Kind::Read,
    Kind::Read,
    Kind::Read,
    Kind::Seek,
    Kind::Range,
    Kind::DropReader,
    Kind::Reopen,
];

/// Sequences of random operations give what they would give on a map from digest to bytes.
pub async fn random_operations(harness: Arc<dyn Harness>) {
    for seed in 0..SEQUENCES {
        let operations = sequence(seed);
        let name = format!("sequence {seed}");
        if let Err(error) = attempt(&*harness, &name, &operations).await {
            let (operations, error) = shrunk(&*harness, &name, operations, error).await;
            panic!("{error}\nafter these operations of {name}:\n{operations:#?}");
        }
    }
}

fn sequence(seed: usize) -> Vec<Operation> {
    let mut numbers = Numbers::new(&format!("operations {seed}"));
    let mut next = || {
        let kind = KINDS[numbers.below(KINDS.len() as u64) as usize];
        Operation { kind, a: numbers.next(), b: numbers.next() }
    };
    (0..OPERATIONS).map(|_| next()).collect()
}

/// Takes out of a failing sequence what it fails without.
async fn shrunk(
    harness: &dyn Harness,
    name: &str,
    mut operations: Vec<Operation>,
    mut error: String,
) -> (Vec<Operation>, String) {
    let mut tries = 0;
    let mut length = operations.len() / 2;
    while length > 0 {
        let mut start = 0;
        while start < operations.len() && tries < MOST_TRIES {
            let end = (start + length).min(operations.len());
            let fewer = [&operations[..start], &operations[end..]].concat();
            tries += 1;
            // Other bytes each time: the storage still holds those of the times before.
            match attempt(harness, &format!("{name}, try {tries}"), &fewer).await {
                Ok(()) => start = end,
                Err(other) => (operations, error) = (fewer, other),
            }
        }
        length /= 2;
    }
    (operations, error)
}

/// Does the operations, and says what went wrong, a panic of the service included.
async fn attempt(
    harness: &dyn Harness,
    name: &str,
    operations: &[Operation],
) -> Result<(), String> {
    let mut state = State::new(harness, name).await;
    for operation in operations {
        let step = AssertUnwindSafe(state.step(harness, *operation)).catch_unwind().await;
        step.unwrap_or_else(|_| Err(format!("{:?} panicked", operation.kind)))?;
    }
    AssertUnwindSafe(state.check_all())
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err("reading all blobs panicked".to_owned()))
}

struct State {
    service: Arc<dyn BlobService>,
    /// Where written bytes come from: few sources, so that blobs share much.
    sources: [Bytes; 2],
    blobs: BTreeMap<Digest, Bytes>,
    /// What was written and given up: absent, unless it is among the blobs as well.
    abandoned: BTreeSet<Digest>,
    writers: Vec<(BlobWriter, Vec<u8>)>,
    readers: Vec<(BlobReader, Bytes, u64)>,
}

impl State {
    async fn new(harness: &dyn Harness, name: &str) -> State {
        let random = |number| random(&format!("{name}, source {number}"), 1_000_000);
        let mut repeated = random(0).slice(..40_000).repeat(20);
        repeated.extend_from_slice(&random(1)[..200_000]);
        State {
            service: harness.open().await,
            sources: [random(0), repeated.into()],
            blobs: BTreeMap::from([(Digest::EMPTY, Bytes::new())]),
            abandoned: BTreeSet::new(),
            writers: Vec::new(),
            readers: Vec::new(),
        }
    }

    async fn step(&mut self, harness: &dyn Harness, operation: Operation) -> Result<(), String> {
        let Operation { kind, a, b } = operation;
        match kind {
            Kind::OpenWriter if self.writers.len() < MOST_OPEN => {
                let writer = self.service.open_write().await.map_err(failed)?;
                self.writers.push((writer, Vec::new()));
            }
            Kind::OpenReader if self.readers.len() < MOST_OPEN => self.open_reader(a).await?,
            Kind::OpenWriter | Kind::OpenReader => {}
            Kind::Ask => self.ask(a).await?,
            Kind::Reopen => self.service = harness.open().await,
            Kind::Read | Kind::Seek | Kind::Range | Kind::DropReader => {
                if let Some(number) = chosen(self.readers.len(), a) {
                    self.read(kind, number, a, b).await?;
                }
            }
            _ => {
                if let Some(number) = chosen(self.writers.len(), a) {
                    self.write(kind, number, a, b).await?;
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, kind: Kind, number: usize, a: u64, b: u64) -> Result<(), String> {
        let (writer, written) = &mut self.writers[number];
        match kind {
            Kind::Write | Kind::WriteBytes => {
                let source = &self.sources[(a >> 8) as usize % self.sources.len()];
                // As many small pieces as large ones, from a few places.
                let start = (b >> 32) as usize % 2 * 300_000;
                let len = (b as usize & 0xffff_ffff)
                    % [10, 5000, 100_000, 500_000][(a >> 16) as usize % 4];
                let piece = source.slice(start..start + len);
                written.extend_from_slice(&piece);
                match kind {
                    Kind::Write => writer.write_all(&piece).await.map_err(failed)?,
                    _ => writer.write_bytes(piece).await.map_err(failed)?,
                }
            }
            Kind::Flush => writer.flush().await.map_err(failed)?,
            Kind::Close => {
                let digest = writer.close().await.map_err(failed)?;
                let (_, written) = self.writers.swap_remove(number);
                equal("the digest from close", &digest, &Digest::of(&written))?;
                self.blobs.insert(digest, written.into());
            }
            _ => {
                let (mut writer, written) = self.writers.swap_remove(number);
                self.abandoned.insert(Digest::of(&written));
                if let Kind::Abort = kind {
                    writer.abort().await;
                }
            }
        }
        Ok(())
    }

    async fn read(&mut self, kind: Kind, number: usize, a: u64, b: u64) -> Result<(), String> {
        let (reader, data, position) = &mut self.readers[number];
        let size = data.len() as u64;
        match kind {
            Kind::Read => {
                let end = (*position + b % 300_000).min(size);
                let mut read = vec![0; (end - *position) as usize];
                reader.read_exact(&mut read).await.map_err(failed)?;
                let expected = &data[*position as usize..end as usize];
                same_bytes(&format!("a read from {position}"), &read, expected)?;
                *position = end;
            }
            Kind::Seek => {
                let target = b % (size + 2);
                let to = match (a >> 8) % 3 {
                    0 => SeekFrom::Start(target),
                    1 => SeekFrom::End(target as i64 - size as i64),
                    _ => SeekFrom::Current(target as i64 - *position as i64),
                };
                match reader.seek(to).await {
                    Ok(now) => {
                        equal("the position after a seek", &now, &target)?;
                        equal("a position outside of the blob", &(target > size), &false)?;
                        *position = target;
                    }
                    Err(error) if target <= size => return Err(failed(error)),
                    Err(_) => {}
                }
            }
            Kind::Range => {
                let start = (b >> 32) % (size + 1);
                let end = start + (b & 0xffff_ffff) % (size - start + 1);
                let read = read_range(reader, start..end).await.map_err(failed)?;
                let expected = &data[start as usize..end as usize];
                same_bytes(&format!("range {start}..{end}"), &read, expected)?;
            }
            _ => drop(self.readers.swap_remove(number)),
        }
        Ok(())
    }

    async fn open_reader(&mut self, a: u64) -> Result<(), String> {
        let Some((digest, data)) = self.blobs.iter().nth(a as usize % self.blobs.len()) else {
            return Ok(());
        };
        let reader = self.service.open_read(digest).await.map_err(failed)?;
        let reader = reader.ok_or("open_read is None for a stored blob")?;
        equal("the size of a blob", &reader.size(), &(data.len() as u64))?;
        self.readers.push((reader, data.clone(), 0));
        Ok(())
    }

    /// Asks for a blob that is stored, for one that was given up, or for what one of the writers
    /// has been given so far.
    async fn ask(&mut self, a: u64) -> Result<(), String> {
        let digests = self.blobs.keys().chain(&self.abandoned).copied();
        let unclosed = self.writers.iter().map(|(_, written)| Digest::of(written));
        let digests: Vec<Digest> = digests.chain(unclosed).collect();
        let digest = digests[a as usize % digests.len()];
        let stored = self.blobs.get(&digest);
        equal("has", &self.service.has(&digest).await.map_err(failed)?, &stored.is_some())?;
        let index = self.service.chunks(&digest).await.map_err(failed)?;
        let size = index.map(|index| index.size());
        equal("the size in the index", &size, &stored.map(|data| data.len() as u64))?;
        let reader = self.service.open_read(&digest).await.map_err(failed)?;
        equal("whether there is a reader", &reader.is_some(), &stored.is_some())
    }

    async fn check_all(&mut self) -> Result<(), String> {
        for (digest, data) in &self.blobs {
            let reader = self.service.open_read(digest).await.map_err(failed)?;
            let mut reader = reader.ok_or("open_read is None for a stored blob, at the end")?;
            let mut read = Vec::new();
            reader.read_to_end(&mut read).await.map_err(failed)?;
            same_bytes("a blob, at the end", &read, data)?;
        }
        for digest in self.abandoned.iter().filter(|digest| !self.blobs.contains_key(digest)) {
            let has = self.service.has(digest).await.map_err(failed)?;
            equal("has, at the end, for what was given up", &has, &false)?;
        }
        Ok(())
    }
}

fn chosen(count: usize, number: u64) -> Option<usize> {
    (number as usize & 0xff).checked_rem(count)
}

/// `Error` of castore or of I/O, in words.
fn failed(error: impl fmt::Display) -> String {
    error.to_string()
}

fn equal<T: PartialEq + fmt::Debug>(what: &str, is: &T, should_be: &T) -> Result<(), String> {
    if is == should_be {
        return Ok(());
    }
    Err(format!("{what} is {is:?}, and not {should_be:?}"))
}

fn same_bytes(what: &str, read: &[u8], expected: &[u8]) -> Result<(), String> {
    if read == expected {
        return Ok(());
    }
    Err(format!("{what}: {}", difference(read, expected)))
}
