//! The start: what is needed before privileges are given up, in its order (docs/ARCHITECTURE.md), and a
//! first look at everything.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use tokio::sync::{mpsc, watch};

use super::{
    Daemon, RunError, exits::Exits, fuse_module::Follower, journal::Keeper, nfs, recovery,
    recovery::Recovery, underneath,
};
use crate::{
    config::{Config, listen_address},
    daemon::{
        clock,
        config_file::ConfigSource,
        confine::{self, Grant, Needs},
        engine::{Engine, slow_ns},
        facts::{self, Gathered},
        hand::Hand,
        http::{self, Heartbeats, Shared},
        jobs::Jobs,
        kernel::{Kernel, Options},
        log::LogGuard,
        mountinfo::{self, OwnTable},
        namespaces,
        notify::ServiceManager,
        process,
        sink::{self, Opened, Sinks},
        store::SilenceWatch,
    },
    errno::Errno,
    input::{ProbeHealth, SelfInfo},
    observer::Observer,
    plan::{Fuse, Purpose},
    sight,
    time::Mono,
};

/// Threads for what may block: an iterator, the namespaces, fusectl, the tables.
const BLOCKING_THREADS_MAX: usize = 6;
/// Stack of each: nothing there recurses.
const BLOCKING_STACK_BYTES: usize = 512 << 10;

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
    let hand = |is_needed: bool| is_needed.then(Hand::start).transpose();
    let for_sinks = hand(sink::needs_hand(config)).map_err(RunError::Hand)?;
    let for_recovery = hand(recovery::is_wanted(config)).map_err(RunError::Hand)?;
    let sinks = Opened::new(config, for_sinks.as_ref())?;
    let kernel = Kernel::load(&plan, &found, &options(config))?;
    report(&kernel.probes);
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
        daemon.recovery = Recovery::new(config, for_recovery, daemon.own.namespace());
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
pub(in crate::daemon) fn options(config: &Config) -> Options {
    Options {
        slow_ns: slow_ns(config),
        recorded_errno: Errno::CONNECTION_CLASS.to_vec(),
        log: config.log.bpf,
        ring_bytes: Some(config.probes.ring_bytes),
    }
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
        let namespace = own.namespace();
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
            recovery: Recovery::new(config, None, namespace),
            keeper,
        };
        Ok((daemon, shared, tables))
    }
}
