//! FUSE requests that were sent and have not ended, from two sources that check each other.
//!
//! The probes see a request when it is sent, and know its start and its caller exactly. The walk
//! over a connection's lists sees what waits right now, requests older than the probes included.
//! A caller killed while its request is still queued leaves no end event (`request_wait_answer`,
//! `fs/fuse/dev.c`, v6.18), so an entry that the lists do not show is forgotten.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    connection::Connection,
    decode::{Caller, Queued, Sent},
    operation::Operation,
    superblock::Dev,
    time::Mono,
};

/// Requests followed at once: the kernel-side map holds 16,384, the walks add what is older.
pub const REQUESTS_MAX: usize = 65_536;

/// A reading says nothing about requests younger than this: it may have been made before them.
const READING_AGE_MAX: Duration = Duration::from_secs(1);

/// How long seeing a request on a list proves that it waits. Suspicion looks once a second.
const CONFIRMED_FOR: Duration = Duration::from_secs(3);

/// Where no list can be walked, how long past its due time a request is believed on the strength
/// of the connection's count alone.
const COUNT_CONFIRMS_AFTER: Duration = Duration::from_secs(2);

/// Walks in a row that must miss a request before it is forgotten: the lists change under a walk.
const MISSES_MAX: u8 = 2;

/// One request in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Address of the kernel's structure.
    pub address: u64,
    /// The superblock.
    pub dev: Dev,
    /// What it asks.
    pub operation: Operation,
    /// Its number, once known.
    pub unique: Option<u64>,
    /// The FUSE node.
    pub nodeid: u64,
    /// Who asked; `None` when found on a list.
    pub caller: Option<Caller>,
    /// The caller's cgroup v2 id, in a trace.
    pub cgroup: Option<u64>,
    /// The caller's process as the server sees it, when found on a list.
    pub queue_pid: Option<u32>,
    /// When it was sent, or first seen.
    pub start: Mono,
    /// False when `start` is only when it was first seen.
    pub is_start_known: bool,
    /// Whether the probes saw it sent.
    pub is_probed: bool,
    /// Whether the server has read it; `None` when never seen on a list.
    pub is_at_server: Option<bool>,
    seen_on_list: Option<Mono>,
    misses: u8,
}

/// The requests in flight.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    by_address: BTreeMap<u64, Tracked>,
    /// When the kernel-side map was last read.
    read_at: Mono,
    /// Forgotten requests whose entry the kernel side still has, by address.
    forgotten: BTreeMap<u64, Mono>,
    /// Requests that never ended although they were sent.
    pub orphans: u64,
    /// Requests not followed because of [`REQUESTS_MAX`].
    pub refused: u64,
}

/// What one scan found on one connection's lists.
#[derive(Clone, Debug, Default)]
pub struct Walk {
    /// The requests, by address.
    pub found: BTreeMap<u64, Queued>,
    /// Whether that is all of them.
    pub is_whole: bool,
}

/// Entries of `IN_FLIGHT` that never end: address and start.
pub type Forget = Vec<(u64, u64)>;

impl Requests {
    /// Takes the whole of the kernel-side map. What is gone from it has ended.
    pub fn update_sent(&mut self, now: Mono, sent: impl Iterator<Item = (u64, Sent)>) {
        self.read_at = now;
        let mut before = std::mem::take(&mut self.by_address);
        let mut forgotten = BTreeMap::new();
        for (address, sent) in sent {
            if self.forgotten.get(&address) == Some(&sent.start) {
                forgotten.insert(address, sent.start);
                before.remove(&address);
                continue;
            }
            let known = before.remove(&address).filter(|known| known.is(&sent));
            if self.by_address.len() >= REQUESTS_MAX {
                self.refused += 1;
                continue;
            }
            let tracked = Tracked::probed(address, sent, known.as_ref());
            self.by_address.insert(address, tracked);
        }
        self.forgotten = forgotten;
        let queued = before.into_iter().filter(|(_, known)| !known.is_probed);
        self.by_address.extend(queued);
    }

    /// Takes what one connection's lists showed. Returns the entries that never end, and whether a
    /// request known from the lists alone has left them.
    pub fn update_queue(&mut self, now: Mono, dev: Dev, walk: &Walk) -> (Forget, bool) {
        for queued in walk.found.values() {
            self.see(now, queued);
        }
        if !walk.is_whole {
            return (Forget::new(), false);
        }
        let mut forget = Forget::new();
        let mut has_progressed = false;
        let missing = |known: &Tracked| {
            known.dev == dev
                && !walk.found.contains_key(&known.address)
                && now.since(known.start) >= READING_AGE_MAX
        };
        self.by_address.retain(|_, known| {
            if !missing(known) {
                return true;
            }
            known.misses += 1;
            if !known.is_probed {
                has_progressed = true;
                return false;
            }
            let is_kept = known.misses < MISSES_MAX;
            if !is_kept {
                forget.push((known.address, known.start.0));
            }
            is_kept
        });
        self.note_forgotten(&forget);
        (forget, has_progressed)
    }

    /// The connection's count says that nothing has waited since then. What ended with the last
    /// that did is still there until the map is read again.
    pub fn nothing_waits(&mut self, now: Mono, dev: Dev, since: Mono) -> Forget {
        let mut forget = Forget::new();
        let is_read = self.read_at > since;
        self.by_address.retain(|_, known| {
            let is_old = now.since(known.start) >= READING_AGE_MAX;
            let has_ended = known.dev == dev && is_old && (is_read || !known.is_probed);
            if has_ended && known.is_probed {
                forget.push((known.address, known.start.0));
            }
            !has_ended
        });
        self.note_forgotten(&forget);
        forget
    }

