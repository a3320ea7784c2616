//! The harness: services with at most one flaw, over records that can be damaged, fail and crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::groups::ChainingValue;
use castore_core::{BlobIndex, BlobService};
use castore_testsuite::{Checks, Fault, Faults, Harness, ReplaceIndex, Restart, Tamper};

use crate::flaw::Flaw;
use crate::index::encode;
use crate::records::{Records, blob_name, locked};
use crate::service::Service;

/// The tested service: sound except for its flaw, with verified ranges or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) flaw: Option<Flaw>,
    /// Whether the service stores group hashes, and proves every range by them.
    pub(crate) proves: bool,
}

impl Kind {
    pub(crate) const SOUND: Kind = Kind { flaw: None, proves: true };

    /// The sound service in which the flaws that are not of verified ranges are put.
    pub(crate) const SOUND_WITHOUT_GROUPS: Kind = Kind { flaw: None, proves: false };

    pub(crate) fn with(flaw: Flaw) -> Kind {
        Kind { flaw: Some(flaw), proves: flaw.is_of_verified_ranges() }
    }
}

/// Opens services of one kind over one storage.
pub(crate) struct Subject {
    kind: Kind,
    /// Replaced by a crash. Services opened before the crash keep their old records.
    records: Mutex<Arc<Records>>,
}

impl Subject {
    pub(crate) fn new(kind: Kind) -> Subject {
        Subject { kind, records: Mutex::default() }
    }

    fn current(&self) -> Arc<Records> {
        Arc::clone(&locked(&self.records))
    }
}

#[async_trait]
impl Harness for Subject {
    async fn open(&self) -> Arc<dyn BlobService> {
        Arc::new(Service::open(self.kind, self.current()))
    }
}

#[async_trait]
impl Tamper for Subject {
    async fn records(&self) -> BTreeMap<String, Bytes> {
        let mut records = self.current().all();
        records.retain(|name, _| name.starts_with("blob/") || name.starts_with("chunk/"));
        records
    }

    async fn replace(&self, name: &str, data: Option<Bytes>) {
        self.current().replace(name, data);
    }

    fn checks(&self) -> Checks {
        Checks::Everything
    }
}

#[async_trait]
impl ReplaceIndex for Subject {
    async fn replace_index(&self, index: &BlobIndex, groups: &[ChainingValue]) {
        let record = encode(index, groups);
        self.current().replace(&blob_name(&index.digest()), Some(record));
    }
}

#[async_trait]
impl Faults for Subject {
    async fn fail(&self, fault: Fault) {
        self.current().fail(fault);
    }

    async fn heal(&self) -> bool {
        self.current().heal()
    }
}

#[async_trait]
impl Restart for Subject {
    async fn restart(&self) {
        let mut records = locked(&self.records);
        *records = Arc::new(records.after_crash());
    }
}
