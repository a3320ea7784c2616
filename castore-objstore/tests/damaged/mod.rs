//! A store with known damage, for verifications to find and repairs to undo.
//!
//! The test programs that include this module bring the store ([`Subject`]).

pub(crate) mod refusing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use castore_core::{BlobIndex, BlobService, ChunkMeta, Digest};
use castore_objstore::repair::{RepairOptions, RepairOutcome};
use castore_objstore::verify::{
    Finding, Problem, Verified, VerifyLevel, VerifyOptions, VerifyReport,
};
use castore_objstore::{Builder, ChunkParams, ObjectStoreBlobService};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use self::refusing::Refusing;

/// A store to damage, empty at first.
pub(crate) struct Subject {
    store: Arc<dyn ObjectStore>,
    base: String,
    kind: Kind,
}

enum Kind {
    /// Any object store, in a wrapper that can refuse some objects.
    Objects(Refusing),
    /// A directory, in which files can be left.
    Directory(PathBuf),
}

impl Subject {
    /// Any store; all objects lie under `base`.
    pub(crate) fn of_store(store: Arc<dyn ObjectStore>, base: &str) -> Subject {
        let refusing = Refusing::over(Arc::clone(&store));
        Subject { store, base: base.to_owned(), kind: Kind::Objects(refusing) }
    }

    /// A local store in this directory; `store` reaches the same directory.
    pub(crate) fn of_directory(path: PathBuf, store: Arc<dyn ObjectStore>, base: &str) -> Subject {
        Subject { store, base: base.to_owned(), kind: Kind::Directory(path) }
    }

    /// A new service that knows nothing yet of the store's objects.
    pub(crate) fn service(&self) -> ObjectStoreBlobService {
        self.builder().build().expect("a service")
    }

    pub(crate) fn builder(&self) -> Builder {
        let builder = match &self.kind {
            Kind::Objects(store) => ObjectStoreBlobService::builder(Arc::new(store.clone())),
            Kind::Directory(path) => ObjectStoreBlobService::local(path).durable(false),
        };
        builder.base_path(self.base.clone()).chunk_params(tiny())
    }

    pub(crate) fn key(&self, part: &str, digest: &Digest) -> Path {
        self.path(&format!("{part}/b3/{digest:.4}/{digest}"))
    }

    fn path(&self, key: &str) -> Path {
        Path::from(format!("{}/{key}", self.base).trim_start_matches('/'))
    }

    pub(crate) async fn object(&self, key: &Path) -> Bytes {
        self.store.get(key).await.unwrap().bytes().await.unwrap()
    }

    /// The wrapper of a store other than a directory.
    pub(crate) fn wrapper(&self) -> &Refusing {
        match &self.kind {
            Kind::Objects(store) => store,
            Kind::Directory(_) => panic!("a directory has none"),
        }
    }

    pub(crate) async fn overwrite(&self, key: &Path, object: impl Into<Bytes>) {
        self.store.put(key, object.into().into()).await.unwrap();
    }

    pub(crate) async fn remove(&self, key: &Path) {
        self.store.delete(key).await.unwrap();
    }
}

/// Parameters for the smallest possible chunks.
pub(crate) fn tiny() -> ChunkParams {
    ChunkParams::new(64, 256, 1024).expect("these are the limits")
}

/// Pseudorandom numbers that are the same each time.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit as u64) as usize
    }

    fn take<T>(&mut self, from: &mut Vec<T>) -> T {
        let at = self.below(from.len());
        from.swap_remove(at)
    }
}

/// A store with blobs, a good copy of it, and the damage done.
pub(crate) struct Damaged {
    pub(crate) subject: Subject,
    pub(crate) blobs: BTreeMap<Digest, Bytes>,
    /// A good store with the same blobs.
    pub(crate) twin: ObjectStoreBlobService,
    /// The keys and problems that a verification of whole blobs must find, and no others.
    pub(crate) expected: BTreeMap<String, Vec<Problem>>,
    /// The keys of problems that only reading chunks or whole blobs can find.
    pub(crate) deep: BTreeSet<String>,
}

/// The number of blobs of each kind: the blobs of one kind get damaged chunks, those of the other
/// damaged indexes.
const BLOBS: usize = 30;

