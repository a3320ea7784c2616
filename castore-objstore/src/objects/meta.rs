//! What a store says about an object without giving its bytes.

use std::time::SystemTime;

use object_store::ObjectMeta;
use object_store::path::Path;

/// An object as a store lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) path: Path,
    /// Its stored size in bytes.
    pub(crate) size: u64,
    /// When it was written, by the store's clock.
    pub(crate) modified: SystemTime,
    /// What changes when the object does, where the store tells.
    pub(crate) tag: Option<String>,
}

/// Something in a store that no key of ours can address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stray {
    /// Its key, to be shown: it holds no control character, and may not be the key of any object.
    pub(crate) key: String,
    /// Its stored size in bytes; of a directory, none.
    pub(crate) size: u64,
    /// When it was written, by the store's clock.
    pub(crate) modified: SystemTime,
}

/// What a listing finds.
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

/// What tells whether an object was written again since it was last looked at.
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

    /// Whether the two are surely the same bytes, written at the same time.
    pub(crate) fn is_copy_of(&self, other: &Version) -> bool {
        self.tag.is_some() && self == other
    }
}