    /// The superblock is gone, and its requests with it.
    pub fn drop_superblock(&mut self, dev: Dev) {
        self.by_address.retain(|_, known| known.dev != dev);
    }

    /// Every request.
    pub fn iter(&self) -> impl Iterator<Item = &Tracked> {
        self.by_address.values()
    }

    /// When a request was last known to be in flight: as the map was read, or a walk saw it on a list.
    /// What is known from a list alone may have ended long before the next walk.
    pub fn proven_at(&self, request: &Tracked) -> Mono {
        match request.seen_on_list {
            Some(seen) if !request.is_probed => seen,
            _ => self.read_at,
        }
    }

    /// Whether some request that does not wait by design reached this age between two instants.
    pub fn has_reached(&self, age: Duration, after: Mono, until: Mono) -> bool {
        self.iter()
            .filter(|request| !request.operation.is_blocking_by_design())
            .any(|request| request.age(after) < age && request.age(until) >= age)
    }

    fn see(&mut self, now: Mono, queued: &Queued) {
        let known = self.by_address.get_mut(&queued.request);
        if let Some(known) = known.filter(|known| known.is_queued_as(queued)) {
            known.is_at_server = Some(queued.is_at_server);
            known.unique = known.unique.or(queued.unique);
            known.seen_on_list = Some(now);
            known.misses = 0;
        } else if self.by_address.len() < REQUESTS_MAX {
            let tracked = Tracked::queued(now, queued);
            self.by_address.insert(queued.request, tracked);
        } else {
            self.refused += 1;
        }
    }

    fn note_forgotten(&mut self, forget: &Forget) {
        for (address, start) in forget {
            self.orphans += 1;
            if self.forgotten.len() < REQUESTS_MAX {
                self.forgotten.insert(*address, Mono(*start));
            }
        }
    }
}

impl Tracked {
    fn probed(address: u64, sent: Sent, known: Option<&Self>) -> Self {
        Self {
            address,
            dev: sent.dev,
            operation: sent.operation,
            unique: sent.unique.or(known.and_then(|known| known.unique)),
            nodeid: sent.nodeid,
            caller: (sent.caller.pid != 0).then_some(sent.caller),
            cgroup: sent.cgroup,
            queue_pid: known.and_then(|known| known.queue_pid),
            start: sent.start,
            is_start_known: true,
            is_probed: true,
            is_at_server: known.and_then(|known| known.is_at_server),
            seen_on_list: known.and_then(|known| known.seen_on_list),
            misses: known.map_or(0, |known| known.misses),
        }
    }

    fn queued(now: Mono, queued: &Queued) -> Self {
        Self {
            address: queued.request,
            dev: queued.dev,
            operation: queued.operation,
            unique: queued.unique,
            nodeid: queued.nodeid,
            caller: None,
            cgroup: None,
            queue_pid: queued.pid,
            start: queued.age.map_or(now, |age| now.before(age)),
            is_start_known: queued.age.is_some(),
            is_probed: false,
            is_at_server: Some(queued.is_at_server),
            seen_on_list: Some(now),
            misses: 0,
        }
    }

    /// Whether `sent` is this very request: addresses are handed out again.
    fn is(&self, sent: &Sent) -> bool {
        let is_same_start = self.start == sent.start || !self.is_probed;
        is_same_start && self.is_about(sent.dev, sent.operation, sent.nodeid, sent.unique)
    }

    fn is_queued_as(&self, queued: &Queued) -> bool {
        self.is_about(queued.dev, queued.operation, queued.nodeid, queued.unique)
    }

    fn is_about(&self, dev: Dev, operation: Operation, nodeid: u64, unique: Option<u64>) -> bool {
        let is_same_number = match (self.unique, unique) {
            (Some(one), Some(other)) => one == other,
            (None, _) | (_, None) => true,
        };
        is_same_number && (self.dev, self.operation, self.nodeid) == (dev, operation, nodeid)
    }

    /// The caller's thread, as the kernel or else as the server numbers it.
    pub fn tid(&self) -> Option<u32> {
        let caller = self.caller.as_ref().map(|caller| caller.tid);
        caller.or(self.queue_pid)
    }

    /// How long it has waited, at least.
    pub fn age(&self, now: Mono) -> Duration {
        now.since(self.start)
    }

    /// Whether it is sure that it waits, rather than that its end was missed.
    pub fn is_confirmed(
        &self,
        now: Mono,
        connection: Option<&Connection>,
        is_caller_blocked: bool,
    ) -> bool {
        let is_on_list = self.misses == 0
            && self
                .seen_on_list
                .is_some_and(|seen| now.since(seen) < CONFIRMED_FOR);
        let is_counted = || {
            connection.is_some_and(|connection| {
                let was_walked = connection.walked_at.is_some_and(|at| at > self.start);
                let waits = connection.waiting.is_some_and(|waiting| waiting > 0);
                waits && !was_walked && self.age(now) > COUNT_CONFIRMS_AFTER
            })
        };
        is_on_list || is_caller_blocked || is_counted()
    }
}

#[cfg(test)]
mod tests;
