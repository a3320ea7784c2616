//! The metadata that a store states about an object without sending its bytes.

use std::time::SystemTime;

use object_store::ObjectMeta;
use object_store::path::Path;

/// An object as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) path: Path,
    /// The stored size in bytes.
    pub(crate) size: u64,
    /// The time at which the object was written, by the store's clock.
    pub(crate) modified: SystemTime,
    /// A tag that changes when the object does, if the store provides one.
    pub(crate) tag: Option<String>,
}

/// An entry of a store that no key of this format can address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stray {
    /// The key for display: without control characters, and not necessarily the key of an object.
    pub(crate) key: String,
    /// The stored size in bytes; 0 for a directory.
    pub(crate) size: u64,
    /// The time at which the object was written, by the store's clock.
    pub(crate) modified: SystemTime,
}

/// An entry of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    Object(Meta),
    Stray(Stray),
}

impl From<ObjectMeta> for Meta {
    fn from(meta: ObjectMeta) -> Meta {
        Meta {
            path: meta.location,
            size: meta.size,
            modified: meta.last_modified.into(),
            tag: meta.e_tag,
        }
    }
}

/// The version of an object, which tells whether the object was written again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    size: u64,
    modified: SystemTime,
    tag: Option<String>,
}

impl From<Meta> for Version {
    fn from(Meta { size, modified, tag, .. }: Meta) -> Version {
        Version { size, modified, tag }
    }
}

impl Version {
    /// The stored size in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Whether the two are certainly the same bytes, written at the same time.
    pub(crate) fn is_copy_of(&self, other: &Version) -> bool {
        self.tag.is_some() && self == other
    }
}
