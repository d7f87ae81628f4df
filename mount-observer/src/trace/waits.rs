//! Operations that have not ended: requests in flight, and tasks that wait for no request we know.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    blocked::Waiter,
    decode::{Caller, Traced},
    operation::Operation,
    requests::Tracked,
    superblock::Dev,
    time::Mono,
};

use super::places::PlaceId;

/// How long an operation that is seen no more is given for its record to come.
const GONE_AFTER: Duration = Duration::from_millis(500);

/// How long a look at a task may be handed on after its call ended: scans come every few seconds.
const FREED_FOR: Duration = Duration::from_mins(1);

/// Operations followed at once: as many as there can be requests and tasks.
const WAITS_MAX: usize = 65_536 + 16_384;

/// What tells one such operation from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// A request, by the server's number for it.
    Unique(Dev, u64),
    /// A request that has none: when it was sent, and what it asks.
    Sent(Dev, Mono, Operation),
    /// A thread that waits.
    Task(Dev, u32),
}

/// An operation that was told to block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wait {
    /// Where.
    pub(super) place: PlaceId,
    /// The superblock.
    pub(super) dev: Dev,
    /// Who.
    pub(super) caller: Option<Caller>,
    /// What; `None` of a task.
    pub(super) operation: Option<Operation>,
    /// The kernel function a task waits in.
    pub(super) waits_in: Option<String>,
    /// The node a request is about.
    pub(super) nodeid: Option<u64>,
    /// The request's number.
    pub(super) unique: Option<u64>,
    /// Since when; at least since then where `is_at_least`.
    pub(super) since: Mono,
    /// Whether it began before it was first seen.
    pub(super) is_at_least: bool,
    /// Until when it is known to have blocked.
    pub(super) proven: Mono,
    /// When it was last found among what blocks.
    pub(super) seen: Mono,
}

/// What was told to block and has not been told to have ended.
#[derive(Debug, Default)]
pub(super) struct Waits {
    by_key: BTreeMap<Key, Wait>,
    /// What has ended, and when: an earlier look at it says nothing any more.
    freed: BTreeMap<Key, Mono>,
}

impl Waits {
    /// Sees one again; false when it is new, true, and there is room for it.
    pub(super) fn see(&mut self, keys: &[Key], wait: &Wait) -> bool {
        for key in keys {
            if self.freed.get(key).is_some_and(|at| wait.proven <= *at) {
                return true;
            }
            if let Some(known) = self.by_key.get_mut(key) {
                (known.seen, known.proven) = (wait.seen, wait.proven);
                return true;
            }
        }
        self.by_key.len() >= WAITS_MAX
    }

    /// Follows a new one.
    pub(super) fn add(&mut self, key: Key, wait: Wait) {
        self.freed.remove(&key);
        self.by_key.insert(key, wait);
    }

    /// Takes out what a record says has ended; says whether there was one.
    pub(super) fn end(&mut self, traced: &Traced) -> bool {
        if self.by_key.is_empty() {
            return false;
        }
        let ended = &traced.ended;
        let Some(dev) = ended.dev else { return false };
        let by_unique = traced.unique.map(|unique| Key::Unique(dev, unique));
        let sent = ended.latency.map(|latency| ended.at.before(latency));
        let by_start = sent.map(|sent| Key::Sent(dev, sent, ended.operation));
        // A call that began before the task was seen to wait, and ended after it. A call that leaves no
        // record ends as well, and others of its thread follow.
        let spans =
            |wait: &Wait| sent.is_none_or(|sent| sent <= wait.proven) && ended.at >= wait.proven;
        let by_task = Some(Key::Task(dev, ended.caller.tid))
            .filter(|_| !ended.operation.is_fuse())
            .filter(|key| self.by_key.get(key).is_some_and(spans));
        let keys = [by_unique, by_start, by_task];
        let mut known = keys.into_iter().flatten();
        let Some(key) = known.find(|key| self.by_key.remove(key).is_some()) else {
            return false;
        };
        // An earlier look may still show it: at the task, or at the connection's lists.
        if self.freed.len() < WAITS_MAX {
            self.freed.insert(key, ended.at);
        }
        true
    }

    /// Takes out what was not seen for so long that its record will not come.
    pub(super) fn take_gone(&mut self, now: Mono) -> Vec<Wait> {
        self.freed.retain(|_, at| now.since(*at) < FREED_FOR);
        let gone = self
            .by_key
            .extract_if(.., |_, wait| now.since(wait.seen) >= GONE_AFTER);
        gone.map(|(_, wait)| wait).collect()
    }

    /// What blocks.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Wait> {
        self.by_key.values()
    }
}

impl Wait {
    /// A request that was in flight when that was last proven, and what it can be known by.
    pub(super) fn of_request(
        request: &Tracked,
        place: PlaceId,
        (proven, now): (Mono, Mono),
    ) -> (Vec<Key>, Self) {
        let by_unique = request
            .unique
            .map(|unique| Key::Unique(request.dev, unique));
        let by_start = Key::Sent(request.dev, request.start, request.operation);
        let wait = Self {
            place,
            dev: request.dev,
            caller: request.caller.clone(),
            operation: Some(request.operation),
            waits_in: None,
            nodeid: (request.nodeid != 0).then_some(request.nodeid),
            unique: request.unique,
            since: request.start,
            is_at_least: !request.is_start_known,
            proven,
            seen: now,
        };
        (by_unique.into_iter().chain([by_start]).collect(), wait)
    }

    /// A task that waits.
    pub(super) fn of_task(waiter: &Waiter, place: PlaceId, now: Mono) -> (Vec<Key>, Self) {
        let wait = Self {
            place,
            dev: waiter.dev,
            caller: Some(waiter.caller.clone()),
            operation: None,
            waits_in: waiter.waits_in.clone(),
            nodeid: None,
            unique: None,
            since: waiter.since,
            is_at_least: !waiter.is_since_entry,
            proven: waiter.seen,
            seen: now,
        };
        (vec![Key::Task(waiter.dev, waiter.caller.tid)], wait)
    }

    /// How long it has blocked, as far as that is known.
    pub(super) fn age(&self) -> Duration {
        self.proven.since(self.since)
    }
}
