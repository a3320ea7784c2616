//! The interface to the stores that the suite runs on.

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
    /// The store, through a separate client.
    fn store(&self) -> Arc<dyn ObjectStore>;

    /// The base path of all keys in the store.
    fn base_path(&self) -> &str;

    /// A service over the store, built as a user would build it.
    fn builder(&self) -> Builder;

    /// Kills the store, and restarts it with its stored data.
    async fn crash(&self);
}

/// A directory that can be taken away from its users, as if they had crashed.
pub(crate) struct Directory {
    root: TempDir,
    current: Mutex<PathBuf>,
}

impl Directory {
    /// An empty directory.
    pub(crate) fn new() -> Directory {
        let root = tempfile::tempdir().expect("a temporary directory");
        let current = root.path().join("0");
        std::fs::create_dir(&current).expect("a directory");
        Directory { root, current: Mutex::new(current) }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Renames the directory, in one step: work under the old name is lost.
    pub(crate) fn rename(&self) {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let number = (1..).map(|number: usize| self.root.path().join(number.to_string()));
        let next = number.into_iter().find(|path| !Path::exists(path)).expect("a free name");
        std::fs::rename(&*current, &next).expect("rename");
        *current = next;
    }
}

/// The reason why a store is not available for tests.
#[derive(Debug, Clone)]
pub(crate) struct Missing {
    pub(crate) reason: String,
    /// Whether the lack is a failure: the environment asks for the store, or CI requires it.
    pub(crate) is_failure: bool,
}

impl Missing {
    /// The outcome of a test without the store.
    pub(crate) fn outcome(self) -> Result<Completion, Failed> {
        match self.is_failure {
            true => Err(Failed::from(self.reason)),
            false => Ok(Completion::ignored_with(self.reason)),
        }
    }
}
