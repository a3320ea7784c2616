//! One table of all measurements. A scenario runs only on those stores and corpora on which its
//! result differs from the others.

use crate::corpus::Corpus::{self, Edited, Libraries, Random, Sources, Zeros};
use crate::job::Scenario::{
    self, LongPut, PutAgain, PutEdited, PutNew, RandomReads, Read, SmallFiles, SmallFilesSerial,
    Writers16,
};

use StoreKind::{Durable, Latency, Local, Memory, Minio, S3};

/// The stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoreKind {
    Memory,
    /// Memory, with this latency per request in milliseconds.
    Latency(u64),
    /// A directory, without flushing.
    Local,
    /// A directory, with flushing as by default.
    Durable,
    /// Our own S3 server, in a separate process on this machine.
    S3,
    /// MinIO, on this machine.
    Minio,
}

impl StoreKind {
    pub(crate) fn name(self) -> String {
        match self {
            Memory => "memory".to_owned(),
            Latency(ms) => format!("{ms} ms"),
            Local => "local".to_owned(),
            Durable => "local durable".to_owned(),
            S3 => "s3".to_owned(),
            Minio => "minio".to_owned(),
        }
    }
}

/// One measurement of castore, and one of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) scenario: Scenario,
    pub(crate) store: StoreKind,
    pub(crate) corpus: Corpus,
    /// The number of bytes of the corpus in use.
    pub(crate) limit: u64,
    /// The number of small files or random reads.
    pub(crate) count: usize,
}

/// A line of the table: a scenario, on these stores, with these corpora.
type Line = (Scenario, &'static [StoreKind], &'static [Corpus]);

const TABLE: [Line; 17] = [
    (PutNew, &[Local], &[Libraries, Sources, Random, Zeros]),
    (PutNew, &[Durable], &[Libraries, Sources]),
    (PutNew, &[Memory], &[Sources]),
    (PutAgain, &[Local], &[Libraries, Sources]),
    (PutAgain, &[Durable], &[Sources]),
    (PutEdited, &[Local], &[Edited]),
    (Read, &[Local], &[Libraries, Sources, Random]),
    (Read, &[Memory], &[Sources]),
    (RandomReads, &[Local, Latency(20)], &[Sources]),
    (SmallFiles, &[Local, Durable, Latency(5)], &[Sources]),
    (SmallFilesSerial, &[Local], &[Sources]),
    (Writers16, &[Local], &[Sources]),
    (PutNew, &[S3, Minio], &[Sources]),
    (PutAgain, &[S3, Minio], &[Sources]),
    (Read, &[S3, Minio], &[Sources]),
    (PutNew, &[Latency(5), Latency(20), Latency(100)], &[Sources]),
    (Read, &[Latency(5), Latency(20), Latency(100)], &[Sources]),
];

/// Measured only for the page: the case takes long, and matters only for its plot.
const LONG: Line = (LongPut, &[Local], &[Sources]);

/// All cases; with `quick`, smaller ones. `size` is that of a corpus in bytes.
pub(crate) fn all(quick: bool, with_long: bool, size: u64) -> Vec<Case> {
    let lines = TABLE.iter().chain(with_long.then_some(&LONG));
    let cases = lines.flat_map(|(scenario, stores, corpora)| {
        stores.iter().flat_map(move |store| {
            corpora.iter().map(move |corpus| case(*scenario, *store, *corpus, quick, size))
        })
    });
    // With requests of 100 ms the reference takes a minute: too long for `quick`.
    cases.filter(|case| !quick || case.store != Latency(100)).collect()
}

fn case(scenario: Scenario, store: StoreKind, corpus: Corpus, quick: bool, size: u64) -> Case {
    // With this limit the reference, which waits for every request, ends within a minute. castore
    // gets the same limit. The rate of castore grows with the size until the processors bound it,
    // and not the latency.
    let limit = match (store, scenario) {
        (Latency(_), PutNew | Read) if quick => size.min(8_000_000),
        (Latency(milliseconds), PutNew | Read) => size.min(5_000_000_000 / milliseconds),
        (Latency(_), RandomReads) => size.min(64_000_000),
        _ => size,
    };
    let count = match (scenario, store, quick) {
        (SmallFiles, Latency(_), true) => 200,
        (SmallFiles, Latency(_), false) => 2000,
        (SmallFiles | SmallFilesSerial, _, true) => 1000,
        (SmallFiles | SmallFilesSerial, _, false) => 10_000,
        (RandomReads, _, true) => 100,
        (RandomReads, Latency(_), false) => 500,
        (RandomReads, _, false) => 2000,
        _ => 0,
    };
    Case { scenario, store, corpus, limit, count }
}

impl Case {
    /// The corpus, and the limit or count if the case has a special one.
    pub(crate) fn data_name(&self, size: u64) -> String {
        let name = self.corpus.name();
        match self.scenario {
            SmallFiles | SmallFilesSerial => format!("{} files", self.count),
            RandomReads => format!("{name}, {} reads", self.count),
            _ if self.limit < size => format!("{name}, {} MB", self.limit / 1_000_000),
            _ => name.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_case_is_there_twice_and_every_scenario_once() {
        let cases = all(false, true, 512_000_000);
        for (number, case) in cases.iter().enumerate() {
            assert!(!cases[..number].contains(case), "{case:?}");
        }
        for scenario in [PutNew, PutAgain, PutEdited, Read, RandomReads, SmallFiles, Writers16] {
            assert!(cases.iter().any(|case| case.scenario == scenario), "{scenario:?}");
        }
        assert!(all(true, false, 64_000_000).len() > 25);
    }
}
