//! Decides a recording again: the same inputs, at the times that were recorded, into the same session.

use thiserror::Error;

use crate::{
    alert::Transition,
    incident::Incident,
    input::{Effect, Input},
    observer::Observer,
    recording::{OpenError, Reader, Said},
    recovery::RecoveryRun,
    scope::ScopeError,
    session::Session,
    time::Now,
    trace::{FilterError, Line, Tracer},
};

/// Why a recording cannot be decided again.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// Its scope is none that this version understands.
    #[error("the scope in the recording")]
    Scope(#[from] ScopeError),
    /// Its filter.
    #[error("the filter in the recording")]
    Filter(#[from] FilterError),
}

/// A recording on its way through a session.
#[derive(Debug)]
pub struct Replay<'a> {
    reader: Reader<'a>,
    session: Session,
}

/// What one entry led to.
#[derive(Debug, Default)]
pub struct Step {
    /// When it was taken.
    pub now: Now,
    /// Whether it was said before the recording begins, and still stood then.
    pub is_standing: bool,
    /// Whether everything was decided anew.
    pub is_tick: bool,
    /// Inputs that are missing here.
    pub lost: u64,
    /// Changes of alerts.
    pub told: Vec<Transition>,
    /// Incidents as the journal was to hold them.
    pub kept: Vec<Incident>,
    /// Recoveries, the same.
    pub runs: Vec<RecoveryRun>,
    /// Lines of the trace.
    pub lines: Vec<Line>,
}

impl<'a> Replay<'a> {
    /// Reads the header.
    pub fn open(bytes: &'a [u8]) -> Result<Self, ReplayError> {
        let reader = Reader::open(bytes)?;
        let header = reader.header();
        let observer = Observer::new(&header.decisive.config(), header.self_info())?;
        let mut session = Session::new(observer);
        if let Some(options) = &header.trace {
            session = session.traced(Tracer::new(options)?);
        }
        Ok(Self { reader, session })
    }

    /// The recording.
    pub fn reader(&self) -> &Reader<'a> {
        &self.reader
    }

    /// What is known by now.
    pub fn session(&self) -> &Session {
        &self.session
    }

    /// Takes the next entry; `None` at the end, or at the first damage.
    pub fn step(&mut self) -> Option<Step> {
        let entry = self.reader.next()?;
        let mut step = Step {
            now: entry.now,
            is_standing: entry.is_standing,
            ..Step::default()
        };
        let effects = match entry.said {
            Said::Input(input) => {
                step.is_tick = matches!(input, Input::Tick);
                if entry.is_standing {
                    self.session.remember(entry.now, input)
                } else {
                    self.session.step(entry.now, input)
                }
            }
            // A scope that is none was refused when it was recorded.
            Said::Reconfigure(decisive) => self
                .session
                .reconfigure(&decisive.config())
                .unwrap_or_default(),
            Said::Lost(count) => {
                step.lost = count;
                Vec::new()
            }
        };
        for effect in effects {
            step.take(effect);
        }
        step.lines = self.session.take_lines();
        Some(step)
    }
}

impl Step {
    /// What only asks for another look was answered when it was recorded.
    fn take(&mut self, effect: Effect) {
        match effect {
            Effect::Transition(transition) => self.told.push(*transition),
            Effect::Keep(incident) => self.kept.push(*incident),
            Effect::KeepRun(run) => self.runs.push(*run),
            Effect::Recover(_)
            | Effect::ScanSuspicion
            | Effect::ScanHolders
            | Effect::WatchMissing(_)
            | Effect::ListFiles { .. }
            | Effect::WatchServers(_)
            | Effect::CheckConnections(_)
            | Effect::FollowExit(_)
            | Effect::ReadMountinfo(_)
            | Effect::ForgetRequests(_)
            | Effect::ReadLinks { .. }
            | Effect::WatchSuperblocks(_)
            | Effect::WatchMountPoints(_)
            | Effect::FollowNfs(_)
            | Effect::FindUnits(_)
            | Effect::NameAddresses(_)
            | Effect::FindWaitFunctions
            | Effect::TickNow => {}
        }
    }
}
