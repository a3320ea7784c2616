//! Several at once, on the same blob.

use castore_core::{BlobService, Digest};
use futures_util::future::join_all;
use tokio::io::AsyncReadExt;

use crate::support::clock::{LATENCY, not_stuck};
use crate::support::data::{MIB, random};
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

/// The one that has the turn to upload a chunk fails; the other does it for itself.
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

/// A reader sees a blob that is being written by somebody else not at all, or whole.
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
