//! The inputs of a run: each follows from the seed and its number alone, so that it can be made
//! again.

/// A small generator of numbers (splitmix64): the same everywhere, from every seed.
#[derive(Debug, Clone)]
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end.max(1) as u64) as usize
    }
}

/// Bytes that decoders stumble over: ends of numbers, keys and lengths of protobuf, the magic of
/// zstd.
const INTERESTING: [&[u8]; 9] = [
    &[0],
    &[0x7f],
    &[0x80],
    &[0xff],
    &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    &[0x80, 0x80, 0x80, 0x80, 0x40],
    &[0x12, 0x26, 0x0a, 0x20],
    &[0x10, 0x01],
    &[0x28, 0xb5, 0x2f, 0xfd],
];

/// The input of this number: random bytes up to `longest`, or a mutation of one of the `seeds`.
pub fn input(seed: u64, number: u64, seeds: &[Vec<u8>], longest: usize) -> Vec<u8> {
    let mut numbers = Numbers(seed ^ number.wrapping_mul(0xd6e8_feb8_6659_fd93));
    let fresh = seeds.is_empty() || numbers.below(4) == 0;
    let mut bytes = if fresh {
        let len = numbers.below(longest + 1);
        (0..len).map(|_| numbers.next() as u8).collect()
    } else {
        seeds[numbers.below(seeds.len())].clone()
    };
    for _ in 0..numbers.below(6) {
        mutate(&mut bytes, seeds, &mut numbers);
    }
    bytes
}

/// Changes the bytes in one way.
fn mutate(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], numbers: &mut Numbers) {
    let at = numbers.below(bytes.len() + 1);
    let len = numbers.below(64.min(bytes.len() - at) + 1);
    match numbers.below(8) {
        0 | 1 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << numbers.below(8);
            }
        }
        2 => {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = numbers.next() as u8;
            }
        }
        3 => drop(bytes.drain(at..at + len)),
        4 => {
            let repeated = bytes[at..at + len].to_vec();
            bytes.splice(at..at, repeated);
        }
        5 => {
            let interesting = INTERESTING[numbers.below(INTERESTING.len())];
            let end = bytes.len().min(at + interesting.len() * numbers.below(2));
            bytes.splice(at..end, interesting.iter().copied());
        }
        6 => bytes.truncate(at),
        _ => {
            if let Some(other) = seeds.get(numbers.below(seeds.len())) {
                let from = numbers.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_follows_from_its_seed_and_number() {
        let seeds = [vec![1; 100], vec![2; 50]];
        let inputs = |seed| (0..500).map(|n| input(seed, n, &seeds, 40)).collect::<Vec<_>>();
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
        assert!(inputs(1).contains(&seeds[0]), "some stay as they are");
    }
}
