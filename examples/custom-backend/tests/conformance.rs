//! The conformance suite, with all groups that fit the backend, on a disk that can fail and crash.

mod disk;

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::{BlobService, Digest};
use castore_testsuite::{Checks, Fault, Faults, Restart, Tamper, conformance};
use custom_backend::{BLOBS, CHUNKS, RedbBlobService, Storage, Table};
use disk::Disk;
use redb::{Database, ReadableDatabase, ReadableTable};

conformance!(
    Harness::new(), tamper, faults, restart, faults_and_restart;
    without verified_ranges: "the indexes have no group hashes"
);

/// A separate storage for each case.
struct Harness {
    /// The disk, and the database on it, which all services share.
    current: Mutex<(Disk, Arc<Storage>)>,
}

impl Harness {
    fn new() -> Harness {
        Harness { current: Mutex::new(on(Disk::default())) }
    }

    fn disk(&self) -> Disk {
        self.current.lock().unwrap().0.clone()
    }

    fn storage(&self) -> Arc<Storage> {
        Arc::clone(&self.current.lock().unwrap().1)
    }
}

/// Opens the database on `disk`. The cache is off, so every read reaches the disk.
fn on(disk: Disk) -> (Disk, Arc<Storage>) {
    let backend = disk.clone();
    let opener = move || Database::builder().set_cache_size(0).create_with_backend(backend.clone());
    (disk, Arc::new(Storage::new(opener)))
}

#[async_trait]
impl castore_testsuite::Harness for Harness {
    async fn open(&self) -> Arc<dyn BlobService> {
        Arc::new(RedbBlobService::new(self.storage()))
    }
}

const TABLES: [(&str, Table); 2] = [("chunks", CHUNKS), ("blobs", BLOBS)];

/// A record is a row, named after its table and its digest.
#[async_trait]
impl Tamper for Harness {
    async fn records(&self) -> BTreeMap<String, Bytes> {
        let all = self.storage().with("list the rows", |database| {
            let transaction = database.begin_read()?;
            let mut records = BTreeMap::new();
            for (name, table) in TABLES {
                for row in transaction.open_table(table)?.iter()? {
                    let (digest, bytes) = row?;
                    let digest = Digest::from_bytes(*digest.value());
                    let bytes = Bytes::copy_from_slice(bytes.value());
                    records.insert(format!("{name} {digest}"), bytes);
                }
            }
            Ok(records)
        });
        all.expect("reading all rows")
    }

    async fn replace(&self, name: &str, data: Option<Bytes>) {
        let (name, digest) = name.split_once(' ').expect("a name from `records`");
        let digest: Digest = digest.parse().expect("a name from `records`");
        let (_, table) = TABLES.into_iter().find(|table| table.0 == name).expect("a table");
        let replaced = self.storage().with("replace a row", |database| {
            let transaction = database.begin_write()?;
            let mut rows = transaction.open_table(table)?;
            match &data {
                Some(data) => drop(rows.insert(digest.as_bytes(), &**data)?),
                None => drop(rows.remove(digest.as_bytes())?),
            }
            drop(rows);
            Ok(transaction.commit()?)
        });
        replaced.expect("replacing a row");
    }

    /// A writer compares an existing value with its own.
    fn checks(&self) -> Checks {
        Checks::Everything
    }
}

#[async_trait]
impl Faults for Harness {
    async fn fail(&self, fault: Fault) {
        self.disk().fail(fault);
    }

    async fn heal(&self) -> bool {
        self.disk().heal()
    }
}

#[async_trait]
impl Restart for Harness {
    /// Harsher than `kill -9`: unflushed data is lost, as in a power cut. Open services go on with
    /// the old disk, which no new service sees.
    async fn restart(&self) {
        let mut current = self.current.lock().unwrap();
        let after = current.0.after_a_power_cut();
        drop(mem::replace(&mut *current, on(after)));
    }
}