impl Damaged {
    /// Stores blobs, and damages nothing.
    pub(crate) async fn new(subject: Subject, seed: u64) -> Damaged {
        let twin = ObjectStoreBlobService::builder(Arc::new(InMemory::new()));
        let twin = twin.chunk_params(tiny()).build().unwrap();
        let service = subject.service();
        let mut blobs = BTreeMap::new();
        for half in 0..2 {
            let shared = noise(&format!("{seed} {half} shared"), 10_000);
            for number in 0..BLOBS {
                let own = noise(&format!("{seed} {half} {number}"), 3_000 + 250 * number);
                // Some blobs have a single chunk, and some have most of their chunks in common.
                let data = match number % 3 {
                    0 => [&own[..], &shared].concat().into(),
                    1 => own,
                    _ => own.slice(..60),
                };
                for service in [&service, &twin] {
                    blobs.insert(put(service, &data).await, data.clone());
                }
            }
        }
        let (expected, deep) = (BTreeMap::new(), BTreeSet::new());
        Damaged { subject, blobs, twin, expected, deep }
    }

    /// Damages 100 objects, each in one way.
    pub(crate) async fn damage(&mut self, seed: u64) {
        let mut random = Random::new(seed);
        let service = self.subject.service();
        let mut indexes = Vec::new();
        for blob in self.blobs.keys() {
            indexes.push(service.chunks(blob).await.unwrap().unwrap());
        }
        // A bad chunk would hide the problem of an index that lists it, and the other way round: so
        // no blob has both.
        let shares = |a: &BlobIndex, b: &BlobIndex| {
            a.iter().any(|chunk| b.iter().any(|other| other.digest == chunk.digest))
        };
        let long = indexes.iter().max_by_key(|index| index.len()).unwrap().clone();
        let is_alone: Vec<bool> = indexes
            .iter()
            .map(|index| indexes.iter().filter(|other| shares(index, other)).count() == 1)
            .collect();
        let (with_bad_chunks, mut with_bad_indexes): (Vec<_>, Vec<_>) =
            indexes.into_iter().enumerate().partition(|(number, index)| {
                shares(index, &long) || (is_alone[*number] && number % 4 == 0)
            });
        let chunks: BTreeSet<Digest> = with_bad_chunks
            .iter()
            .flat_map(|(_, index)| index.iter().map(|chunk| chunk.digest).collect::<Vec<_>>())
            .collect();
        let mut chunks: Vec<Digest> = chunks.into_iter().collect();

        for number in 0..70 {
            let digest = random.take(&mut chunks);
            self.damage_chunk(&digest, number % 7, &mut random).await;
        }
        with_bad_indexes.retain(|(_, index)| index.len() > 3);
        for number in 0..20 {
            let (_, index) = random.take(&mut with_bad_indexes);
            self.damage_index(&index, number % 5, &mut random).await;
        }
        for number in 0..10 {
            self.leave_other_objects(number, &mut chunks, &mut random).await;
        }
        assert_eq!(self.expected.len(), 100);
    }

    fn expect(&mut self, key: &Path, problems: &[Problem], deep: bool) {
        let key = key.to_string();
        assert!(self.expected.insert(key.clone(), problems.to_vec()).is_none(), "{key} twice");
        if deep {
            self.deep.insert(key);
        }
    }

    async fn damage_chunk(&mut self, digest: &Digest, how: usize, random: &mut Random) {
        let key = self.subject.key("chunks", digest);
        let object = self.subject.object(&key).await;
        let (damaged, problems, deep): (Option<Bytes>, &[Problem], bool) = match how {
            0 => (None, &[Problem::MissingChunk], false),
            1 => (Some(Bytes::new()), &[Problem::EmptyChunk], false),
            2 => {
                let len = 1 + random.below(object.len() - 1);
                (Some(object.slice(..len)), &[Problem::TruncatedChunk], true)
            }
            3 => {
                let flipped = flipped(&object, digest, random);
                // If the flipped bit is in the length of a block, the object looks cut short.
                (Some(flipped), &[Problem::CorruptChunk, Problem::TruncatedChunk], true)
            }
            4 => {
                let other = zstd::bulk::compress(b"another chunk", 3).unwrap();
                (Some(other.into()), &[Problem::CorruptChunk], true)
            }
            5 => {
                let garbage = [&object[..], b"garbage"].concat();
                (Some(garbage.into()), &[Problem::CorruptChunk, Problem::TruncatedChunk], true)
            }
            _ => {
                let large = noise("large", 100_000);
                (Some(large), &[Problem::CorruptChunk], false)
            }
        };
        match damaged {
            Some(object) => self.subject.overwrite(&key, object).await,
            None => self.subject.store.delete(&key).await.unwrap(),
        }
        self.expect(&key, problems, deep);
    }

