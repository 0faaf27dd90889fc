//! SQLite files: one for each service, and no service opens another's.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::group_commit::GroupCommit;
use crate::message::{Code, Failure};

/// A database could not be opened or used.
pub type Error = rusqlite::Error;

/// How long a statement waits for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// No limit of SQLite's page count: its greatest.
const UNLIMITED: u32 = 4_294_967_294;

/// The database of a service. Clones share its connection.
#[derive(Clone)]
pub struct Store {
    service: &'static str,
    connection: Arc<Mutex<Connection>>,
    group_commit: Arc<Option<GroupCommit>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.service).finish()
    }
}

impl Store {
    /// Opens the database of a service, `NAME.db` in this folder. See [`open`].
    ///
    /// # Errors
    ///
    /// See [`open`]. The text names the file.
    pub fn open(
        folder: &Path,
        service: &'static str,
        migrations: &[&str],
    ) -> Result<Self, Failure> {
        let file = file(folder, service)?;
        let connection = open(&file, migrations).map_err(|error| {
            let text = format!("the database {} cannot be opened: {error}", file.display());
            Failure::new(Code::Internal, text)
        })?;
        Ok(Self::of(service, connection))
    }

    /// The same in memory, for tests.
    ///
    /// # Errors
    ///
    /// A migration failed.
    pub fn in_memory(service: &'static str, migrations: &[&str]) -> Result<Self, Error> {
        Ok(Self::of(service, in_memory(migrations)?))
    }

    fn of(service: &'static str, connection: Connection) -> Self {
        Self {
            service,
            group_commit: Arc::new(GroupCommit::of(&connection)),
            connection: Arc::new(Mutex::new(connection)),
        }
    }

    /// Works on the database, outside of the runtime's threads.
    ///
    /// The work ends even if the future is dropped: a transaction is whole or did not happen. What the
    /// result tells is on the disk.
    ///
    /// # Errors
    ///
    /// The work failed, or panicked.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let store = self.clone();
        let work = move || GroupCommit::run(&store.group_commit, &store.connection, work);
        let done = mainstay::spawn_blocking(work).await;
        let done = done.map_err(|error| self.failure(Code::Internal, &error))?;
        done.map_err(|error| {
            tracing::warn!(%error, "the database has failed");
            let (code, text) = match error.sqlite_error_code() {
                // The transaction was rolled back.
                Some(ErrorCode::DiskFull) => (Code::Overloaded, "the disk is full"),
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                    (Code::Overloaded, "it is locked")
                }
                Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen) => {
                    (Code::Overloaded, "it cannot be written")
                }
                // What is on the disk is unknown.
                Some(ErrorCode::SystemIoFailure) => (Code::Lost, "the disk has failed"),
                _ => return self.failure(Code::Internal, &error),
            };
            self.failure(code, &text)
        })
    }

    fn failure(&self, code: Code, error: &dyn fmt::Display) -> Failure {
        Failure::new(code, format!("the database of {}: {error}", self.service))
    }

    /// Simulates a disk quota: the file grows by at most so many pages from now on; `None` for no
    /// limit.
    ///
    /// # Errors
    ///
    /// The database cannot be used.
    pub async fn limit_growth(&self, pages: Option<u32>) -> Result<(), Failure> {
        self.run(move |connection| {
            let has: u32 = connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
            let most = pages.map_or(UNLIMITED, |pages| has.saturating_add(pages));
            // It answers with the limit, so it is a query.
            connection.query_row(&format!("pragma max_page_count = {most}"), [], |_| Ok(()))
        })
        .await
    }
}

/// The file of a service, `NAME.db`, in a folder that is made if it does not exist.
///
/// # Errors
///
/// The folder cannot be made.
pub fn file(folder: &Path, service: &str) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(folder).map_err(|error| {
        let text = format!("the folder {} cannot be made: {error}", folder.display());
        Failure::new(Code::Internal, text)
    })?;
    Ok(folder.join(format!("{service}.db")))
}

/// Opens a database and brings it to the newest version. `migrations` are in the order of versions;
/// those that were applied before must stay as they are.
///
/// # Errors
///
/// The file cannot be opened or written, is no database, or is of a later version than this program.
pub fn open(path: &Path, migrations: &[&str]) -> Result<Connection, Error> {
    prepare(
        Connection::open_with_flags(path, OpenFlags::default())?,
        migrations,
    )
}

/// The same in memory, for tests.
///
/// # Errors
///
/// A migration failed.
pub fn in_memory(migrations: &[&str]) -> Result<Connection, Error> {
    prepare(Connection::open_in_memory()?, migrations)
}

fn prepare(mut connection: Connection, migrations: &[&str]) -> Result<Connection, Error> {
    connection.busy_timeout(BUSY)?;
    // Readers do not wait for the writer. A commit is on the disk when it returns.
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > migrations.len() {
        let newest = migrations.len();
        let error = format!(
            "version {version} of the database is later than {newest}, which this program knows"
        );
        return Err(Error::ToSqlConversionFailure(error.into()));
    }
    for (number, migration) in migrations.iter().enumerate().skip(version) {
        // The version changes with the tables, or neither does.
        let change = connection.transaction()?;
        change.execute_batch(migration)?;
        change.pragma_update(None, "user_version", number + 1)?;
        change.commit()?;
    }
    Ok(connection)
}
