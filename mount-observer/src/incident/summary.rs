//! An incident in a list.

use serde::Serialize;

use super::Incident;
use crate::{render::escape::escaped, time::Wall};

/// What a list says of an incident. Text is escaped for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// Its name.
    pub id: String,
    /// The worst it came to.
    pub kind: String,
    /// The worst severity.
    pub severity: String,
    /// `s_dev` as mountinfo shows it.
    pub device_number: Option<String>,
    /// Filesystem type.
    pub fstype: String,
    /// mountinfo's source field.
    pub source: String,
    /// The mount point used as a label.
    pub mount_point: String,
    /// The first evidence, ns since the epoch.
    pub started_unix_ns: Wall,
    /// The first alert, ns since the epoch.
    pub detected_unix_ns: Wall,
    /// The end, ns since the epoch; `None` while it goes on.
    pub ended_unix_ns: Option<Wall>,
    /// How long it lasted, ns; `None` while it goes on, and where a restart hides it.
    pub lasted_ns: Option<u64>,
    /// Why it ended.
    pub ended_why: Option<String>,
    /// How often it came back soon after its end.
    pub returns: u32,
    /// Who suffered, how many.
    pub victims: u64,
    /// What may not have reached its file, how much.
    pub at_risk: u64,
    /// Whether it is a rehearsal.
    pub is_drill: bool,
    /// One sentence.
    pub reason: String,
}

impl Summary {
    /// Of an incident.
    pub fn of(incident: &Incident) -> Self {
        let subject = &incident.subject;
        let ended = incident.ended.as_ref();
        let at_risk = u64::try_from(incident.at_risk.entries.len()).unwrap_or(u64::MAX);
        Self {
            id: incident.id.to_string(),
            kind: incident.kind.name().to_owned(),
            severity: incident.severity.name().to_owned(),
            device_number: subject.device_number.clone(),
            fstype: escaped(&subject.fstype),
            source: escaped(&subject.source),
            mount_point: escaped(&subject.mount_point),
            started_unix_ns: incident.started_unix_ns,
            detected_unix_ns: incident.detected_unix_ns,
            ended_unix_ns: ended.map(|end| end.at_unix_ns),
            lasted_ns: ended.and_then(|end| end.duration_ns),
            ended_why: ended.map(|end| end.why.name().to_owned()),
            returns: incident.returns,
            victims: incident.victims_total,
            at_risk: at_risk.saturating_add(incident.at_risk.dropped),
            is_drill: incident.is_drill,
            reason: escaped(&incident.reason),
        }
    }

    /// How long it lasted, or lasts by now, as far as that is known. A clock that was set back makes
    /// no negative time of it.
    pub fn lasts_ns(&self, now: Wall) -> Option<u64> {
        match self.ended_unix_ns {
            Some(_) => self.lasted_ns,
            None => Some(now.0.saturating_sub(self.started_unix_ns.0)),
        }
    }
}
