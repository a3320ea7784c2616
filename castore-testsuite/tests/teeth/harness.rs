//! The harness: services with at most one flaw, over records that can be damaged, fail and crash.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::BlobService;
use castore_testsuite::{Checks, Fault, Faults, Harness, Restart, Tamper};

use crate::flaw::Flaw;
use crate::records::{Records, locked};
use crate::service::Service;

/// Opens services that have the flaw over one storage.
pub(crate) struct Subject {
    flaw: Option<Flaw>,
    /// Replaced by a crash. Services opened before the crash keep their old records.
    records: Mutex<Arc<Records>>,
}

impl Subject {
    pub(crate) fn new(flaw: Option<Flaw>) -> Subject {
        Subject { flaw, records: Mutex::default() }
    }

    fn current(&self) -> Arc<Records> {
        Arc::clone(&locked(&self.records))
    }
}

#[async_trait]
impl Harness for Subject {
    async fn open(&self) -> Arc<dyn BlobService> {
        Arc::new(Service::open(self.flaw, self.current()))
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
