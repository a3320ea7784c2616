//! Reads, seeks and ranges in any order give the same bytes as slices of the data.

use std::collections::BTreeSet;
use std::io::SeekFrom;
use std::ops::Range;

use bytes::Bytes;
use castore_core::BlobService;
use castore_core::groups::GROUP_SIZE;
use castore_objstore::{ChunkParams, ObjectStoreBlobService};
use proptest::prelude::*;
use proptest::test_runner::{RngSeed, TestRunner};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::support::clock::{LATENCY, round_trips};
use crate::support::data::{MIB, random, tiny};
use crate::support::probe::{Kind, Part, Probe};
use crate::support::service::{collect_until_error, put, service};

#[derive(Debug, Clone)]
enum Step {
    Read(usize),
    ReadToEnd,
    Seek(SeekFrom),
    Range(Range<u64>),
}

/// Steps in a blob of `size` bytes. Some seeks lead outside of the blob.
fn steps(size: u64) -> impl Strategy<Value = Vec<Step>> {
    let offset = size as i64;
    let seek = prop_oneof![
        (0..=size + 10).prop_map(SeekFrom::Start),
        (-offset - 10..=10).prop_map(SeekFrom::End),
        (-offset..=offset).prop_map(SeekFrom::Current),
        (-100..=100_i64).prop_map(SeekFrom::Current),
    ];
    let read = prop_oneof![0..10_usize, 0..2000_usize, 0..size as usize];
    let range = (0..=size, 0..=size).prop_map(|(a, b)| a.min(b)..a.max(b));
    let step = prop_oneof![
        6 => read.prop_map(Step::Read),
        1 => Just(Step::ReadToEnd),
        6 => seek.prop_map(Step::Seek),
        2 => range.prop_map(Step::Range),
    ];
    proptest::collection::vec(step, 1..30)
}

async fn follow(service: &ObjectStoreBlobService, data: &Bytes, steps: &[Step]) {
    let digest = castore_core::Digest::of(data);
    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    let size = data.len() as u64;
    let mut position = 0_u64;
    for step in steps {
        match step {
            Step::Read(count) => {
                let mut read = vec![0; *count];
                let mut filled = 0;
                while filled < read.len() {
                    match reader.read(&mut read[filled..]).await.unwrap() {
                        0 => break,
                        count => filled += count,
                    }
                }
                let end = size.min(position + *count as u64);
                assert_eq!(read[..filled], data[position as usize..end as usize]);
                position = end;
            }
            Step::ReadToEnd => {
                let mut read = Vec::new();
                reader.read_to_end(&mut read).await.unwrap();
                assert_eq!(read, data[position as usize..]);
                position = size;
            }
            Step::Seek(to) => {
                let target = match *to {
                    SeekFrom::Start(offset) => Some(offset),
                    SeekFrom::End(offset) => size.checked_add_signed(offset),
                    SeekFrom::Current(offset) => position.checked_add_signed(offset),
                };
                match (reader.seek(*to).await, target.filter(|target| *target <= size)) {
                    (Ok(found), Some(target)) => assert_eq!(found, target),
                    (Err(error), None) => {
                        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
                    }
                    (result, target) => panic!("{to:?} gave {result:?} and not {target:?}"),
                }
                position = target.filter(|target| *target <= size).unwrap_or(position);
            }
            Step::Range(range) => {
                let (read, error) = collect_until_error(reader.read_range(range.clone())).await;
                assert!(error.is_none(), "{error:?}");
                assert_eq!(read, data[range.start as usize..range.end as usize]);
            }
        }
        assert_eq!(reader.stream_position().await.unwrap(), position);
    }
}

fn any_order(service: impl Fn() -> ObjectStoreBlobService, size: usize, cases: u32) {
    let runtime = Runtime::new().unwrap();
    let data = random("random access", size);
    let service = {
        let _entered = runtime.enter();
        service()
    };
    runtime.block_on(put(&service, &data));
    let mut runner = TestRunner::new(ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(3),
        failure_persistence: None,
        ..ProptestConfig::default()
    });
    let property = |steps: Vec<Step>| {
        runtime.block_on(follow(&service, &data, &steps));
        Ok(())
    };
    runner.run(&steps(size as u64), property).unwrap();
}

