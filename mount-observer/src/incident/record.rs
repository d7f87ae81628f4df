//! One incident while it goes on.

use std::time::Duration;

use super::{AtRiskList, End, Evidence, Incident, IncidentId, Phase, Place, Subject};
use crate::{
    alert::Resolution,
    alerts::Condition,
    time::{Mono, Now, Wall, nanos},
};

/// Phases kept; at the bound the second goes: the first and the latest say most.
const PHASES_MAX: usize = 32;

/// What is new of an incident is kept at most this often, and the older it is the more rarely: of one
/// that goes on for days hardly anything changes but how long.
const KEEP_EVERY: (Duration, Duration) = (Duration::from_secs(2), Duration::from_mins(1));
/// An incident of one minute is kept every 2 s, one of an hour every minute.
const KEEP_EVERY_PART: u32 = 60;

/// One incident while it goes on.
#[derive(Clone, Debug)]
pub struct Record {
    pub(super) incident: Incident,
    /// What is collected about it.
    pub evidence: Evidence,
    started: Mono,
    ended_at: Option<Mono>,
    is_resumed: bool,
    kept_at: Option<Mono>,
    is_urgent: bool,
}

impl Record {
    pub(super) fn begin(now: Now, condition: &Condition, subject: Subject) -> Self {
        let started = now.wall_of(condition.since);
        let about = match &subject.device_number {
            Some(number) => number.replace(':', "."),
            None => word_of(&subject.mount_point),
        };
        let incident = Incident {
            id: IncidentId::new(started, &about),
            is_drill: false,
            subject,
            kind: condition.kind,
            severity: condition.severity,
            phases: Vec::new(),
            started_unix_ns: started,
            started_monotonic_ns: condition.since.0,
            detected_unix_ns: now.wall,
            detection_delay_ns: nanos(now.mono.since(condition.since)),
            ended: None,
            returns: 0,
            reason: String::new(),
            evidence: Vec::new(),
            advice: String::new(),
            failures: Vec::new(),
            victims: Vec::new(),
            victims_total: 0,
            servers: Vec::new(),
            abort: None,
            stacks: Vec::new(),
            sysctls: Vec::new(),
            last_success_unix_ns: None,
            at_risk: AtRiskList::default(),
            cut: Vec::new(),
            recovery: Vec::new(),
        };
        Self {
            incident,
            evidence: Evidence::default(),
            started: condition.since,
            ended_at: None,
            is_resumed: false,
            kept_at: None,
            is_urgent: true,
        }
    }

    /// Goes on with what an earlier observer kept in the same boot.
    pub(super) fn resume(now: Now, incident: Incident) -> Self {
        let started = Mono(incident.started_monotonic_ns).min(now.mono);
        Self {
            evidence: Evidence::resume(&incident),
            incident,
            started,
            ended_at: None,
            is_resumed: true,
            kept_at: None,
            is_urgent: true,
        }
    }

    /// It ended lately, and here it is again.
    pub(super) fn come_back(mut self) -> Self {
        self.incident.ended = None;
        self.incident.returns = self.incident.returns.saturating_add(1);
        self.ended_at = None;
        self.is_urgent = true;
        self
    }

    /// An alert of some kind fires. Says whether it is the incident's first of that kind.
    pub(super) fn enter(&mut self, now: Now, condition: &Condition, advice: &str) -> bool {
        self.is_urgent = true;
        let incident = &mut self.incident;
        let mut phases = incident.phases.iter();
        let is_first = !phases.any(|phase| phase.kind == condition.kind);
        let last = incident.phases.last_mut();
        if let Some(phase) = last.filter(|phase| phase.is_of(condition)) {
            phase.severity = phase.severity.max(condition.severity);
            phase.reason.clone_from(&condition.reason);
        } else {
            incident.close_phase(now.wall, None);
            if incident.phases.len() >= PHASES_MAX {
                incident.phases.remove(1);
            }
            incident.phases.push(Phase {
                kind: condition.kind,
                severity: condition.severity,
                started_unix_ns: now.wall_of(condition.since),
                ended_unix_ns: None,
                reason: condition.reason.clone(),
            });
        }
        self.describe(condition, advice);
        is_first
    }

