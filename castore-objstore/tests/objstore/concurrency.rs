//! Several readers and writers at once, on the same blob.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use castore_core::{BlobService, Digest};
use castore_objstore::ObjectStoreBlobService;
use futures_util::future::join_all;
use tokio::io::AsyncReadExt;
use tokio::runtime::{Builder as RuntimeBuilder, Runtime};

use crate::support::clock::{LATENCY, not_stuck};
use crate::support::data::{MIB, random, tiny};
use crate::support::probe::{Effect, Kind, Part, Probe, broken};
use crate::support::service::{assert_unavailable, put, read, service, try_put};

#[tokio::test]
async fn two_readers_of_one_blob_in_turn() {
    let service = service(&Probe::new());
    let data = random("two readers", 3 * MIB);
    let digest = put(&service, &data).await;
    let mut readers = Vec::new();
    for _ in 0..2 {
        readers.push((service.open_read(&digest).await.unwrap().unwrap(), Vec::new()));
    }
    let mut buffer = vec![0; 70_000];
    while readers.iter().any(|(_, read)| read.len() < data.len()) {
        for (reader, read) in &mut readers {
            let count = reader.read(&mut buffer).await.unwrap();
            read.extend_from_slice(&buffer[..count]);
        }
    }
    for (_, read) in readers {
        assert_eq!(read, data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_readers_at_once() {
    let service = service(&Probe::new());
    let data = random("many readers", 4 * MIB);
    let digest = put(&service, &data).await;
    let readers = (0..16).map(|_| {
        let service = service.clone();
        tokio::spawn(async move { read(&service, &digest).await })
    });
    for read in join_all(readers).await {
        assert_eq!(read.unwrap(), data);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_blob_by_two_services_at_once() {
    let probe = Probe::new();
    let data = random("two services", 4 * MIB);
    let writers = [service(&probe), service(&probe)].map(|service| {
        let data = data.clone();
        tokio::spawn(async move { put(&service, &data).await })
    });
    for digest in join_all(writers).await {
        assert_eq!(digest.unwrap(), Digest::of(&data));
    }
    assert_eq!(read(&service(&probe), &Digest::of(&data)).await, data);
}

/// The writer that uploads a chunk for both fails; the other uploads the chunk itself.
#[tokio::test(start_paused = true)]
async fn a_writer_that_fails_does_not_fail_another_of_the_same_blob() {
    for nth in 0..5 {
        let probe = Probe::new().with_latency(LATENCY);
        let service = service(&probe);
        let data = random("two writers", 3 * MIB);
        probe.fault(Kind::Put, Part::Chunks, nth..nth + 1, Effect::Fail(broken));
        let both = async { tokio::join!(try_put(&service, &data), try_put(&service, &data)) };
        let (first, second) = not_stuck(both).await;
        let (failed, digest) = match (first, second) {
            (Err(error), Ok(digest)) | (Ok(digest), Err(error)) => (error, digest),
            other => panic!("one fails and one does not: {other:?}"),
        };
        assert_unavailable(&failed);
        assert_eq!(digest, Digest::of(&data));
        assert_eq!(read(&service, &digest).await, data);
    }
}

/// A reader sees a blob that another task is writing either not at all or whole.
#[tokio::test(start_paused = true)]
async fn a_blob_appears_whole() {
    let probe = Probe::new().with_latency(LATENCY);
    let service = service(&probe);
    let data = random("appears", 3 * MIB);
    let digest = Digest::of(&data);
    let looking = async {
        let mut absent = 0;
        loop {
            match service.open_read(&digest).await.unwrap() {
                Some(mut reader) => {
                    let mut bytes = Vec::new();
                    reader.read_to_end(&mut bytes).await.unwrap();
                    assert_eq!(bytes, data);
                    return absent;
                }
                None => absent += 1,
            }
        }
    };
    let (_, absent) = not_stuck(async { tokio::join!(put(&service, &data), looking) }).await;
    assert!(absent >= 2);
}

/// Runs `work` on a thread of its own. Fails if that takes longer than any work that is not stuck.
fn ends<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (send, receive) = mpsc::channel();
    thread::spawn(move || send.send(work()));
    receive.recv_timeout(Duration::from_secs(120)).expect("it hangs")
}

fn runtime(number: usize) -> Runtime {
    let mut builder = match number % 2 {
        0 => RuntimeBuilder::new_current_thread(),
        _ => RuntimeBuilder::new_multi_thread(),
    };
    builder.worker_threads(2).enable_all().build().unwrap()
}

/// Services over a directory and over another store.
fn services(directory: &tempfile::TempDir) -> [ObjectStoreBlobService; 2] {
    let local = ObjectStoreBlobService::local(directory.path()).durable(false);
    [local.chunk_params(tiny()).build().unwrap(), service(&Probe::new())]
}

/// Puts and reads several blobs. All callers write the middle one.
async fn put_and_read(service: &ObjectStoreBlobService, number: usize) {
    for name in [format!("{number}"), "shared".to_owned(), format!("{number} again")] {
        for size in [50, 100_000] {
            let data = random(&name, size);
            let digest = put(service, &data).await;
            assert_eq!(read(service, &digest).await, data);
        }
    }
}

#[test]
fn one_service_in_four_runtimes() {
    let directory = tempfile::tempdir().unwrap();
    for service in services(&directory) {
        ends(move || {
            let threads = [0, 1, 2, 3].map(|number| {
                let service = service.clone();
                thread::spawn(move || runtime(number).block_on(put_and_read(&service, number)))
            });
            for thread in threads {
                thread.join().unwrap();
            }
        });
    }
}

/// Each of these runtimes ends while the service works, at a different point.
#[test]
fn a_runtime_that_ends_leaves_the_service_to_the_others() {
    let directory = tempfile::tempdir().unwrap();
    for service in services(&directory) {
        ends(move || {
            let others = [0, 1].map(|number| {
                let service = service.clone();
                thread::spawn(move || runtime(number).block_on(put_and_read(&service, number)))
            });
            for round in 2..42 {
                let ends = runtime(round);
                ends.block_on(async {
                    let work = put_and_read(&service, round);
                    let _ =
                        tokio::time::timeout(Duration::from_micros(50 * round as u64), work).await;
                });
                ends.shutdown_background();
            }
            for other in others {
                other.join().unwrap();
            }
            runtime(0).block_on(put_and_read(&service, 0));
        });
    }
}

/// The callers block every thread of the runtime's blocking pool.
#[test]
fn callers_that_block_in_every_blocking_thread_of_a_runtime() {
    const CALLERS: usize = 512;
    let directory = tempfile::tempdir().unwrap();
    for service in services(&directory) {
        ends(move || {
            let runtime = RuntimeBuilder::new_multi_thread()
                .worker_threads(2)
                .max_blocking_threads(CALLERS)
                .enable_all()
                .build()
                .unwrap();
            let data = random("blocking callers", 20_000);
            let digest = runtime.block_on(put(&service, &data));
            let all = std::sync::Arc::new(std::sync::Barrier::new(CALLERS));
            let callers: Vec<_> = (0..CALLERS)
                .map(|_| {
                    let (service, all) = (service.clone(), std::sync::Arc::clone(&all));
                    runtime.spawn_blocking(move || {
                        all.wait();
                        let read = async { read(&service, &digest).await };
                        tokio::runtime::Handle::current().block_on(read)
                    })
                })
                .collect();
            #[cfg(target_os = "linux")]
            assert!(own_threads() <= 64, "{} threads", own_threads());
            for caller in callers {
                assert_eq!(runtime.block_on(caller).unwrap(), data);
            }
        });
    }
}

/// The number of threads that the services of this process have.
#[cfg(target_os = "linux")]
fn own_threads() -> usize {
    let threads = std::fs::read_dir("/proc/self/task").unwrap();
    let named =
        threads.filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("comm")).ok());
    named.filter(|name| name.starts_with("castore-")).count()
}
