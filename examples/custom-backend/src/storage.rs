//! The database: its tables, and how it is opened, and reopened after an I/O error.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use castore_core::{Digest, Error, ErrorKind, Result};
use redb::{
    Database, DatabaseError, OwnedAccessGuard, ReadableDatabase, TableDefinition, WriteTransaction,
};

use crate::error::storage_error;

/// The type of our tables: bytes by digest.
pub type Table = TableDefinition<'static, &'static [u8; Digest::LEN], &'static [u8]>;

/// The chunks, unchanged.
pub const CHUNKS: Table = TableDefinition::new("chunks");

/// The index of each blob, as encoded by `castore-proto`. A blob is present if its index is.
pub const BLOBS: Table = TableDefinition::new("blobs");

type Opener = dyn Fn() -> Result<Database, DatabaseError> + Send + Sync;

/// A database that is opened on demand.
///
/// After an I/O error redb refuses every operation until the database is closed and reopened. But
/// such an error is [`Unavailable`](ErrorKind::Unavailable), which says that another try may help.
/// To keep that promise, the storage reopens the database.
///
/// After a failed flush, the kernel may return data that the disk has lost. No database on a file
/// can detect that; but reads detect it later, by the digests.
pub struct Storage {
    opener: Box<Opener>,
    /// Locked for writing only to open the database, when no operation uses the old one any more.
    opened: RwLock<Option<Opened>>,
}

struct Opened {
    database: Database,
    /// Whether redb has reported an I/O error.
    failed: AtomicBool,
}

impl Storage {
    /// A storage over the database that `opener` opens, each time it is called.
    pub fn new<F>(opener: F) -> Storage
    where
        F: Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    {
        Storage { opener: Box::new(opener), opened: RwLock::new(None) }
    }

    /// Does `work` on the database, on this thread.
    ///
    /// After an I/O error the storage reopens the database and does the work once more. Another
    /// operation may have met the error, or a commit may have taken effect although it failed. So
    /// doing the work twice must be the same as doing it once.
    ///
    /// # Errors
    /// Those of redb; the kind says what to do. If the second try failed too, a commit may still
    /// have taken effect. That is unknown until the database can be opened.
    pub fn with<T>(
        &self,
        operation: &'static str,
        work: impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T> {
        let result = match self.attempt(&work) {
            Err(error) if is_final(&error) => self.attempt(&work),
            result => result,
        };
        result.map_err(|error| storage_error(operation, error))
    }

    fn attempt<T>(
        &self,
        work: &impl Fn(&Database) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        loop {
            // No code here panics halfway through a change, so a poisoned lock is usable.
            if let Some(opened) = &*self.opened.read().unwrap_or_else(PoisonError::into_inner)
                && !opened.failed.load(Ordering::Relaxed)
            {
                let result = work(&opened.database);
                if result.as_ref().is_err_and(is_final) {
                    opened.failed.store(true, Ordering::Relaxed);
                }
                return result;
            }
            let mut opened = self.opened.write().unwrap_or_else(PoisonError::into_inner);
            if opened.as_ref().is_none_or(|opened| opened.failed.load(Ordering::Relaxed)) {
                // The old database must be dropped first: it holds the lock of the file.
                *opened = None;
                let database = (self.opener)()?;
                make_tables(&database)?;
                *opened = Some(Opened { database, failed: AtomicBool::new(false) });
            }
        }
    }

    /// The value stored under `digest`. The value is still in redb's memory, so the caller can
    /// check the length before copying.
    ///
    /// # Errors
    /// See [`with`](Storage::with).
    pub fn get(
        &self,
        operation: &'static str,
        table: Table,
        digest: &Digest,
    ) -> Result<Option<OwnedAccessGuard<&'static [u8]>>> {
        let found = self.with(operation, |database| {
            let table = database.begin_read()?.open_table(table)?;
            Ok(table.get_owned(digest.as_bytes())?)
        });
        found.map_err(|error| error.with_digest(*digest))
    }

    /// Does `work` on a thread that may block.
    ///
    /// If the future is dropped, the work still runs to its end, and must do no harm then.
    ///
    /// # Errors
    /// Those of `work`; `Other` if it panicked.
    pub async fn run<T: Send + 'static>(
        self: &Arc<Storage>,
        operation: &'static str,
        work: impl FnOnce(&Storage) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let storage = Arc::clone(self);
        tokio::task::spawn_blocking(move || work(&storage)).await.unwrap_or_else(|error| {
            let message = "its thread ended without a result";
            Err(Error::new(ErrorKind::Other, operation, message).with_source(error))
        })
    }
}

/// Begins a transaction that may change the tables. redb allows one at a time; others wait here.
pub(crate) fn begin_write(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    // Otherwise redb would read the whole database when it is opened after a crash or an I/O error.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes missing tables, so that reading from them is no special case.
fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = begin_write(database)?;
    transaction.open_table(CHUNKS)?;
    transaction.open_table(BLOBS)?;
    Ok(transaction.commit()?)
}

/// Whether redb refuses every operation from now on.
fn is_final(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::Backend(_) | redb::Error::PreviousIo)
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}
