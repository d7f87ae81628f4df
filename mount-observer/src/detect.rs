//! What is wrong with one superblock: a pure function of what is known about it at one tick.
//!
//! Each detector answers for one kind of condition and knows nothing of the others, of alerts, or
//! of the past beyond what its evidence carries. The worst condition wins.

mod blind;
mod dead;
mod slow;
mod stall;
mod storm;
mod victims;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    alerts::Condition,
    blocked::Waiter,
    config::Detect,
    operation::Operation,
    requests::Tracked,
    superblock::Dev,
    time::Mono,
    watched::{Watched, name_of},
};

pub use blind::{Layout, Scans, Sight};

/// Everything the detectors may look at.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// The time of the tick.
    pub now: Mono,
    /// Thresholds.
    pub config: &'a Detect,
    /// Whether this is one look rather than a watch.
    pub is_single_look: bool,
    /// The superblock.
    pub superblock: &'a Watched,
    /// Every superblock in scope: one may be to blame for another's trouble.
    pub all: &'a BTreeMap<Dev, Watched>,
    /// Its requests in flight, oldest first.
    pub requests: &'a [Pending<'a>],
    /// Tasks that wait for it, longest first.
    pub waiters: &'a [Blocked<'a>],
    /// How well we see.
    pub sight: &'a Sight,
}

/// A request in flight, and whether that is sure.
#[derive(Clone, Copy, Debug)]
pub struct Pending<'a> {
    /// The request.
    pub request: &'a Tracked,
    /// Whether something else than the missing end says so.
    pub is_confirmed: bool,
    /// The caller's thread, where another source knows it.
    pub caller: Option<&'a Waiter>,
}

/// A task that waits, and the request it waits for where that is its own.
#[derive(Clone, Copy, Debug)]
pub struct Blocked<'a> {
    /// The task.
    pub waiter: &'a Waiter,
    /// Its own request's operation.
    pub operation: Option<Operation>,
    /// When that was sent.
    pub sent: Option<Mono>,
    /// Whether it is known when either began, not only since when they are seen.
    pub is_start_known: bool,
}

impl Blocked<'_> {
    /// Since when it waits: the earlier of its request and its sleep.
    pub fn since(&self) -> Mono {
        self.sent
            .map_or(self.waiter.since, |sent| sent.min(self.waiter.since))
    }

    /// Whether it is the filesystem that it waits for. A path walk also sleeps to open a FIFO until
    /// somebody opens the other end, or until a lease is broken: interruptibly, and in no function
    /// of a filesystem. And until a fanotify listener allows it.
    pub fn is_on_filesystem(&self) -> bool {
        self.operation.is_some() || self.waiter.is_in_filesystem()
    }
}

impl View<'_> {
    /// Those to blame for this superblock's trouble since then, for a sentence: `caused by 0:45 at
    /// /mnt/x`.
    fn causes_text(&self, since: Mono) -> Option<String> {
        let failed = self.superblock.causes_since(since);
        let waited = self
            .waiters
            .iter()
            .filter_map(|blocked| blocked.waiter.cause);
        let own = self.superblock.id.dev;
        let causes: BTreeSet<Dev> = failed.chain(waited).filter(|cause| *cause != own).collect();
        let names: Vec<String> = causes.iter().map(|dev| name_of(self.all, *dev)).collect();
        (!names.is_empty()).then(|| format!("caused by {}", names.join(" and ")))
    }
}

/// The verdict on one superblock.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The worst condition.
    pub worst: Option<Condition>,
    /// Why the absence of a condition proves nothing, if so.
    pub blind: Option<String>,
}

/// Judges one superblock.
pub fn judge(view: &View<'_>) -> Verdict {
    let conditions = [
        dead::judge(view),
        stall::judge(view),
        storm::judge(view),
        slow::judge(view),
    ];
    let worst = conditions
        .into_iter()
        .flatten()
        .max_by_key(|condition| condition.kind);
    Verdict {
        worst,
        blind: blind::judge(view),
    }
}

/// The most frequent kinds, for a sentence: `EIO on READ x 12, ENOTCONN on LOOKUP x 3`.
fn kinds_text(kinds: &BTreeMap<(Operation, crate::errno::Errno), u64>) -> String {
    /// More make a sentence nobody reads.
    const KINDS_TOLD: usize = 3;
    let mut kinds: Vec<_> = kinds.iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let told = kinds.iter().take(KINDS_TOLD);
    let told = told.map(|((operation, errno), count)| format!("{errno} on {operation} x {count}"));
    told.collect::<Vec<_>>().join(", ")
}
