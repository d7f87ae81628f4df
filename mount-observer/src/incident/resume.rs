//! What an earlier observer left open: taken over where the trouble is still there, ended where it
//! is not.

use std::time::Duration;

use super::{End, EndReason, Incident, Ledger, Subject};
use crate::{
    alert::AlertKind,
    config::Detect,
    time::{Mono, Now},
};

/// Looks take a moment to settle what they find.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// An incident that went on when the observer before this one ended.
#[derive(Clone, Debug)]
pub(super) struct Remembered {
    incident: Incident,
    since: Mono,
}

/// What is seen now of what an incident was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sighting {
    /// It is not there any more.
    Gone,
    /// It is there, and what is wrong with it cannot be seen.
    Unseen,
    /// It is there.
    There,
}

impl Ledger {
    /// Takes what an earlier observer left open. What is known by another name by now is ended.
    pub fn remember(&mut self, now: Now, incidents: Vec<Incident>) {
        for incident in incidents {
            let mut open = self.open.values();
            if open.any(|record| record.incident.subject.is_same(&incident.subject)) {
                self.kept.push(ended(now, incident));
                continue;
            }
            self.remembered.push(Remembered {
                incident,
                since: now.mono,
            });
        }
    }

    /// The one about the same, to go on with.
    pub(super) fn take_remembered(&mut self, subject: &Subject) -> Option<Incident> {
        let is_same = |remembered: &Remembered| remembered.incident.subject.is_same(subject);
        let found = self.remembered.iter().position(is_same)?;
        Some(self.remembered.swap_remove(found).incident)
    }

    /// Ends those that are over, and returns them. One that may show itself yet is waited for: as
    /// long as its kind of trouble takes to be noticed, and for as long as nothing can be seen.
    pub fn settle_remembered(
        &mut self,
        now: Now,
        config: &Detect,
        sighting: impl Fn(&Subject) -> Sighting,
    ) -> Vec<Incident> {
        let boot_id = self.boot_id().to_owned();
        let is_over = |remembered: &mut Remembered| {
            let incident = &remembered.incident;
            let waited = now.mono.since(remembered.since);
            incident.subject.boot_id != boot_id
                || match sighting(&incident.subject) {
                    // The tables of all namespaces are not read at once.
                    Sighting::Gone => waited >= SETTLES_WITHIN,
                    Sighting::Unseen => false,
                    Sighting::There => waited >= noticed_within(incident.kind, config),
                }
        };
        let over = self.remembered.extract_if(.., is_over);
        let over: Vec<Incident> = over
            .map(|remembered| ended(now, remembered.incident))
            .collect();
        self.kept.extend(over.iter().cloned());
        over
    }
}

impl Subject {
    /// Whether two are about the same: a superblock still mounted as it was, or the same place.
    pub fn is_same(&self, other: &Self) -> bool {
        let is_shared = || {
            let place = |mount: &super::IncidentMount| (mount.mount_namespace, mount.mount_id);
            let mut mounts = self.mounts.iter();
            mounts.any(|mount| {
                other
                    .mounts
                    .iter()
                    .any(|known| place(known) == place(mount))
            })
        };
        self.boot_id == other.boot_id
            && self.device_number == other.device_number
            && self.fstype == other.fstype
            && self.source == other.source
            && (self.mount_point == other.mount_point || is_shared())
    }
}

/// The longest it takes until such a trouble alerts again.
fn noticed_within(kind: AlertKind, config: &Detect) -> Duration {
    let takes = match kind {
        AlertKind::Slow => config.slow_window,
        AlertKind::Erroring => config.storm_window,
        AlertKind::Stuck | AlertKind::Hung => config.hung_after,
        AlertKind::Recovery | AlertKind::Missing | AlertKind::Dead | AlertKind::ShadowWrites => {
            Duration::ZERO
        }
    };
    takes.max(config.clear_after) + SETTLES_WITHIN
}

/// How long it lasted nobody knows.
fn ended(now: Now, mut incident: Incident) -> Incident {
    if let Some(phase) = incident.phases.last_mut() {
        phase.ended_unix_ns.get_or_insert(now.wall);
    }
    incident.ended = Some(End {
        at_unix_ns: now.wall,
        duration_ns: None,
        why: EndReason::EndedUnobserved,
    });
    incident
}