fn memory(params: ChunkParams) -> impl Fn() -> ObjectStoreBlobService {
    move || castore_objstore::parse_url("memory:").unwrap().chunk_params(params).build().unwrap()
}

#[test]
fn any_order_in_many_tiny_chunks() {
    any_order(memory(tiny()), 20_000, 300);
}

#[test]
fn any_order_in_one_chunk() {
    any_order(memory(ChunkParams::default()), 20_000, 200);
}

#[test]
fn any_order_in_usual_chunks() {
    any_order(memory(ChunkParams::default()), 2 * MIB, 30);
}

#[test]
fn any_order_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let local = ObjectStoreBlobService::local(directory.path()).chunk_params(tiny());
    any_order(|| local.clone().build().unwrap(), 20_000, 100);
}

#[tokio::test]
async fn a_hundred_seeks_of_4_kib_fetch_the_chunks_of_the_groups_that_they_touch() {
    let probe = Probe::new();
    let data = random("seeks", 32 * MIB);
    let digest = put(&service(&probe), &data).await;
    let service = service(&probe);
    let index = service.chunks(&digest).await.unwrap().unwrap();
    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    probe.forget();
    let mut touched = 0;
    let mut proven = BTreeSet::new();
    for number in 0..100_u64 {
        let start = (number + 1) * 7_919_011 % (data.len() as u64 - 4096);
        let mut read = [0; 4096];
        reader.seek(SeekFrom::Start(start)).await.unwrap();
        reader.read_exact(&mut read).await.unwrap();
        assert_eq!(read, data[start as usize..start as usize + 4096]);
        let groups = start / GROUP_SIZE..(start + 4096).div_ceil(GROUP_SIZE);
        let is_new = groups.clone().filter(|group| proven.insert(*group)).count() > 0;
        touched += match is_new {
            true => index.covering(groups.start * GROUP_SIZE..groups.end * GROUP_SIZE).len(),
            false => index.covering(start..start + 4096).len(),
        };
    }
    assert!((100..230).contains(&touched), "{touched} chunks");
    let requests = probe.count(Kind::Get, Part::Chunks);
    assert!(requests <= touched, "{requests} requests for {touched} chunks");
    assert_eq!(probe.total(), requests);
}

#[tokio::test(start_paused = true)]
async fn reading_on_after_a_seek_goes_ahead_more_and_more() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("reading on", 32 * MIB);
    let digest = put(&service(&probe), &data).await;
    let service = service(&probe);
    let chunks = service.chunks(&digest).await.unwrap().unwrap().len();
    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    reader.seek(SeekFrom::Start(1)).await.unwrap();
    probe.forget();
    let start = Instant::now();
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, data[1..]);
    // The reads ahead cover one chunk, then three times as many, and so on.
    assert!(round_trips(start) <= 6, "{} round trips", round_trips(start));
    assert_eq!(probe.count(Kind::Get, Part::Chunks), chunks);
}

/// Bytes that a caller requests at once are fetched at once.
#[tokio::test(start_paused = true)]
async fn a_large_read_after_a_seek_is_one_round_trip() {
    let probe = Probe::new().with_latency(LATENCY);
    let data = random("large read", 16 * MIB);
    let digest = put(&service(&probe), &data).await;
    let service = service(&probe);
    let mut reader = service.open_read(&digest).await.unwrap().unwrap();
    reader.seek(SeekFrom::Start(MIB as u64)).await.unwrap();
    let start = Instant::now();
    let mut read = vec![0; 8 * MIB];
    reader.read_exact(&mut read).await.unwrap();
    assert_eq!(read, data[MIB..9 * MIB]);
    assert_eq!(round_trips(start), 1);
}
