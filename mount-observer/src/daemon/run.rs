//! The daemon: configuration, facts, plan, load and attach, listen, ready; then one loop that owns
//! everything. What may take long runs on a thread of its own, at most one of each kind.

mod exits;
mod fuse_module;
mod journal;
mod nfs;
mod recovery;
mod underneath;

use std::{collections::BTreeMap, io, net::SocketAddr, os::fd::OwnedFd, sync::Arc, time::Duration};

use tokio::{
    io::{Interest, unix::AsyncFd},
    signal::unix::{Signal, SignalKind, signal},
    sync::{mpsc, watch},
    time::{MissedTickBehavior, interval, sleep_until},
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
    confine::{self, ConfineError, Grant, Needs},
    engine::{Engine, slow_ns},
    facts::{self, Gathered},
    hand::Hand,
    heap,
    http::{self, Heartbeats, HttpError, Shared},
    jobs::{Jobs, Outcome},
    kernel::{Kernel, LoadError, Options},
    log::{self, LogGuard},
    mountinfo::{self, OwnTable},
    namespaces,
    notify::ServiceManager,
    process,
    ring::{BATCH_MAX, Ring},
    sink::{self, Opened, SinkError, Sinks},
    store::SilenceWatch,
};
use crate::{
    alert::Transition,
    config::{Config, listen_address},
    errno::Errno,
    input::{Input, ProbeHealth, SelfInfo},
    notify::Silences,
    observer::Observer,
    plan::{Fuse, Purpose},
    render::status::verdict,
    scope::ScopeError,
    sight,
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
/// Threads for what may block: an iterator, the namespaces, fusectl, the tables.
const BLOCKING_THREADS_MAX: usize = 6;
/// Stack of each: nothing there recurses.
const BLOCKING_STACK_BYTES: usize = 512 << 10;

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// HTTP.
    #[error(transparent)]
    Http(#[from] HttpError),
    /// The kernel side.
    #[error(
        "cannot start the kernel side (`mount-observer check` tells all that is missing, and the remedies)"
    )]
    Load(#[from] LoadError),
    /// Something of the system the daemon cannot do without.
    #[error("cannot {0}")]
    System(&'static str, #[source] io::Error),
    /// The thread that watches the mount table ended.
    #[error("changes of the mount table are no longer seen")]
    TableLost,
    /// The process that carries out recoveries.
    #[error("cannot start the process that carries out recoveries")]
    Hand(#[source] io::Error),
    /// What was required could not be given up.
    #[error(transparent)]
    Confine(#[from] ConfineError),
    /// The configured scope.
    #[error("bad scope")]
    Scope(#[from] ScopeError),
    /// A sink.
    #[error("cannot use a sink")]
    Sink(#[from] SinkError),
    /// A defect of ours: a job ended without an answer.
    #[error("a background job failed")]
    Job(#[source] tokio::task::JoinError),
}

/// Runs until SIGTERM or SIGINT.
pub fn run(config: &Config, source: ConfigSource, log: &LogGuard) -> Result<(), RunError> {
    // Started inside a mount, the working directory would keep it busy. What the command line
    // names relative to it was made absolute before.
    std::env::set_current_dir("/")
        .map_err(|error| RunError::System("leave the working directory", error))?;
    let address = listen_address(&config.web.listen_address)
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9967)));
    let (found, plan) = facts::decide(Purpose::Watch(config.probes.statx));
    let facts = &found.facts;
    let listener = http::bind(address)?;
    // Hands before privileges are given up: they keep them for what they run. One each, so that
    // commands that hang leave the other free.
    let hand = sink::needs_hand(config).then(Hand::start).transpose();
    let sinks = Opened::new(config, hand.map_err(RunError::Hand)?.as_ref())?;
    let kernel = Kernel::load(&plan, &found, &options(config))?;
    report(&kernel.probes);
    let hand = recovery::is_wanted(config).then(Hand::start).transpose();
    let hand = hand.map_err(RunError::Hand)?;
    // Opened before the threads leave the namespace it is of.
    let own = OwnTable::open().map_err(|error| RunError::System("open the mount table", error))?;
    confine::confine(
        config.confine,
        Needs {
            scope: &config.scope,
            grants: grants(config, &source),
            opens_module_btf: matches!(facts.fuse, Fuse::Absent | Fuse::Module),
        },
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_stack_size(BLOCKING_STACK_BYTES)
        .thread_name("blocking")
        .build()
        .map_err(|error| RunError::System("start the event loop", error))?;
    let result = runtime.block_on(async {
        let (mut daemon, shared, tables) =
            Daemon::start(config, source, kernel, &found, own, log, sinks)?;
        daemon.recovery = Recovery::new(config, hand);
        http::serve(listener, shared)?;
        tracing::info!(%address, statx = plan.statx.name(), "observing");
        daemon.watch(tables).await
    });
    // A job that hangs in the kernel must not keep us: the process ends without it.
    runtime.shutdown_background();
    result
}

/// Files the daemon goes on needing besides the kernel's.
fn grants(config: &Config, source: &ConfigSource) -> Vec<Grant> {
    // A file that is replaced is found in its directory only.
    let mut grants: Vec<_> = source.directory().map(Grant::read).into_iter().collect();
    if !config.storage.path.is_empty() {
        grants.push(Grant::write(&config.storage.path));
    }
    grants.extend(sink::grants(config));
    grants
}

/// Says how the probes ended up; each by itself is told at the level of debugging.
fn report(probes: &[ProbeHealth]) {
    for probe in probes {
        if probe.is_wanted && probe.kind.is_none() && sight::blinds(probe.probe).anything() {
            tracing::warn!(
                probe = probe.probe,
                reason = probe.reason,
                "a probe is not attached"
            );
        }
    }
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for kind in probes.iter().filter_map(|probe| probe.kind) {
        *kinds.entry(kind).or_default() += 1;
    }
    let kinds = kinds.iter().map(|(kind, count)| format!("{count} {kind}"));
    let kinds: Vec<String> = kinds.collect();
    let lacking = |probe: &&ProbeHealth| probe.is_wanted && probe.kind.is_none();
    let lacking = probes.iter().filter(lacking).count();
    tracing::info!(
        probes = kinds.join(", "),
        not_attached = lacking,
        "attached; `mount-observer check` says what and why"
    );
}

/// What the kernel side is told.
pub(super) fn options(config: &Config) -> Options {
    Options {
        slow_ns: slow_ns(config),
        recorded_errno: Errno::CONNECTION_CLASS.to_vec(),
        log: config.log.bpf,
        ring_bytes: Some(config.probes.ring_bytes),
    }
}

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
    /// Takes a first look at everything, so that the first snapshot is a complete one.
    fn start(
        config: &Config,
        source: ConfigSource,
        kernel: Kernel,
        found: &Gathered,
        own: Arc<OwnTable>,
        log: &LogGuard,
        sinks: Opened,
    ) -> Result<(Self, Shared, mpsc::Receiver<mountinfo::Table>), RunError> {
        let info = SelfInfo {
            boot: process::boot_id(),
            is_initial_pid_namespace: kernel.self_tgid == std::process::id(),
            is_single_look: false,
        };
        let observer = Observer::new(config, info)?;
        let mut engine = Engine::new(observer, kernel.maps, kernel.checker, kernel.probes);
        if let Some(symbols) = &found.symbols {
            engine.set_symbols(symbols);
        }
        engine.set_facts(&found.facts);
        let mut keeper = Keeper::start(config, &own);
        keeper.begin(&mut engine, clock::now().mono);

        let (snapshots, seen) = watch::channel(None);
        let (superblocks_max, limit) = watch::channel(config.metrics.max_superblocks);
        let heartbeats = Arc::new(Heartbeats::default());
        let shared = Shared::new(
            seen,
            limit,
            Arc::clone(&heartbeats),
            log.dropped(),
            sinks.tally(),
            keeper.journal(),
        );
        let metrics = shared.clone();
        let metrics: sink::Source = Arc::new(move |form| metrics.pushed(form));
        let sinks = Sinks::start(sinks, config, &metrics)?;
        let (table_changes, tables) = mpsc::channel(mountinfo::QUEUE_MAX);
        // Watched before it is first read: no change falls between the two.
        own.watch(table_changes, Arc::clone(&heartbeats))
            .map_err(|error| RunError::System("watch the mount table", error))?;
        let own_table = own
            .read()
            .map_err(|error| RunError::System("read the mount table", error))?;
        engine.feed([namespaces::own_table(own.namespace(), own_table)]);

        let mut jobs = Jobs::new(kernel.scanner, Arc::clone(&own), &found.facts);
        if found.symbols.is_none() {
            engine.await_symbols();
            jobs.want_symbols();
        }
        engine.feed(jobs.look_at_everything());
        engine.tick();
        let purpose = Purpose::Watch(config.probes.statx);
        let is_there = found.facts.fuse != Fuse::Absent;
        let fuse_module =
            |module| Follower::new(Arc::clone(&kernel.loader), module, purpose, is_there);
        let daemon = Self {
            engine,
            ring: kernel.ring,
            jobs,
            exits: Exits::default(),
            source: Arc::new(source),
            config: config.clone(),
            own,
            ticked: clock::now().mono,
            heartbeats,
            snapshots,
            sinks,
            sinks_ticked: Mono::default(),
            silences: SilenceWatch::start(config),
            superblocks_max,
            service: ServiceManager::connect(),
            _attached: kernel.attached,
            fuse: kernel.fuse.map(fuse_module),
            nfs: nfs::Follower::new(Arc::clone(&kernel.loader), kernel.nfs, purpose),
            underneath: underneath::Follower::new(kernel.loader),
            recovery: Recovery::new(config, None),
            keeper,
        };
        Ok((daemon, shared, tables))
    }

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
        if config.web != old.web
            || config.log != old.log
            || config.probes != old.probes
            || config.confine != old.confine
        {
            tracing::warn!("a change of [web], [log], [probes] or [confine] needs a restart");
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
}

impl Daemon {
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

/// Ends when programs for FUSE are there; never where it is part of the kernel.
async fn loaded(fuse: &mut Option<Follower>) -> Option<Change> {
    match fuse {
        Some(fuse) => fuse.loaded().await,
        None => std::future::pending().await,
    }
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
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
