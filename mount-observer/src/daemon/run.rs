//! The daemon: configuration, facts, plan, load and attach, listen, ready; then one loop that owns
//! everything. What may take long runs on a thread of its own, at most one of each kind.

mod error;
mod exits;
mod fuse_module;
mod journal;
mod nfs;
mod recovery;
mod start;
mod underneath;

use std::{os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep_until},
};

pub(super) use self::start::options;
pub use self::{
    error::{RunError, chain},
    start::run,
};
use self::{
    exits::Exits,
    fuse_module::{Change, Follower},
    journal::Keeper,
    recovery::Recovery,
};
use super::{
    clock,
    config_file::ConfigSource,
    engine::Engine,
    heap,
    http::Heartbeats,
    jobs::{Jobs, Outcome},
    log,
    mountinfo::{self, OwnTable},
    namespaces,
    notify::ServiceManager,
    ring::{BATCH_MAX, Ring},
    sink::Sinks,
    store::SilenceWatch,
};
use crate::{
    alert::Transition,
    config::Config,
    input::Input,
    notify::Silences,
    render::status::verdict,
    snapshot::Snapshot,
    time::{Mono, Now},
};

/// How often the ring is polled and the schedules are looked at.
const BEAT: Duration = Duration::from_millis(100);
/// How often the counters are read and everything is decided anew.
const TICK: Duration = Duration::from_secs(1);
/// Batches taken from the ring in one go; the rest waits for the next beat.
const BATCHES_MAX: usize = 4;
/// How long the end of the program waits for what the sinks are still to be told.
const SINKS_END_MAX: Duration = Duration::from_secs(3);

/// Everything the loop owns.
struct Daemon {
    engine: Engine,
    ring: Ring,
    jobs: Jobs,
    exits: Exits,
    source: Arc<ConfigSource>,
    config: Config,
    own: Arc<OwnTable>,
    ticked: Mono,
    heartbeats: Arc<Heartbeats>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    sinks: Sinks,
    sinks_ticked: Mono,
    silences: SilenceWatch,
    superblocks_max: watch::Sender<usize>,
    service: ServiceManager,
    /// Keeps the programs attached.
    _attached: super::kernel::Links,
    /// FUSE as a module; `None` where it is part of the kernel.
    fuse: Option<Follower>,
    nfs: nfs::Follower,
    underneath: underneath::Follower,
    recovery: Recovery,
    keeper: Keeper,
}

