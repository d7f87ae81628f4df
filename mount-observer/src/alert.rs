//! What an alert is. Its life (pending, firing, resolved) is kept by the observer.

use serde::{Deserialize, Serialize};

use crate::{
    incident::IncidentId,
    superblock::SuperblockId,
    time::{Mono, Wall},
};

/// The state of a superblock: one at a time, the worst wins (the later variant).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Nothing wrong is known, and we can see.
    Ok,
    /// We are blind there. Never shown as ok.
    Unknown,
    /// Answers take longer than `slow_p99`.
    Slow,
    /// A storm of connection-class errno while the connection lives.
    Erroring,
    /// Some request is overdue while others complete.
    Stuck,
    /// Requests are overdue and nothing completes, or the server is stopped.
    Hung,
    /// The connection is gone.
    Dead,
}

impl State {
    /// Every state, mildest first.
    pub const ALL: [Self; 7] = [
        Self::Ok,
        Self::Unknown,
        Self::Slow,
        Self::Erroring,
        Self::Stuck,
        Self::Hung,
        Self::Dead,
    ];

    /// The name in metrics, JSON and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Unknown => "unknown",
            Self::Slow => "slow",
            Self::Erroring => "erroring",
            Self::Stuck => "stuck",
            Self::Hung => "hung",
            Self::Dead => "dead",
        }
    }
}

/// What an alert reports: a state that asks for something, or what concerns no superblock's state.
/// The later is the worse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertKind {
    /// [`State::Slow`].
    Slow,
    /// [`State::Erroring`].
    Erroring,
    /// [`State::Stuck`].
    Stuck,
    /// A recovery failed or was not allowed.
    Recovery,
    /// [`State::Hung`].
    Hung,
    /// A mount that should be there is not.
    Missing,
    /// [`State::Dead`].
    Dead,
    /// Data is written where a mount should be, underneath it.
    ShadowWrites,
}

impl AlertKind {
    /// Every kind, mildest first.
    pub const ALL: [Self; 8] = [
        Self::Slow,
        Self::Erroring,
        Self::Stuck,
        Self::Recovery,
        Self::Hung,
        Self::Missing,
        Self::Dead,
        Self::ShadowWrites,
    ];

    /// The name in metrics, JSON, logs and the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Erroring => "erroring",
            Self::Stuck => "stuck",
            Self::Recovery => "recovery",
            Self::Hung => "hung",
            Self::Missing => "missing",
            Self::Dead => "dead",
            Self::ShadowWrites => "shadow_writes",
        }
    }

    /// What reports a state; `None` for those that ask for nothing.
    pub fn of(state: State) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.state() == Some(state))
    }

    /// The state it reports; `None` for what concerns no superblock's state.
    pub const fn state(self) -> Option<State> {
        match self {
            Self::Slow => Some(State::Slow),
            Self::Erroring => Some(State::Erroring),
            Self::Stuck => Some(State::Stuck),
            Self::Hung => Some(State::Hung),
            Self::Dead => Some(State::Dead),
            Self::Recovery | Self::Missing | Self::ShadowWrites => None,
        }
    }
}

/// How much an alert asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Somebody should look.
    Warning,
    /// Somebody must act.
    Critical,
}

impl Severity {
    /// The name in metrics, JSON, logs and the configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Why an alert ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Resolution {
    /// The condition stayed away for `clear_after`.
    Recovered,
    /// The last mount of the superblock is gone.
    Unmounted,
    /// Another superblock took its device number.
    Replaced,
    /// Another condition of the same superblock took over: a worse one, or what this one eased to.
    Superseded,
    /// The configuration leaves the superblock out from now on.
    Excluded,
    /// An earlier observer told of it, and when this one came it was not there any more.
    Unobserved,
}

/// What an alert changed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "to")]
pub enum Change {
    /// It fires; again with another severity when that rises.
    Firing,
    /// It ended.
    Resolved {
        /// Why.
        why: Resolution,
    },
}

/// One line for the log, one message for a sink.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Transition {
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
    /// What it reports.
    pub kind: AlertKind,
    /// How much it asks for.
    pub severity: Severity,
    /// What is remembered of it: one incident from the first evidence to the end, whatever kinds of
    /// alert it goes through.
    pub incident: IncidentId,
    /// How often the incident ended and came back soon after.
    pub returns: u32,
    /// The superblock; `None` for a mount that is not there.
    pub superblock: Option<SuperblockId>,
    /// Filesystem type.
    pub fstype: String,
    /// mountinfo's source field, lossily as text.
    pub device: String,
    /// The shortest mount point in the observer's namespace, else in another, lossily as text.
    pub mountpoint: String,
    /// Every mount point of it in the observer's namespace, else in any, lossily as text.
    pub mount_points: Vec<String>,
    /// Superblocks below that are to blame: the alert of an overlay says nothing new while theirs
    /// fires.
    pub caused_by: Vec<SuperblockId>,
    /// The namespace of `mountpoint` where that is not the observer's own.
    #[serde(skip)]
    pub namespace: Option<u32>,
    /// The kind of alert that took over, where one did.
    #[serde(skip)]
    pub successor: Option<AlertKind>,
    /// When the condition began: first evidence, not first alert.
    #[serde(skip)]
    pub since: Mono,
    /// The same on the wall clock, ns since the epoch.
    pub since_unix_ns: Wall,
    /// How long the condition has lasted, ns.
    pub age_ns: u64,
    /// One sentence: what is wrong.
    pub reason: String,
    /// Facts behind it.
    pub evidence: Vec<String>,
    /// Blocked or failing processes, worst first, bounded.
    pub victims: Vec<Victim>,
    /// All of them, where `victims` was cut.
    pub victims_total: u64,
    /// What to do about it.
    pub advice: String,
}

/// A process that waits on, or fails at, a superblock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Victim {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Its name.
    pub comm: String,
    /// What it waits for or failed at: `LOOKUP`, `newfstatat`, or a kernel wait function.
    pub operation: Option<String>,
    /// How long it has waited, ns; `None` when it does not wait or nobody knows.
    pub age_ns: Option<u64>,
    /// What its last failure was.
    pub errno: Option<String>,
    /// The path it gave, where that was seen, lossily as text.
    pub path: Option<String>,
    /// The superblock below that made the call fail or wait, where that is another: `0:45 at /mnt/x`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<String>,
    /// The superblock above on which the call failed or waits because of this one: `0:60 at /mnt/overlay`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_on: Option<String>,
    /// `attribution=path` where the superblock was found by its path only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attribution: Option<&'static str>,
}
