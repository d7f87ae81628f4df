//! An incident: everything that is to be remembered of one trouble of one superblock, from the first
//! evidence to the end. Its serialised form is what the journal holds, the API shows and `incidents
//! export` writes; a field may be added, none may change its meaning.

mod at_risk;
mod evidence;
mod ledger;
mod record;
mod resume;
mod summary;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    alert::{AlertKind, Resolution, Severity},
    recovery::RecoveryRun,
    superblock::Dev,
    time::Wall,
};

pub use at_risk::{AtRisk, AtRiskList, ENTRIES_MAX as AT_RISK_MAX, Why as AtRiskWhy};
pub use evidence::{Evidence, UnitOf};
pub use ledger::{Counts, DELAY_BOUNDS_MS, Key, Ledger, Place};
pub use record::Record;
pub use resume::Sighting;
pub use summary::Summary;

/// Names an incident for people and for the journal: when it began (UTC) and what it is about,
/// `20261121T183531.482-0.45`. Needs no counter that a lost journal would start again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct IncidentId(String);

impl IncidentId {
    /// The incident of a superblock.
    pub fn of_superblock(started: Wall, dev: Dev) -> Self {
        Self::new(started, &format!("{}.{}", dev.major(), dev.minor()))
    }

    /// The incident of something else; `about` is one word.
    pub fn new(started: Wall, about: &str) -> Self {
        Self(format!("{}-{about}", Self::compact(started)))
    }

    /// A time (UTC) as it stands in an id: `20261121T183531.482`.
    pub fn compact(at: Wall) -> String {
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_nanos(at.0);
        let at = humantime::format_rfc3339_millis(at).to_string();
        at.chars().filter(|c| !"-:Z".contains(*c)).collect()
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IncidentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One trouble of one superblock, or of a mount that should be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Its name.
    pub id: IncidentId,
    /// Whether it is a rehearsal: nothing happened.
    #[serde(default)]
    pub is_drill: bool,
    /// What it happened to.
    pub subject: Subject,
    /// The worst it came to.
    pub kind: AlertKind,
    /// The worst severity.
    pub severity: Severity,
    /// Every kind of alert it went through, in order, bounded.
    pub phases: Vec<Phase>,
    /// The first evidence, which is before the first alert.
    pub started_unix_ns: Wall,
    /// The same on the monotonic clock of its boot, ns.
    #[serde(default)]
    pub started_monotonic_ns: u64,
    /// The first alert.
    pub detected_unix_ns: Wall,
    /// From the one to the other on the monotonic clock, ns.
    pub detection_delay_ns: u64,
    /// The end; `None` while it goes on.
    pub ended: Option<End>,
    /// How often it ended and came back soon after: flapping is one incident.
    #[serde(default)]
    pub returns: u32,
    /// One sentence, of its worst phase.
    pub reason: String,
    /// Facts behind it.
    pub evidence: Vec<String>,
    /// What to do about it.
    pub advice: String,
    /// Failures since it began, by operation and errno.
    pub failures: Vec<FailureCount>,
    /// Who suffered, longest wait first, bounded.
    pub victims: Vec<IncidentVictim>,
    /// All of them.
    pub victims_total: u64,
    /// The FUSE server's processes and what became of them.
    pub servers: Vec<ServerFate>,
    /// How the connection was ended, where that was seen: `fusectl`, by whom.
    pub abort: Option<String>,
    /// Kernel stacks of blocked tasks, bounded.
    pub stacks: Vec<Stack>,
    /// The kernel's own FUSE timeouts and the like, as they were: name, value.
    pub sysctls: Vec<(String, String)>,
    /// The last operation that succeeded before it; with the end, the window in which data may have
    /// been lost.
    pub last_success_unix_ns: Option<Wall>,
    /// What may not have reached its file.
    #[serde(default)]
    pub at_risk: AtRiskList,
    /// Lists above that are not complete because there was more than is kept: `stacks`,
    /// `failure_kinds`, `servers`. Of the victims all are counted.
    #[serde(default)]
    pub cut: Vec<String>,
    /// What was done about it. The journal keeps runs beside incidents, because they outlive them, and
    /// brings them together for whoever reads one.
    #[serde(default)]
    pub recovery: Vec<RecoveryRun>,
}

/// What an incident happened to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Subject {
    /// The boot in which its numbers mean something (`/proc/sys/kernel/random/boot_id`).
    pub boot_id: String,
    /// `s_dev` as mountinfo shows it; `None` for a mount that is not there.
    pub device_number: Option<String>,
    /// Filesystem type.
    pub fstype: String,
    /// mountinfo's source field.
    pub source: String,
    /// The mount point used as a label.
    pub mount_point: String,
    /// Every mount of it when the incident began, as mountinfo lines would say.
    pub mounts: Vec<IncidentMount>,
}

