//! The start: what is needed before privileges are given up, in its order (docs/ARCHITECTURE.md), and a
//! first look at everything.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::watch;

use super::{Daemon, RunError, journal::Keeper, recovery, recovery::Recovery};
use crate::{
    config::{Config, listen_address},
    daemon::{
        clock,
        config_file::ConfigSource,
        confine::Grant,
        facts,
        hand::Hand,
        http::{self, Heartbeats, Shared},
        log::LogGuard,
        notify::ServiceManager,
        record::{FlightOptions, RecordFile, RecordOptions, Recordings},
        sink::{self, Opened, Sinks},
        store::SilenceWatch,
        watch::{Begun, Watch, leave_working_directory, runtime},
    },
    plan::Purpose,
    time::Mono,
};

/// Runs until SIGTERM or SIGINT; `recorded` is what `--record` asks for.
pub fn run(
    config: &Config,
    source: ConfigSource,
    log: &LogGuard,
    recorded: Option<&RecordOptions>,
) -> Result<(), RunError> {
    leave_working_directory()?;
    let address = listen_address(&config.web.listen_address)
        .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 9967)));
    let (found, plan) = facts::decide(Purpose::Watch(config.probes.statx));
    let listener = http::bind(address, "--web.listen-address")?;
    // Hands before privileges are given up: they keep them for what they run. One each, so that
    // commands that hang leave the other free.
    let hand = |is_needed: bool| is_needed.then(Hand::start).transpose();
    let for_sinks = hand(sink::needs_hand(config)).map_err(RunError::Hand)?;
    let for_recovery = hand(recovery::is_wanted(config)).map_err(RunError::Hand)?;
    let sinks = Opened::new(config, for_sinks.as_ref())?;
    let statx = plan.statx;
    let file = recorded.map(|options| RecordFile::create(options, &[config]));
    let file = file.transpose()?;
    let mut begun = Begun::load(config, found, &plan)?;
    begun.recordings = Recordings {
        file,
        flight: FlightOptions::of(config, &begun.own),
    };
    begun.confine(config, grants(config, &source))?;
    let runtime = runtime()?;
    let result = runtime.block_on(async {
        let (daemon, shared) = Daemon::start(config, source, begun, log, (sinks, for_recovery))?;
        http::serve(listener, shared)?;
        tracing::info!(%address, statx = statx.name(), "observing");
        Box::pin(daemon.run()).await
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

impl Daemon {
    /// Takes a first look at everything, so that the first snapshot is a complete one.
    fn start(
        config: &Config,
        source: ConfigSource,
        begun: Begun,
        log: &LogGuard,
        (sinks, for_recovery): (Opened, Option<Hand>),
    ) -> Result<(Self, Shared), RunError> {
        let heartbeats = Arc::new(Heartbeats::default());
        let own = Arc::clone(&begun.own);
        let mut watch = Watch::start(config, begun, Arc::clone(&heartbeats))?;
        let mut keeper = Keeper::start(config, &own);
        keeper.begin(&mut watch.engine, clock::now().mono);

        let (snapshots, seen) = watch::channel(None);
        let (superblocks_max, limit) = watch::channel(config.metrics.max_superblocks);
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
        watch.look_at_everything()?;
        let daemon = Self {
            recovery: Recovery::new(config, for_recovery, watch.namespace()),
            watch,
            source: Arc::new(source),
            config: config.clone(),
            heartbeats,
            snapshots,
            sinks,
            sinks_ticked: Mono::default(),
            silences: SilenceWatch::start(config),
            superblocks_max,
            service: ServiceManager::connect(),
            keeper,
        };
        Ok((daemon, shared))
    }
}