    /// What is said of the worst it came to; of what repeats, as it was last.
    pub fn describe(&mut self, condition: &Condition, advice: &str) {
        let incident = &mut self.incident;
        if incident.reason.is_empty() || condition.kind >= incident.kind {
            incident.kind = condition.kind;
            incident.reason.clone_from(&condition.reason);
            incident.evidence.clone_from(&condition.evidence);
            advice.clone_into(&mut incident.advice);
        }
        incident.severity = incident.severity.max(condition.severity);
    }

    /// An alert of some kind ends.
    pub(super) fn leave(&mut self, now: Now, condition: &Condition) {
        self.is_urgent = true;
        self.incident.close_phase(now.wall, Some(condition));
    }

    /// Nothing follows.
    pub(super) fn end(&mut self, now: Now, why: Resolution) {
        self.ended_at = Some(now.mono);
        self.incident.ended = Some(End {
            at_unix_ns: now.wall,
            duration_ns: Some(nanos(now.mono.since(self.started))),
            why: why.into(),
        });
    }

    pub(super) fn ended_within(&self, now: Mono, window: Duration) -> bool {
        self.ended_at.is_some_and(|at| now.since(at) < window)
    }

    pub(super) fn place(&self) -> Place {
        Place {
            incident: self.incident.id.clone(),
            returns: self.incident.returns,
            since: self.is_resumed.then_some(self.started),
        }
    }

    /// When it began.
    pub fn started(&self) -> Mono {
        self.started
    }

    /// What else is known of it, to be changed.
    pub fn incident(&mut self) -> &mut Incident {
        &mut self.incident
    }

    /// An operation succeeded then. The last one before it began is remembered.
    pub fn succeeded(&mut self, now: Now, at: Mono) {
        if at <= self.started {
            self.incident.last_success_unix_ns = Some(now.wall_of(at));
        }
    }

    /// All of it as it is to be kept.
    pub(super) fn form(&self) -> Incident {
        let mut incident = self.incident.clone();
        self.evidence.fill(&mut incident);
        incident
    }

    pub(super) fn form_if_due(&mut self, now: Mono) -> Option<Incident> {
        let age = now.since(self.started);
        let pause = (age / KEEP_EVERY_PART).clamp(KEEP_EVERY.0, KEEP_EVERY.1);
        let is_due = self.kept_at.is_none_or(|at| now.since(at) >= pause);
        if !is_due && !self.is_urgent {
            return None;
        }
        self.kept_at = Some(now);
        self.is_urgent = false;
        Some(self.form())
    }
}

impl Incident {
    fn close_phase(&mut self, at: Wall, condition: Option<&Condition>) {
        let last = self.phases.last_mut();
        let Some(phase) = last.filter(|phase| phase.ended_unix_ns.is_none()) else {
            return;
        };
        phase.ended_unix_ns = Some(at);
        if let Some(condition) = condition.filter(|condition| condition.kind == phase.kind) {
            phase.severity = phase.severity.max(condition.severity);
            phase.reason.clone_from(&condition.reason);
        }
    }
}

impl Phase {
    /// Whether this stretch goes on with a condition.
    fn is_of(&self, condition: &Condition) -> bool {
        self.kind == condition.kind && self.ended_unix_ns.is_none()
    }
}
/// A mount point as one word of an incident's name: several may be missing since the same instant.
fn word_of(path: &str) -> String {
    /// An incident's name may be a file's.
    const WORD_MAX: usize = 64;
    let word = path.trim_matches('/').chars().take(WORD_MAX);
    let word = word.map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
    format!("missing_{}", word.collect::<String>())
}
