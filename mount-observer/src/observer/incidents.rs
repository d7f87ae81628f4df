//! The incidents: told of each change of each alert, and shown at each tick what is known.

use crate::{
    advice,
    alert::{Change, Resolution, Transition, Victim},
    alerts::Step,
    incident::{Incident, IncidentMount, Key, Place, Sighting, Subject},
    input::Effect,
    snapshot,
    superblock::{Dev, SuperblockId},
    time::{Mono, Now},
    watched::{Failure, Watched},
};

use super::{Observer, transition};

/// Told of an incident whose end nobody saw.
const NOT_THERE_ANY_MORE: &str = "when the observer came back, it was not there any more";

impl Observer {
    /// Takes what an earlier observer left open.
    pub(super) fn on_remembered(&mut self, incidents: Vec<Incident>) {
        self.ledger.remember(self.now, incidents);
    }

    /// Takes the changes of one superblock's alert, and tells of them.
    pub(super) fn note_steps(&mut self, dev: Dev, steps: Vec<Step>) {
        let Some(superblock) = self.superblocks.get(&dev) else {
            return;
        };
        let (now, ledger) = (&self.now, &mut self.ledger);
        let window = self.config.storm_window;
        let key = Key::Superblock(superblock.id);
        let mut told = Vec::with_capacity(steps.len());
        for step in steps {
            let advice = match step.change {
                Change::Firing => advice::of(step.condition.kind, superblock),
                Change::Resolved { .. } => String::new(),
            };
            let boot_id = ledger.boot_id().to_owned();
            let is_new = ledger.record(&key).is_none();
            let place = ledger.step(*now, &key, &step, &advice, || subject(superblock, boot_id));
            let is_new = is_new && place.returns == 0 && place.since.is_none();
            if is_new && let Some(record) = ledger.record(&key) {
                record.incident().sysctls.clone_from(&self.sysctls);
                let counters = &superblock.counters;
                record.evidence.begin_counting(now.mono, counters, window);
            }
            told.push(transition(now, superblock, step, advice, place));
        }
        for mut transition in told {
            transition.caused_by = self.blamed(dev, transition.since);
            self.tell(transition);
        }
    }

    /// Shows an incident that goes on what is known of its superblock now.
    pub(super) fn note_state(&mut self, dev: Dev, shown: Option<&snapshot::Superblock>) {
        let (now, window) = (self.now, self.config.storm_window);
        let Some(superblock) = self.superblocks.get(&dev) else {
            return;
        };
        let Some(record) = self.ledger.record(&Key::Superblock(superblock.id)) else {
            return;
        };
        let units = &self.units;
        let unit_of = |pid: u32| units.of(pid);
        let (begun, led_to_it) = (record.started(), record.started().before(window));
        let is_of_it = |failure: &&Failure| {
            // What took long before it began has nothing to do with it.
            let from = failure.victim.errno.as_ref().map_or(begun, |_| led_to_it);
            failure.at >= from
        };
        for failure in superblock.failures.iter().filter(is_of_it) {
            let evidence = &mut record.evidence;
            evidence.suffers(now, failure.at, &failure.victim, &unit_of);
        }
        if let Some(condition) = superblock.alerts.firing() {
            // Who failed is known with the time of it.
            let has_failed = |victim: &&Victim| {
                let mut failures = superblock.failures.iter();
                failures.any(|failure| failure.victim == **victim)
            };
            let waiting = condition.victims.iter().filter(|v| !has_failed(v));
            for victim in waiting {
                record.evidence.suffers(now, now.mono, victim, &unit_of);
            }
            record.describe(condition, &advice::of(condition.kind, superblock));
        }
        record
            .evidence
            .count(now.mono, &superblock.counters, window);
        let connection = &superblock.connection;
        record
            .evidence
            .take_servers(&connection.servers(), &unit_of);
        if let Some(shown) = shown {
            record.evidence.take_stacks(&shown.blocked_tasks);
        }
        if let Some(at) = superblock.counters.last_success {
            record.succeeded(now, at);
        }
        let incident = record.incident();
        incident.abort = connection.abort().map(crate::decode::Abort::text);
        if incident.at_risk != superblock.at_risk {
            incident.at_risk.clone_from(&superblock.at_risk);
        }
    }

