//! Records a session: into a file that somebody asked for, and into memory, from which an alert saves
//! the last minutes. A thread does it; the loop hands over copies and never waits.
//!
//! What the thread cannot keep up with is left out, counted, and said in the recording itself.

mod file;
mod flight;
mod place;
mod writer;

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::Duration,
};

use self::writer::Writer;
pub use self::{
    file::{RecordError, RecordFile, RecordOptions},
    flight::FlightOptions,
};
use crate::{
    config::Config,
    incident::IncidentId,
    input::Input,
    recording::{Decisive, Header, Said},
    time::Now,
};

/// Batches that wait for the thread.
const QUEUE_MAX: usize = 64;
/// Bytes that wait for the thread, when the disk does not answer.
const QUEUED_BYTES_MAX: usize = 32 << 20;
/// Bytes of a batch; a tick ends one before.
const BATCH_BYTES: usize = 256 << 10;
/// Entries of a batch.
const BATCH_MAX: usize = 4_096;
/// How long the end waits for a disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3);
/// Between two looks for room in the queue, in the end.
const ROOM_EVERY: Duration = Duration::from_millis(10);

/// What is to be recorded: made before privileges are given up.
#[derive(Debug, Default)]
pub struct Recordings {
    /// The file of `--record`.
    pub file: Option<RecordFile>,
    /// The flight recorder.
    pub flight: Option<FlightOptions>,
}

/// What came of a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The file of `--record`.
    pub path: Option<PathBuf>,
    /// Inputs that were recorded.
    pub recorded: u64,
    /// Inputs that were not.
    pub lost: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Why the file ends early.
    pub failure: Option<String>,
}

/// What the thread is told.
#[derive(Debug)]
enum Message {
    /// What was learnt, and how many bytes of it count as waiting.
    Said(Vec<(Now, Said)>, usize),
    Incident(IncidentId),
    End(SyncSender<()>),
}

/// What the thread tells.
#[derive(Debug, Default)]
struct Shared {
    recorded: AtomicU64,
    /// Inputs that the file does not have, although the thread took them.
    unwritten: AtomicU64,
    bytes: AtomicU64,
    /// Bytes that wait for the thread.
    queued: AtomicUsize,
    /// Why the file is written no more; it stays so.
    failure: Mutex<Option<String>>,
    /// Why the last minutes could not be saved, until they can.
    unsaved: Mutex<Option<String>>,
}

/// Hands what is learnt to the thread.
pub struct Recorder {
    sender: SyncSender<Message>,
    shared: Arc<Shared>,
    path: Option<PathBuf>,
    batch: Vec<(Now, Said)>,
    batch_bytes: usize,
    now: Now,
    lost: u64,
    /// Of those, what the recording does not know yet.
    unsaid: u64,
}

