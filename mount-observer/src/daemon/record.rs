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
        atomic::{AtomicU64, Ordering},
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
    trace,
};

/// Batches that wait for the thread: some 16 MiB of what was learnt.
const QUEUE_MAX: usize = 64;
/// Bytes of a batch; a tick ends one before.
const BATCH_BYTES: usize = 256 << 10;
/// Entries of a batch.
const BATCH_MAX: usize = 4_096;
/// How long the end waits for a disk.
const WRITTEN_WITHIN: Duration = Duration::from_secs(3);

/// What is to be recorded: made before privileges are given up.
#[derive(Debug, Default)]
pub struct Recordings {
    /// The file of `--record`.
    pub file: Option<RecordFile>,
    /// The flight recorder.
    pub flight: Option<FlightOptions>,
    /// What is traced, for the header.
    pub trace: Option<trace::Options>,
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
    Said(Vec<(Now, Said)>),
    Incident(IncidentId),
    End(SyncSender<()>),
}

/// What the thread tells.
#[derive(Debug, Default)]
struct Shared {
    recorded: AtomicU64,
    bytes: AtomicU64,
    saved: AtomicU64,
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
    pub fn start(recordings: Recordings, header: Header) -> io::Result<Option<Self>> {
        let Recordings {
            file,
            flight,
            trace,
        } = recordings;
        if file.is_none() && flight.is_none() {
            return Ok(None);
        }
        let header = match trace {
            Some(options) => header.with_trace(options),
            None => header,
        };
        let path = file.as_ref().map(|file| file.path().to_owned());
        let shared = Arc::new(Shared::default());
        let (sender, messages) = sync_channel(QUEUE_MAX);
        Self::spawn(
            messages,
            Writer::new(&header, file, flight, Arc::clone(&shared)),
        )?;
        Ok(Some(Self {
            sender,
            shared,
            path,
            batch: Vec::new(),
            batch_bytes: 0,
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
        self.lost
    }

    /// What is wrong, in words.
    pub fn trouble(&self) -> Option<String> {
        let failure = lock(&self.shared.failure).clone();
        failure.or_else(|| lock(&self.shared.unsaved).clone())
    }

    /// Recordings of incidents that were saved.
    pub fn saved(&self) -> u64 {
        self.shared.saved.load(Ordering::Relaxed)
    }

    /// Waits a moment until all is written.
    pub fn finish(mut self) -> Report {
        self.hand_over();
        let (done, is_done) = sync_channel(1);
        let is_told = self.sender.try_send(Message::End(done)).is_ok();
        let is_done = is_told && is_done.recv_timeout(WRITTEN_WITHIN).is_ok();
        let late = (!is_done).then(|| "the disk does not answer".to_owned());
        Report {
            recorded: self.shared.recorded.load(Ordering::Relaxed),
            lost: self.lost,
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            failure: lock(&self.shared.failure).clone().or(late),
            path: self.path,
        }
    }

    fn add(&mut self, now: Now, said: Said) {
        if self.unsaid > 0 && self.batch.is_empty() {
            self.batch.push((now, Said::Lost(self.unsaid)));
        }
        self.batch.push((now, said));
    }

    fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        self.batch_bytes = 0;
        let batch = std::mem::take(&mut self.batch);
        let says_lost = matches!(batch.first(), Some((_, Said::Lost(_))));
        match self.sender.try_send(Message::Said(batch)) {
            Ok(()) => self.unsaid = 0,
            Err(TrySendError::Full(message) | TrySendError::Disconnected(message)) => {
                let Message::Said(batch) = message else {
                    return;
                };
                let inputs = batch.len() - usize::from(says_lost);
                let inputs = u64::try_from(inputs).unwrap_or(u64::MAX);
                self.lost += inputs;
                self.unsaid += inputs;
            }
        }
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

/// Bytes of what can be long.
fn weight(input: &Input) -> usize {
    match input {
        Input::Record(bytes) | Input::Mountinfo { bytes, .. } => bytes.len(),
        Input::Holders(scan) | Input::Tasks { scan, .. } | Input::Files { scan, .. } => {
            scan.bytes.len()
        }
        Input::Totals(reading) => size_of_val(reading.as_slice()),
        Input::InFlight(reading) => size_of_val(reading.as_slice()),
        Input::ShadowWrites(_)
        | Input::Connection(_)
        | Input::Namespaces(_)
        | Input::Waiting(_)
        | Input::WaitFunctions(_)
        | Input::Names(_)
        | Input::Units(_)
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
        | Input::TraceGroups(_)
        | Input::Tick => 0,
    }
}

#[cfg(test)]
mod tests;
