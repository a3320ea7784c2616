//! The part of a backend's author: services over a storage, and where the storage allows it, a
//! hook for each optional group of cases.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use castore_core::BlobService;

/// Opens services over one storage.
///
/// Every service that one harness opens sees the same blobs, and each harness has a storage of its
/// own, empty at first. What has to be kept for that (a directory, a server) the harness keeps.
/// A harness panics over what it cannot do: the case fails with its message.
///
/// Every closure that returns a service is a harness.
#[async_trait]
pub trait Harness: Send + Sync + 'static {
    /// A service over the harness's storage, as a program that has just started would open it.
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
/// A *record* is whatever the backend keeps one by one: an object, a file, a row.
#[async_trait]
pub trait Tamper: Harness {
    /// All records that hold blobs or parts of them, by a name of the harness's choice.
    async fn records(&self) -> BTreeMap<String, Bytes>;

    /// Puts `data` where the record `name` is, or was; `None` removes it.
    ///
    /// Services that are opened later see the change. Those that are open may or may not.
    async fn replace(&self, name: &str, data: Option<Bytes>);

    /// Which damage a writer of this backend notices before it relies on a record that is there.
    fn checks(&self) -> Checks {
        Checks::Presence
    }
}

/// Which damage of a record a writer notices when it stores the same bytes again.
///
/// The contract asks for [`Presence`](Checks::Presence) at least. A backend that can check the records it
/// reuses has a second harness, with that option, which answers [`Everything`](Checks::Everything).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checks {
    /// A service that is opened after the damage notices that a record is missing or empty, and
    /// stores it again.
    Presence,
    /// Every service notices all damage at any time, and stores what is damaged again.
    Everything,
}

/// Storage of which single operations can be made to fail: the hook of the group `faults`.
///
/// Put the hook as deep as can be, where real errors come from. The hook has to strike: a service that
/// is opened anew reads from the storage, and not from a cache above the hook.
#[async_trait]
pub trait Faults: Harness {
    /// Lets operations on the storage fail from now on, as `fault` says, for every service of this
    /// harness. There is one fault at a time.
    ///
    /// The service is told that the operation failed. The storage stays as it was, or has changed
    /// all the same: [`Fault::done`] says which. A sync that makes changes durable is a write, and is
    /// counted and fails as one: a failed sync has made nothing durable, unless it is `done`.
    async fn fail(&self, fault: Fault);

    /// Ends the fault, and returns whether it made anything fail.
    async fn heal(&self) -> bool;
}

/// Which operations of a storage fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// The kind of operation.
    pub operation: Operation,
    /// How many of them succeed before, counted from when the fault was set.
    pub after: usize,
    /// Whether all later ones fail, too, instead of one.
    pub lasting: bool,
    /// Whether the operation is done all the same, as when only its confirmation is lost.
    pub done: bool,
}

/// What a service does with its storage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Asks whether something is there, or fetches it.
    Read,
    /// Changes something.
    Write,
}

/// Storage that can crash: the hook of the group `restart`.
#[async_trait]
pub trait Restart: Harness {
    /// Ends the storage and whatever works on it without notice, as `kill -9` does, and starts it
    /// again; returns once it can be opened.
    ///
    /// Nothing that a service does which was opened before can reach the storage any more: the
    /// suite does not expect such a service to work, nor believes its answers. A storage that has a
    /// notion of syncing must lose every change that was not synced: a hook that keeps them cannot find
    /// a service that syncs nothing. With the hook of `faults`, a change whose sync failed is lost, too.
    async fn restart(&self);
}

/// Storage that can fail and crash: the hook of the group `faults_and_restart`, which every harness
/// has that has both.
pub trait FaultsAndRestart: Faults + Restart {}

impl<H: Faults + Restart> FaultsAndRestart for H {}
