//! The storage: records by name, whose single operations can be made to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use castore_core::{Digest, Error, ErrorKind, Result};
use castore_testsuite::{Fault, Operation};

/// The name of the record that holds the index of a blob.
pub(crate) fn blob_name(digest: &Digest) -> String {
    format!("blob/{digest}")
}

/// The name of the record that holds a chunk.
pub(crate) fn chunk_name(digest: &Digest) -> String {
    format!("chunk/{digest}")
}

/// Locks, even after a panic: the cases handle the panics of a flaw.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The records of one harness, between two crashes.
#[derive(Debug, Default)]
pub(crate) struct Records(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<String, Bytes>,
    /// The records that survive a crash: those that were synced.
    safe: BTreeMap<String, Bytes>,
    fault: Option<Armed>,
    /// The record that a crash removes, for `AcknowledgesTooEarly`.
    unsafe_record: Option<String>,
    /// The blobs that are being published, for `ConflictsWithItsTwin`.
    publishing: BTreeSet<Digest>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    /// The number of operations of the fault's kind since it was set.
    seen: usize,
    struck: bool,
}

impl Records {
    /// Reads the record `name`: an operation, which can fail.
    pub(crate) fn get(&self, name: &str) -> Result<Option<Bytes>> {
        let mut state = locked(&self.0);
        state.operation(Operation::Read)?;
        Ok(state.records.get(name).cloned())
    }

    /// Writes the record `name`: an operation, which can fail.
    pub(crate) fn put(&self, name: &str, data: Bytes) -> Result<()> {
        self.change(|state| {
            state.records.insert(name.to_owned(), data);
        })
    }

    /// Removes the record `name`: an operation, which can fail.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.change(|state| {
            state.records.remove(name);
            state.safe.remove(name);
        })
    }

    /// Makes these records survive a crash: an operation, which can fail.
    pub(crate) fn sync(&self, names: &[String]) -> Result<()> {
        self.change(|state| {
            for name in names {
                if let Some(data) = state.records.get(name) {
                    state.safe.insert(name.clone(), data.clone());
                }
            }
        })
    }

    /// Applies `change`, unless the fault makes it fail without effect.
    fn change(&self, change: impl FnOnce(&mut State)) -> Result<()> {
        let mut state = locked(&self.0);
        let is_done = state.fault.as_ref().is_some_and(|armed| armed.fault.done);
        let result = state.operation(Operation::Write);
        if result.is_ok() || is_done {
            change(&mut state);
        }
        result
    }

    /// The records as a crash now would leave them.
    pub(crate) fn after_crash(&self) -> Records {
        let state = locked(&self.0);
        let mut records = state.safe.clone();
        if let Some(name) = &state.unsafe_record {
            records.remove(name);
        }
        Records(Mutex::new(State { safe: records.clone(), records, ..State::default() }))
    }

    /// All records, read behind the services' back.
    pub(crate) fn all(&self) -> BTreeMap<String, Bytes> {
        locked(&self.0).records.clone()
    }

    /// Writes or removes a record behind the services' back.
    pub(crate) fn replace(&self, name: &str, data: Option<Bytes>) {
        let mut state = locked(&self.0);
        let State { records, safe, .. } = &mut *state;
        match data {
            Some(data) => {
                records.insert(name.to_owned(), data.clone());
                safe.insert(name.to_owned(), data);
            }
            None => {
                records.remove(name);
                safe.remove(name);
            }
        }
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        locked(&self.0).records.contains_key(name)
    }

    pub(crate) fn fail(&self, fault: Fault) {
        locked(&self.0).fault = Some(Armed { fault, seen: 0, struck: false });
    }

    pub(crate) fn heal(&self) -> bool {
        locked(&self.0).fault.take().is_some_and(|armed| armed.struck)
    }

    /// Makes a crash remove this record, until another one takes its place.
    pub(crate) fn make_unsafe(&self, name: String) {
        locked(&self.0).unsafe_record = Some(name);
    }

    /// Claims a blob for one writer at a time, until the claim is dropped.
    pub(crate) fn claim(self: &Arc<Self>, digest: Digest) -> Result<Claim> {
        if locked(&self.0).publishing.insert(digest) {
            return Ok(Claim { records: Arc::clone(self), digest });
        }
        Err(Error::new(ErrorKind::Other, "close", "another writer is publishing this blob"))
    }
}

impl State {
    fn operation(&mut self, operation: Operation) -> Result<()> {
        let Some(armed) = self.fault.as_mut().filter(|armed| armed.fault.operation == operation)
        else {
            return Ok(());
        };
        let seen = armed.seen;
        armed.seen += 1;
        if seen == armed.fault.after || (seen > armed.fault.after && armed.fault.lasting) {
            armed.struck = true;
            return Err(Error::new(ErrorKind::Unavailable, "reach the storage", "a fault is set"));
        }
        Ok(())
    }
}

/// See [`Records::claim`].
pub(crate) struct Claim {
    records: Arc<Records>,
    digest: Digest,
}

impl Drop for Claim {
    fn drop(&mut self) {
        locked(&self.records.0).publishing.remove(&self.digest);
    }
}
