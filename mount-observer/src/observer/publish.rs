//! The snapshot of one tick.

use std::sync::Arc;

use mount_observer_common::AbortCause;

use crate::{
    advice,
    alert::AlertKind,
    blocked::Waiters,
    connection::Connection,
    decode,
    detect::{Blocked, Pending, Sight, View},
    snapshot::{self, Abort, BlockedTask, Fuse, ObserverHealth, Request, Server, Snapshot},
    time::{Mono, Now, nanos},
    units::Units,
    watched::{Service, Watched, name_of},
};

use super::Observer;

/// Requests shown of one superblock, oldest first.
const REQUESTS_SHOWN: usize = 32;

/// Blocked tasks shown of one superblock, longest first.
const TASKS_SHOWN: usize = 32;

/// What can be said of a superblock before its alert moved.
pub(super) struct Draft {
    in_flight: u64,
    oldest_age_ns: Option<u64>,
    requests: Vec<Request>,
    blocked: u64,
    blocked_tasks: Vec<BlockedTask>,
}

/// Collects what a view shows.
pub(super) fn draft(view: &View<'_>, waiters: &Waiters) -> Draft {
    let now = view.now;
    let by_design = |pending: &&Pending<'_>| pending.request.operation.is_blocking_by_design();
    let oldest = view.requests.iter().find(|pending| !by_design(pending));
    let requests = view.requests.iter().take(REQUESTS_SHOWN);
    let tasks = view.waiters.iter().take(TASKS_SHOWN);
    Draft {
        in_flight: u64::try_from(view.requests.len()).unwrap_or(u64::MAX),
        oldest_age_ns: oldest.map(|pending| nanos(pending.request.age(now))),
        requests: requests.map(|pending| request(pending, now)).collect(),
        blocked: u64::try_from(view.waiters.len()).unwrap_or(u64::MAX),
        blocked_tasks: tasks.map(|blocked| task(view, blocked, waiters)).collect(),
    }
}

fn request(pending: &Pending<'_>, now: Mono) -> Request {
    let request = pending.request;
    let known = pending.caller.map(|waiter| &waiter.caller);
    let caller = request.caller.as_ref().or(known);
    Request {
        operation: request.operation,
        unique: request.unique,
        nodeid: request.nodeid,
        age_ns: request.is_start_known.then(|| nanos(request.age(now))),
        pid: caller.map(|caller| caller.pid).or(request.queue_pid),
        tid: caller.map(|caller| caller.tid).or(request.queue_pid),
        comm: caller.map(|caller| caller.comm.clone()),
        is_at_server: request.is_at_server,
        source: if request.is_probed { "probe" } else { "queue" },
    }
}

fn task(view: &View<'_>, blocked: &Blocked<'_>, waiters: &Waiters) -> BlockedTask {
    let (waiter, now) = (blocked.waiter, view.now);
    let cause = waiter
        .cause
        .filter(|cause| *cause != view.superblock.id.dev);
    BlockedTask {
        pid: waiter.caller.pid,
        tid: waiter.caller.tid,
        comm: waiter.caller.comm.clone(),
        task_state: waiter.state,
        waits_in: waiter.waits_in.clone(),
        operation: blocked.operation,
        caused_by: cause.map(|cause| name_of(view.all, cause)),
        age_ns: Some(nanos(now.since(blocked.since()))),
        stack: waiters.symbolised(&waiter.stack),
    }
}

