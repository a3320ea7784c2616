//! The same benchmarks for every backend, for comparison between backends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use castore_core::{BlobService, Digest};
use criterion::{BenchmarkId, Criterion, Throughput};
use futures_util::TryStreamExt;
use futures_util::future::{join_all, try_join_all};
use tokio::io::AsyncReadExt;
use tokio::runtime::Runtime;

use crate::Harness;
use crate::data::{Numbers, random};

/// Expands to a `main` that benchmarks a backend: the only line that a file in `benches` needs.
///
/// The arguments are a name for the backend and an expression that makes a fresh
/// [`Harness`](crate::Harness). The macro evaluates the expression many times. The manifest must
/// set `harness = false` for the benchmark. The program takes criterion's arguments:
/// `--save-baseline`, `--baseline`, a filter, ...
///
/// ```no_run
/// use castore_core::MemoryBlobService;
/// use castore_testsuite::{Harness, benchmarks};
///
/// fn harness() -> impl Harness {
///     let service = MemoryBlobService::new();
///     move || service.clone()
/// }
///
/// benchmarks!("memory", harness());
/// ```
#[macro_export]
macro_rules! benchmarks {
    ($name:expr, $harness:expr) => {
        fn main() {
            let mut criterion = $crate::__criterion::Criterion::default().configure_from_args();
            $crate::bench(&mut criterion, $name, || $harness);
            criterion.final_summary();
        }
    };
}

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// The number of concurrent readers or writers in the concurrent benchmarks.
const MANY: usize = 16;

/// Benchmarks the backend whose storages `make` makes.
///
/// All bytes are random, so compression gains nothing. Throughput counts the blobs' bytes. Each
/// benchmark compares the bytes read with those written, and every digest with its bytes, off the
/// clock. Each group covers one operation at one size, and a benchmark in it has the name of the
/// backend, so criterion compares several backends within one group.
///
/// # Panics
/// If the backend fails, or returns wrong bytes.
pub fn bench<H: Harness>(criterion: &mut Criterion, name: &str, make: impl Fn() -> H) {
    let bench = Bench { name, make, runtime: Runtime::new().expect("a runtime") };
    for (size, label) in [(KIB, "1KiB"), (MIB, "1MiB"), (16 * MIB, "16MiB")] {
        bench.put_new(criterion, size, label);
        bench.put_again(criterion, size, label);
        bench.read(criterion, size, label);
    }
    bench.range(criterion);
    bench.has(criterion);
    bench.many_writers(criterion);
    bench.many_readers(criterion);
}

struct Bench<'a, M> {
    name: &'a str,
    make: M,
    runtime: Runtime,
}

