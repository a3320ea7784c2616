//! Random sequences of operations, against a model: a map from digest to bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::SeekFrom;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use castore_core::{BlobReader, BlobService, BlobWriter, Digest};
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};

use super::{difference, read_range};
use crate::Harness;
use crate::data::{Numbers, random};

/// The number of sequences, and the number of operations in each.
const SEQUENCES: usize = 24;
const OPERATIONS: usize = 240;

/// The limits, as a count and a time, of the attempts to shorten a failing sequence. On a fast
/// backend a fraction of them yields the shortest.
const MOST_TRIES: usize = 3000;
const LONGEST_SHRINKING: Duration = Duration::from_secs(30);

/// A write is shorter than one of these numbers of bytes: small pieces are as frequent as large
/// ones.
const WRITE_SIZES: [usize; 4] = [10, 5000, 100_000, 500_000];

/// The most open writers and the most open readers.
const MOST_OPEN: usize = 4;

/// One operation. The numbers choose among the writers, readers and blobs of that moment, so a
/// sequence still makes sense after operations are removed from it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Operation {
    kind: Kind,
    a: u64,
    b: u64,
}

impl Operation {
    /// The length of a write, in bytes.
    fn len(&self) -> usize {
        (self.b as usize & 0xffff_ffff) % WRITE_SIZES[(self.a >> 16) as usize % 4]
    }

