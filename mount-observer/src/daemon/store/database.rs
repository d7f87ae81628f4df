//! The journal as the daemon's own thread has it: opened for writing.

use std::{
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection, OpenFlags, OptionalExtension as _, Transaction, config::DbConfig, params,
};

use super::{
    FILE, StoreError, place,
    schema::{self, Found},
};
use crate::{
    incident::{Incident, Summary},
    time::Wall,
};

/// Another process that reads or silences holds a lock for milliseconds.
const BUSY: Duration = Duration::from_secs(2);

/// The write-ahead log is cut to this when it was longer.
const LOG_BYTES: i64 = 4 << 20;

/// Incidents removed in one go where the journal is too large.
const REMOVED_AT_ONCE: i64 = 64;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// An incident that ended longer ago is removed.
    pub age_max: Duration,
    /// The oldest that ended are removed where the file has more.
    pub bytes_max: u64,
}

/// An open journal.
#[derive(Debug)]
pub struct Database {
    pub(super) connection: Connection,
    pub(super) path: PathBuf,
    /// Device and inode: a file that was removed or replaced would be written in vain.
    file: (u64, u64),
}

/// What root makes for a daemon of another user is that user's, as its directory is. `SQLite` does the
/// same for what it makes beside.
pub(super) fn adopt(file: &std::fs::File, directory: &Path) {
    let owner = std::fs::File::open(directory).and_then(|directory| directory.metadata());
    if let Ok(owner) = owner
        && rustix::process::geteuid().is_root()
    {
        // Without the right to, it stays root's, and the daemon says that it cannot open it.
        std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid())).ok();
    }
}

impl Database {
    /// Opens the journal of a directory that was judged before, making both where they are missing.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        place::create(directory)?;
        let path = directory.join(FILE);
        let mut options = std::fs::OpenOptions::new();
        // Made by ourselves for its mode, which the write-ahead log takes over. One that is there is
        // not opened here: to close it would give up the locks that others in this process have on it.
        let made = options.write(true).create_new(true).mode(0o640).open(&path);
        match made {
            Ok(file) => adopt(&file, directory),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(source) => {
                let what = "make";
                return Err(StoreError::File { what, path, source });
            }
        }
        let failed = |what| {
            let path = path.clone();
            move |source| StoreError::Sqlite { what, path, source }
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(&path, flags).map_err(failed("open"))?;
        connection.busy_timeout(BUSY).map_err(failed("open"))?;
        if let Err(error) = schema::look(&connection, &path) {
            // Not even what waits in its log is moved into one that is not ours.
            let option = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
            connection.set_db_config(option, true).ok();
            return Err(error);
        }
        prepare(&mut connection, &path).map_err(failed("open"))?;
        let sound: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(failed("check"))?;
        if sound != "ok" {
            return Err(failed("read")(damaged(sound)));
        }
        let file = identity(&path).unwrap_or_default();
        Ok(Self {
            connection,
            path,
            file,
        })
    }