    async fn damage_index(&mut self, index: &BlobIndex, how: usize, random: &mut Random) {
        let blob = index.digest();
        let key = self.subject.key("blobs", &blob);
        let object = self.subject.object(&key).await;
        let mut chunks: Vec<ChunkMeta> = index.iter().collect();
        let at = random.below(chunks.len() - 1);
        let (damaged, problem, deep): (Bytes, _, _) = match how {
            0 => (noise(&format!("{blob}"), 300), Problem::MalformedIndex, false),
            1 => {
                // The cut lies within an entry: at an entry's end, the index would still decode.
                let mut len = object.len() * at / chunks.len() + 1;
                while castore_proto::decode(&blob, &object[..len]).is_ok() {
                    len += 1;
                }
                (object.slice(..len), Problem::MalformedIndex, false)
            }
            2 => {
                chunks[at].size += 1;
                (encoded(blob, &chunks), Problem::WrongSize, true)
            }
            3 => {
                chunks.swap(at, at + 1);
                (encoded(blob, &chunks), Problem::WrongDigest, true)
            }
            _ => {
                chunks.pop();
                (encoded(blob, &chunks), Problem::WrongDigest, true)
            }
        };
        self.subject.overwrite(&key, damaged).await;
        self.expect(&key, &[problem], deep);
    }

    /// Leaves strays, and objects that only some stores can have.
    async fn leave_other_objects(
        &mut self,
        number: usize,
        chunks: &mut Vec<Digest>,
        random: &mut Random,
    ) {
        let digest = Digest::of(&number.to_le_bytes());
        let stray = match number {
            0 => format!("chunks/b3/0000/{digest}"),
            1 => format!("chunks/b4/{digest:.4}/{digest}"),
            2 => format!("chunks/b3/{digest:.4}/{}", digest.to_string().to_uppercase()),
            3 => "blobs/README".to_owned(),
            4 => format!("blobs/b3/{digest:.4}/{digest}.tmp"),
            _ => String::new(),
        };
        if !stray.is_empty() {
            let key = self.subject.path(&stray);
            self.subject.overwrite(&key, "something").await;
            // A directory without objects of the format is one stray, whatever is in it.
            let shown = match (number, &self.subject.kind) {
                (1, Kind::Directory(_)) => self.subject.path("chunks/b4"),
                _ => key,
            };
            return self.expect(&shown, &[Problem::Stray], false);
        }
        let chunk = random.take(chunks);
        let key = self.subject.key("chunks", &chunk);
        match &self.subject.kind {
            Kind::Objects(store) => {
                store.refuse(&key);
                self.expect(&key, &[Problem::UnreadableChunk], true);
            }
            Kind::Directory(path) => {
                let key = Path::parse(format!("{key}#{number}")).unwrap();
                let file = std::fs::File::create(path.join(key.as_ref())).unwrap();
                file.set_modified(SystemTime::now() - Duration::from_secs(7200)).unwrap();
                self.expect(&key, &[Problem::Leftover], false);
            }
        }
    }

    /// Checks that a verification finds each expected problem once, and nothing else.
    pub(crate) async fn assert_found(&self, level: VerifyLevel) {
        let (report, findings) = verify(&self.subject.service(), level).await;
        let found = by_key(&findings);
        for (key, problem) in &found {
            let problems = self.expected.get(key);
            let problems = problems.unwrap_or_else(|| panic!("{key} is good, and not {problem}"));
            assert!(problems.contains(problem), "{key}: {problem}, not {problems:?}");
        }
        let everything = level == VerifyLevel::Blob;
        for (key, problems) in &self.expected {
            let found = found.contains_key(key);
            // Indexes that state different sizes are noticed before chunks are read.
            let deep = !everything && self.deep.contains(key);
            assert!(found || deep, "{key}: {problems:?} was not found");
            assert!(!found || !deep || problems.contains(&Problem::WrongSize), "{key}");
        }
        assert_eq!(findings.len(), found.len(), "one finding for each");
        let damaged = findings.iter().filter(|finding| finding.is_damage()).count() as u64;
        let unknown = findings.iter().filter(|finding| finding.is_unknown()).count() as u64;
        let counted = (report.damaged, report.unknown, report.harmless);
        assert_eq!(counted, (damaged, unknown, findings.len() as u64 - damaged - unknown));
        let in_blobs = |finding: &&Finding| finding.is_damage() || finding.is_unknown();
        for finding in findings.iter().filter(in_blobs) {
            assert!(finding.blob_count > 0 && !finding.blobs.is_empty(), "{finding}");
            assert!(finding.blobs.iter().all(|blob| self.blobs.contains_key(blob)), "{finding}");
        }
    }