    /// The same operation on half as many bytes, if it is about any.
    fn halved(&self) -> Option<Operation> {
        let is_write = matches!(self.kind, Kind::Write | Kind::WriteBytes);
        let len = self.len() as u64 / 2;
        (is_write && self.len() > 1).then_some(Operation { b: self.b >> 32 << 32 | len, ..*self })
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
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

/// The more entries a kind has here, the more often it is done.
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

/// Sequences of random operations return the same results as on a map from digest to bytes.
pub async fn random_operations(harness: Arc<dyn Harness>) {
    for seed in 0..SEQUENCES {
        let operations = sequence(seed);
        let name = format!("sequence {seed}");
        if let Err(failure) = attempt(&*harness, &name, &operations).await {
            let (failure, is_shortest) = shrunk(&*harness, &name, operations, failure).await;
            let can =
                if is_shortest { "cannot be left out" } else { "may be more than are needed" };
            panic!(
                "{}\nafter these operations of {name}, which {can}:{}",
                failure.error,
                failure.listed()
            );
        }
    }
}

/// How a sequence failed.
struct Failure {
    error: String,
    /// The operations up to the failure, in words.
    done: Vec<String>,
}

impl Failure {
    fn listed(&self) -> String {
        let lines = self.done.iter().enumerate();
        lines.map(|(number, done)| format!("\n{:>5}. {done}", number + 1)).collect()
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

/// Removes from a failing sequence every operation that is not needed for the failure, and shortens
/// its writes, until neither step makes it any smaller. Returns whether it got that far.
async fn shrunk(
    harness: &dyn Harness,
    name: &str,
    mut operations: Vec<Operation>,
    mut failure: Failure,
) -> (Failure, bool) {
    let begun = Instant::now();
    let mut tries = 0;
    loop {
        let before = operations.clone();
        let mut length = (operations.len() / 2).max(1);
        while length > 0 {
            let mut start = 0;
            while start < operations.len() {
                let end = (start + length).min(operations.len());
                let fewer = [&operations[..start], &operations[end..]].concat();
                tries += 1;
                if tries > MOST_TRIES || begun.elapsed() > LONGEST_SHRINKING {
                    return (failure, false);
                }
                // Each attempt uses other bytes: the storage still holds those of the attempts
                // before.
                match attempt(harness, &format!("{name}, try {tries}"), &fewer).await {
                    Ok(()) => start = end,
                    Err(other) => (operations, failure) = (fewer, other),
                }
            }
            length /= 2;
        }
        for number in 0..operations.len() {
            while let Some(halved) = operations[number].halved() {
                let mut smaller = operations.clone();
                smaller[number] = halved;
                tries += 1;
                match attempt(harness, &format!("{name}, try {tries}"), &smaller).await {
                    Ok(()) => break,
                    Err(other) => (operations, failure) = (smaller, other),
                }
            }
        }
        if operations == before {
            return (failure, true);
        }
    }
}

/// Runs the operations, and describes the failure, if any. A panic of the service is a failure.
async fn attempt(
    harness: &dyn Harness,
    name: &str,
    operations: &[Operation],
) -> Result<(), Failure> {
    let mut state = State::new(harness, name).await;
    for operation in operations {
        let step = AssertUnwindSafe(state.step(harness, *operation)).catch_unwind().await;
        step.unwrap_or_else(|_| Err(format!("{:?} panicked", operation.kind)))
            .map_err(|error| Failure { error, done: state.done.clone() })?;
    }
    state.done.push("read all blobs, and ask for all that was given up".to_owned());
    AssertUnwindSafe(state.check_all())
        .catch_unwind()
        .await
        .unwrap_or_else(|_| Err("reading all blobs panicked".to_owned()))
        .map_err(|error| Failure { error, done: state.done.clone() })
}

struct State {
    service: Arc<dyn BlobService>,
    /// The sources of written bytes: only a few, so that blobs share much.
    sources: [Bytes; 2],
    blobs: BTreeMap<Digest, Bytes>,
    /// Blobs whose writers were abandoned: absent, unless `blobs` has them too.
    abandoned: BTreeSet<Digest>,
    writers: Vec<Writing>,
    readers: Vec<Reading>,
    /// The number of writers and readers opened so far. The numbers serve as their names.
    opened: usize,
    /// The operations so far, in words.
    done: Vec<String>,
}

struct Writing {
    name: usize,
    writer: BlobWriter,
    written: Vec<u8>,
}

struct Reading {
    name: usize,
    reader: BlobReader,
    data: Bytes,
    position: u64,
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
            opened: 0,
            done: Vec::new(),
        }
    }

    async fn step(&mut self, harness: &dyn Harness, operation: Operation) -> Result<(), String> {
        let Operation { kind, a, .. } = operation;
        match kind {
            Kind::OpenWriter if self.writers.len() < MOST_OPEN => {
                self.opened += 1;
                self.done.push(format!("open writer {}", self.opened));
                let writer = self.service.open_write().await.map_err(failed)?;
                self.writers.push(Writing { name: self.opened, writer, written: Vec::new() });
            }
            Kind::OpenReader if self.readers.len() < MOST_OPEN => self.open_reader(a).await?,
            Kind::OpenWriter | Kind::OpenReader => {}
            Kind::Ask => self.ask(a).await?,
            Kind::Reopen => {
                self.done.push("open the service again".to_owned());
                self.service = harness.open().await;
            }
            Kind::Read | Kind::Seek | Kind::Range | Kind::DropReader => {
                if let Some(number) = chosen(self.readers.len(), a) {
                    self.read(operation, number).await?;
                }
            }
            _ => {
                if let Some(number) = chosen(self.writers.len(), a) {
                    self.write(operation, number).await?;
                }
            }
        }
        Ok(())
    }

    async fn write(&mut self, operation: Operation, number: usize) -> Result<(), String> {
        let Operation { kind, a, b } = operation;
        let Writing { name, writer, written } = &mut self.writers[number];
        let mut say = |what: String| self.done.push(format!("writer {name}: {what}"));
        match kind {
            Kind::Write | Kind::WriteBytes => {
                let number = (a >> 8) as usize % self.sources.len();
                // Pieces start at only two places, so that they occur again.
                let start = (b >> 32) as usize % 2 * 300_000;
                let piece = self.sources[number].slice(start..start + operation.len());
                let bytes = piece.len();
                written.extend_from_slice(&piece);
                let of = format!("{bytes} bytes of source {number}, from byte {start}");
                match kind {
                    Kind::Write => {
                        say(format!("write_all of {of}"));
                        writer.write_all(&piece).await.map_err(failed)?;
                    }
                    _ => {
                        say(format!("write_bytes of {of}"));
                        writer.write_bytes(piece).await.map_err(failed)?;
                    }
                }
            }
            Kind::Flush => {
                say("flush".to_owned());
                writer.flush().await.map_err(failed)?;
            }
            Kind::Close => {
                say(format!("close, after {} bytes", written.len()));
                let digest = writer.close().await.map_err(failed)?;
                let Writing { written, .. } = self.writers.swap_remove(number);
                equal("the digest from close", &digest, &Digest::of(&written))?;
                self.blobs.insert(digest, written.into());
            }
            _ => {
                let aborts = kind == Kind::Abort;
                let how = if aborts { "abort" } else { "drop" };
                say(format!("{how}, after {} bytes", written.len()));
                let Writing { mut writer, written, .. } = self.writers.swap_remove(number);
                self.abandoned.insert(Digest::of(&written));
                if aborts {
                    writer.abort().await;
                }
            }
        }
        Ok(())
    }

    async fn read(&mut self, operation: Operation, number: usize) -> Result<(), String> {
        let Operation { kind, a, b } = operation;
        let Reading { name, reader, data, position } = &mut self.readers[number];
        let mut say = |what: String| self.done.push(format!("reader {name}: {what}"));
        let size = data.len() as u64;
        match kind {
            Kind::Read => {
                let end = (*position + b % 300_000).min(size);
                say(format!("read_exact of bytes {position}..{end}"));
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
                say(format!("seek to {to:?}, which is byte {target} of {size}"));
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
                say(format!("read_range {start}..{end} of {size} bytes"));
                let read = read_range(reader, start..end).await.map_err(failed)?;
                let expected = &data[start as usize..end as usize];
                same_bytes(&format!("range {start}..{end}"), &read, expected)?;
            }
            _ => {
                say("drop".to_owned());
                drop(self.readers.swap_remove(number));
            }
        }
        Ok(())
    }

    async fn open_reader(&mut self, a: u64) -> Result<(), String> {
        let Some((digest, data)) = self.blobs.iter().nth(a as usize % self.blobs.len()) else {
            return Ok(());
        };
        self.opened += 1;
        let (name, size) = (self.opened, data.len() as u64);
        self.done.push(format!("open reader {name} of a blob of {size} bytes"));
        let reader = self.service.open_read(digest).await.map_err(failed)?;
        let reader = reader.ok_or("open_read is None for a stored blob")?;
        equal("the size of a blob", &reader.size(), &size)?;
        equal("the digest of a reader", &reader.digest(), digest)?;
        self.readers.push(Reading { name, reader, data: data.clone(), position: 0 });
        Ok(())
    }

    /// Asks for a stored blob, for one whose writer was abandoned, or for the bytes that one of the
    /// open writers has got so far.
    async fn ask(&mut self, a: u64) -> Result<(), String> {
        let digests = self.blobs.keys().chain(&self.abandoned).copied();
        let unclosed = self.writers.iter().map(|writing| Digest::of(&writing.written));
        let digests: Vec<Digest> = digests.chain(unclosed).collect();
        let digest = digests[a as usize % digests.len()];
        let stored = self.blobs.get(&digest);
        let is = if stored.is_some() { "stored" } else { "not stored" };
        self.done.push(format!("has, chunks and open_read of a blob that is {is}"));
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

/// An error of castore or of I/O, in words.
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

#[cfg(test)]
mod tests {
    use castore_core::{BlobIndex, BlobSink, Error, ErrorKind, MemoryBlobService, Result};
    use futures_util::future::BoxFuture;

    use super::*;

    /// A service that refuses every blob of 1000 bytes or more whose writer was flushed twice.
    #[derive(Debug, Clone, Default)]
    struct Fussy(MemoryBlobService);

    struct Sink {
        inner: BlobWriter,
        bytes: usize,
        writes: usize,
    }

    #[async_trait::async_trait]
    impl BlobSink for Sink {
        async fn write(&mut self, data: Bytes) -> Result<()> {
            self.bytes += data.len();
            self.writes += 1;
            self.inner.write_bytes(data).await
        }

        async fn close(&mut self) -> Result<Digest> {
            if self.bytes >= 1000 && self.writes >= 2 {
                return Err(Error::new(ErrorKind::Other, "close", "this one is refused"));
            }
            self.inner.close().await
        }
    }

    #[async_trait::async_trait]
    impl BlobService for Fussy {
        async fn has(&self, digest: &Digest) -> Result<bool> {
            self.0.has(digest).await
        }

        async fn chunks(&self, digest: &Digest) -> Result<Option<BlobIndex>> {
            self.0.chunks(digest).await
        }

        async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>> {
            self.0.open_read(digest).await
        }

        async fn open_write(&self) -> Result<BlobWriter> {
            let inner = self.0.open_write().await?;
            Ok(BlobWriter::new(Sink { inner, bytes: 0, writes: 0 }))
        }
    }

    #[test]
    fn a_failing_sequence_shrinks_to_the_operations_that_it_needs() {
        let service = Fussy::default();
        let case = crate::Case {
            name: "test",
            body: |harness: Arc<dyn Harness>| -> BoxFuture<'static, ()> {
                Box::pin(random_operations(harness))
            },
        };
        let failure = case.run(Arc::new(move || service.clone()), crate::TIME_LIMIT).unwrap_err();
        let text = failure.to_string();
        assert!(text.contains("this one is refused"), "{text}");
        assert!(text.contains("which cannot be left out:\n    1. open writer 1\n"), "{text}");
        // An opened writer, two pieces for it (with at most one flush between them), and the close.
        assert!((4..=5).contains(&(text.lines().count() - 2)), "{text}");
        assert!(text.lines().last().unwrap().contains("writer 1: close, after 1"), "{text}");
    }
}
