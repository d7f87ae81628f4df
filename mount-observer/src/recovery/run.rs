//! One recovery as the journal holds it.

use serde::{Deserialize, Serialize};

use crate::{config::Recover, incident::IncidentId, time::Wall};

/// One attempt to repair a mount.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryRun {
    /// Its name: that of the incident and when it began, ns since the epoch.
    pub id: String,
    /// The incident it is about.
    pub incident: IncidentId,
    /// The mount point of the configuration.
    pub mount_point: String,
    /// When it began.
    pub started_unix_ns: Wall,
    /// When it ended; `None` while it goes on, and of one that was cut short with the daemon.
    pub ended_unix_ns: Option<Wall>,
    /// How.
    pub outcome: Option<Outcome>,
    /// What was done, in order.
    pub steps: Vec<RecoveryStep>,
}

/// One step of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryStep {
    /// When.
    pub at_unix_ns: Wall,
    /// `abort-connection`, `run /usr/bin/systemctl restart x`, ...
    pub step: String,
    /// What came of it.
    pub outcome: Outcome,
    /// What was said about it.
    pub detail: String,
}

/// What came of a recovery, or of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Done.
    Ok,
    /// It would be done, and is not: dry run, or the enabling file is not there.
    DryRun,
    /// The policy never does this.
    Refused,
    /// Too many already.
    Capped,
    /// It went wrong.
    Failed,
    /// It took too long.
    Timeout,
}

impl Outcome {
    /// The name in metrics and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::DryRun => "dry_run",
            Self::Refused => "refused",
            Self::Capped => "capped",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }

    /// Whether somebody must look: it was to be repaired and is not.
    pub const fn is_trouble(self) -> bool {
        matches!(self, Self::Capped | Self::Failed | Self::Timeout)
    }

    /// Whether something was done to the system.
    pub const fn is_action(self) -> bool {
        matches!(self, Self::Ok | Self::Failed | Self::Timeout)
    }
}

impl RecoveryRun {
    pub(super) fn begin(at: Wall, mount: &Recover, incident: IncidentId) -> Self {
        Self {
            id: format!("{incident}/{}", at.0),
            incident,
            mount_point: mount.mount_point.clone(),
            started_unix_ns: at,
            ended_unix_ns: None,
            outcome: None,
            steps: Vec::new(),
        }
    }

    pub(super) fn tell(&mut self, at: Wall, step: &str, outcome: Outcome, detail: String) {
        self.steps.push(RecoveryStep {
            at_unix_ns: at,
            step: step.to_owned(),
            outcome,
            detail,
        });
    }

    /// Whether it did, or may have done, something: one that was cut short may have.
    pub fn is_action(&self) -> bool {
        self.outcome.is_none_or(Outcome::is_action)
    }
}
