//! The thread that writes: opens the journal, writes what waits, cleans up, and tries again where the
//! disk or the file does not let it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::Duration,
};

use super::{
    Database, FILE, Limits, StoreError,
    lock::Lock,
    queue::{Queue, Remembered},
};
use crate::{
    daemon::{clock, confine, run::chain},
    incident::IncidentId,
    recovery::MATTERS_WITHIN,
    time::{Mono, Wall, nanos},
};

/// Incidents in one transaction.
const BATCH_MAX: usize = 64;
/// Between attempts, after the first failure and at most.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// How often what is too old or too much is removed, and the file is looked for.
const CLEAN_UP_EVERY: Duration = Duration::from_mins(10);
/// How often the file is looked for where nothing is to be written.
const IDLE: Duration = Duration::from_secs(30);
/// A trouble that stays is told again this often.
const REPEAT_EVERY: Duration = Duration::from_hours(1);

/// What the thread has.
pub(super) struct Writer<P> {
    queue: Arc<Queue>,
    place: P,
    limits: Limits,
    lock: Option<Lock>,
    database: Option<Database>,
    has_remembered: bool,
    cleaned_up_at: Option<Mono>,
    told_at: Option<Mono>,
    delay: Duration,
}

impl<P> Writer<P>
where
    P: Fn() -> Result<Option<PathBuf>, StoreError> + Send + 'static,
{
    /// Starts it; it ends with [`Queue::end`].
    pub(super) fn start(queue: Arc<Queue>, place: P, limits: Limits) -> io::Result<()> {
        let mut writer = Self {
            queue,
            place,
            limits,
            lock: None,
            database: None,
            has_remembered: false,
            cleaned_up_at: None,
            told_at: None,
            delay: RETRY.0,
        };
        let run = move || {
            if let Err(error) = confine::give_up_capabilities() {
                tracing::debug!(%error, "the journal's thread keeps its privileges");
            }
            writer.run();
        };
        let thread = thread::Builder::new().name("journal".to_owned());
        thread.spawn(run).map(drop)
    }

    fn run(&mut self) {
        loop {
            let is_ending = match self.turn() {
                Ok(is_ending) => {
                    self.delay = RETRY.0;
                    is_ending
                }
                Err(error) => {
                    self.fail(&error);
                    let is_ending = self.queue.pause(self.delay);
                    self.delay = (self.delay * 2).min(RETRY.1);
                    is_ending
                }
            };
            if is_ending {
                return;
            }
        }
    }

    /// One look at what is to be done; says whether it was the last.
    fn turn(&mut self) -> Result<bool, StoreError> {
        let database = match self.database.take() {
            Some(database) => database,
            None => self.open()?,
        };
        let work = self.queue.wait(IDLE, BATCH_MAX);
        if !database.is_in_place() {
            tracing::warn!("the incident journal was removed or replaced; a new one begins");
            self.queue.begin_anew();
            return Ok(work.is_ending);
        }
        let database = self.database.insert(database);
        let mut left = 0;
        if !work.incidents.is_empty() {
            let incidents = work.incidents.iter().map(AsRef::as_ref);
            let refused = database.keep(incidents)?;
            left = self.queue.written(&work.incidents, refused);
        }
        if !work.runs.is_empty() {
            database.keep_runs(work.runs.iter().map(AsRef::as_ref))?;
            self.queue.written_runs(&work.runs);
        }
        if self.queue.works() {
            tracing::info!("the incident journal is written again");
        }
        if !work.is_ending {
            self.clean_up()?;
        }
        Ok(work.is_ending && left == 0)
    }

    fn open(&mut self) -> Result<Database, StoreError> {
        // Judged anew each time: what is mounted where may have changed.
        let directory = (self.place)()?.unwrap_or_default();
        if !self
            .lock
            .as_ref()
            .is_some_and(|lock| lock.is_of(&directory))
        {
            self.lock = Some(Lock::take(&directory)?);
        }
        let database = match Database::open(&directory) {
            Err(error) if error.is_corrupt() => {
                set_aside(&directory, &error)?;
                self.queue.begin_anew();
                Database::open(&directory)
            }
            opened => opened,
        }?;
        if !self.has_remembered {
            let since = Wall(clock::now().wall.0.saturating_sub(nanos(MATTERS_WITHIN)));
            self.queue.set_remembered(Remembered {
                incidents: database.open_incidents()?,
                runs: database.runs_since(since)?,
            });
            self.has_remembered = true;
        }
        Ok(database)
    }

    fn clean_up(&mut self) -> Result<(), StoreError> {
        let now = clock::now();
        let is_recent = |at: Mono| now.mono.since(at) < CLEAN_UP_EVERY;
        let Some(database) = &mut self.database else {
            return Ok(());
        };
        if self.cleaned_up_at.is_some_and(is_recent) {
            return Ok(());
        }
        self.cleaned_up_at = Some(now.mono);
        let removed = database.prune(now.wall, self.limits)?;
        if removed > 0 {
            tracing::info!(
                removed,
                "incidents were removed from the journal: storage.max_age, storage.max_bytes"
            );
        }
        Ok(())
    }

    /// Says what is wrong, not over and over, and begins a new journal where the old is damaged.
    fn fail(&mut self, error: &StoreError) {
        let now = clock::now().mono;
        let why = chain(error);
        let is_new = self.queue.failed(&why);
        let is_due = |at: Mono| now.since(at) >= REPEAT_EVERY;
        if is_new || self.told_at.is_none_or(is_due) {
            self.told_at = Some(now);
            tracing::warn!(
                why,
                "incidents are not written; they wait in memory and it is tried again"
            );
        }
        if error.is_corrupt() {
            self.database = None;
        }
    }
}

/// Moves a damaged journal out of the way, with its log.
fn set_aside(directory: &Path, why: &StoreError) -> Result<(), StoreError> {
    let path = directory.join(FILE);
    let about = format!("corrupt-{}", IncidentId::compact(clock::now().wall));
    let aside = directory.join(format!("{FILE}.{about}"));
    for suffix in ["-wal", "-shm", ""] {
        let with = |path: &Path| {
            let mut name = path.as_os_str().to_owned();
            name.push(suffix);
            PathBuf::from(name)
        };
        match std::fs::rename(with(&path), with(&aside)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                let what = "move aside";
                return Err(StoreError::File { what, path, source });
            }
        }
    }
    tracing::error!(
        why = chain(why),
        moved_to = %aside.display(),
        "the incident journal is damaged; it was moved aside and a new one begins"
    );
    Ok(())
}
