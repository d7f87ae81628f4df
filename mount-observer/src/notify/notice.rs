//! What a sink is handed: one change of one alert, complete.

use serde::{Serialize, Serializer};

use crate::{
    alert::{AlertKind, Change, Resolution, Severity, Transition, Victim},
    incident::IncidentId,
    render::alert_line::alert_line,
    superblock::SuperblockId,
    time::Wall,
};

/// The version of the notice's form; raised when a field changes its meaning.
const VERSION: u32 = 1;

/// Whether an alert fires or has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It fires.
    Firing,
    /// It ended.
    Resolved,
}

impl Status {
    /// The name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Firing => "firing",
            Self::Resolved => "resolved",
        }
    }
}

/// Where notices come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The machine's name.
    pub host: String,
    /// Whether it is a rehearsal.
    pub is_drill: bool,
}

/// One change of one alert: the documented body of a webhook and the input of a command.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Notice {
    /// Of this form.
    pub version: u32,
    /// Whether it fires or has ended.
    pub status: Status,
    /// What the alert reports.
    pub kind: AlertKind,
    /// How much it asks for.
    pub severity: Severity,
    /// The incident, the same from the first evidence to the end whatever kinds it goes through.
    pub incident: IncidentId,
    /// How often the incident ended and came back soon after.
    pub returns: u32,
    /// Whether it is a rehearsal: nothing happened.
    pub is_drill: bool,
    /// The machine's name.
    pub host: String,
    /// Everything in one line for people, without control characters.
    pub line: String,
    /// `Checked 42 mounts; 1 is dead`.
    pub summary: String,
    /// The superblock; `None` for a mount that is not there.
    pub superblock: Option<SuperblockId>,
    /// Filesystem type.
    pub fstype: String,
    /// mountinfo's source field, lossily as text.
    pub device: String,
    /// The shortest mount point, lossily as text.
    pub mountpoint: String,
    /// Every mount point, lossily as text.
    pub mount_points: Vec<String>,
    /// One sentence: what is wrong.
    pub reason: String,
    /// Facts behind it.
    pub evidence: Vec<String>,
    /// Blocked or failing processes, worst first, bounded.
    pub victims: Vec<Victim>,
    /// All of them.
    pub victims_total: u64,
    /// What to do about it.
    pub advice: String,
    /// When the condition began.
    #[serde(serialize_with = "as_rfc3339")]
    pub started: Wall,
    /// When it changed.
    #[serde(serialize_with = "as_rfc3339")]
    pub at: Wall,
    /// How long it has lasted.
    pub duration_seconds: f64,
    /// Why it ended.
    pub resolution: Option<Resolution>,
    /// The kind of alert that took over, where one did.
    pub successor: Option<AlertKind>,
    /// Superblocks below that are to blame.
    pub caused_by: Vec<SuperblockId>,
}

impl Notice {
    /// The notice of a transition.
    pub fn new(origin: &Origin, at: Wall, summary: &str, transition: &Transition) -> Self {
        let (status, resolution) = match transition.change {
            Change::Firing => (Status::Firing, None),
            Change::Resolved { why } => (Status::Resolved, Some(why)),
        };
        let mark = if origin.is_drill { "DRILL " } else { "" };
        Self {
            version: VERSION,
            status,
            kind: transition.kind,
            severity: transition.severity,
            incident: transition.incident.clone(),
            returns: transition.returns,
            is_drill: origin.is_drill,
            host: origin.host.clone(),
            line: format!("{mark}{}", alert_line(transition)),
            summary: summary.to_owned(),
            superblock: transition.superblock,
            fstype: transition.fstype.clone(),
            device: transition.device.clone(),
            mountpoint: transition.mountpoint.clone(),
            mount_points: transition.mount_points.clone(),
            reason: transition.reason.clone(),
            evidence: transition.evidence.clone(),
            victims: transition.victims.clone(),
            victims_total: transition.victims_total,
            advice: transition.advice.clone(),
            started: transition.since_unix_ns,
            at,
            duration_seconds: std::time::Duration::from_nanos(transition.age_ns).as_secs_f64(),
            resolution,
            successor: transition.successor,
            caused_by: transition.caused_by.clone(),
        }
    }

    /// One to try a template with.
    pub fn example() -> Self {
        let none = String::new;
        Self {
            version: VERSION,
            status: Status::Firing,
            kind: AlertKind::Dead,
            severity: Severity::Critical,
            incident: IncidentId::new(Wall(0), "example"),
            returns: 0,
            is_drill: true,
            host: none(),
            line: none(),
            summary: none(),
            superblock: None,
            fstype: none(),
            device: none(),
            mountpoint: "/".to_owned(),
            mount_points: Vec::new(),
            reason: none(),
            evidence: Vec::new(),
            victims: Vec::new(),
            victims_total: 0,
            advice: none(),
            started: Wall(0),
            at: Wall(0),
            duration_seconds: 0.0,
            resolution: None,
            successor: None,
            caused_by: Vec::new(),
        }
    }

    /// Whether the alert fires.
    pub fn is_firing(&self) -> bool {
        self.status == Status::Firing
    }

    /// When it changed, as text; never before it began, whatever was done to the clock.
    pub fn at_text(&self) -> String {
        rfc3339(self.at.max(self.started))
    }

    /// Names this notice among all: one that is sent twice bears the same.
    pub fn key(&self) -> String {
        let (kind, status) = (self.kind.name(), self.status.name());
        format!("{}-{kind}-{status}-{}", self.incident, self.at.0)
    }
}

/// `2026-01-02T03:04:05.006Z`.
pub(crate) fn rfc3339(at: Wall) -> String {
    let at = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(at.0);
    humantime::format_rfc3339_millis(at).to_string()
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde hands a reference to the field"
)]
fn as_rfc3339<S: Serializer>(at: &Wall, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&rfc3339(*at))
}