    /// Writes incidents, the new ones and what became of the known; all of them or none. Says how
    /// many were refused because another of that name is known.
    pub fn keep<'a>(
        &mut self,
        incidents: impl Iterator<Item = &'a Incident>,
    ) -> Result<u64, StoreError> {
        let path = self.path.clone();
        let failed = move |source| StoreError::Sqlite {
            what: "write",
            path: path.clone(),
            source,
        };
        let transaction = self.connection.transaction().map_err(&failed)?;
        let refused = upsert(&transaction, incidents).map_err(&failed)?;
        transaction.commit().map_err(&failed)?;
        Ok(refused)
    }

    /// The incidents that go on. One whose form this program cannot read is left as it is.
    pub fn open_incidents(&self) -> Result<Vec<Incident>, StoreError> {
        let read = || {
            let query = "SELECT id, body FROM incident WHERE ended_ns IS NULL ORDER BY started_ns";
            let mut statement = self.connection.prepare(query)?;
            let rows = statement.query_map([], |row| {
                Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?))
            })?;
            rows.collect::<rusqlite::Result<Vec<_>>>()
        };
        let rows = read().map_err(|source| self.failed("read", source))?;
        let decode = |(id, body): (String, String)| match serde_json::from_str(&body) {
            Ok(incident) => Some(incident),
            Err(error) => {
                tracing::warn!(id, %error, "an incident in the journal cannot be read");
                None
            }
        };
        Ok(rows.into_iter().filter_map(decode).collect())
    }

    /// Removes what is too old, then the oldest of what is too much; never an incident that goes on.
    /// Says how many incidents went.
    pub fn prune(&mut self, now: Wall, limits: Limits) -> Result<usize, StoreError> {
        let path = self.path.clone();
        let failed = move |source| StoreError::Sqlite {
            what: "clean up",
            path: path.clone(),
            source,
        };
        let age = i64::try_from(limits.age_max.as_nanos()).unwrap_or(i64::MAX);
        let before = signed(now.0).saturating_sub(age);
        let by_age = |query| self.connection.execute(query, [before]);
        let mut removed = by_age("DELETE FROM incident WHERE ended_ns < ?1").map_err(&failed)?;
        by_age("DELETE FROM silence WHERE ends_ns < ?1").map_err(&failed)?;
        by_age("DELETE FROM recovery_run WHERE started_ns < ?1").map_err(&failed)?;
        while self.bytes().map_err(&failed)? > limits.bytes_max {
            let oldest = "DELETE FROM incident WHERE rowid IN (SELECT rowid FROM incident \
                          WHERE ended_ns IS NOT NULL ORDER BY ended_ns LIMIT ?1)";
            let gone = self.connection.execute(oldest, [REMOVED_AT_ONCE]);
            let gone = gone.map_err(&failed)?;
            removed += gone;
            if gone == 0 {
                break;
            }
        }
        if removed > 0 {
            let give_back = self.connection.execute_batch("PRAGMA incremental_vacuum");
            give_back.map_err(&failed)?;
        }
        Ok(removed)
    }

    /// Whether the file that was opened is still the one at its place.
    pub fn is_in_place(&self) -> bool {
        identity(&self.path) == Some(self.file)
    }

    /// Pages in use; those that are free are given back or used again.
    fn bytes(&self) -> rusqlite::Result<u64> {
        let number = |pragma| {
            self.connection
                .query_row(pragma, [], |row| row.get::<_, i64>(0))
        };
        let used = number("PRAGMA page_count")? - number("PRAGMA freelist_count")?;
        let bytes = used.saturating_mul(number("PRAGMA page_size")?);
        Ok(u64::try_from(bytes).unwrap_or(0))
    }

    pub(super) fn failed(&self, what: &'static str, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

/// A reader never waits for the writer, nor the writer for a reader, and a killed writer leaves what
/// was committed (<https://sqlite.org/wal.html>). `synchronous=NORMAL` outlives that; a power
/// failure may take what was written since the last checkpoint, never the rest.
fn prepare(connection: &mut Connection, path: &Path) -> rusqlite::Result<()> {
    let is_empty = matches!(schema::look(connection, path), Ok(Found::Empty));
    if is_empty {
        // Only a database without tables takes it.
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    let _mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "temp_store", "MEMORY")?;
    let set = format!("PRAGMA journal_size_limit = {LOG_BYTES}");
    let _limit: Option<i64> = connection
        .query_row(&set, [], |row| row.get(0))
        .optional()?;
    schema::migrate(connection)
}

/// Says how many were refused because another incident has their name: one of another boot, with a
/// clock that was set back.
fn upsert<'a>(
    transaction: &Transaction<'_>,
    incidents: impl Iterator<Item = &'a Incident>,
) -> rusqlite::Result<u64> {
    let mut statement = transaction.prepare(
        "INSERT INTO incident (id, boot_id, kind, severity, device_number, fstype, source, \
         mount_point, started_ns, detected_ns, ended_ns, lasted_ns, ended_why, returns, victims, \
         at_risk, is_drill, reason, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19) \
         ON CONFLICT (id) DO UPDATE SET \
         kind = ?3, severity = ?4, fstype = ?6, source = ?7, mount_point = ?8, started_ns = ?9, \
         detected_ns = ?10, ended_ns = ?11, lasted_ns = ?12, ended_why = ?13, returns = ?14, \
         victims = ?15, at_risk = ?16, reason = ?18, body = ?19 WHERE boot_id = ?2",
    )?;
    let mut refused = 0;
    for incident in incidents {
        let body = serde_json::to_string(incident)
            .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
        let summary = Summary::of(incident);
        let changed = statement.execute(params![
            summary.id,
            incident.subject.boot_id,
            summary.kind,
            summary.severity,
            summary.device_number,
            summary.fstype,
            summary.source,
            summary.mount_point,
            signed(summary.started_unix_ns.0),
            signed(summary.detected_unix_ns.0),
            summary.ended_unix_ns.map(|at| signed(at.0)),
            summary.lasted_ns.map(signed),
            summary.ended_why,
            summary.returns,
            signed(summary.victims),
            signed(summary.at_risk),
            summary.is_drill,
            summary.reason,
            body,
        ])?;
        refused += u64::from(changed == 0);
    }
    Ok(refused)
}

/// Until the year 2262.
pub(super) fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// What `quick_check` found, as the error that `SQLite` gives when it comes across it.
fn damaged(found: String) -> rusqlite::Error {
    let error = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    rusqlite::Error::SqliteFailure(error, Some(found))
}

/// The path was judged before, and nothing on it can hang that does not hang the writing itself.
fn identity(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
impl Database {
    /// As on a disk that is full: no page more than there are.
    pub(super) fn limit_pages(&self) {
        let count = "PRAGMA page_count";
        let pages: i64 = self
            .connection
            .query_row(count, [], |row| row.get(0))
            .unwrap();
        let limit = format!("PRAGMA max_page_count = {pages}");
        let _limit: i64 = self
            .connection
            .query_row(&limit, [], |row| row.get(0))
            .unwrap();
    }
}
