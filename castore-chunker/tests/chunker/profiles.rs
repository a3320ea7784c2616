//! Cut points as literal numbers, for all profiles: averages, levels of normalization, a seed.

use castore_chunker::{ChunkParams, Normalization};

use crate::data::random;
use crate::differential::check;

const KIB: usize = 1024;

const SEED: u64 = 0x0123_4567_89ab_cdef;

const LEVELS: [Normalization; 4] =
    [Normalization::Level0, Normalization::Level1, Normalization::Level2, Normalization::Level3];

/// The number of chunks, and the start of the digest of their ends as 64 bits each, little-endian.
type Cuts = (usize, &'static str);

/// For each average in KiB and each seed, the cuts by level. Made with `fastcdc` 5.0.
#[rustfmt::skip]
const GOLDEN: [(usize, u64, [Cuts; 4]); 18] = [
    (16, 0, [(1201, "9ca7f42384e73fee"), (1212, "fea901ed89e74004"), (1293, "d7234b938fec5987"), (1390, "66c58626b21ae3e7")]),
    (16, SEED, [(1227, "0c716a1423baeefc"), (1213, "5f08a588765691ff"), (1305, "120e03b7e82b6efd"), (1396, "5dea88744efb4076")]),
    (32, 0, [(602, "08e0bd4c6b7ffe0f"), (590, "43f5a4507c90a696"), (648, "d61a6abdd74e3864"), (698, "5ec4732790095c27")]),
    (32, SEED, [(596, "6ec3d0aa1db234e6"), (612, "c16b77083e87e6b2"), (649, "230c63de5ea5b1aa"), (702, "b9e33aaff33eae65")]),
    (64, 0, [(300, "059a3839da5b4241"), (298, "32b852b8a984f70f"), (321, "d28d290b2a663b9e"), (346, "6d9bea442b663e79")]),
    (64, SEED, [(309, "0ad4bf4a7be0a926"), (297, "5ed2a174dabbeefd"), (325, "5a14dd4facbf2d65"), (351, "ca97980c4bf8804b")]),
    (128, 0, [(153, "4e61ed541897150a"), (149, "e1219c098125f34a"), (161, "686fb190dbd512b5"), (173, "ddf9c933719053d9")]),
    (128, SEED, [(154, "42c99b3be0c34e7e"), (155, "a03c0477bd9f121b"), (162, "0a1e06ade0e874b1"), (177, "f040d17af345d970")]),
    (256, 0, [(72, "9bac6aa9ff75e209"), (72, "26691bc0b471c172"), (80, "0742065fb2aa593b"), (85, "f7fa3cea65599bca")]),
    (256, SEED, [(78, "2fb9362a51f1a9a6"), (75, "c9ccc3c771016f2d"), (78, "3922b6555e3eac69"), (87, "5196d21198d9e611")]),
    (512, 0, [(37, "41643d5e309dbe0f"), (39, "b3c301e77d083e07"), (42, "f6b181276ded3c78"), (44, "2371898251fd10bd")]),
    (512, SEED, [(42, "f57e3f7637838f65"), (38, "6ab3a8fc9c7146f3"), (40, "1a8d3a037c50578a"), (45, "a46beadf22992c83")]),
    (1024, 0, [(18, "72ee19640d92cd38"), (19, "6a1fc337b86a6be5"), (21, "d2a0c44452eead1f"), (21, "9a49db14bceaea05")]),
    (1024, SEED, [(19, "16faa718618c1e7c"), (20, "78724b588b49c0b2"), (22, "e14607fa071ab2b1"), (24, "b152c80bbecbfae0")]),
    (2048, 0, [(10, "ad0797a73c597156"), (10, "d81f10c0dd4384b5"), (11, "6cf430f62367d8fd"), (11, "b838de7b478798f5")]),
    (2048, SEED, [(11, "3a6f835f5d6f2e89"), (9, "98472cb86f006c1d"), (11, "373e9982df5bcb74"), (12, "a9e910425dcdc4df")]),
    (4096, 0, [(6, "eb98c93ffe4b26dc"), (6, "27abc56763a77731"), (6, "d97167a97b65e498"), (6, "f2b56c9882052884")]),
    (4096, SEED, [(6, "b398cfbe02a22041"), (6, "b398cfbe02a22041"), (5, "f4cc3df80b87e914"), (6, "2bc38c02f54a11df")]),
];

#[test]
fn all_profiles_cut_at_the_recorded_positions() {
    let data = random(b"castore chunker profiles", 24 * 1024 * KIB + 1);
    let mut all = Vec::new();
    for avg in (14..=22).map(|power| 1 << power) {
        for seed in [0, SEED] {
            let min = (avg / 2).min(1024 * KIB);
            let params = ChunkParams::new(min, avg, 2 * avg).unwrap().with_seed(seed);
            let found = LEVELS.map(|level| {
                let ranges = check(&data, params.with_normalization(level), 5_000_000);
                let mut hasher = blake3::Hasher::new();
                for range in &ranges {
                    hasher.update(&(range.end as u64).to_le_bytes());
                }
                (ranges.len(), hasher.finalize().to_hex()[..16].to_owned())
            });
            all.push((avg / KIB, seed, found));
        }
    }
    let expected = GOLDEN.map(|(avg, seed, levels)| {
        (avg, seed, levels.map(|(count, digest)| (count, digest.to_owned())))
    });
    assert_eq!(all, expected);
}
