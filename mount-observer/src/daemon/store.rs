//! The incident journal: a `SQLite` database, written by a thread of its own that may hang on its disk
//! without anybody waiting for it.
//!
//! What is to be kept lies in memory, the latest form of each incident, until it is written. At the
//! bound the oldest that ended is given up, and counted.

mod database;
mod error;
mod lock;
pub(super) mod place;
mod queue;
mod reader;
mod runs;
mod schema;
mod silences;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use globset::{Glob, GlobMatcher};

use self::{queue::Queue, writer::Writer};
use super::mountinfo::{self, OwnTable};
use crate::{
    config::Config,
    incident::{Incident, Summary},
    recovery::RecoveryRun,
    scope::Scope,
};

pub use database::{Database, Limits};
pub use error::StoreError;
pub use queue::{Condition, Remembered};
pub use reader::{Filter, Reader};
pub use silences::SilenceWatch;

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

/// A pattern for mount points, as in the configuration's scope.
pub fn pattern(text: &str) -> Result<GlobMatcher, StoreError> {
    let glob = Glob::new(text).map_err(StoreError::Pattern)?;
    Ok(glob.compile_matcher())
}

/// Where the journal is to be found now.
type PlaceOf = Arc<dyn Fn() -> Result<Option<PathBuf>, StoreError> + Send + Sync>;

/// The journal as the loop has it: never waits, but at the start and at the end. Cheap to clone.
#[derive(Clone)]
pub struct Journal {
    queue: Arc<Queue>,
    place: PlaceOf,
}

impl fmt::Debug for Journal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Journal")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// Starts the thread that writes; without one nothing is kept beyond this process.
    pub fn start(config: &Config, own: Arc<OwnTable>) -> Self {
        let limits = Limits {
            age_max: config.storage.max_age,
            bytes_max: config.storage.max_bytes,
        };
        let is_wanted = !config.storage.path.is_empty();
        let config = config.clone();
        let place = Arc::new(move || directory_in(&config, &own));
        Self::at(place, is_wanted, limits)
    }

    /// One that holds incidents in memory and writes nothing.
    pub fn in_memory_only() -> Self {
        Self {
            queue: Arc::new(Queue::new(true)),
            place: Arc::new(|| Ok(None)),
        }
    }

    fn at(place: PlaceOf, is_wanted: bool, limits: Limits) -> Self {
        let queue = Arc::new(Queue::new(is_wanted));
        let journal = Self {
            queue: Arc::clone(&queue),
            place: Arc::clone(&place),
        };
        if is_wanted {
            let place = move || place();
            if let Err(error) = Writer::start(Arc::clone(&queue), place, limits) {
                queue.failed(&format!("cannot start its thread: {error}"));
            }
        }
        journal
    }

    /// The incidents that match, the latest first: those of the journal, and as they are by now. Reads
    /// the disk: not for the loop.
    pub fn list(&self, filter: &Filter) -> Result<Vec<Summary>, StoreError> {
        let written = match self.reader()? {
            Some(reader) => reader.list(filter)?,
            None => Vec::new(),
        };
        let in_memory = self.in_memory();
        let latest = in_memory.iter().map(|incident| Summary::of(incident));
        let latest = latest.filter(|summary| filter.takes(summary));
        let all = written.into_iter().chain(latest);
        let mut all: BTreeMap<_, _> = all
            .map(|summary| ((summary.started_unix_ns, summary.id.clone()), summary))
            .collect();
        // One that ended since it was written does not go on.
        let is_over = |summary: &Summary| {
            let mut known = in_memory.iter();
            known.any(|known| known.id.as_str() == summary.id && known.ended.is_some())
        };
        all.retain(|_, summary| !filter.is_open || !is_over(summary));
        let limit = filter.limit.unwrap_or(usize::MAX);
        Ok(all.into_values().rev().take(limit).collect())
    }

    /// The incident whose id begins so, as it is by now. Reads the disk: not for the loop.
    pub fn find(&self, prefix: &str) -> Result<Incident, StoreError> {
        let in_memory = self.in_memory();
        let written = match self.reader()? {
            Some(reader) => reader.find(prefix).map(Some),
            None => Ok(None),
        };
        let id = match &written {
            Ok(Some(written)) => written.id.as_str(),
            Ok(None) | Err(_) => prefix,
        };
        let latest = in_memory.iter().find(|known| known.id.as_str() == id);
        let begins = || {
            let mut known = in_memory.iter();
            known.find(|known| known.id.as_str().starts_with(prefix))
        };
        match (latest, written) {
            (Some(latest), Ok(written)) => Ok(Incident {
                recovery: written.map_or_else(Vec::new, |written| written.recovery),
                ..Incident::clone(latest)
            }),
            (Some(latest), Err(_)) => Ok(Incident::clone(latest)),
            (None, Ok(Some(written))) => Ok(written),
            (None, Ok(None)) => match begins() {
                Some(incident) => Ok(Incident::clone(incident)),
                None => Err(StoreError::none(prefix)),
            },
            (None, Err(error)) => Err(error),
        }
    }

    /// `None` where nothing is kept, or was so far.
    fn reader(&self) -> Result<Option<Reader>, StoreError> {
        match (self.place)()? {
            Some(directory) => match Reader::open(&directory) {
                Err(StoreError::Absent { .. }) => Ok(None),
                opened => opened.map(Some),
            },
            None => Ok(None),
        }
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
