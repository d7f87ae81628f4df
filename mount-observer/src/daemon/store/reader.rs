//! The journal as everybody else has it: read, never changed, whether or not a daemon runs.

use std::{
    fs::File,
    io,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use globset::GlobMatcher;
use rusqlite::{Connection, OpenFlags, Row, params};

use super::{FILE, StoreError, schema};
use crate::{
    incident::{Incident, Summary},
    text::append,
    time::Wall,
};

/// A writer holds its lock for milliseconds.
const BUSY: Duration = Duration::from_secs(2);

/// Ids named in a complaint about a prefix that several have.
const NAMED_MAX: usize = 5;

/// Which incidents are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those that go on.
    pub is_open: bool,
    /// Only those that went on then or later.
    pub since: Option<Wall>,
    /// Only those whose mount point matches.
    pub mount: Option<GlobMatcher>,
    /// The latest so many; all with `None`.
    pub limit: Option<usize>,
}

impl Filter {
    /// Whether an incident is listed.
    pub fn takes(&self, summary: &Summary) -> bool {
        let is_of_mount = |pattern: &GlobMatcher| pattern.is_match(&summary.mount_point);
        let goes_on_since = |since| summary.ended_unix_ns.is_none_or(|ended| ended >= since);
        !(self.is_open && summary.ended_unix_ns.is_some())
            && self.since.is_none_or(goes_on_since)
            && self.mount.as_ref().is_none_or(is_of_mount)
    }
}

/// A journal open for reading.
#[derive(Debug)]
pub struct Reader {
    pub(super) connection: Connection,
    path: PathBuf,
}

