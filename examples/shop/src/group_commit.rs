//! Many commits with one write to the disk.

use std::borrow::Borrow;
use std::fs::File;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use rusqlite::Connection;

use crate::store::Error;

/// Brings commits to the disk, many with one write: those that end while one is written wait for the
/// next one, and for no more.
///
/// Without it, each commit is a write, and all others wait behind it.
#[derive(Debug)]
pub(crate) struct GroupCommit {
    /// SQLite's write-ahead log.
    log: File,
    /// How many changes were committed.
    committed: AtomicU64,
    /// How many of them are on the disk.
    written: Mutex<u64>,
}

impl GroupCommit {
    /// From now on, the commits of this connection are not on the disk when they return. `None`, and
    /// no change, for a database without a write-ahead log.
    #[must_use]
    pub(crate) fn of(connection: &Connection) -> Option<Self> {
        let path = connection.path().filter(|path| !path.is_empty())?;
        // What another process has left may be in memory only, also after a write that failed: it is
        // written anew. Somebody who reads hinders that; then it is written as it is.
        let anew = connection.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()));
        if let Err(error) = anew {
            tracing::warn!(%error, path, "the log is not written anew");
        }
        let log = File::open(format!("{path}-wal")).ok()?;
        log.sync_data().ok()?;
        connection
            .pragma_update(None, "synchronous", "normal")
            .ok()?;
        Some(Self {
            log,
            committed: AtomicU64::new(0),
            written: Mutex::new(0),
        })
    }

    /// Works on a database, and returns when all is on the disk that the result may tell.
    ///
    /// # Errors
    ///
    /// The work failed. If the disk fails, the process ends.
    pub(crate) fn run<D: Borrow<Connection>, T>(
        commits: &Option<Self>,
        database: &Mutex<D>,
        work: impl FnOnce(&mut D) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut locked = database.lock().unwrap_or_else(PoisonError::into_inner);
        let result = work(&mut locked)?;
        let Some(commits) = commits else {
            return Ok(result);
        };
        // Also if this work has only read: perhaps what another has committed.
        let connection: &Connection = (*locked).borrow();
        let until = connection.total_changes();
        commits.committed.store(until, Ordering::Release);
        drop(locked);
        commits.write(until);
        Ok(result)
    }

    fn write(&self, until: u64) {
        // Held while it writes, so that others come after it, and most find their work done.
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if *written >= until {
            return;
        }
        let committed = self.committed.load(Ordering::Acquire);
        if let Err(error) = self.log.sync_data() {
            // What is on the disk is unknown from now on, also if a later write succeeds. The next
            // process reads it anew.
            tracing::error!(%error, "the disk has failed; the process ends");
            std::process::exit(1);
        }
        *written = committed;
    }
}