/// One mount of the superblock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IncidentMount {
    /// mountinfo's mount id.
    pub mount_id: u32,
    /// Inode number of its mount namespace.
    pub mount_namespace: u32,
    /// Where; bytes that are no text as `\xHH`.
    pub mount_point: String,
    /// What part of the filesystem.
    pub root: String,
    /// Options.
    pub options: String,
}

/// A stretch of an incident with one kind of alert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// The kind.
    pub kind: AlertKind,
    /// Its worst severity.
    pub severity: Severity,
    /// The first evidence of it.
    pub started_unix_ns: Wall,
    /// When another took over, or it ended.
    pub ended_unix_ns: Option<Wall>,
    /// One sentence, as last said.
    pub reason: String,
}

/// How an incident ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct End {
    /// When.
    pub at_unix_ns: Wall,
    /// From the first evidence to here on the monotonic clock, ns; `None` where a restart lies between.
    pub duration_ns: Option<u64>,
    /// Why.
    pub why: EndReason,
}

/// Why an incident ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// The condition stayed away.
    Recovered,
    /// The last mount of the superblock is gone.
    Unmounted,
    /// Another superblock took its device number.
    Replaced,
    /// The configuration leaves it out from now on.
    Excluded,
    /// It was not there any more when the observer came back.
    EndedUnobserved,
    /// It was a rehearsal.
    Drill,
}

impl EndReason {
    /// The name in JSON and in the journal.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Recovered => "recovered",
            Self::Unmounted => "unmounted",
            Self::Replaced => "replaced",
            Self::Excluded => "excluded",
            Self::EndedUnobserved => "ended_unobserved",
            Self::Drill => "drill",
        }
    }
}

impl From<Resolution> for EndReason {
    fn from(why: Resolution) -> Self {
        match why {
            // Another condition of the same incident is no end; one told as such is the last word.
            Resolution::Recovered | Resolution::Superseded => Self::Recovered,
            Resolution::Unmounted => Self::Unmounted,
            Resolution::Replaced => Self::Replaced,
            Resolution::Excluded => Self::Excluded,
            Resolution::Unobserved => Self::EndedUnobserved,
        }
    }
}

/// Failures of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureCount {
    /// FUSE opcode or system call.
    pub operation: String,
    /// What it got.
    pub errno: String,
    /// How many since the incident began.
    pub count: u64,
    /// The most within one `detect.storm_window`.
    pub peak: u64,
}

/// A process that suffered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentVictim {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// systemd unit, container or cgroup path, where known.
    pub unit: Option<String>,
    /// When it was first seen to suffer.
    pub first_seen_unix_ns: Wall,
    /// When last.
    pub last_seen_unix_ns: Wall,
    /// What it waited for, or failed at.
    pub operation: Option<String>,
    /// The longest it was seen to wait, ns.
    pub longest_wait_ns: Option<u64>,
    /// What its last failure was.
    pub errno: Option<String>,
    /// The path it gave, where that was seen.
    pub path: Option<String>,
}

/// A process that served the superblock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFate {
    /// Process.
    pub pid: u32,
    /// Name.
    pub comm: String,
    /// systemd unit, container or cgroup path, where known.
    pub unit: Option<String>,
    /// `running`, `stopped`, `gone` or `unknown`.
    pub status: String,
    /// How it ended, when that was seen: `exit 1`, `SIGKILL`, `SIGKILL (out of memory)`.
    pub exit: Option<String>,
}

/// The kernel stack of a blocked task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name.
    pub comm: String,
    /// Innermost first: functions, `?` where not known.
    pub functions: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_says_when_and_what() {
        let at = Wall(1_767_323_045_006_000_000);
        let id = IncidentId::of_superblock(at, Dev(45));
        assert_eq!(id.as_str(), "20260102T030405.006-0.45");
    }
}
