//! The kernel side under one loop: what `run`, `trace` and `top` share. It learns, feeds the engine and
//! passes on what the observer asks of the kernel side; what else is wanted is the owner's business.

mod exits;
mod fuse_module;
mod nfs;
mod start;
mod underneath;

use std::{io, os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::{
    io::unix::AsyncFd,
    sync::mpsc,
    time::{Interval, sleep_until},
};

pub use self::start::{Begun, attached, leave_working_directory, options, runtime, traced};
use self::{
    exits::Exits,
    fuse_module::{Change, Follower},
};
use super::{
    clock,
    config_file::ConfigSource,
    engine::{Engine, Wanted},
    http::Heartbeats,
    jobs::{Jobs, Outcome},
    mountinfo::{self, OwnTable},
    namespaces,
    ring::{BATCH_MAX, Ring},
    run::RunError,
};
use crate::{config::Config, input::Input, scope::ScopeError, snapshot::Snapshot, time::Mono};

/// How often the ring is polled and the schedules are looked at.
const BEAT: Duration = Duration::from_millis(100);
/// How often the counters are read and everything is decided anew.
const TICK: Duration = Duration::from_secs(1);
/// Batches taken from the ring in one go; the rest waits for the next beat.
const BATCHES_MAX: usize = 4;

/// The observer at work.
#[derive(Debug)]
pub struct Watch {
    /// What was learnt goes in here.
    pub engine: Engine,
    ring: Ring,
    wake_up: AsyncFd<OwnedFd>,
    /// The records of a trace, where there is one.
    traces: Option<Traces>,
    beat: Interval,
    jobs: Jobs,
    exits: Exits,
    own: Arc<OwnTable>,
    tables: mpsc::Receiver<mountinfo::Table>,
    ticked: Mono,
    heartbeats: Arc<Heartbeats>,
    /// Keeps the programs attached.
    _attached: super::kernel::Links,
    /// FUSE as a module; `None` where it is part of the kernel.
    fuse: Option<Follower>,
    nfs: nfs::Follower,
    underneath: underneath::Follower,
}

/// The ring of a trace. Its programs wake us once in a few hundred records.
#[derive(Debug)]
struct Traces {
    ring: Ring,
    wake_up: AsyncFd<OwnedFd>,
}

/// What a turn of the loop brought besides what the engine was fed.
#[derive(Debug)]
pub enum Turn {
    /// Nothing.
    Learnt,
    /// It is time to look at what has no event of its own.
    Beat,
    /// The configuration was read again.
    Config(Box<Config>),
}

impl Watch {
    /// Waits until there is something to do, and does it. Nothing is lost where the future is dropped:
    /// what was received is fed before the next wait.
    pub async fn turn(&mut self) -> Result<Turn, RunError> {
        tokio::select! {
            biased;
            ready = self.wake_up.readable() => {
                let mut ready =
                    ready.map_err(|error| RunError::System("wait for the ring", error))?;
                ready.clear_ready();
                self.drain();
            }
            () = sleep_until(self.exits.next_due()), if !self.exits.is_empty() => {
                self.drain();
                self.exits.follow(&mut self.engine);
            }
            Some(outcome) = self.jobs.next() => {
                self.drain();
                return Ok(self.take(outcome.map_err(RunError::Job)?));
            }
            table = self.tables.recv() => {
                let table = table.ok_or(RunError::TableLost)?;
                self.drain();
                self.engine.feed([namespaces::own_table(self.own.namespace(), table)]);
            }
            change = loaded(&mut self.fuse) => self.follow(change),
            change = self.nfs.done() => self.follow_nfs(change),
            attached = self.underneath.done() => self.follow_underneath(attached),
            readable = readable(&mut self.traces) => {
                readable.map_err(|error| RunError::System("wait for the ring of the trace", error))?;
                self.drain();
                self.drain_traces();
            }
            _ = self.beat.tick() => {
                self.look();
                return Ok(Turn::Beat);
            }
        }
        Ok(Turn::Learnt)
    }

    /// After each turn: passes on what is wanted of the kernel side, and hands out the rest with the
    /// snapshot, where there is a new one.
    pub fn settle(&mut self) -> (Wanted, Option<Arc<Snapshot>>) {
        let now = clock::now().mono;
        let wanted = self.engine.take_wanted();
        self.exits.add(&wanted.exits);
        if let Some(superblocks) = &wanted.nfs {
            self.nfs.want(superblocks);
        }
        if let Some(is_missing) = wanted.is_missing {
            self.underneath.want(is_missing);
        }
        let attached = self.underneath.look();
        self.follow_underneath(attached);
        if let Some(change) = self.nfs.look(now) {
            self.follow_nfs(change);
        }
        self.jobs.want(now, &wanted);
        self.jobs.start_due(now);
        (wanted, self.engine.take_snapshot())
    }

    /// Has the configuration read again; a turn brings it.
    pub fn reload(&mut self, source: Arc<ConfigSource>) {
        self.jobs.reload(source);
    }

    /// Goes on with other settings.
    pub fn reconfigure(&mut self, config: &Config) -> Result<(), ScopeError> {
        self.engine.reconfigure(config)
    }

    /// The mount namespace it was started in.
    pub fn namespace(&self) -> u32 {
        self.own.namespace()
    }

    /// Poll, and tick when it is time.
    fn look(&mut self) {
        self.drain();
        if self.traces.is_some() {
            self.drain_traces();
            self.engine.look_at_requests();
        }
        let now = clock::now().mono;
        let has_mounts = self.engine.shows_fuse();
        let fuse = self.fuse.as_mut();
        let change = fuse.and_then(|fuse| fuse.look(now, has_mounts));
        self.follow(change);
        if now.since(self.ticked) >= TICK || self.engine.is_due(self.ticked, now) {
            self.ticked = now;
            self.engine.tick();
        }
    }

    /// Goes on with the programs there are now.
    fn follow(&mut self, change: Option<Change>) {
        let Some(mut change) = change else { return };
        self.jobs.set_holders(change.attached.holders.take());
        if let Some(files) = change.attached.files.take() {
            self.jobs.set_files(files);
        }
        self.engine.set_fuse(change.attached);
        if let Some(symbols) = &change.symbols {
            self.engine.set_symbols(symbols);
        } else {
            // Also where it went: where its functions lay is another's memory now.
            self.engine.await_symbols();
            self.jobs.want_symbols();
        }
        self.engine.feed(change.inputs);
    }

    /// Goes on with the programs for NFS there are now.
    fn follow_nfs(&mut self, change: nfs::Change) {
        if let Some(attached) = change.attached {
            self.engine.set_nfs(attached);
        }
        self.engine.feed(change.inputs);
    }

    /// Goes on with the program on writes where a mount is missing, or without.
    fn follow_underneath(&mut self, attached: Option<super::kernel::Attached>) {
        if let Some(attached) = attached {
            self.engine.set_underneath(attached);
        }
    }

    /// Takes the records there are. First, whatever else is at hand: a server's exit is recorded
    /// before its connection goes, and whoever learns of the second should know the first. That
    /// the ring is readable is not enough to tell, tokio learns it only when it next asks the kernel.
    fn drain(&mut self) {
        for _ in 0..BATCHES_MAX {
            let mut records = Vec::new();
            let taken = self
                .ring
                .drain(|record| records.push(Input::Record(record.to_vec())));
            self.engine.feed(records);
            if taken < BATCH_MAX {
                break;
            }
        }
        Heartbeats::beat(&self.heartbeats.ring, clock::now().wall);
    }

    /// At the end of a trace: takes a part of what its ring still holds; says whether that was all.
    pub fn catch_up(&mut self) -> bool {
        self.drain_traces() < BATCH_MAX
    }

    /// Takes the records of the trace, in its turn: what it leaves waits for the next beat, and what does
    /// not fit into the ring meanwhile is counted.
    /// Returns how many the last batch had.
    fn drain_traces(&mut self) -> usize {
        let Some(traces) = &mut self.traces else {
            return 0;
        };
        let mut taken = 0;
        for _ in 0..BATCHES_MAX {
            let mut records = Vec::new();
            taken = traces.ring.drain(|record| records.push(record.to_vec()));
            self.engine.feed_traces(records);
            if taken < BATCH_MAX {
                break;
            }
        }
        taken
    }

    fn take(&mut self, outcome: Outcome) -> Turn {
        match outcome {
            Outcome::Inputs(inputs) => self.engine.feed(inputs),
            Outcome::Symbols(symbols) => self.engine.set_symbols(&symbols),
            Outcome::Config(config) => return Turn::Config(config),
            Outcome::Nothing => {}
        }
        Turn::Learnt
    }
}

/// Ends when programs for FUSE are there; never where it is part of the kernel.
async fn loaded(fuse: &mut Option<Follower>) -> Option<Change> {
    match fuse {
        Some(fuse) => fuse.loaded().await,
        None => std::future::pending().await,
    }
}

/// Ends when the programs of a trace ask for a reader; never where there is none.
async fn readable(traces: &mut Option<Traces>) -> io::Result<()> {
    match traces {
        Some(traces) => {
            traces.wake_up.readable().await?.clear_ready();
            Ok(())
        }
        None => std::future::pending().await,
    }
}
