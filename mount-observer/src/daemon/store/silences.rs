//! Silences in the journal: made and ended by whoever administrates, read by the daemon.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use rusqlite::params;

use super::{Database, Reader, StoreError, directory};
use crate::{
    config::Config,
    daemon::{clock, confine},
    notify::{SILENCES_MAX, Silence},
    time::Wall,
};

/// How often the daemon looks for new ones.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long the start waits for the first look: what fires already may be silenced.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(1);
/// What ended this long ago is forgotten when another is made, ns: a week.
const KEPT_NS: u64 = 7 * 86_400 * 1_000_000_000;

impl Database {
    /// Adds a silence, and removes those that ended long ago.
    pub fn silence(&self, silence: &Silence) -> Result<(), StoreError> {
        let write = || {
            let old = silence.created_unix_ns.0.saturating_sub(KEPT_NS);
            self.connection.execute(
                "DELETE FROM silence WHERE ends_ns < ?1",
                [column(Wall(old))],
            )?;
            // A silence is text and numbers: there is JSON for it.
            let body = serde_json::to_string(silence).unwrap_or_default();
            let (starts, ends) = (silence.created_unix_ns, silence.ends_unix_ns);
            self.connection.execute(
                "INSERT INTO silence (id, starts_ns, ends_ns, body) VALUES (?1, ?2, ?3, ?4)",
                params![silence.id, column(starts), column(ends), body],
            )
        };
        let written = write();
        written
            .map(drop)
            .map_err(|source| self.failed("write", source))
    }

    /// Ends the silence whose id begins so, now. Says which it was.
    pub fn end_silence(&self, prefix: &str, now: Wall) -> Result<Silence, StoreError> {
        let mut found = self.silences(now)?;
        found.retain(|silence| silence.id.starts_with(prefix));
        let silence = match found.as_mut_slice() {
            [silence] => silence,
            [] => {
                let why = format!("no silence that counts now begins with {prefix:?}");
                return Err(StoreError::Id(why));
            }
            several => {
                let why = format!("{} silences begin with {prefix:?}", several.len());
                return Err(StoreError::Id(why));
            }
        };
        silence.ends_unix_ns = now;
        let body = serde_json::to_string(silence).unwrap_or_default();
        let ended = self.connection.execute(
            "UPDATE silence SET ends_ns = ?2, body = ?3 WHERE id = ?1",
            params![silence.id, column(now), body],
        );
        ended.map_err(|source| self.failed("write", source))?;
        Ok(silence.clone())
    }

    /// The silences that count now.
    pub fn silences(&self, now: Wall) -> Result<Vec<Silence>, StoreError> {
        let found = silences(&self.connection, now);
        found.map_err(|source| self.failed("read", source))
    }
}

impl Reader {
    /// The silences that count now, those that end first at the front.
    pub fn silences(&self, now: Wall) -> Result<Vec<Silence>, StoreError> {
        let found = silences(&self.connection, now);
        found.map_err(|source| self.failed("read", source))
    }
}

fn silences(connection: &rusqlite::Connection, now: Wall) -> rusqlite::Result<Vec<Silence>> {
    let mut statement = connection
        .prepare("SELECT body FROM silence WHERE ends_ns > ?1 ORDER BY ends_ns, id LIMIT ?2")?;
    let limit = i64::try_from(SILENCES_MAX).unwrap_or(i64::MAX);
    let rows = statement.query_map(params![column(now), limit], |row| row.get::<_, String>(0))?;
    let bodies = rows.collect::<rusqlite::Result<Vec<_>>>()?;
    let decoded = bodies
        .iter()
        .filter_map(|body| serde_json::from_str(body).ok());
    Ok(decoded.collect())
}

/// `SQLite` has no numbers above 2^63: the year 2262.
fn column(at: Wall) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// Looks for silences on a thread of its own, which may hang on its disk.
#[derive(Debug)]
pub struct SilenceWatch {
    seen: Arc<Mutex<Option<Vec<Silence>>>>,
    /// Ends the thread when it goes.
    ends_thread: Option<SyncSender<()>>,
}

impl SilenceWatch {
    /// Starts the thread, where there is a journal.
    pub fn start(config: &Config) -> Self {
        let seen = Arc::new(Mutex::new(None));
        let (is_wanted, ends) = sync_channel(0);
        let mut watch = Self {
            seen: Arc::clone(&seen),
            ends_thread: None,
        };
        if config.storage.path.is_empty() {
            return watch;
        }
        let config = config.clone();
        let (looked, first_look) = sync_channel(1);
        let look = move || {
            // Without, it only keeps more than it uses.
            confine::give_up_capabilities().ok();
            let mut known = Vec::new();
            loop {
                if let Some(now) = read(&config).filter(|now| *now != known) {
                    known.clone_from(&now);
                    *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
                }
                looked.try_send(()).ok();
                if ends.recv_timeout(LOOK_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let started = thread::Builder::new()
            .name("silences".to_owned())
            .spawn(look);
        match started {
            Ok(_) => {
                watch.ends_thread = Some(is_wanted);
                // A disk that hangs holds up nothing for longer.
                first_look.recv_timeout(FIRST_LOOK_MAX).ok();
            }
            Err(error) => tracing::warn!(%error, "silences are not looked for"),
        }
        watch
    }

    /// The silences, where they changed since the last call.
    pub fn take(&self) -> Option<Vec<Silence>> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.take()
    }
}

/// `None` where they cannot be read: those that are known go on.
fn read(config: &Config) -> Option<Vec<Silence>> {
    let place: PathBuf = directory(config).ok()??;
    let reader = match Reader::open(&place) {
        Ok(reader) => reader,
        Err(StoreError::Absent { .. }) => return Some(Vec::new()),
        Err(error) => {
            tracing::debug!(%error, "cannot look for silences");
            return None;
        }
    };
    reader.silences(clock::now().wall).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn silence(id: &str, ends: u64) -> Silence {
        Silence {
            id: id.to_owned(),
            mount: "/srv/*\n\"'".to_owned(),
            created_unix_ns: Wall(KEPT_NS * 2),
            ends_unix_ns: Wall(ends),
            reason: "moving house; DROP TABLE silence".to_owned(),
        }
    }

    #[test]
    fn a_silence_is_kept_until_it_ends_or_is_ended() {
        let directory = std::env::temp_dir().join(format!("silences-{}", std::process::id()));
        std::fs::remove_dir_all(&directory).ok();
        let database = Database::open(&directory).unwrap();
        let now = Wall(KEPT_NS * 2);
        let (long, short) = (silence("aa1", now.0 + 100), silence("ab2", now.0 + 5));
        database.silence(&long).unwrap();
        database.silence(&short).unwrap();
        assert!(database.silence(&long).is_err(), "each has its own id");
        let reader = Reader::open(&directory).unwrap();
        assert_eq!(reader.silences(now).unwrap(), [short, long.clone()]);
        assert_eq!(reader.silences(Wall(now.0 + 5)).unwrap(), [long]);
        assert!(database.end_silence("a", now).is_err());
        assert!(database.end_silence("x", now).is_err());
        assert_eq!(database.end_silence("aa", now).unwrap().id, "aa1");
        assert_eq!(reader.silences(Wall(now.0 + 5)).unwrap(), []);
        std::fs::remove_dir_all(&directory).ok();
    }
}
