//! `replay`: shows what is decided of a recording, at any pace, and serves it like a daemon.

mod show;

use std::{
    collections::BTreeMap,
    io::{self, Write as _},
    net::{SocketAddr, TcpListener},
    num::NonZero,
    sync::Arc,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::sleep,
};

pub use self::show::{End, Form, info};
use super::{
    clock,
    http::{self, Heartbeats, HttpError, Shared},
    sink::Tally,
    store::Journal,
};
use crate::{
    config::Config,
    incident::{Incident, IncidentId},
    render::{
        status::{self, Medium},
        trace::Paper,
    },
    replay::{Replay, Step},
    snapshot::Snapshot,
    time::{Mono, Now},
};

/// How often the end of a replay shows that it lives.
const BEAT: Duration = Duration::from_secs(1);

/// How fast time passes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// So many times as fast as it was recorded.
    Times(NonZero<u32>),
    /// As fast as it can be decided.
    Max,
}

/// Why a replay failed.
#[derive(Debug, thiserror::Error)]
pub enum RunReplayError {
    /// Nobody can be served.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Standard output takes no more.
    #[error("cannot write to standard output")]
    Output(#[source] io::Error),
    /// Something of the system.
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
}

/// Replays to the end, and serves that until somebody has seen enough.
pub fn run(
    replay: Replay<'_>,
    pace: Pace,
    form: Form,
    medium: Medium,
    address: Option<SocketAddr>,
) -> Result<End, RunReplayError> {
    let bind = |address| http::bind(address, "--serve=ADDRESS:PORT");
    let listener = address.map(bind).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| RunReplayError::System("start the event loop", error))?;
    runtime.block_on(async {
        let served = listener.map(Served::start).transpose()?;
        let mut show = Show {
            replay,
            pace,
            form,
            medium,
            served,
            last: None,
            incidents: BTreeMap::new(),
        };
        let is_read = show.all().await?;
        let end = End::of(show.replay.reader());
        if is_read {
            show.end()?;
        }
        Ok(end)
    })
}

/// A replay and who sees it.
struct Show<'a> {
    replay: Replay<'a>,
    pace: Pace,
    form: Form,
    medium: Medium,
    served: Option<Served>,
    /// When the last entry that was not standing before was taken.
    last: Option<Mono>,
    /// The last form of each incident.
    incidents: BTreeMap<IncidentId, Incident>,
}

