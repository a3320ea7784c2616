//! One measurement: the job that a child process gets, and its answer.

use std::path::PathBuf;

use castore_chunker::Kernel;
use serde::{Deserialize, Serialize};

/// The implementation that does the measured work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Who {
    Castore,
    Reference,
}

/// The operations on a blob, or on many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scenario {
    /// Stores a blob in a store that has none of its chunks.
    PutNew,
    /// Stores the same blob once more, with a newly opened service.
    PutAgain,
    /// Stores a blob of which the store has another version.
    PutEdited,
    /// Reads all of a blob.
    Read,
    /// Reads 64 KiB at random offsets of a blob whose index is known.
    RandomReads,
    /// Stores blobs of 1 to 64 KiB: castore gets 16 at a time, the reference one.
    SmallFiles,
    /// Stores the same blobs, one at a time for both.
    SmallFilesSerial,
    /// Stores a blob in 16 parts, each as its own blob: castore gets all at once.
    #[serde(rename = "writers_16")]
    Writers16,
    /// Stores several times the corpus in one blob, to show memory over time.
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

    /// Whether the store must have the corpus, or its other version, before the clock starts.
    pub(crate) fn needs_stored(self) -> bool {
        use Scenario::{PutAgain, PutEdited, RandomReads, Read};
        matches!(self, PutAgain | PutEdited | Read | RandomReads)
    }

    /// Whether the scenario leaves the store unchanged.
    pub(crate) fn leaves_store(self) -> bool {
        use Scenario::{PutAgain, RandomReads, Read};
        matches!(self, PutAgain | Read | RandomReads)
    }
}

/// The store of a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// The child's own memory, with this latency per request.
    Memory { latency_ms: u64 },
    /// A directory.
    Local { directory: PathBuf, durable: bool },
    /// A bucket on a server in another process.
    S3 { endpoint: Endpoint, base_path: String },
}

/// The address and keys of a bucket on an S3 server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Endpoint {
    pub(crate) url: String,
    pub(crate) bucket: String,
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
}

/// The job of a child.
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
    /// The data in the store before `put_edited`.
    pub(crate) before: Option<PathBuf>,
    /// The number of bytes of the corpus in use.
    pub(crate) limit: u64,
    /// The number of small files, or of random reads.
    pub(crate) count: usize,
    /// Whether the child itself fills the store for the scenario, off the clock.
    pub(crate) prepare: bool,
}

/// A part of the work.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ComponentJob {
    pub(crate) component: Component,
    pub(crate) corpus: PathBuf,
    pub(crate) limit: u64,
}

/// The parts of the work, on one thread unless stated otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Component {
    /// Cuts pieces as they arrive, like a writer, with the kernel chosen for this processor.
    Cut,
    /// Cuts with the `fastcdc` crate.
    CutFastcdc,
    /// Cuts with the `gearhash` crate and FastCDC's table.
    CutGearhash,
    /// Cuts with the portable kernel.
    CutLanes,
    /// Cuts with the kernel for AVX-512 VBMI.
    CutVbmi,
    /// Cuts on two threads.
    #[serde(rename = "cut_2_threads")]
    CutTwoThreads,
    Digest,
    Compress,
    Decompress,
    IndexEncode,
    IndexDecode,
    Memcpy,
    /// The whole CPU work of putting new data, on all processors at once: cutting, two digests,
    /// compression.
    PutWork,
    /// The same for known data: without compression.
    AgainWork,
    /// The same for a read: decompression, two digests.
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

    /// Whether this processor supports the kernel.
    pub(crate) fn can_run(self) -> bool {
        self.kernel().is_none_or(|name| Kernel::available().any(|kernel| kernel.name() == name))
    }

    /// The name of the kernel to measure.
    pub(crate) fn kernel(self) -> Option<&'static str> {
        match self {
            Component::CutLanes => Some("lanes"),
            Component::CutVbmi => Some("avx512-vbmi"),
            _ => None,
        }
    }
}

/// Another program to run and watch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct PeerJob {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) directory: PathBuf,
    /// The bytes that the program must store or restore.
    pub(crate) bytes: u64,
    /// The directory whose size counts as stored bytes.
    pub(crate) repository: PathBuf,
}

/// Requests to a store, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Requests {
    pub(crate) head: u64,
    pub(crate) get: u64,
    pub(crate) put: u64,
}

/// The result of a single measurement.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Outcome {
    pub(crate) wall_seconds: f64,
    /// User and system time; absent if the system does not report it.
    pub(crate) cpu_seconds: Option<f64>,
    /// The peak of resident memory, beyond the memory resident when the clock started.
    pub(crate) peak_bytes: Option<u64>,
    /// The bytes of data put or read.
    pub(crate) bytes: u64,
    /// The number of blobs put, or of reads.
    pub(crate) operations: u64,
    pub(crate) requests: Option<Requests>,
    /// The total bytes in the store afterwards.
    pub(crate) stored_bytes: Option<u64>,
    pub(crate) chunks: Option<u64>,
    /// The error in the answers, if any.
    pub(crate) wrong: Option<String>,
    /// Seconds since the start, and resident bytes beyond those at the start.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) memory: Vec<(f64, u64)>,
}