impl fmt::Debug for Recorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recorder")
            .field("path", &self.path)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts the thread; `None` where nothing is to be recorded.
    pub fn start(recordings: Recordings, header: &Header) -> io::Result<Option<Self>> {
        let Recordings { file, flight } = recordings;
        if file.is_none() && flight.is_none() {
            return Ok(None);
        }
        let path = file.as_ref().map(|file| file.path().to_owned());
        let shared = Arc::new(Shared::default());
        let (sender, messages) = sync_channel(QUEUE_MAX);
        Self::spawn(
            messages,
            Writer::new(header, file, flight, Arc::clone(&shared)),
        )?;
        Ok(Some(Self {
            sender,
            shared,
            path,
            batch: Vec::new(),
            batch_bytes: 0,
            now: Now::default(),
            lost: 0,
            unsaid: 0,
        }))
    }

    fn spawn(messages: Receiver<Message>, mut writer: Writer) -> io::Result<()> {
        let run = move || {
            if let Err(error) = super::confine::give_up_capabilities() {
                tracing::debug!(%error, "the recorder's thread keeps its privileges");
            }
            writer.run(&messages);
        };
        let thread = thread::Builder::new().name("recorder".to_owned());
        thread.spawn(run).map(drop)
    }

    /// Takes note of what the session is given.
    pub fn note(&mut self, now: Now, input: &Input) {
        self.batch_bytes += weight(input);
        let is_tick = matches!(input, Input::Tick);
        self.add(now, Said::Input(input.clone()));
        if is_tick || self.batch_bytes >= BATCH_BYTES || self.batch.len() >= BATCH_MAX {
            self.hand_over();
        }
    }

    /// Takes note of other settings.
    pub fn reconfigure(&mut self, now: Now, config: &Config) {
        self.add(now, Said::Reconfigure(Box::new(Decisive::of(config))));
    }

    /// An alert fires: the last minutes, and some more seconds, are to be saved under its incident.
    pub fn save(&mut self, incident: &IncidentId) {
        self.hand_over();
        // A full queue says that nothing of now is recorded either.
        if self
            .sender
            .try_send(Message::Incident(incident.clone()))
            .is_err()
        {
            self.shared
                .set_unsaved(Some("the recorder does not keep up".to_owned()));
        }
    }

    /// Inputs that were not recorded.
    pub fn lost(&self) -> u64 {
        self.lost + self.shared.unwritten.load(Ordering::Relaxed)
    }

    /// What is wrong, in words.
    pub fn trouble(&self) -> Option<String> {
        let failure = lock(&self.shared.failure).clone();
        failure.or_else(|| lock(&self.shared.unsaved).clone())
    }

    /// Waits a moment until all is written.
    pub fn finish(mut self) -> Report {
        self.hand_over();
        if self.unsaid > 0 {
            let missing = vec![(self.now, Said::Lost(self.unsaid))];
            // Where there is no room for it in time, the end is not told either: the file is cut off.
            self.send_in_time(Message::Said(missing, 0));
        }
        let (done, is_done) = sync_channel(1);
        let is_told = self.send_in_time(Message::End(done));
        let is_done = is_told && is_done.recv_timeout(WRITTEN_WITHIN).is_ok();
        let late = (!is_done).then(|| "the disk does not answer".to_owned());
        Report {
            recorded: self.shared.recorded.load(Ordering::Relaxed),
            lost: self.lost(),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            failure: lock(&self.shared.failure).clone().or(late),
            path: self.path,
        }
    }

    /// Waits a moment for room: a disk that is slow just now holds up the queue.
    fn send_in_time(&self, mut message: Message) -> bool {
        for _ in 0..WRITTEN_WITHIN.as_millis() / ROOM_EVERY.as_millis() {
            match self.sender.try_send(message) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(refused)) => message = refused,
            }
            thread::park_timeout(ROOM_EVERY);
        }
        false
    }

    fn add(&mut self, now: Now, said: Said) {
        self.now = now;
        if self.unsaid > 0 && self.batch.is_empty() {
            self.batch.push((now, Said::Lost(self.unsaid)));
        }
        self.batch.push((now, said));
    }

    fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut self.batch_bytes);
        let batch = std::mem::take(&mut self.batch);
        let says_lost = matches!(batch.first(), Some((_, Said::Lost(_))));
        let inputs = batch.len() - usize::from(says_lost);
        if self.send(batch, bytes) {
            self.unsaid = 0;
        } else {
            let inputs = u64::try_from(inputs).unwrap_or(u64::MAX);
            self.lost += inputs;
            self.unsaid += inputs;
        }
    }

    /// False when there is no room.
    fn send(&self, batch: Vec<(Now, Said)>, bytes: usize) -> bool {
        let queued = &self.shared.queued;
        // One batch is taken whatever its size.
        let waiting = queued.load(Ordering::Relaxed);
        if waiting > 0 && waiting + bytes > QUEUED_BYTES_MAX {
            return false;
        }
        queued.fetch_add(bytes, Ordering::Relaxed);
        let is_sent = self.sender.try_send(Message::Said(batch, bytes)).is_ok();
        if !is_sent {
            queued.fetch_sub(bytes, Ordering::Relaxed);
        }
        is_sent
    }
}

impl Shared {
    fn set_failure(&self, why: String) {
        lock(&self.failure).get_or_insert(why);
    }

    fn set_unsaved(&self, why: Option<String>) {
        *lock(&self.unsaved) = why;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Bytes of what can be long, about.
fn weight(input: &Input) -> usize {
    match input {
        Input::Record(bytes) | Input::Mountinfo { bytes, .. } => bytes.len(),
        Input::Holders(scan) | Input::Tasks { scan, .. } | Input::Files { scan, .. } => {
            scan.bytes.len()
        }
        Input::Totals(reading) => size_of_val(reading.as_slice()),
        Input::InFlight(reading) => size_of_val(reading.as_slice()),
        Input::Units(answers) => {
            let bytes = |(_, text): &(u32, Option<Vec<u8>>)| text.as_ref().map_or(0, Vec::len);
            answers.iter().map(bytes).sum()
        }
        Input::Names(names) => names.iter().map(|(_, name)| 8 + name.len()).sum(),
        Input::TraceGroups(groups) => size_of_val(groups.as_slice()),
        Input::ShadowWrites(_)
        | Input::Connection(_)
        | Input::Namespaces(_)
        | Input::Waiting(_)
        | Input::WaitFunctions(_)
        | Input::Links(_)
        | Input::Health(_)
        | Input::Unseen { .. }
        | Input::Layout { .. }
        | Input::RecoveryEnabled(_)
        | Input::RecoveryRuns(_)
        | Input::RecoveryDone { .. }
        | Input::Remembered(_)
        | Input::Sysctls(_)
        | Input::Trouble { .. }
        | Input::Tick => 0,
    }
}

#[cfg(test)]
mod tests;
