//! The flight recorder: the last minutes in memory, saved under the name of an incident.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};

use super::{RecordError, place};
use crate::{
    config::Config,
    daemon::mountinfo::OwnTable,
    incident::IncidentId,
    recording::{Header, MemoryRing, Said},
    time::{Mono, Now},
};

/// Incidents whose recording was saved that are remembered, so that each is saved once.
const SAVED_MAX: usize = 256;

/// Incidents that wait for the seconds after their alert.
const WAITING_MAX: usize = 16;

/// How recordings end.
const SUFFIX: &str = ".mor";

/// What the flight recorder does.
#[derive(Clone, Debug)]
pub struct FlightOptions {
    config: Config,
    own: Arc<OwnTable>,
}

impl FlightOptions {
    /// Of a configuration; `None` where nothing is to be kept. The table is that of the namespace the
    /// observer was started in: its own shows nothing observed once it is confined.
    pub fn of(config: &Config, own: &Arc<OwnTable>) -> Option<Self> {
        let is_wanted = !config.record.flight.is_zero() && !config.storage.path.is_empty();
        is_wanted.then(|| Self {
            config: config.clone(),
            own: Arc::clone(own),
        })
    }
}

/// Where recordings of incidents are kept.
fn directory(config: &Config) -> PathBuf {
    Path::new(&config.storage.path).join("recordings")
}

/// The name of an incident's recording.
fn file_name(incident: &str) -> String {
    let plain = |c: char| {
        if c.is_ascii_alphanumeric() || "-._".contains(c) {
            c
        } else {
            '_'
        }
    };
    let name: String = incident.chars().map(plain).collect();
    format!("{name}{SUFFIX}")
}

/// The flight recorder.
#[derive(Debug)]
pub(super) struct Flight {
    config: Config,
    own: Arc<OwnTable>,
    ring: MemoryRing,
    /// Incidents, and when their recording is to be saved.
    waiting: BTreeMap<IncidentId, Mono>,
    saved: Vec<IncidentId>,
    now: Now,
}

impl Flight {
    pub(super) fn new(header: Header, options: FlightOptions) -> Self {
        let record = options.config.record;
        let bytes_max = usize::try_from(record.flight_bytes).unwrap_or(usize::MAX);
        Self {
            ring: MemoryRing::new(header, record.flight, bytes_max),
            config: options.config,
            own: options.own,
            waiting: BTreeMap::new(),
            saved: Vec::new(),
            now: Now::default(),
        }
    }

    pub(super) fn push(&mut self, now: Now, said: &Said) {
        self.now = now;
        self.ring.push(now, said);
    }

    /// An alert fires.
    pub(super) fn want(&mut self, incident: IncidentId) {
        if self.saved.contains(&incident) || self.waiting.len() >= WAITING_MAX {
            return;
        }
        let after = u64::try_from(self.config.record.flight_after.as_nanos()).unwrap_or(u64::MAX);
        let due = Mono(self.now.mono.0.saturating_add(after));
        self.waiting.entry(incident).or_insert(due);
    }

    /// Saves what is due, or everything; says where, or why not.
    pub(super) fn save_due(&mut self, is_end: bool) -> Option<Result<PathBuf, RecordError>> {
        let now = self.now.mono;
        let mut due = self
            .waiting
            .iter()
            .filter(|(_, due)| is_end || **due <= now);
        let incident = due.next().map(|(incident, _)| incident.clone())?;
        self.waiting.remove(&incident);
        let result = self.save(&incident);
        if self.saved.len() >= SAVED_MAX {
            self.saved.remove(0);
        }
        self.saved.push(incident);
        Some(result)
    }

    fn save(&mut self, incident: &IncidentId) -> Result<PathBuf, RecordError> {
        let directory = directory(&self.config);
        let path = directory.join(file_name(incident.as_str()));
        // Judged anew each time: what is mounted where may have changed.
        let path = place::resolve(&path, &self.config, self.own.read())?;
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        let failed = |what| {
            let path = path.clone();
            move |source| RecordError::File { what, path, source }
        };
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o750);
        builder
            .create(&directory)
            .map_err(failed("make the directory of"))?;
        let bytes = self.ring.save(self.now).unwrap_or_default();
        let new = path.with_extension("new");
        let written = write_new(&new, &bytes).and_then(|()| fs::rename(&new, &path));
        if written.is_err() {
            // There may be none.
            fs::remove_file(&new).ok();
        }
        written.map_err(failed("write"))?;
        let record = self.config.record;
        prune(&directory, &path, record.keep_files, record.keep_bytes)
            .map_err(failed("make room for"))?;
        Ok(path)
    }
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o640);
    open.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut file = open.open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Removes the oldest recordings beyond the bounds, never the one just written. Their names begin with
/// the time.
fn prune(directory: &Path, kept: &Path, files_max: usize, bytes_max: u64) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = openat(CWD, directory, flags, Mode::empty())?;
    let mut found = BTreeMap::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_recording = name.to_str().is_ok_and(|name| name.ends_with(SUFFIX));
        if let (true, Ok(text)) = (is_recording, name.to_str()) {
            let status = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            found.insert(text.to_owned(), u64::try_from(status.st_size).unwrap_or(0));
        }
    }
    let kept = kept
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let mut bytes: u64 = found.values().sum();
    let mut count = found.len();
    for (name, size) in found.iter().filter(|(name, _)| *name != kept) {
        if count <= files_max && bytes <= bytes_max {
            break;
        }
        fs::remove_file(directory.join(name))?;
        bytes -= size;
        count -= 1;
    }
    Ok(())
}
