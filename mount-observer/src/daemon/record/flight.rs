//! The flight recorder: the last minutes in memory, saved under the name of an incident.

use std::{
    collections::{BTreeMap, VecDeque},
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, statat};

use super::{RecordError, place};
use crate::{
    config::Config,
    daemon::mountinfo::OwnTable,
    incident::IncidentId,
    recording::{Header, MemoryRing, Said},
    time::{Mono, Now, nanos},
};

/// Incidents whose recording was saved that are remembered, so that each is saved once.
const SAVED_MAX: usize = 256;

/// Recordings that wait for the seconds after their alert.
const WAITING_MAX: usize = 16;

/// Alerts within this time share a recording, under the name of each: a server's end is that of all its
/// mounts.
const SHARED_WITHIN: Duration = Duration::from_secs(1);

/// Until it is whole; one name for all, so that a kill leaves one at most.
const UNFINISHED: &str = "unfinished";

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
    /// Recordings that are to be saved, the earliest first.
    waiting: VecDeque<Waiting>,
    saved: Vec<IncidentId>,
    now: Now,
}

/// A recording that is to be saved.
#[derive(Debug)]
struct Waiting {
    due: Mono,
    /// Until when others join.
    joined_until: Mono,
    incidents: Vec<IncidentId>,
}

impl Flight {
    pub(super) fn new(header: Header, options: FlightOptions) -> Self {
        let record = options.config.record;
        let bytes_max = usize::try_from(record.flight_bytes).unwrap_or(usize::MAX);
        Self {
            ring: MemoryRing::new(header, record.flight, bytes_max),
            config: options.config,
            own: options.own,
            waiting: VecDeque::new(),
            saved: Vec::new(),
            now: Now::default(),
        }
    }

    pub(super) fn push(&mut self, now: Now, said: &Said) {
        self.now = now;
        self.ring.push(now, said);
    }

    /// An alert fires.
    pub(super) fn want(&mut self, incident: IncidentId) -> Result<(), RecordError> {
        let mut waiting = self.waiting.iter();
        let is_known = waiting.any(|waiting| waiting.incidents.contains(&incident));
        if is_known || self.saved.contains(&incident) {
            return Ok(());
        }
        let now = self.now.mono;
        let last = self.waiting.back_mut();
        if let Some(last) = last.filter(|last| now <= last.joined_until) {
            last.incidents.push(incident);
        } else if self.waiting.len() >= WAITING_MAX {
            return Err(RecordError::TooMany(incident));
        } else {
            self.waiting.push_back(Waiting {
                due: after(now, self.config.record.flight_after),
                joined_until: after(now, SHARED_WITHIN),
                incidents: vec![incident],
            });
        }
        Ok(())
    }

    /// Saves what is due, or everything; says where, or why not.
    pub(super) fn save_due(&mut self, is_end: bool) -> Option<Result<PathBuf, RecordError>> {
        let now = self.now.mono;
        let due = |waiting: &mut Waiting| is_end || waiting.due <= now;
        let Waiting { incidents, .. } = self.waiting.pop_front_if(due)?;
        let (first, others) = incidents.split_first()?;
        let result = self.save(first, others);
        self.saved.extend(incidents);
        let past = self.saved.len().saturating_sub(SAVED_MAX);
        self.saved.drain(..past);
        Some(result)
    }

    fn save(
        &mut self,
        incident: &IncidentId,
        others: &[IncidentId],
    ) -> Result<PathBuf, RecordError> {
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
        let bytes = self.ring.save(self.now);
        let bytes = bytes.ok_or_else(|| RecordError::Unpacked(path.clone()))?;
        let new = directory.join(UNFINISHED);
        let names = [incident].into_iter().chain(others);
        let names = names.map(|incident| directory.join(file_name(incident.as_str())));
        let written = write_new(&new, &bytes).and_then(|()| name_all(&new, names));
        // There may be none.
        fs::remove_file(&new).ok();
        written.map_err(failed("write"))?;
        let record = self.config.record;
        prune(&directory, &path, record.keep_files, record.keep_bytes)
            .map_err(failed("make room for"))?;
        Ok(path)
    }
}

fn after(now: Mono, time: Duration) -> Mono {
    Mono(now.0.saturating_add(nanos(time)))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut open = OpenOptions::new();
    open.write(true).create(true).truncate(true).mode(0o600);
    open.custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    let mut file = open.open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// Gives a file names. One that is taken stays what it is: an incident that goes on after a restart has
/// the recording of what led to it.
fn name_all(file: &Path, names: impl Iterator<Item = PathBuf>) -> io::Result<()> {
    for name in names {
        match fs::hard_link(file, name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// A recording under all its names, the first of which begins with the time.
#[derive(Default)]
struct Saved {
    names: Vec<String>,
    bytes: u64,
}

/// Removes the oldest recordings beyond the bounds, never the one just written. Alerts of one moment
/// share a file, which counts once and goes as a whole.
fn prune(directory: &Path, kept: &Path, files_max: usize, bytes_max: u64) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let folder = openat(CWD, directory, flags, Mode::empty())?;
    let mut by_inode: BTreeMap<u64, Saved> = BTreeMap::new();
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_recording = name.to_str().is_ok_and(|name| name.ends_with(SUFFIX));
        if let (true, Ok(text)) = (is_recording, name.to_str()) {
            let status = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let saved = by_inode.entry(status.st_ino).or_default();
            saved.names.push(text.to_owned());
            saved.bytes = u64::try_from(status.st_size).unwrap_or(0);
        }
    }
    let mut all: Vec<Saved> = by_inode.into_values().collect();
    for saved in &mut all {
        saved.names.sort();
    }
    all.sort_by(|one, other| one.names.cmp(&other.names));
    let kept = kept
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let mut bytes: u64 = all.iter().map(|saved| saved.bytes).sum();
    let mut count = all.len();
    let is_kept = |saved: &&Saved| saved.names.iter().any(|name| name == kept);
    for saved in all.iter().filter(|saved| !is_kept(saved)) {
        if count <= files_max && bytes <= bytes_max {
            break;
        }
        for name in &saved.names {
            fs::remove_file(directory.join(name))?;
        }
        bytes -= saved.bytes;
        count -= 1;
    }
    Ok(())
}
