//! What can go wrong with the journal, said with what to do about it.

use std::{io, path::PathBuf};

use rusqlite::ErrorCode;

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Opening it could hang on what is watched.
    #[error(
        "{directory} lies on {mount_point} ({fstype}), which is observed and may hang: keep the \
         journal on a local disk (storage.path, --storage.path), or take that mount out of [scope]"
    )]
    Observed {
        /// Where it should be kept.
        directory: PathBuf,
        /// The mount it lies on.
        mount_point: String,
        /// Its type.
        fstype: String,
    },
    /// The directory cannot be made, or its path leads nowhere.
    #[error("cannot {what} {path}")]
    File {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another daemon writes there.
    #[error(
        "another daemon keeps its incident journal there ({path} is locked): end it, or give each a \
         directory of its own (storage.path, --storage.path)"
    )]
    Held {
        /// What it holds.
        path: PathBuf,
    },
    /// There is none.
    #[error(
        "there is no incident journal at {path}: no daemon has kept one there (storage.path, \
         --storage.path), or this user may not see it"
    )]
    Absent {
        /// Where.
        path: PathBuf,
    },
    /// Written by a later version of this program.
    #[error(
        "{path} is of a later version (schema {found}, this program knows {known}) and is left \
         untouched: use the later program, or another directory (storage.path, --storage.path)"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i64,
        /// The latest this program knows.
        known: i64,
    },
    /// Some other program's.
    #[error(
        "{path} is a database of another program and is left untouched: choose another directory \
         (storage.path, --storage.path)"
    )]
    Foreign {
        /// The database.
        path: PathBuf,
    },
    /// `SQLite` says so.
    #[error("cannot {what} {path}{remedy}", remedy = remedy(source))]
    Sqlite {
        /// What was tried.
        what: &'static str,
        /// The database.
        path: PathBuf,
        /// What it said.
        #[source]
        source: rusqlite::Error,
    },
    /// An incident's stored form is not what this program writes.
    #[error("{path}: incident {id} cannot be read")]
    Body {
        /// The database.
        path: PathBuf,
        /// The incident.
        id: String,
        /// What is wrong with it.
        #[source]
        source: serde_json::Error,
    },
    /// The prefix of an id names none, or several.
    #[error("{0}")]
    Id(String),
    /// A pattern for mount points.
    #[error("not a pattern: {0}")]
    Pattern(#[source] globset::Error),
}

impl StoreError {
    pub(super) fn none(prefix: &str) -> Self {
        Self::Id(format!(
            "no incident's id begins with {prefix:?}; `mount-observer incidents` lists them"
        ))
    }

    /// Whether the file is damaged, so that nothing in it can be relied on.
    pub fn is_corrupt(&self) -> bool {
        let Self::Sqlite { source, .. } = self else {
            return false;
        };
        matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
        )
    }

    /// Whether it cannot be opened for want of write access to its directory.
    pub(super) fn is_unopened(&self) -> bool {
        let Self::Sqlite { source, .. } = self else {
            return false;
        };
        matches!(
            source.sqlite_error_code(),
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly)
        )
    }
}

fn remedy(error: &rusqlite::Error) -> &'static str {
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            ": the disk is full; free some space, what is to be kept waits in memory"
        }
        Some(ErrorCode::ReadOnly) => ": the file system or the file is read-only",
        Some(ErrorCode::CannotOpen) => {
            ": it cannot be opened with what this user may do in its directory"
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            ": another process keeps it locked"
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => ": it is damaged",
        Some(ErrorCode::SystemIoFailure) => ": the disk failed, or is full",
        _ => "",
    }
}