impl<H: Harness, M: Fn() -> H> Bench<'_, M> {
    /// Measures `work` and returns the time taken. `work` gets a service over an empty storage, and
    /// the number of times to run the operation.
    fn measure<F: Future<Output = Duration>>(
        &self,
        criterion: &mut Criterion,
        operation: &str,
        bytes: usize,
        work: impl Fn(Arc<dyn BlobService>, u64) -> F,
    ) {
        let mut group = criterion.benchmark_group(operation);
        group.sample_size(10).warm_up_time(Duration::from_millis(500));
        group.measurement_time(Duration::from_secs(3));
        if bytes > 0 {
            group.throughput(Throughput::Bytes(bytes as u64));
        }
        group.bench_function(BenchmarkId::from_parameter(self.name), |bencher| {
            bencher.iter_custom(|times| {
                // Each sample gets a fresh storage; a shared one would grow without end.
                let harness = (self.make)();
                self.runtime.block_on(async { work(harness.open().await, times).await })
            });
        });
        group.finish();
    }

    fn put_new(&self, criterion: &mut Criterion, size: usize, label: &str) {
        self.measure(criterion, &format!("put_new_{label}"), size, async |service, times| {
            let mut elapsed = Duration::ZERO;
            for time in 0..times {
                let data = random(&format!("new {time}"), size);
                elapsed += put(&*service, &data).await;
            }
            elapsed
        });
    }

    fn put_again(&self, criterion: &mut Criterion, size: usize, label: &str) {
        self.measure(criterion, &format!("put_again_{label}"), size, async |service, times| {
            let data = random("again", size);
            put(&*service, &data).await;
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                elapsed += put(&*service, &data).await;
            }
            elapsed
        });
    }

    fn read(&self, criterion: &mut Criterion, size: usize, label: &str) {
        self.measure(criterion, &format!("read_{label}"), size, async |service, times| {
            let data = random("read", size);
            put(&*service, &data).await;
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                elapsed += read(&*service, &data).await;
            }
            elapsed
        });
    }

    /// Reads 64 KiB at a random offset of an open blob.
    fn range(&self, criterion: &mut Criterion) {
        const LEN: usize = 64 * KIB;
        self.measure(criterion, "range_64KiB_of_16MiB", LEN, async |service, times| {
            let data = random("range", 16 * MIB);
            put(&*service, &data).await;
            let reader = service.open_read(&Digest::of(&data)).await.expect("open_read");
            let reader = reader.expect("the blob is absent");
            let mut numbers = Numbers::new("range");
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                let at = numbers.below((data.len() - LEN) as u64) as usize;
                let range = at as u64..(at + LEN) as u64;
                let start = Instant::now();
                let pieces: Vec<Bytes> =
                    reader.read_range(range).try_collect().await.expect("read_range");
                elapsed += start.elapsed();
                assert!(pieces.concat() == data[at..at + LEN], "wrong bytes");
            }
            elapsed
        });
    }

    /// Asks for a present and an absent blob in turn.
    fn has(&self, criterion: &mut Criterion) {
        self.measure(criterion, "has", 0, async |service, times| {
            let data = random("has", KIB);
            put(&*service, &data).await;
            let digests = [Digest::of(&data), Digest::of(b"absent")];
            let start = Instant::now();
            for time in 0..times {
                let digest = digests[time as usize % 2];
                assert_eq!(service.has(&digest).await.expect("has"), digest == digests[0]);
            }
            start.elapsed()
        });
    }

    /// Stores new blobs of 1 MiB with many concurrent writers.
    fn many_writers(&self, criterion: &mut Criterion) {
        self.measure(criterion, "put_new_16x1MiB", MANY * MIB, async |service, times| {
            let mut elapsed = Duration::ZERO;
            for time in 0..times {
                let data: Vec<Bytes> =
                    (0..MANY).map(|number| random(&format!("{time} {number}"), MIB)).collect();
                let start = Instant::now();
                let digests = join_all(data.iter().map(|data| store(&*service, data))).await;
                elapsed += start.elapsed();
                for (digest, data) in digests.iter().zip(&data) {
                    assert_eq!(*digest, Digest::of(data), "wrong digest");
                }
            }
            elapsed
        });
    }

    /// Reads blobs of 1 MiB with many concurrent readers, each in its own task.
    fn many_readers(&self, criterion: &mut Criterion) {
        self.measure(criterion, "read_16x1MiB", MANY * MIB, async |service, times| {
            let data: Vec<Bytes> =
                (0..MANY).map(|number| random(&format!("{number}"), MIB)).collect();
            for data in &data {
                put(&*service, data).await;
            }
            let mut elapsed = Duration::ZERO;
            for _ in 0..times {
                let start = Instant::now();
                let tasks = data.iter().map(|data| {
                    let (service, data) = (Arc::clone(&service), data.clone());
                    tokio::spawn(async move { read(&*service, &data).await })
                });
                try_join_all(tasks).await.expect("reading beside others");
                elapsed += start.elapsed();
            }
            elapsed
        });
    }
}

async fn store(service: &dyn BlobService, data: &Bytes) -> Digest {
    let mut writer = service.open_write().await.expect("open_write");
    writer.write_bytes(data.clone()).await.expect("write_bytes");
    writer.close().await.expect("close")
}

/// Stores a blob and returns the time taken.
async fn put(service: &dyn BlobService, data: &Bytes) -> Duration {
    let start = Instant::now();
    let digest = store(service, data).await;
    let elapsed = start.elapsed();
    assert_eq!(digest, Digest::of(data), "wrong digest");
    elapsed
}

/// Reads a blob from start to end and returns the time taken.
async fn read(service: &dyn BlobService, data: &Bytes) -> Duration {
    let mut bytes = Vec::with_capacity(data.len());
    let start = Instant::now();
    let reader = service.open_read(&Digest::of(data)).await.expect("open_read");
    let read = reader.expect("the blob is absent").read_to_end(&mut bytes).await;
    let elapsed = start.elapsed();
    read.expect("read_to_end");
    assert!(bytes == *data, "wrong bytes");
    elapsed
}
