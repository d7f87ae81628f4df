//! What waits, by superblock, for one tick.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    blocked::{BLOCKED_AFTER, Waiter},
    detect::{Blocked, Pending},
    operation::Operation,
    requests::Tracked,
    superblock::Dev,
    time::Mono,
    watched::Watched,
};

use super::Observer;

/// How long a task counts as blocked after it was last seen so.
const WAITER_FRESH_FOR: Duration = Duration::from_secs(5);

/// Requests and waiting tasks by superblock, and who waits for which request.
pub(super) struct Index<'a> {
    requests: BTreeMap<Dev, Vec<&'a Tracked>>,
    waiters: BTreeMap<Dev, Vec<&'a Waiter>>,
    by_tid: BTreeMap<u32, &'a Tracked>,
    waiter_by_tid: BTreeMap<u32, &'a Waiter>,
}

impl<'a> Index<'a> {
    pub(super) fn new(observer: &'a Observer) -> Self {
        let mut index = Self {
            requests: BTreeMap::new(),
            waiters: BTreeMap::new(),
            by_tid: BTreeMap::new(),
            waiter_by_tid: BTreeMap::new(),
        };
        for request in observer.requests.iter() {
            index.requests.entry(request.dev).or_default().push(request);
            if let Some(tid) = request.tid() {
                index.by_tid.insert(tid, request);
            }
        }
        for waiter in observer.waiters.iter() {
            if observer.now.mono.since(waiter.seen) < WAITER_FRESH_FOR {
                index.waiters.entry(waiter.dev).or_default().push(waiter);
                if let Some(cause) = waiter.cause {
                    index.waiters.entry(cause).or_default().push(waiter);
                }
                index.waiter_by_tid.insert(waiter.caller.tid, waiter);
            }
        }
        index
    }

    /// The requests of a superblock, oldest first.
    pub(super) fn pending(
        &self,
        observer: &Observer,
        dev: Dev,
        superblock: &Watched,
    ) -> Vec<Pending<'a>> {
        let now = observer.now.mono;
        let of_dev = self.requests.get(&dev).into_iter().flatten();
        let mut pending: Vec<_> = of_dev
            .map(|&request| {
                let caller = request.tid().and_then(|tid| self.waiter_by_tid.get(&tid));
                let caller = caller.copied().filter(|waiter| waiter.is_about(dev));
                let connection = Some(&superblock.connection);
                Pending {
                    request,
                    is_confirmed: request.is_confirmed(now, connection, caller.is_some()),
                    caller,
                }
            })
            .collect();
        pending.sort_by_key(|pending| (pending.request.start, pending.request.address));
        pending
    }

    /// Whether a task that was seen waiting for a superblock would have waited this long by now.
    pub(super) fn may_wait_for(&self, dev: Dev, patience: Duration, now: Mono) -> bool {
        self.asleep(dev)
            .any(|blocked| now.since(blocked.since()) >= patience)
    }

    /// The tasks that are blocked on a superblock, longest first.
    pub(super) fn blocked(&self, observer: &Observer, dev: Dev) -> Vec<Blocked<'a>> {
        let is_blocked = |blocked: &Blocked<'_>| {
            // One that had just begun when it was last seen may have ended since; where only that is
            // known when it was first seen, it had begun before.
            let until = if blocked.is_start_known {
                blocked.waiter.seen
            } else {
                observer.now.mono
            };
            until.since(blocked.since()) >= BLOCKED_AFTER
        };
        let mut blocked: Vec<_> = self.asleep(dev).filter(is_blocked).collect();
        blocked.sort_by_key(|blocked| (blocked.since(), blocked.waiter.caller.tid));
        blocked
    }

    /// The tasks that wait for a superblock. Those that wait by design do not, nor those that wait
    /// inside a path walk for something else.
    fn asleep(&self, dev: Dev) -> impl Iterator<Item = Blocked<'a>> {
        let of_dev = self.waiters.get(&dev).into_iter().flatten();
        let asleep = of_dev.map(move |&waiter| {
            let own = self.by_tid.get(&waiter.caller.tid);
            let own = own.filter(|request| request.dev == dev);
            Blocked {
                waiter,
                operation: own.map(|request| request.operation),
                sent: own.map(|request| request.start),
                is_start_known: waiter.is_since_entry
                    || own.is_some_and(|request| request.is_start_known),
            }
        });
        let is_by_design = |operation: Operation| operation.is_blocking_by_design();
        asleep.filter(move |blocked| {
            blocked.is_on_filesystem() && !blocked.operation.is_some_and(is_by_design)
        })
    }
}
