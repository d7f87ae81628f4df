//! The tables, and how a database of an older version becomes one of this.
//!
//! `user_version` is the number of [`MIGRATIONS`] that were applied. None of them is ever changed once
//! released; a later one goes to the end.

use std::path::Path;

use rusqlite::Connection;

use super::StoreError;

/// Marks a database as ours (`application_id` of the file's header): `MOij`.
const APPLICATION_ID: i64 = 0x4d4f_696a;

/// What makes each version of the one before.
///
/// `incident.body` is the incident as JSON (`docs/API.md`), all that there is; the other columns are
/// for lists and filters. Text in them is escaped for a terminal. Times are ns since the epoch.
const MIGRATIONS: &[&str] = &["
CREATE TABLE incident (
    id TEXT PRIMARY KEY NOT NULL,
    boot_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    severity TEXT NOT NULL,
    device_number TEXT,
    fstype TEXT NOT NULL,
    source TEXT NOT NULL,
    mount_point TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    detected_ns INTEGER NOT NULL,
    ended_ns INTEGER,
    lasted_ns INTEGER,
    ended_why TEXT,
    returns INTEGER NOT NULL,
    victims INTEGER NOT NULL,
    at_risk INTEGER NOT NULL,
    is_drill INTEGER NOT NULL,
    reason TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX incident_started ON incident (started_ns);
CREATE INDEX incident_ended ON incident (ended_ns);
CREATE TABLE silence (
    id TEXT PRIMARY KEY NOT NULL,
    starts_ns INTEGER NOT NULL,
    ends_ns INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX silence_ends ON silence (ends_ns);
CREATE TABLE recovery_run (
    id TEXT PRIMARY KEY NOT NULL,
    incident TEXT,
    mount_point TEXT NOT NULL,
    started_ns INTEGER NOT NULL,
    ended_ns INTEGER,
    outcome TEXT NOT NULL,
    is_dry_run INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX recovery_run_started ON recovery_run (started_ns);
"];

/// The version this program writes.
pub(super) fn known() -> i64 {
    i64::try_from(MIGRATIONS.len()).unwrap_or(i64::MAX)
}

/// What a database is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Nothing is in it.
    Empty,
    /// Ours, of this version or an older one.
    Ours(i64),
}

/// Looks at a database without changing it.
pub(super) fn look(connection: &Connection, path: &Path) -> Result<Found, StoreError> {
    let failed = |source| StoreError::Sqlite {
        what: "read",
        path: path.to_owned(),
        source,
    };
    let number = |pragma| connection.query_row(pragma, [], |row| row.get::<_, i64>(0));
    let version = number("PRAGMA user_version").map_err(failed)?;
    let application = number("PRAGMA application_id").map_err(failed)?;
    let objects = number("SELECT count(*) FROM sqlite_schema").map_err(failed)?;
    if application != APPLICATION_ID && (version != 0 || objects > 0) {
        return Err(StoreError::Foreign {
            path: path.to_owned(),
        });
    }
    if version > known() {
        return Err(StoreError::Newer {
            path: path.to_owned(),
            found: version,
            known: known(),
        });
    }
    Ok(if objects == 0 {
        Found::Empty
    } else {
        Found::Ours(version)
    })
}

/// Applies what a database lacks, all of it or nothing.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    apply(connection, MIGRATIONS)
}

fn apply(connection: &mut Connection, migrations: &[&str]) -> rusqlite::Result<()> {
    let transaction =
        connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let applied = usize::try_from(version).unwrap_or(usize::MAX);
    for migration in migrations.iter().skip(applied) {
        transaction.execute_batch(migration)?;
    }
    if migrations.len() > applied {
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        let version = i64::try_from(migrations.len()).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", version)?;
    }
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(connection: &Connection) -> i64 {
        connection
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn an_older_one_gets_what_it_lacks_and_keeps_what_it_has() {
        let mut connection = Connection::open_in_memory().unwrap();
        let first = MIGRATIONS[0];
        apply(&mut connection, &[first]).unwrap();
        let silence = "INSERT INTO silence VALUES ('a', 1, 2, '{}')";
        connection.execute(silence, []).unwrap();
        let second = "ALTER TABLE silence ADD COLUMN who TEXT";
        apply(&mut connection, &[first, second]).unwrap();
        assert_eq!(version(&connection), 2);
        let (id, who): (String, Option<String>) = connection
            .query_row("SELECT id, who FROM silence", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .unwrap();
        assert_eq!((id.as_str(), who), ("a", None));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_version_before() {
        let mut connection = Connection::open_in_memory().unwrap();
        let (first, second) = (
            MIGRATIONS[0],
            "ALTER TABLE silence ADD COLUMN who TEXT; nonsense",
        );
        apply(&mut connection, &[first]).unwrap();
        assert!(apply(&mut connection, &[first, second]).is_err());
        assert_eq!(version(&connection), 1);
        assert!(connection.prepare("SELECT who FROM silence").is_err());
    }

    #[test]
    fn another_programs_database_is_told_from_ours() {
        let mut connection = Connection::open_in_memory().unwrap();
        let path = Path::new("x.db");
        assert_eq!(look(&connection, path).unwrap(), Found::Empty);
        migrate(&mut connection).unwrap();
        assert_eq!(look(&connection, path).unwrap(), Found::Ours(known()));
        let foreign = Connection::open_in_memory().unwrap();
        foreign.execute_batch("CREATE TABLE x (y)").unwrap();
        let error = look(&foreign, path).unwrap_err();
        assert!(matches!(error, StoreError::Foreign { .. }), "{error}");
    }
}
