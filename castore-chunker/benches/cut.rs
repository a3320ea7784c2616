//! Throughput of cutting a blob in memory, compared with the `fastcdc` crate on the same data.
//!
//! The parameters are the format's. Every pass checks the number of chunks.

use std::hint::black_box;

use bytes::Bytes;
use castore_chunker::{ChunkParams, Cutter, cut_points};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use fastcdc::v2020::FastCDC;

/// Large enough for about 200 chunks, and larger than most caches.
const SIZE: usize = 64 * 1024 * 1024;

fn random() -> Bytes {
    let mut data = vec![0; SIZE];
    blake3::Hasher::new().update(b"castore chunker bench").finalize_xof().fill(&mut data);
    data.into()
}

/// Lines of numbers: few byte values, very similar lines, and no two lines the same.
fn text() -> Bytes {
    let mut text = String::with_capacity(SIZE + 32);
    for number in 0_u64.. {
        if text.len() >= SIZE {
            break;
        }
        let hash = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40;
        text.push_str(&format!("line {number} of the log: took {hash} us\n"));
    }
    text.truncate(SIZE);
    text.into()
}

fn cut(criterion: &mut Criterion) {
    let params = ChunkParams::default();
    for (name, data) in [("random", random()), ("text", text())] {
        let fastcdc =
            || FastCDC::new(&data, params.min_size(), params.avg_size(), params.max_size());
        let expected = fastcdc().count();
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Bytes(SIZE as u64));
        group.bench_function("cut_points", |bencher| {
            bencher.iter(|| assert_eq!(cut_points(black_box(&data), params).count(), expected));
        });
        for (name, size) in [("cutter, pushes of 1 MiB", 1024 * 1024), ("cutter, of 8 KiB", 8192)] {
            group.bench_function(name, |bencher| {
                bencher.iter(|| {
                    let mut cutter = Cutter::new(params);
                    let mut count = 0;
                    for start in (0..SIZE).step_by(size) {
                        let piece = black_box(&data).slice(start..start + size);
                        cutter.push(piece, |_| count += 1);
                    }
                    count += usize::from(cutter.finish().is_some());
                    assert_eq!(count, expected);
                });
            });
        }
        group.bench_function("fastcdc", |bencher| {
            bencher.iter(|| assert_eq!(black_box(fastcdc()).count(), expected));
        });
        group.finish();
    }
}

criterion_group!(benches, cut);
criterion_main!(benches);
