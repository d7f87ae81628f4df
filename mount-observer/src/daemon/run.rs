//! The daemon: configuration, facts, plan, load and attach, listen, ready; then one loop that owns
//! everything. What may take long runs on a thread of its own, at most one of each kind.

mod error;
mod journal;
mod recovery;
mod start;

use std::{sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};

pub use self::{
    error::{RunError, chain},
    start::run,
};
use self::{journal::Keeper, recovery::Recovery};
use super::{
    clock,
    config_file::ConfigSource,
    heap,
    http::Heartbeats,
    log,
    notify::ServiceManager,
    record,
    sink::Sinks,
    store::SilenceWatch,
    watch::{Turn, Watch},
};
use crate::{
    alert::{Change, Transition},
    config::Config,
    notify::Silences,
    render::status::verdict,
    snapshot::Snapshot,
    time::{Mono, Now},
};

/// How often the sinks look at what is due.
const SINKS_EVERY: Duration = Duration::from_secs(1);
/// How long the end of the program waits for what the sinks are still to be told.
const SINKS_END_MAX: Duration = Duration::from_secs(3);

/// Everything the loop owns.
struct Daemon {
    watch: Watch,
    source: Arc<ConfigSource>,
    config: Config,
    heartbeats: Arc<Heartbeats>,
    snapshots: watch::Sender<Option<Arc<Snapshot>>>,
    sinks: Sinks,
    sinks_ticked: Mono,
    silences: SilenceWatch,
    superblocks_max: watch::Sender<usize>,
    service: ServiceManager,
    recovery: Recovery,
    keeper: Keeper,
}

impl Daemon {
    async fn run(mut self) -> Result<(), RunError> {
        let mut terminate = on(SignalKind::terminate())?;
        let mut interrupt = on(SignalKind::interrupt())?;
        let mut hang_up = on(SignalKind::hangup())?;
        self.progress();
        self.service.ready();
        heap::give_back();
        loop {
            tokio::select! {
                biased;
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => self.watch.reload(Arc::clone(&self.source)),
                learnt = self.recovery.next() => self.watch.engine.feed(learnt),
                turn = self.watch.turn() => match turn? {
                    Turn::Learnt => {}
                    Turn::Beat => {
                        let learnt = self.keeper.look(clock::now().mono);
                        self.watch.engine.feed(learnt);
                    }
                    Turn::Config(config) => self.reconfigure(*config),
                },
            }
            self.progress();
        }
        tracing::info!("ending");
        self.service.stopping();
        self.keeper.end();
        self.sinks.end(SINKS_END_MAX);
        let recording = self.watch.engine.finish_recording();
        recording.map_or(Ok(()), recorded)
    }

    fn reconfigure(&mut self, config: Config) {
        let old = &self.config;
        let late = awaits_restart(old, &config);
        if !late.is_empty() {
            tracing::warn!("a change of {} needs a restart", late.join(", "));
        }
        if let Err(error) = self.watch.reconfigure(&config) {
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
        let (mut wanted, snapshot) = self.watch.settle();
        self.keeper.keep(&mut wanted);
        for run in &wanted.runs {
            recovery::log(run);
        }
        for job in wanted.recover {
            self.recovery.start(job);
        }
        self.recovery.look(now.mono);
        if let Some(snapshot) = snapshot {
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
        for transition in transitions {
            if transition.change == Change::Firing {
                self.watch.engine.save_recording(&transition.incident);
            }
        }
        if !transitions.is_empty() {
            let summary = verdict(&self.watch.engine.snapshot());
            log::summary(transitions, &summary);
            self.sinks.tell(now, &summary, transitions);
        }
        if now.mono.since(self.sinks_ticked) >= SINKS_EVERY {
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
        ("[record]", new.record != old.record),
    ];
    let changed = changed.into_iter().filter(|(_, has_changed)| *has_changed);
    changed.map(|(section, _)| section).collect()
}

/// Says what came of the recording that was asked for; an error where it ended early.
fn recorded(report: record::Report) -> Result<(), RunError> {
    let Some(path) = report.path else {
        return Ok(());
    };
    let path = path.display();
    if let Some(failure) = report.failure {
        return Err(RunError::Recording(failure));
    }
    let (inputs, lost) = (report.recorded, report.lost);
    tracing::info!(inputs, lost, "recorded to {path}");
    Ok(())
}

/// Signals of a kind from here on.
pub(super) fn on(kind: SignalKind) -> Result<Signal, RunError> {
    signal(kind).map_err(|error| RunError::System("listen for signals", error))
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