/// One superblock, its alert moved.
pub(super) fn superblock(
    superblock: &Watched,
    draft: Draft,
    now: &Now,
    units: &Units,
) -> snapshot::Superblock {
    let status = &superblock.status;
    snapshot::Superblock {
        id: superblock.id,
        fstype: superblock.mounted.fstype.clone(),
        device: superblock.mounted.device.clone(),
        mountpoint: superblock.mounted.mountpoint.clone(),
        mounts: superblock.mounted.mounts.clone(),
        state: status.state,
        severity: status.severity,
        since: status.since,
        since_unix_ns: now.wall_of(status.since),
        reason: status.reason.clone(),
        evidence: status.evidence.clone(),
        advice: AlertKind::of(status.state)
            .map_or_else(String::new, |kind| advice::of(kind, superblock)),
        in_flight: draft.in_flight,
        requests: draft.requests,
        oldest_request_age_ns: draft.oldest_age_ns,
        blocked: draft.blocked,
        blocked_tasks: draft.blocked_tasks,
        failures: (superblock.failures.iter())
            .map(|failure| failure.victim.clone())
            .collect(),
        at_risk: superblock.at_risk.clone(),
        fuse: fuse(superblock, now, units),
        operations: superblock.counters.operations(),
        latency: superblock.counters.latency(),
    }
}

fn fuse(superblock: &Watched, now: &Now, units: &Units) -> Option<Fuse> {
    let connection = &superblock.connection;
    (superblock.service != Service::Kernel).then(|| Fuse {
        connection: superblock.id.dev,
        is_connected: connection.is_connected,
        waiting: connection.waiting,
        servers: servers(connection, units),
        server_status: connection.status(),
        abort: connection.abort().map(|seen| abort(seen, now)),
    })
}

fn servers(connection: &Connection, units: &Units) -> Vec<Server> {
    let servers = connection.servers().into_iter();
    servers
        .map(|server| Server {
            unit: units.of(server.pid),
            ..server
        })
        .collect()
}

fn abort(seen: &decode::Abort, now: &Now) -> Abort {
    // The kernel's worker that ends it has no part in it.
    let by = (seen.cause != AbortCause::Timeout).then_some(&seen.by);
    Abort {
        cause: seen.cause_name(),
        at_unix_ns: now.wall_of(seen.at),
        pid: by.map(|by| by.pid),
        comm: by.map(|by| by.comm.clone()),
    }
}

impl Observer {
    /// Replaces the snapshot.
    pub(super) fn publish(&mut self, mut superblocks: Vec<snapshot::Superblock>, sight: &Sight) {
        superblocks.sort_by_key(|superblock| (std::cmp::Reverse(superblock.state), superblock.id));
        self.snapshot = Arc::new(Snapshot {
            taken_unix_ns: self.now.wall,
            taken: self.now.mono,
            superblocks,
            mounts_seen: u64::try_from(self.mounts.len()).unwrap_or(u64::MAX),
            superblocks_out_of_scope: self.out_of_scope,
            unattributed: self.totals.unattributed(),
            expected: self.expected_mounts(),
            observer: self.observer_health(sight),
        });
    }

    fn observer_health(&self, sight: &Sight) -> ObserverHealth {
        let mut events = self.health.events();
        events.push(("operations", self.totals.counted));
        events.push(("operations_elsewhere", self.totals.elsewhere));
        let mut dropped = self.health.dropped();
        dropped.extend(self.mounts.refused());
        dropped.extend([
            ("mountinfo_lines_bad", self.mounts.bad_lines()),
            ("paths_pending_refused", self.paths.refused),
            ("incidents_refused", self.ledger.counts().refused),
            ("requests_orphaned", self.requests.orphans),
            ("requests_untracked", self.requests.refused),
            ("tasks_refused", self.waiters.refused),
        ]);
        let mut degraded = self.health.degraded(sight);
        if !self.mounts.has_own() {
            degraded.push("the mount table was not read yet".to_owned());
        }
        ObserverHealth {
            degraded,
            probes: self.health.probes(),
            not_seen: self.health.not_seen(),
            events,
            dropped,
            maps: self.health.maps(),
            self_touches: self.health.counter("self_touches"),
            incidents: self.ledger.counts().clone(),
            incidents_active: self.ledger.active(),
            transitions: self
                .transitions
                .iter()
                .map(|(&(kind, to), &count)| (kind.name(), to, count))
                .collect(),
            recoveries: self
                .recoveries
                .counts()
                .map(|(mount, outcome, count)| (mount.to_owned(), outcome.name(), count))
                .collect(),
        }
    }
}