    /// Repairs the store, and returns the outcomes by key.
    pub(crate) async fn repair(&self, options: RepairOptions) -> BTreeMap<String, RepairOutcome> {
        let mut outcomes = BTreeMap::new();
        let each = |finding: &Finding, outcome: &RepairOutcome| {
            outcomes.insert(finding.key.clone(), outcome.clone());
        };
        let options = options.level(VerifyLevel::Blob);
        let report = self.subject.service().repair(&options, &(), each).await.unwrap();
        let count =
            |name| outcomes.values().filter(|outcome| outcome.name() == name).count() as u64;
        assert_eq!(report.repaired, count("repaired"));
        assert_eq!(report.quarantined, count("quarantined"));
        assert_eq!((report.lost, report.removed), (count("lost"), count("removed")));
        assert_eq!((report.failed, report.not_known), (count("failed"), count("not-known")));
        outcomes
    }

    /// Checks that a repair with `options` repairs all damage, and that a further one has nothing
    /// to do.
    pub(crate) async fn assert_repaired_from(&self, options: RepairOptions) {
        let outcomes = self.repair(options.clone()).await;
        assert_eq!(outcomes.len(), self.expected.len());
        for (key, outcome) in &outcomes {
            let expected = match self.expected[key][0] {
                Problem::Stray => "left",
                Problem::Leftover => "removed",
                _ => "repaired",
            };
            assert_eq!(outcome.name(), expected, "{key}: {outcome:?}");
        }
        self.assert_whole().await;
        let again = self.repair(options).await;
        assert!(again.values().all(|outcome| outcome.name() == "left"), "{again:?}");
    }

    /// All objects of the store.
    pub(crate) async fn objects(&self) -> BTreeMap<Path, Bytes> {
        use futures_util::TryStreamExt;
        let keys: Vec<_> = self.subject.store.list(None).try_collect().await.unwrap();
        let mut objects = BTreeMap::new();
        for key in keys {
            let object = self.subject.object(&key.location).await;
            objects.insert(key.location, object);
        }
        objects
    }

    /// Checks that the store has no damage, and that every blob reads back.
    pub(crate) async fn assert_whole(&self) {
        let (report, findings) = verify(&self.subject.service(), VerifyLevel::Blob).await;
        assert!(report.is_good(), "{findings:?}");
        assert!(findings.iter().all(|finding| finding.problem == Problem::Stray), "{findings:?}");
        let service = self.subject.service();
        for (digest, data) in &self.blobs {
            assert_eq!(read(&service, digest).await, data, "{digest}");
        }
    }
}

pub(crate) async fn verify(
    service: &ObjectStoreBlobService,
    level: VerifyLevel,
) -> (VerifyReport, Vec<Finding>) {
    verify_with(service, &VerifyOptions::default().level(level)).await
}

pub(crate) async fn verify_with(
    service: &ObjectStoreBlobService,
    options: &VerifyOptions,
) -> (VerifyReport, Vec<Finding>) {
    let mut findings = Vec::new();
    let each = |event| {
        if let Verified::Finding(finding) = event {
            findings.push(finding);
        }
    };
    let report = service.verify(options, &(), each).await.unwrap();
    (report, findings)
}

pub(crate) fn by_key(findings: &[Finding]) -> BTreeMap<String, Problem> {
    findings.iter().map(|finding| (finding.key.clone(), finding.problem)).collect()
}

pub(crate) async fn put(service: &ObjectStoreBlobService, data: &Bytes) -> Digest {
    let mut writer = service.open_write().await.unwrap();
    writer.write_bytes(data.clone()).await.unwrap();
    writer.close().await.unwrap()
}

async fn read(service: &ObjectStoreBlobService, digest: &Digest) -> Bytes {
    use futures_util::TryStreamExt;
    let reader = service.open_read(digest).await.unwrap().expect("the blob is there");
    let pieces: Vec<Bytes> = reader.read_range(0..reader.size()).try_collect().await.unwrap();
    pieces.concat().into()
}

/// The object with one bit flipped, such that it is no longer the chunk: some bits of a zstd frame
/// have no meaning.
fn flipped(object: &Bytes, digest: &Digest, random: &mut Random) -> Bytes {
    loop {
        let mut flipped = object.to_vec();
        let at = random.below(object.len());
        flipped[at] ^= 1 << random.below(8);
        match zstd::bulk::decompress(&flipped, 1 << 20) {
            Ok(chunk) if Digest::of(&chunk) == *digest => {}
            _ => return flipped.into(),
        }
    }
}

fn encoded(blob: Digest, chunks: &[ChunkMeta]) -> Bytes {
    castore_proto::encode(&BlobIndex::new(blob, chunks.to_vec()).unwrap())
}

pub(crate) fn noise(seed: &str, len: usize) -> Bytes {
    let mut data = vec![0; len];
    blake3::Hasher::new().update(seed.as_bytes()).finalize_xof().fill(&mut data);
    data.into()
}