impl Reader {
    /// Opens the journal of a directory that was judged before.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join(FILE);
        match Self::try_open(&path, false) {
            Err(error) if error.is_unopened() => Self::without_log(&path).unwrap_or(Err(error)),
            result => result,
        }
    }

    /// Without its log and without the right to make one, a journal nobody writes can be read as a
    /// file that never changes. `None` where something waits in the log.
    pub(super) fn without_log(path: &Path) -> Option<Result<Self, StoreError>> {
        if let Err(error) = File::open(path) {
            let path = path.to_owned();
            return Some(Err(if error.kind() == io::ErrorKind::NotFound {
                StoreError::Absent { path }
            } else {
                let what = "open";
                StoreError::File {
                    what,
                    path,
                    source: error,
                }
            }));
        }
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        let length = File::open(&log).and_then(|log| Ok(log.metadata()?.len()));
        match length {
            Ok(0) => Some(Self::try_open(path, true)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                Some(Self::try_open(path, true))
            }
            Ok(_) | Err(_) => None,
        }
    }

    fn try_open(path: &Path, is_unchanging: bool) -> Result<Self, StoreError> {
        let failed = |source| StoreError::Sqlite {
            what: "read",
            path: path.to_owned(),
            source,
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = if is_unchanging {
            let uri = format!("file:{}?immutable=1", percent_encoded(path));
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        } else {
            Connection::open_with_flags(path, flags)
        };
        let connection = connection.map_err(failed)?;
        connection.busy_timeout(BUSY).map_err(failed)?;
        match schema::look(&connection, path)? {
            schema::Found::Ours(_) => Ok(Self {
                connection,
                path: path.to_owned(),
            }),
            schema::Found::Empty => Err(StoreError::Absent {
                path: path.to_owned(),
            }),
        }
    }

    /// The incidents that match, the latest first.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        self.query(filter)
            .map_err(|source| self.failed("read", source))
    }

    fn query(&self, filter: &Filter) -> rusqlite::Result<Vec<Summary>> {
        let mut statement = self.connection.prepare(
            "SELECT id, kind, severity, device_number, fstype, source, mount_point, started_ns, \
             detected_ns, ended_ns, lasted_ns, ended_why, returns, victims, at_risk, is_drill, reason \
             FROM incident \
             WHERE (NOT ?1 OR ended_ns IS NULL) AND (ended_ns IS NULL OR ended_ns >= ?2) \
             ORDER BY started_ns DESC, id DESC",
        )?;
        let since = filter
            .since
            .map_or(i64::MIN, |since| i64::try_from(since.0).unwrap_or(i64::MAX));
        let is_wanted = |summary: &rusqlite::Result<Summary>| match summary {
            Ok(summary) => filter.takes(summary),
            Err(_) => true,
        };
        statement
            .query_map(params![filter.is_open, since], summary)?
            .filter(is_wanted)
            .take(filter.limit.unwrap_or(usize::MAX))
            .collect()
    }

    /// The incident whose id begins so, if it is the only one; a whole id is that incident's.
    pub fn find(&self, prefix: &str) -> Result<Incident, StoreError> {
        let (id, body) = match self
            .matching(prefix)
            .map_err(|source| self.failed("read", source))?
            .as_slice()
        {
            [] => {
                return Err(StoreError::none(prefix));
            }
            [(id, body), rest @ ..] if id == prefix || rest.is_empty() => {
                (id.clone(), body.clone())
            }
            several => {
                let named = several.iter().take(NAMED_MAX).map(|(id, _)| id.as_str());
                let named = named.collect::<Vec<_>>().join(", ");
                let and = if several.len() > NAMED_MAX {
                    ", ..."
                } else {
                    ""
                };
                return Err(StoreError::Id(format!(
                    "several incidents' ids begin with {prefix:?}: {named}{and}"
                )));
            }
        };
        let incident = serde_json::from_str(&body).map_err(|source| StoreError::Body {
            path: self.path.clone(),
            id,
            source,
        });
        let mut incident = incident?;
        self.add_runs(&mut incident)?;
        Ok(incident)
    }

    /// The whole id sorts before what it is a prefix of.
    fn matching(&self, prefix: &str) -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = self.connection.prepare(
            "SELECT id, body FROM incident WHERE substr(id, 1, length(?1)) = ?1 \
             ORDER BY id LIMIT ?2",
        )?;
        let limit = i64::try_from(NAMED_MAX + 1).unwrap_or(i64::MAX);
        let rows =
            statement.query_map(params![prefix, limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    pub(super) fn failed(&self, what: &'static str, source: rusqlite::Error) -> StoreError {
        StoreError::Sqlite {
            what,
            path: self.path.clone(),
            source,
        }
    }
}

fn summary(row: &Row<'_>) -> rusqlite::Result<Summary> {
    let number = |column: usize| row.get(column).map(unsigned);
    let perhaps = |column: usize| {
        let read: rusqlite::Result<Option<i64>> = row.get(column);
        read.map(|number| number.map(unsigned))
    };
    Ok(Summary {
        id: row.get(0)?,
        kind: row.get(1)?,
        severity: row.get(2)?,
        device_number: row.get(3)?,
        fstype: row.get(4)?,
        source: row.get(5)?,
        mount_point: row.get(6)?,
        started_unix_ns: Wall(number(7)?),
        detected_unix_ns: Wall(number(8)?),
        ended_unix_ns: perhaps(9)?.map(Wall),
        lasted_ns: perhaps(10)?,
        ended_why: row.get(11)?,
        returns: row.get(12)?,
        victims: number(13)?,
        at_risk: number(14)?,
        is_drill: row.get(15)?,
        reason: row.get(16)?,
    })
}

/// What is stored is never negative.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// For a `file:` URI: everything but letters, digits and `/` (<https://sqlite.org/uri.html>).
fn percent_encoded(path: &Path) -> String {
    let mut text = String::new();
    for &byte in path.as_os_str().as_bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'-' | b'_' | b'.') {
            text.push(char::from(byte));
        } else {
            append(&mut text, format_args!("%{byte:02X}"));
        }
    }
    text
}
