//! The incident journal: a `SQLite` database, written by a thread of its own that may hang on its disk
//! without anybody waiting for it.
//!
//! What is to be kept lies in memory, the latest form of each incident, until it is written. At the
//! bound the oldest that ended is given up, and counted.

mod database;
mod error;
pub(super) mod place;
mod queue;
mod reader;
mod runs;
mod schema;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use self::{queue::Queue, writer::Writer};
use super::mountinfo::{self, OwnTable};
use crate::{config::Config, incident::Incident, recovery::RecoveryRun, scope::Scope};

pub use database::{Database, Limits};
pub use error::StoreError;
pub use queue::{Condition, Remembered};
pub use reader::{Filter, Reader};

/// The database within the storage directory.
pub const FILE: &str = "incidents.db";

/// Where the journal of a configuration is, judged by the mount table; `None` where nothing is kept.
/// Nothing on the way is touched that lies on an observed mount.
pub fn directory(config: &Config) -> Result<Option<PathBuf>, StoreError> {
    let own = OwnTable::open().map_err(|source| StoreError::File {
        what: "open",
        path: Path::new(mountinfo::OWN).to_owned(),
        source,
    })?;
    directory_in(config, &own)
}

/// The same by a table that was opened before: the daemon leaves the namespace it was started in.
fn directory_in(config: &Config, own: &OwnTable) -> Result<Option<PathBuf>, StoreError> {
    if config.storage.path.is_empty() {
        return Ok(None);
    }
    let path = Path::new(&config.storage.path);
    let scope = Scope::new(&config.scope).map_err(|error| StoreError::File {
        what: "judge",
        path: path.to_owned(),
        source: std::io::Error::other(error),
    })?;
    let own = own.read().map_err(|source| StoreError::File {
        what: "read",
        path: Path::new(mountinfo::OWN).to_owned(),
        source,
    })?;
    place::resolve(path, &place::Table::new(&own.bytes, &scope)).map(Some)
}

/// The journal as the loop has it: never waits, but at the start and at the end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Journal {
    queue: Arc<Queue>,
}

impl Journal {
    /// Starts the thread that writes; without one nothing is kept beyond this process.
    pub fn start(config: &Config, own: Arc<OwnTable>) -> Self {
        let queue = Arc::new(Queue::new(!config.storage.path.is_empty()));
        let journal = Self {
            queue: Arc::clone(&queue),
        };
        if queue.is_kept() {
            let config = config.clone();
            let limits = Limits {
                age_max: config.storage.max_age,
                bytes_max: config.storage.max_bytes,
            };
            let place = move || directory_in(&config, &own);
            if let Err(error) = Writer::start(Arc::clone(&queue), place, limits) {
                queue.failed(&format!("cannot start its thread: {error}"));
            }
        }
        journal
    }

    /// Has an incident kept in this form, in place of what was kept of it.
    pub fn keep(&self, incident: Incident) {
        self.queue.keep(incident);
    }

    /// Has a recovery kept in this form.
    pub fn keep_run(&self, run: RecoveryRun) {
        self.queue.keep_run(run);
    }

    /// What the last observer left; once, as soon as it was read.
    /// Waits for so long.
    pub fn remembered(&self, patience: Duration) -> Option<Remembered> {
        self.queue.remembered(patience)
    }

    /// The incidents that go on, and those that are not written yet.
    pub fn in_memory(&self) -> Vec<Arc<Incident>> {
        self.queue.in_memory()
    }

    /// How it is doing.
    pub fn condition(&self) -> Condition {
        self.queue.condition()
    }

    /// Writes what waits, for so long at most, and ends. Says whether all of it was written.
    pub fn end(&self, patience: Duration) -> bool {
        self.queue.end(patience)
    }
}