    /// Somebody met a failure: also those of whom there are too many between two ticks.
    pub(super) fn note_victim(&mut self, dev: Dev, at: Mono, victim: &Victim) {
        let Some(superblock) = self.superblocks.get(&dev) else {
            return;
        };
        let key = Key::Superblock(superblock.id);
        if let Some(record) = self.ledger.record(&key) {
            let units = &self.units;
            let unit_of = |pid: u32| units.of(pid);
            record.evidence.suffers(self.now, at, victim, &unit_of);
        }
    }

    /// Hands on what is to be kept, and ends what did not come again.
    pub(super) fn keep_incidents(&mut self) {
        if self.ledger.is_idle() {
            return;
        }
        let superblocks = &self.superblocks;
        let boot_id = self.ledger.boot_id().to_owned();
        let is_known = self.mounts.has_own();
        let sighting = |about: &Subject| {
            let dev = about.device_number.as_deref().and_then(dev_of);
            let of_number = dev.and_then(|dev| superblocks.get(&dev));
            let is_it = |superblock: &&Watched| subject(superblock, boot_id.clone()).is_same(about);
            match of_number.filter(is_it) {
                None if !is_known => Sighting::Unseen,
                None if about.device_number.is_some() => Sighting::Gone,
                Some(superblock) if superblock.status.state == crate::alert::State::Unknown => {
                    Sighting::Unseen
                }
                None | Some(_) => Sighting::There,
            }
        };
        let over = self
            .ledger
            .settle_remembered(self.now, &self.config, sighting);
        for incident in over {
            self.tell(over_unobserved(&self.now, incident));
        }
        for incident in self.ledger.take_due(self.now.mono) {
            self.effects.push(Effect::Keep(Box::new(incident)));
        }
    }
}

/// What an incident of a superblock is about.
fn subject(superblock: &Watched, boot_id: String) -> Subject {
    let mounted = &superblock.mounted;
    let mount = |mount: &snapshot::Mount| IncidentMount {
        mount_id: mount.mount_id,
        mount_namespace: mount.mount_namespace,
        mount_point: mount.mount_point_escaped.clone(),
        root: mount.root.clone(),
        options: mount.options.clone(),
    };
    Subject {
        boot_id,
        device_number: Some(superblock.id.dev.to_string()),
        fstype: mounted.fstype.clone(),
        source: mounted.device.clone(),
        mount_point: mounted.mountpoint.clone(),
        mounts: mounted.mounts.iter().map(mount).collect(),
    }
}

/// The end of an alert that an earlier observer told of.
fn over_unobserved(now: &Now, incident: Incident) -> Transition {
    let subject = incident.subject;
    let started = incident.started_unix_ns;
    // Of another boot, or with a clock that was set back, nobody knows how long.
    let age_ns = now.wall.0.saturating_sub(started.0);
    // What was told last.
    let last = incident.phases.last();
    let kind = last.map_or(incident.kind, |phase| phase.kind);
    let dev = subject.device_number.as_deref().and_then(dev_of);
    Transition {
        change: Change::Resolved {
            why: Resolution::Unobserved,
        },
        kind,
        severity: incident.severity,
        incident: incident.id,
        returns: incident.returns,
        superblock: dev.map(|dev| SuperblockId { dev, epoch: 0 }),
        fstype: subject.fstype,
        device: subject.source,
        mount_points: vec![subject.mount_point.clone()],
        mountpoint: subject.mount_point,
        caused_by: Vec::new(),
        namespace: None,
        successor: None,
        since: now.mono.before(std::time::Duration::from_nanos(age_ns)),
        since_unix_ns: started,
        age_ns,
        reason: NOT_THERE_ANY_MORE.to_owned(),
        evidence: Vec::new(),
        victims: Vec::new(),
        victims_total: incident.victims_total,
        advice: String::new(),
    }
}

fn dev_of(text: &str) -> Option<Dev> {
    let (major, minor) = text.split_once(':')?;
    Dev::from_parts(major.parse().ok()?, minor.parse().ok()?)
}

/// When an alert's condition began: with the incident, where an earlier observer saw that.
pub(super) fn began(place: &Place, condition_since: Mono) -> Mono {
    place
        .since
        .map_or(condition_since, |since| since.min(condition_since))
}
