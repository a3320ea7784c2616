//! What all stores have in common here.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use castore_objstore::Builder;
use libtest_mimic::{Completion, Failed};
use object_store::ObjectStore;
use tempfile::TempDir;

/// A store that the suite runs on, empty at first.
#[async_trait]
pub(crate) trait Backend: Send + Sync + 'static {
    /// The store, by a client of its own.
    fn store(&self) -> Arc<dyn ObjectStore>;

    /// The base path of all keys in it.
    fn base_path(&self) -> &str;

    /// A service over it, as a user would make it.
    fn builder(&self) -> Builder;

    /// Ends it without notice, and starts it again with what it had stored.
    async fn crash(&self);
}

/// A directory that can be taken away from those who work on it, as if they had crashed.
pub(crate) struct Directory {
    root: TempDir,
    current: Mutex<PathBuf>,
}

impl Directory {
    /// An empty one.
    pub(crate) fn new() -> Directory {
        let root = tempfile::tempdir().expect("a temporary directory");
        let current = root.path().join("0");
        std::fs::create_dir(&current).expect("a directory");
        Directory { root, current: Mutex::new(current) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renames it, in one step: what is done under the old name is lost.
    pub(crate) fn rename(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (1..).map(|number: usize| self.root.path().join(number.to_string()));
        let next = number.into_iter().find(|path| !Path::exists(path)).expect("a free name");
        std::fs::rename(&*current, &next).expect("rename");
        *current = next;
    }
}

/// Why a store is not there to be tested.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    pub(crate) reason: String,
    /// Whether it should be: somebody asked for it, or CI has to have it.
    pub(crate) is_failure: bool,
}

impl Missing {
    /// What becomes of a test without the store.
    pub(crate) fn outcome(self) -> Result<Completion, Failed> {
        match self.is_failure {
            true => Err(Failed::from(self.reason)),
            false => Ok(Completion::ignored_with(self.reason)),
        }
    }
}
