//! One measurement: what a child process is told to do, and what it answers.

use std::path::PathBuf;

use castore_chunker::Kernel;
use serde::{Deserialize, Serialize};

/// Who does the work that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    Castore,
    Reference,
}

/// What is done with a blob, or many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// A blob into a store that has nothing of it.
    PutNew,
    /// The same blob once more, by a service that has just been opened.
    PutAgain,
    /// A blob of which the store has another version.
    PutEdited,
    /// All of a blob.
    Read,
    /// 64 KiB at random places of a blob whose index is known.
    RandomReads,
    /// Blobs of 1 to 64 KiB: castore is given 16 at a time, the reference one.
    SmallFiles,
    /// The same, one at a time for both.
    SmallFilesSerial,
    /// A blob in 16 parts, each a blob of its own: castore is given all at once.
    #[serde(rename = "writers_16")]
    Writers16,
    /// Several times as much as the corpus in one blob, to see memory over time.
    LongPut,
}

impl Scenario {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::PutNew => "put_new",
            Scenario::PutAgain => "put_again",
            Scenario::PutEdited => "put_edited",
            Scenario::Read => "read",
            Scenario::RandomReads => "random_reads",
            Scenario::SmallFiles => "small_files",
            Scenario::SmallFilesSerial => "small_files_1",
            Scenario::Writers16 => "writers_16",
            Scenario::LongPut => "long_put",
        }
    }

    /// Whether the corpus, or its other version, has to be in the store before the clock starts.
    pub(crate) fn needs_stored(self) -> bool {
        use Scenario::{PutAgain, PutEdited, RandomReads, Read};
        matches!(self, PutAgain | PutEdited | Read | RandomReads)
    }

    /// Whether the store is afterwards as it was before.
    pub(crate) fn leaves_store(self) -> bool {
        use Scenario::{PutAgain, RandomReads, Read};
        matches!(self, PutAgain | Read | RandomReads)
    }
}

/// Where a child finds its store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// Memory of the child; every request takes so many milliseconds.
    Memory { latency_ms: u64 },
    /// A directory.
    Local { directory: PathBuf, durable: bool },
    /// A bucket of a server in another process.
    S3 { endpoint: Endpoint, base_path: String },
}

/// How a bucket of an S3 server is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) bucket: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// What a child is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Job {
    Scenario(ScenarioJob),
    Component(ComponentJob),
    Peer(PeerJob),
}

/// A scenario, on a store.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ScenarioJob {
    pub(crate) who: Who,
    pub(crate) scenario: Scenario,
    pub(crate) place: Place,
    pub(crate) corpus: PathBuf,
    /// What is in the store before `put_edited`.
    pub(crate) before: Option<PathBuf>,
    /// How many bytes of the corpus are used.
    pub(crate) limit: u64,
    /// How many small files, or random reads.
    pub(crate) count: usize,
    /// Whether the child itself fills the store that the scenario needs, off the clock.
    pub(crate) prepare: bool,
}

/// A part of the work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ComponentJob {
    pub(crate) component: Component,
    pub(crate) corpus: PathBuf,
    pub(crate) limit: u64,
}

/// The parts that the work consists of, on one thread unless they say otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Component {
    /// As a writer cuts: what arrives in pieces, with the kernel that is chosen.
    Cut,
    /// By the `fastcdc` crate.
    CutFastcdc,
    /// By the `gearhash` crate with FastCDC's table.
    CutGearhash,
    /// By the kernel for every processor.
    CutLanes,
    /// By the kernel for AVX-512 VBMI.
    CutVbmi,
    /// On two threads.
    #[serde(rename = "cut_2_threads")]
    CutTwoThreads,
    Digest,
    Compress,
    Decompress,
    IndexEncode,
    IndexDecode,
    Memcpy,
    /// All that is to be done with the bytes to put something new, on all processors at once: cutting,
    /// two digests, compression.
    PutWork,
    /// The same for what is known: without compression.
    AgainWork,
    /// The same to read: decompression, two digests.
    ReadWork,
}

impl Component {
    pub(crate) const ALL: [Component; 15] = [
        Component::Cut,
        Component::CutFastcdc,
        Component::CutGearhash,
        Component::CutLanes,
        Component::CutVbmi,
        Component::CutTwoThreads,
        Component::Digest,
        Component::Compress,
        Component::Decompress,
        Component::IndexEncode,
        Component::IndexDecode,
        Component::Memcpy,
        Component::PutWork,
        Component::AgainWork,
        Component::ReadWork,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Component::Cut => "cut",
            Component::CutFastcdc => "cut_fastcdc",
            Component::CutGearhash => "cut_gearhash",
            Component::CutLanes => "cut_lanes",
            Component::CutVbmi => "cut_avx512_vbmi",
            Component::CutTwoThreads => "cut_2_threads",
            Component::Digest => "digest",
            Component::Compress => "compress",
            Component::Decompress => "decompress",
            Component::IndexEncode => "index_encode",
            Component::IndexDecode => "index_decode",
            Component::Memcpy => "memcpy",
            Component::PutWork => "put_work",
            Component::AgainWork => "again_work",
            Component::ReadWork => "read_work",
        }
    }

    /// Whether this processor has what it takes.
    pub(crate) fn can_run(self) -> bool {
        self.kernel().is_none_or(|name| Kernel::available().any(|kernel| kernel.name() == name))
    }

    /// The name of the kernel that it is about.
    pub(crate) fn kernel(self) -> Option<&'static str> {
        match self {
            Component::CutLanes => Some("lanes"),
            Component::CutVbmi => Some("avx512-vbmi"),
            _ => None,
        }
    }
}

/// A program that is run and watched.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PeerJob {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    /// What the program is to have stored or restored, in bytes.
    pub(crate) bytes: u64,
    /// The directory whose size is what is stored.
    pub(crate) repository: PathBuf,
}

/// Requests to a store, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    pub(crate) head: u64,
    pub(crate) get: u64,
    pub(crate) put: u64,
}

/// What came of a measurement, once.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) wall_seconds: f64,
    /// User and system; absent where the system does not tell.
    pub(crate) cpu_seconds: Option<f64>,
    /// The most memory resident, beyond what was resident when the clock started.
    pub(crate) peak_bytes: Option<u64>,
    /// The bytes of data that were put or read.
    pub(crate) bytes: u64,
    /// Blobs put, or reads; more than 1 where there are many.
    pub(crate) operations: u64,
    pub(crate) requests: Option<Requests>,
    /// All bytes in the store afterwards.
    pub(crate) stored_bytes: Option<u64>,
    pub(crate) chunks: Option<u64>,
    /// What was wrong with the answers; nothing where they were right.
    pub(crate) wrong: Option<String>,
    /// Seconds since the start, and bytes resident beyond those at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) memory: Vec<(f64, u64)>,
}
