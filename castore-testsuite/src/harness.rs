//! The part that a backend's author writes: services over a storage and, if the storage allows, a
//! hook for each optional group of cases.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::groups::ChainingValue;
use castore_core::{BlobIndex, BlobService};

/// Opens services over one storage.
///
/// Every service that one harness opens sees the same blobs. Each harness has its own storage,
/// empty at first, and keeps everything that the storage needs (a directory, a server). A harness
/// panics if it cannot do its part: the case then fails with its message.
///
/// Every closure that returns a service is a harness.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// Opens a service over the harness's storage, as a freshly started program would.
    async fn open(&self) -> Arc<dyn BlobService>;
}

#[async_trait]
impl<F, S> Harness for F
where
    F: Fn() -> S + Send + Sync + 'static,
    S: BlobService,
{
    async fn open(&self) -> Arc<dyn BlobService> {
        Arc::new(self())
    }
}

/// Storage that can be damaged behind the service's back: the hook of the group `tamper`.
///
/// A *record* is the backend's unit of storage: an object, a file, a row.
#[async_trait]
pub trait Tamper: Harness {
    /// Returns all records that hold blobs or parts of them. The harness chooses the names.
    async fn records(&self) -> BTreeMap<String, Bytes>;

    /// Sets the record `name` to `data`; `None` removes the record.
    ///
    /// Services that are opened later see the change. Those that are open may or may not.
    async fn replace(&self, name: &str, data: Option<Bytes>);

    /// Says which damage a writer of this backend notices before it relies on an existing record.
    fn checks(&self) -> Checks {
        Checks::Presence
    }
}

/// The damage of a record that a writer notices when it stores the same bytes again.
///
/// The contract asks for [`Presence`](Checks::Presence) at least. A backend with an option to check
/// the records it reuses has a second harness with that option, which answers
/// [`Everything`](Checks::Everything).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checks {
    /// A service that is opened after the damage notices that a record is missing or empty, and
    /// stores the record again.
    Presence,
    /// Every service notices all damage at any time, and stores damaged records again.
    Everything,
}

/// Storage whose indexes can be replaced behind the service's back: the hook of the group
/// `verified_ranges`.
///
/// The group is for a backend that stores the [group hashes](castore_core::groups) of each blob
/// with its index, and proves every range by them before it returns a byte. A backend without group
/// hashes does not claim the group.
#[async_trait]
pub trait ReplaceIndex: Harness {
    /// Stores the chunks of `index` and the list `groups` in the place of the stored index of the
    /// blob `index.digest()`.
    ///
    /// The blob is present, and so is every chunk of `index`; but the chunks, the list or both may
    /// be those of another blob, or of none. The hook encodes both as the backend would, and checks
    /// nothing. `groups` is the list to store, whatever group hashes `index` carries. An empty
    /// `groups` is a list without values, and not the lack of a list; for a blob of at most one
    /// group both are the same.
    ///
    /// Services that are opened later see the change. Those that are open may or may not.
    async fn replace_index(&self, index: &BlobIndex, groups: &[ChainingValue]);
}

/// Storage whose single operations can be made to fail: the hook of the group `faults`.
///
/// Put the hook as deep as possible, at the source of real errors. The hook must take effect: a
/// newly opened service must read from the storage, and not from a cache above the hook.
#[async_trait]
pub trait Faults: Harness {
    /// Lets operations on the storage fail from now on, as `fault` says, for every service of this
    /// harness. There is one fault at a time.
    ///
    /// The storage reports a failure to the service. The storage itself stays as it was, or changes
    /// all the same: [`Fault::done`] says which. A sync that makes changes durable is a write, and
    /// is counted and fails as one: a failed sync has made nothing durable, unless it is `done`.
    async fn fail(&self, fault: Fault);

    /// Ends the fault, and returns whether any operation has failed by it.
    async fn heal(&self) -> bool;
}

/// Which operations of a storage fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind of operation that fails.
    pub operation: Operation,
    /// The number of such operations that succeed first, counted from when the fault was set.
    pub after: usize,
    /// Whether all later ones fail too, instead of one.
    pub lasting: bool,
    /// Whether the operation takes effect all the same, as if only its confirmation were lost.
    pub done: bool,
}

/// The two kinds of operation of a service on its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Asks whether something exists, or fetches it.
    Read,
    /// Changes something.
    Write,
}

/// Storage that can crash: the hook of the group `restart`.
#[async_trait]
pub trait Restart: Harness {
    /// Ends the storage and every process that works on it without notice, as `kill -9` does, and
    /// starts it again. Returns once it can be opened.
    ///
    /// No service that was opened before can reach the storage any more: the suite neither expects
    /// such a service to work, nor believes its answers. A storage that has a notion of syncing
    /// must lose every change that was not synced: a hook that keeps such changes cannot find a
    /// service that syncs nothing. With the hook of `faults`, a change whose sync failed is lost
    /// too.
    async fn restart(&self);
}

/// Storage that can fail and crash: the hook of the group `faults_and_restart`. Every harness with
/// both hooks implements it.
pub trait FaultsAndRestart: Faults + Restart {}

impl<H: Faults + Restart> FaultsAndRestart for H {}