impl Daemon {
    async fn watch(mut self, mut tables: mpsc::Receiver<mountinfo::Table>) -> Result<(), RunError> {
        let mut terminate = on(SignalKind::terminate())?;
        let mut interrupt = on(SignalKind::interrupt())?;
        let mut hang_up = on(SignalKind::hangup())?;
        let wake_up = wake_up(&self.ring)?;
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.progress();
        self.service.ready();
        heap::give_back();
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => self.jobs.reload(Arc::clone(&self.source)),
                ready = wake_up.readable() => {
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
                    self.take(outcome.map_err(RunError::Job)?);
                }
                table = tables.recv() => {
                    let table = table.ok_or(RunError::TableLost)?;
                    self.drain();
                    self.engine.feed([namespaces::own_table(self.own.namespace(), table)]);
                }
                change = loaded(&mut self.fuse) => self.follow(change),
                change = self.nfs.done() => self.follow_nfs(change),
                attached = self.underneath.done() => self.follow_underneath(attached),
                learnt = self.recovery.next() => self.engine.feed(learnt),
                _ = beat.tick() => self.beat(),
            }
            self.progress();
        }
        tracing::info!("ending");
        self.service.stopping();
        self.keeper.end();
        self.sinks.end(SINKS_END_MAX);
        Ok(())
    }

    /// Poll, and tick when it is time.
    fn beat(&mut self) {
        self.drain();
        let now = clock::now().mono;
        let has_mounts = self.engine.shows_fuse();
        let fuse = self.fuse.as_mut();
        let change = fuse.and_then(|fuse| fuse.look(now, has_mounts));
        self.follow(change);
        let learnt = self.keeper.look(now);
        self.engine.feed(learnt);
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

    fn take(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Inputs(inputs) => self.engine.feed(inputs),
            Outcome::Symbols(symbols) => self.engine.set_symbols(&symbols),
            Outcome::Config(config) => self.reconfigure(*config),
            Outcome::Nothing => {}
        }
    }

    fn reconfigure(&mut self, config: Config) {
        let old = &self.config;
        let late = awaits_restart(old, &config);
        if !late.is_empty() {
            tracing::warn!("a change of {} needs a restart", late.join(", "));
        }
        if let Err(error) = self.engine.reconfigure(&config) {
            tracing::error!(%error, "the old configuration stays in force");
            return;
        }
        self.sinks.reconfigure(&self.config, &config);
        self.superblocks_max
            .send_replace(config.metrics.max_superblocks);
        self.recovery.reconfigure(&config);
        self.config = config;
        tracing::info!("the configuration was read again");
    }

    /// After each turn: passes on what is wanted, publishes what is new, and shows life.
    fn progress(&mut self) {
        let now = clock::now();
        let mut wanted = self.engine.take_wanted();
        self.exits.add(&wanted.exits);
        self.keeper.keep(&mut wanted);
        if let Some(superblocks) = &wanted.nfs {
            self.nfs.want(superblocks);
        }
        if let Some(is_missing) = wanted.is_missing {
            self.underneath.want(is_missing);
        }
        let attached = self.underneath.look();
        self.follow_underneath(attached);
        if let Some(change) = self.nfs.look(now.mono) {
            self.follow_nfs(change);
        }
        for run in &wanted.runs {
            recovery::log(run);
        }
        self.jobs.want(now.mono, &wanted);
        for job in wanted.recover {
            self.recovery.start(job);
        }
        self.recovery.look(now.mono);
        self.jobs.start_due(now.mono);
        if let Some(snapshot) = self.engine.take_snapshot() {
            self.service.progress(now, Some(&snapshot));
            self.snapshots.send_replace(Some(snapshot));
        }
        self.tell(now, &wanted.told);
        Heartbeats::beat(&self.heartbeats.observe, now.wall);
    }

    /// Tells the sinks, once the snapshot shows what they are told.
    fn tell(&mut self, now: Now, transitions: &[Transition]) {
        if let Some(silences) = self.silences.take() {
            self.sinks.set_silences(Silences::new(silences));
        }
        if !transitions.is_empty() {
            let summary = verdict(&self.engine.snapshot());
            log::summary(transitions, &summary);
            self.sinks.tell(now, &summary, transitions);
        }
        if now.mono.since(self.sinks_ticked) >= TICK {
            self.sinks_ticked = now.mono;
            self.sinks.tick(now);
        }
    }
}

/// The sections that changed and are read at the start only.
fn awaits_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let changed = [
        ("[web]", new.web != old.web),
        ("[log]", new.log != old.log),
        ("[probes]", new.probes != old.probes),
        ("[confine]", new.confine != old.confine),
        ("[storage]", new.storage != old.storage),
    ];
    let changed = changed.into_iter().filter(|(_, has_changed)| *has_changed);
    changed.map(|(section, _)| section).collect()
}

/// Ends when programs for FUSE are there; never where it is part of the kernel.
async fn loaded(fuse: &mut Option<Follower>) -> Option<Change> {
    match fuse {
        Some(fuse) => fuse.loaded().await,
        None => std::future::pending().await,
    }
}

fn on(kind: SignalKind) -> Result<Signal, RunError> {
    signal(kind).map_err(|error| RunError::System("listen for signals", error))
}

/// Becomes readable when a program wakes us for what settles a matter at once.
#[expect(
    unsafe_code,
    reason = "tokio has no safe way to register a descriptor it does not own"
)]
fn wake_up(ring: &Ring) -> Result<AsyncFd<OwnedFd>, RunError> {
    let fd = ring
        .wake_up()
        .map_err(|error| RunError::System("duplicate the ring", error))?;
    // SAFETY: the descriptor is owned by the AsyncFd for as long as it is registered, and nobody
    // closes or replaces it: `OwnedFd` gives no way to.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    registered.map_err(|error| RunError::System("wait for the ring", error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_only_a_restart_takes_up_is_named() {
        let old = Config::default();
        let mut new = old.clone();
        assert_eq!(awaits_restart(&old, &new), [""; 0]);
        new.storage.max_bytes += 1;
        new.log.format = crate::config::LogFormat::Json;
        new.detect.clear_after *= 2;
        assert_eq!(awaits_restart(&old, &new), ["[log]", "[storage]"]);
    }
}
