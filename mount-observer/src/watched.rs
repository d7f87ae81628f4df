//! One superblock in scope, from when it was first seen until it is gone.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    alert::{Severity, State, Victim},
    alerts::AlertLife,
    connection::Connection,
    counters::Counters,
    errno::Errno,
    incident::AtRiskList,
    mounts::Mounted,
    operation::Operation,
    superblock::{Dev, SuperblockId},
    time::Mono,
};

/// Recent failures kept with who met them.
const FAILURES_MAX: usize = 16;

/// Superblocks remembered that made this one fail. An overlay has few layers on FUSE.
const CAUSES_MAX: usize = 8;

/// A superblock in scope.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Identity.
    pub id: SuperblockId,
    /// Its mounts.
    pub mounted: Mounted,
    /// When it was first seen.
    pub first_seen: Mono,
    /// How it is served.
    pub service: Service,
    /// The connection; of use for FUSE only.
    pub connection: Connection,
    /// What was counted.
    pub counters: Counters,
    /// Recent failures, newest first.
    pub failures: VecDeque<Failure>,
    /// What may not have been written: kept until it is of the past.
    pub at_risk: AtRiskList,
    /// When a request that writes something last succeeded.
    pub last_write: Option<Mono>,
    /// When its files open for writing were last asked for.
    pub files_asked_at: Option<Mono>,
    /// FUSE superblocks below this one that made it fail, and when last.
    causes: BTreeMap<Dev, Mono>,
    /// When a request or a blocked task was last seen to move on, other than by an end event.
    pub moved_on: Option<Mono>,
    /// Its alerts.
    pub alerts: AlertLife,
    /// Its state at the last tick.
    pub status: Status,
}

/// A failure and who met it.
#[derive(Clone, Debug)]
pub struct Failure {
    /// When.
    pub at: Mono,
    /// Who.
    pub victim: Victim,
}

/// The state at the last tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Status {
    /// The state.
    pub state: State,
    /// Since when.
    pub since: Mono,
    /// How much it asks for.
    pub severity: Option<Severity>,
    /// One sentence.
    pub reason: String,
    /// Facts.
    pub evidence: Vec<String>,
}

/// How a filesystem is served, as far as it decides what can be seen of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A process that holds `/dev/fuse`.
    Fuse,
    /// FUSE requests to a hypervisor: nobody holds anything.
    Virtiofs,
    /// A filesystem of the kernel's own.
    Kernel,
}

impl Service {
    /// By filesystem type.
    pub fn of(fstype: &str) -> Self {
        if fstype == "virtiofs" {
            Self::Virtiofs
        } else if matches!(fstype.split('.').next(), Some("fuse" | "fuseblk")) {
            Self::Fuse
        } else {
            Self::Kernel
        }
    }
}

impl Watched {
    /// A superblock that has just been seen for the first time.
    pub fn new(id: SuperblockId, mounted: Mounted, now: Mono) -> Self {
        Self {
            id,
            service: Service::of(&mounted.fstype),
            mounted,
            first_seen: now,
            connection: Connection::default(),
            counters: Counters::default(),
            failures: VecDeque::new(),
            at_risk: AtRiskList::default(),
            last_write: None,
            files_asked_at: None,
            causes: BTreeMap::new(),
            moved_on: None,
            alerts: AlertLife::default(),
            status: Status {
                state: State::Unknown,
                since: now,
                severity: None,
                reason: "not looked at yet".to_owned(),
                evidence: Vec::new(),
            },
        }
    }

    /// Whether the kernel itself refused a request before it existed, so that nothing ended:
    /// `fuse_get_req` (`fs/fuse/dev.c`, v6.18) does so once the connection is gone. While it lives, a
    /// server may answer the same.
    pub fn is_refusal(&self, operation: Operation, errno: Option<Errno>) -> bool {
        let is_alive = self.connection.is_connected == Some(true);
        operation.is_fuse() && errno == Some(Errno::ENOTCONN) && !is_alive
    }

    /// Whether this table entry can only be another superblock that got the same number.
    ///
    /// Mount ids are reused too, so equal ids prove nothing. Different ids alone are a bind mount
    /// whose original was unmounted; with another source, or after a death, they are a new mount.
    pub fn is_replaced_by(&self, mounted: &Mounted) -> bool {
        let is_other_mount = self.mounted.mount_ids.is_disjoint(&mounted.mount_ids);
        self.mounted.fstype != mounted.fstype
            || is_other_mount
                && (self.mounted.device != mounted.device || self.connection.is_dying())
    }

    /// A superblock below this one made it fail. At the bound the one longest ago is forgotten.
    pub fn add_cause(&mut self, dev: Dev, at: Mono) {
        let last = self.causes.entry(dev).or_insert(at);
        *last = at.max(*last);
        if self.causes.len() > CAUSES_MAX {
            let oldest = self.causes.iter().min_by_key(|(_, at)| **at);
            if let Some(dev) = oldest.map(|(dev, _)| *dev) {
                self.causes.remove(&dev);
            }
        }
    }

    /// The superblocks below this one that made it fail since then.
    pub fn causes_since(&self, since: Mono) -> impl Iterator<Item = Dev> {
        let recent = self.causes.iter().filter(move |(_, at)| **at >= since);
        recent.map(|(dev, _)| *dev)
    }

    /// Whether a superblock below this one made it fail.
    pub fn has_causes(&self) -> bool {
        !self.causes.is_empty()
    }

    /// Keeps a failure, the newest of its kind.
    pub fn add_failure(&mut self, failure: Failure) {
        let kind = |known: &Failure| {
            let victim = known.victim.clone();
            (victim.tid, victim.operation, victim.errno)
        };
        let new = kind(&failure);
        self.failures.retain(|known| kind(known) != new);
        self.failures.push_front(failure);
        self.failures.truncate(FAILURES_MAX);
    }
}

/// `0:45 at /mnt/x`, for a sentence; the number alone of one that is not observed.
pub fn name_of(all: &BTreeMap<Dev, Watched>, dev: Dev) -> String {
    match all.get(&dev) {
        Some(superblock) => {
            let point = &superblock.mounted.mountpoint;
            format!("{} at {point}", superblock.id)
        }
        None => dev.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtype_does_not_change_how_it_is_served() {
        for fstype in ["fuse", "fuse.sshfs", "fuseblk", "fuseblk.ntfs-3g"] {
            assert_eq!(Service::of(fstype), Service::Fuse, "{fstype}");
        }
        for fstype in ["fusectl", "nfs4", "xfuse"] {
            assert_eq!(Service::of(fstype), Service::Kernel, "{fstype}");
        }
        assert_eq!(Service::of("virtiofs"), Service::Virtiofs);
    }
}
