//! The database: its tables, and how it is opened, and opened anew after an I/O error.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use castore_core::{Digest, Error, ErrorKind, Result};
use redb::{
    Database, DatabaseError, OwnedAccessGuard, ReadableDatabase, TableDefinition, WriteTransaction,
};

use crate::error::storage_error;

/// A table of ours: bytes by digest.
pub type Table = TableDefinition<'static, &'static [u8; Digest::LEN], &'static [u8]>;

/// The chunks, as they are.
pub const CHUNKS: Table = TableDefinition::new("chunks");

/// The index of each blob, in the encoding of `castore-proto`: the blob is there if its index is.
pub const BLOBS: Table = TableDefinition::new("blobs");

type Opener = dyn Fn() -> Result<Database, DatabaseError> + Send + Sync;

/// A database that is opened when it is needed.
///
/// After an I/O error redb refuses everything until the database is closed and opened again. But
/// such an error is [`Unavailable`](ErrorKind::Unavailable), which says that trying again may help.
/// To make that true, the database is opened anew.
///
/// After a flush that failed, the kernel may show data that it has lost. No database on a file can
/// tell; reads still can, by the digests.
pub struct Storage {
    opener: Box<Opener>,
    /// Locked for writing only to open it, when nobody uses the old one any more.
    opened: RwLock<Option<Opened>>,
}

struct Opened {
    database: Database,
    /// Whether redb has reported an I/O error.
    failed: AtomicBool,
}

impl Storage {
    /// The database that `opener` opens, whenever it is called.
    pub fn new<F>(opener: F) -> Storage
    where
        F: Fn() -> Result<Database, DatabaseError> + Send + Sync + 'static,
    {
        Storage { opener: Box::new(opener), opened: RwLock::new(None) }
    }

    /// Does `work` on the database, on this thread.
    ///
    /// After an I/O error the work is done once more, on the database opened anew: it may have been
    /// somebody else who met the error, and a commit may have happened although it failed. So doing
    /// the work twice has to be the same as doing it once.
    ///
    /// # Errors
    /// Those of redb; the kind says what to do. Where doing it again failed, too, a commit may still
    /// have happened: nobody can tell before the database can be opened.
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
            // Nothing here panics halfway through a change, so a poisoned lock is as good as any.
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
                // The old one goes first: it holds the lock of the file.
                *opened = None;
                let database = (self.opener)()?;
                make_tables(&database)?;
                *opened = Some(Opened { database, failed: AtomicBool::new(false) });
            }
        }
    }

    /// What is stored under `digest`. It is still redb's memory, so that its length can be looked
    /// at before it is copied.
    ///
    /// # Errors
    /// As [`with`](Storage::with).
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
    /// Where the future is dropped, the work goes on to its end, and must do no harm by that.
    ///
    /// # Errors
    /// Those of `work`; `Other` where it panicked.
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

/// A transaction that may change the tables. redb has one at a time; the others wait here.
pub(crate) fn begin_write(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    // Else whoever opens the database after a crash or an I/O error has to read all of it.
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// Makes the tables where they are not there yet, so that reading from them is no special case.
fn make_tables(database: &Database) -> Result<(), redb::Error> {
    let transaction = begin_write(database)?;
    transaction.open_table(CHUNKS)?;
    transaction.open_table(BLOBS)?;
    Ok(transaction.commit()?)
}

/// Whether redb refuses everything from now on.
fn is_final(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Io(_) | redb::Error::Backend(_) | redb::Error::PreviousIo)
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}