impl Show<'_> {
    /// False where nobody reads any more, or a signal ended it.
    async fn all(&mut self) -> Result<bool, RunReplayError> {
        if self.served.is_none() {
            return self.replayed().await;
        }
        let mut interrupt = on(SignalKind::interrupt())?;
        let mut terminate = on(SignalKind::terminate())?;
        let mut hang_up = on(SignalKind::hangup())?;
        let served = async {
            let is_read = self.replayed().await?;
            if is_read {
                self.end()?;
            }
            loop {
                if let Some(served) = &self.served {
                    served.beat();
                }
                sleep(BEAT).await;
            }
        };
        tokio::select! {
            ended = served => ended,
            _ = interrupt.recv() => Ok(false),
            _ = terminate.recv() => Ok(false),
            _ = hang_up.recv() => Ok(false),
        }
    }

    async fn replayed(&mut self) -> Result<bool, RunReplayError> {
        while let Some(step) = self.replay.step() {
            self.wait(&step).await;
            if !put(&self.lines(&step))? {
                return Ok(false);
            }
            for incident in &step.kept {
                let id = incident.id.clone();
                self.incidents.insert(id, incident.clone());
            }
            if let Some(served) = &self.served {
                served.take(&step, self.replay.session().snapshot());
            }
        }
        Ok(true)
    }

    /// What stood before is said at once.
    async fn wait(&mut self, step: &Step) {
        if step.is_standing {
            return;
        }
        let now = step.now.mono;
        let since = self.last.map(|last| now.since(last));
        self.last = Some(now);
        match (self.pace, since) {
            (Pace::Times(times), Some(since)) => sleep(since / times.get()).await,
            // Lets the signals be seen.
            (Pace::Max, _) if step.is_tick => tokio::task::yield_now().await,
            (Pace::Times(_) | Pace::Max, _) => {}
        }
    }

    fn lines(&self, step: &Step) -> String {
        let mut text = String::new();
        if step.lost > 0 {
            text.push_str(&show::lost(step.now, step.lost, self.form));
        }
        let paper = self.paper();
        for line in &step.lines {
            text.push_str(&show::traced(line, self.form, paper));
        }
        // Among the lines of a trace there are alerts too.
        let is_trace = self.replay.reader().header().trace.is_some();
        for transition in step.told.iter().filter(|_| !is_trace) {
            let is_coloured = self.medium.is_coloured;
            text.push_str(&show::alert(step.now, transition, self.form, is_coloured));
        }
        text
    }

    /// What was known at the end.
    fn end(&self) -> Result<(), RunReplayError> {
        let session = self.replay.session();
        let snapshot = session.snapshot();
        let mut text = String::new();
        match self.form {
            Form::Json => {
                let incidents = self.incidents.values().map(show::incident);
                text.extend(incidents);
                text.push_str(&show::snapshot(&snapshot));
            }
            Form::Text => text.push_str(&status::table(&snapshot, self.medium)),
        }
        if let Some(tracer) = session.tracer() {
            text.push_str(&show::summary(&tracer.summary(), self.form, self.paper()));
        }
        put(&text).map(drop)
    }

    fn paper(&self) -> Paper {
        Paper {
            width: None,
            is_coloured: self.medium.is_coloured,
        }
    }
}

/// What HTTP shows.
struct Served {
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    heartbeats: Arc<Heartbeats>,
    journal: Journal,
    /// Kept open: the handlers ask for it.
    _superblocks_max: watch::Sender<usize>,
}

impl Served {
    fn start(listener: TcpListener) -> Result<Self, RunReplayError> {
        let (snapshots, seen) = watch::channel(None);
        let max = Config::default().metrics.max_superblocks;
        let (superblocks_max, limit) = watch::channel(max);
        let heartbeats = Arc::new(Heartbeats::default());
        let journal = Journal::in_memory_only();
        let shared = Shared::new(
            seen,
            limit,
            Arc::clone(&heartbeats),
            Arc::default(),
            Arc::new(Tally::default()),
            journal.clone(),
        );
        if let Ok(address) = listener.local_addr() {
            // Standard error may be closed.
            writeln!(io::stderr(), "serving http://{address}/ until Ctrl-C").ok();
        }
        http::serve(listener, shared)?;
        Ok(Self {
            snapshots,
            heartbeats,
            journal,
            _superblocks_max: superblocks_max,
        })
    }

    fn take(&self, step: &Step, snapshot: Arc<Snapshot>) {
        for incident in &step.kept {
            self.journal.keep(incident.clone());
        }
        for run in &step.runs {
            self.journal.keep_run(run.clone());
        }
        if step.is_tick {
            self.snapshots.send_replace(Some(snapshot));
            self.beat();
        }
    }

    fn beat(&self) {
        let Now { wall, .. } = clock::now();
        for of in [
            &self.heartbeats.observe,
            &self.heartbeats.mountinfo,
            &self.heartbeats.ring,
        ] {
            Heartbeats::beat(of, wall);
        }
    }
}

/// False where nobody reads any more: `| head` has seen enough.
fn put(text: &str) -> Result<bool, RunReplayError> {
    let mut out = io::stdout();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(RunReplayError::Output(error)),
    }
}

fn on(kind: SignalKind) -> Result<Signal, RunReplayError> {
    signal(kind).map_err(|error| RunReplayError::System("listen for signals", error))
}
