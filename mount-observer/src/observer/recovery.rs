//! Recoveries: they go on at each tick, and those that did not help alert.

use std::sync::Arc;

use crate::{
    alert::{AlertKind, Change, Resolution, Severity, Transition},
    config::Config,
    incident::{IncidentId, Key},
    input::Effect,
    recovery::{Event, Outcome, RecoveryRun, is_served},
    superblock::SuperblockId,
};

use super::Observer;

impl Observer {
    /// The incident of a superblock whose alert fires.
    fn incident_of(&self, id: SuperblockId) -> Option<IncidentId> {
        self.ledger.id_of(&Key::Superblock(id)).cloned()
    }

    /// After each decision.
    pub(super) fn recover(&mut self) {
        let snapshot = Arc::clone(&self.snapshot);
        let mut recoveries = std::mem::take(&mut self.recoveries);
        let events = recoveries.look(self.now, &snapshot, &|id| self.incident_of(id));
        self.recoveries = recoveries;
        self.take_events(events);
        let alerting = self.failed_recoveries.keys().cloned();
        let alerting: Vec<String> = alerting.collect();
        for mount_point in alerting {
            if is_served(&snapshot, &mount_point) {
                self.resolve_recovery(&mount_point, Resolution::Recovered);
            }
        }
    }

    pub(super) fn on_recovery_done(&mut self, run: &str, outcome: Outcome, detail: String) {
        let events = self.recoveries.done(self.now, run, outcome, detail);
        self.take_events(events);
        self.ask(Effect::TickNow);
    }

    /// Takes what the journal remembers.
    pub(super) fn on_recovery_runs(&mut self, runs: Vec<RecoveryRun>) {
        let events = self.recoveries.remember(self.now, runs);
        self.take_events(events);
    }

    /// Goes on with another configuration: of what is not to be repaired any more nobody waits to hear.
    pub(super) fn reconfigure_recovery(&mut self, config: &Config) {
        self.recoveries.configure(&config.recovery, &config.recover);
        let alerting = self.failed_recoveries.keys();
        let left = alerting.filter(|mount_point| !self.recoveries.is_configured(mount_point));
        let left: Vec<String> = left.cloned().collect();
        for mount_point in left {
            self.resolve_recovery(&mount_point, Resolution::Excluded);
        }
    }

    fn take_events(&mut self, events: Vec<Event>) {
        for event in events {
            match event {
                Event::Do(job) => self.effects.push(Effect::Recover(job)),
                Event::Keep(run) => self.effects.push(Effect::KeepRun(Box::new(run))),
                Event::Ended(run, superblock) => self.on_recovery_ended(&run, superblock),
            }
        }
    }

    fn on_recovery_ended(&mut self, run: &RecoveryRun, superblock: Option<SuperblockId>) {
        if run.outcome == Some(Outcome::Ok) {
            self.resolve_recovery(&run.mount_point, Resolution::Recovered);
        }
        let is_trouble = run.outcome.is_some_and(Outcome::is_trouble);
        if is_trouble && !self.failed_recoveries.contains_key(&run.mount_point) {
            let alert = self.recovery_alert(run, superblock);
            let mount_point = run.mount_point.clone();
            self.failed_recoveries.insert(mount_point, alert.clone());
            self.tell(alert);
        }
    }

    fn resolve_recovery(&mut self, mount_point: &str, why: Resolution) {
        if let Some(alert) = self.failed_recoveries.remove(mount_point) {
            let age = self.now.mono.since(alert.since);
            self.tell(Transition {
                change: Change::Resolved { why },
                age_ns: crate::time::nanos(age),
                advice: String::new(),
                ..alert
            });
        }
    }

    fn recovery_alert(&self, run: &RecoveryRun, id: Option<SuperblockId>) -> Transition {
        let superblock = id.and_then(|id| self.superblocks.get(&id.dev));
        let mounted = superblock.map(|superblock| &superblock.mounted);
        let outcome = run.outcome.map_or("unknown", Outcome::name);
        let last = run.steps.last();
        let last = last.map_or_else(String::new, |step| {
            format!(" {}: {}", step.step, step.detail)
        });
        let steps = run.steps.iter();
        let steps = steps.map(|step| format!("{}: {}", step.step, step.outcome.name()));
        Transition {
            change: Change::Firing,
            kind: AlertKind::Recovery,
            severity: Severity::Critical,
            incident: run.incident.clone(),
            returns: 0,
            superblock: id,
            fstype: mounted.map_or_else(String::new, |mounted| mounted.fstype.clone()),
            device: mounted.map_or_else(String::new, |mounted| mounted.device.clone()),
            mountpoint: run.mount_point.clone(),
            mount_points: vec![run.mount_point.clone()],
            caused_by: Vec::new(),
            namespace: None,
            successor: None,
            since: self.now.mono,
            since_unix_ns: self.now.wall,
            age_ns: 0,
            reason: format!("the mount is not repaired ({outcome}){last}"),
            evidence: steps.collect(),
            victims: Vec::new(),
            victims_total: 0,
            advice: format!(
                "Nothing more is tried before the cooldown and within the caps. `mount-observer recover {} \
                 --dry-run` says what would come next, and why.",
                crate::text::shell_quoted(&run.mount_point)
            ),
        }
    }
}
