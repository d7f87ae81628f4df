//! Recoveries in the journal. They count towards the caps of the observers that come after.

use rusqlite::{Connection, Params, Statement, params};

use super::{Database, Reader, StoreError, database::signed};
use crate::{
    incident::{Incident, IncidentId},
    recovery::{Outcome, RecoveryRun},
    time::Wall,
};

impl Database {
    /// Writes recoveries, the new ones and what became of the known; all of them or none.
    pub fn keep_runs<'a>(
        &mut self,
        runs: impl Iterator<Item = &'a RecoveryRun>,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let failed = |source| StoreError::Sqlite {
            what: "write",
            path,
            source,
        };
        let write = || {
            let transaction = self.connection.transaction()?;
            for run in runs {
                upsert(&transaction, run)?;
            }
            transaction.commit()
        };
        write().map_err(failed)
    }

    /// The recoveries that began then or later, in order.
    pub fn runs_since(&self, since: Wall) -> Result<Vec<RecoveryRun>, StoreError> {
        runs_since(&self.connection, since).map_err(|source| self.failed("read", source))
    }
}

impl Reader {
    /// The recoveries that began then or later, in order.
    pub fn runs_since(&self, since: Wall) -> Result<Vec<RecoveryRun>, StoreError> {
        runs_since(&self.connection, since).map_err(|source| self.failed("read", source))
    }

    /// Puts the recoveries of an incident to it.
    pub(super) fn add_runs(&self, incident: &mut Incident) -> Result<(), StoreError> {
        let runs = runs_of(&self.connection, &incident.id);
        incident.recovery = runs.map_err(|source| self.failed("read", source))?;
        Ok(())
    }
}

fn upsert(connection: &Connection, run: &RecoveryRun) -> rusqlite::Result<usize> {
    let body = serde_json::to_string(run)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;
    connection.execute(
        "INSERT INTO recovery_run (id, incident, mount_point, started_ns, ended_ns, outcome, \
         is_dry_run, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) \
         ON CONFLICT (id) DO UPDATE SET ended_ns = ?5, outcome = ?6, body = ?8",
        params![
            run.id,
            run.incident.as_str(),
            crate::render::escape::escaped(&run.mount_point),
            signed(run.started_unix_ns.0),
            run.ended_unix_ns.map(|at| signed(at.0)),
            run.outcome.map_or("under_way", Outcome::name),
            run.outcome == Some(Outcome::DryRun),
            body,
        ],
    )
}

fn runs_since(connection: &Connection, since: Wall) -> rusqlite::Result<Vec<RecoveryRun>> {
    let query = "SELECT body FROM recovery_run WHERE started_ns >= ?1 ORDER BY started_ns";
    runs(&mut connection.prepare(query)?, params![signed(since.0)])
}

fn runs_of(connection: &Connection, incident: &IncidentId) -> rusqlite::Result<Vec<RecoveryRun>> {
    let query = "SELECT body FROM recovery_run WHERE incident = ?1 ORDER BY started_ns";
    runs(&mut connection.prepare(query)?, params![incident.as_str()])
}

/// One whose form this program cannot read, of a later version perhaps, is left as it is.
fn runs(statement: &mut Statement<'_>, of: impl Params) -> rusqlite::Result<Vec<RecoveryRun>> {
    let bodies = statement.query_map(of, |row| row.get::<_, String>(0))?;
    let bodies = bodies.collect::<rusqlite::Result<Vec<_>>>()?;
    let decode = |body: String| match serde_json::from_str(&body) {
        Ok(run) => Some(run),
        Err(error) => {
            tracing::warn!(%error, "a recovery in the journal cannot be read");
            None
        }
    };
    Ok(bodies.into_iter().filter_map(decode).collect())
}
