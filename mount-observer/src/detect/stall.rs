//! Hung and stuck: something waits longer than it should.
//!
//! Hung when nothing ended since the overdue request was sent, or nobody is there to answer; stuck
//! when others end meanwhile, so that only some requests are lost. Operations that wait by design
//! have a threshold of their own, off by default.

use std::time::Duration;

use crate::{
    alert::{AlertKind, Severity},
    alerts::{Condition, Stage},
    blocked::BLOCKED_AFTER,
    snapshot::ServerStatus,
    text,
    time::Mono,
    watched::Service,
};

use super::{Blocked, Pending, View, victims};

pub(super) fn judge(view: &View<'_>) -> Option<Condition> {
    let overdue = Overdue::of(view);
    let stopped_since = stopped_since(view);
    let Some(since) = overdue.since() else {
        return stopped_since.map(|since| stopped(view, since));
    };
    let is_unserved = stopped_since.is_some() || is_gone(view);
    let progress = progress(view);
    let is_hung = is_unserved
        || overdue
            .starts()
            .any(|start| progress.is_none_or(|last| last <= start));
    let kind = if is_hung {
        AlertKind::Hung
    } else {
        AlertKind::Stuck
    };
    let is_critical = view.now.since(since) >= view.config.hung_critical_after;
    Some(Condition {
        severity: if is_critical {
            Severity::Critical
        } else {
            Severity::Warning
        },
        ..condition(view, kind, since, reason(view, &overdue, is_hung))
    })
}

/// What stood still from one look to the next and does not show since when. A watch waits and
/// sees; a single look cannot tell a moment from a day.
pub(super) fn of_unknown_age(view: &View<'_>) -> Option<String> {
    let is_still = |since: Mono| view.now.since(since) >= BLOCKED_AFTER;
    let request = view.requests.iter().find(|pending| {
        let request = pending.request;
        counts(pending) && !request.is_start_known && is_still(request.start)
    });
    let waiter = view.waiters.iter().find(|blocked| {
        is_evidence(view.superblock.service, blocked)
            && !blocked.is_start_known
            && is_still(blocked.since())
    });
    let who = request.map(|pending| who_text(pending)).or_else(|| {
        let waiter = waiter?.waiter;
        let place = waiter.waits_in.as_deref().unwrap_or("the kernel");
        Some(format!(
            "{}[{}] in {place}",
            waiter.caller.comm, waiter.caller.pid
        ))
    })?;
    Some(format!("{who} waits, since when is not known"))
}

/// Requests that the connection counts and we know nothing of: queued before we came, where their
/// queues cannot be walked, or more of them than a walk takes. Some always are where many wait for
/// a slot, so nothing must have ended meanwhile.
pub(super) fn of_unknown_requests(view: &View<'_>) -> Option<String> {
    let connection = &view.superblock.connection;
    let (waiting, since) = (connection.waiting?, connection.waiting_since?);
    let known = u32::try_from(view.requests.len()).unwrap_or(u32::MAX);
    let unknown = waiting.checked_sub(known).filter(|&unknown| unknown > 0)?;
    // A single look cannot wait and see.
    let patience = if view.is_single_look {
        BLOCKED_AFTER
    } else {
        view.config.hung_after
    };
    let is_long = view.now.since(since) >= patience;
    let stands_still = progress(view).is_none_or(|last| last <= since);
    (is_long && stands_still).then(|| {
        let requests = text::count(u64::from(unknown), "request");
        format!("the connection counts {requests} more than are known, and nothing ends")
    })
}

/// A stopped server answers nobody: the next caller will hang, whether or not one waits already.
fn stopped(view: &View<'_>, since: Mono) -> Condition {
    let waiting = view
        .requests
        .iter()
        .filter(|pending| counts(pending))
        .count();
    let is_doubtful = |pending: &Pending<'_>| !pending.is_confirmed;
    let waiting = match u64::try_from(waiting).unwrap_or(u64::MAX) {
        0 if view.requests.iter().any(is_doubtful) => {
            "whether anybody waits is not known".to_owned()
        }
        0 => "nobody waits yet".to_owned(),
        1 => "1 request waits".to_owned(),
        waiting => format!("{waiting} requests wait"),
    };
    let servers = view.superblock.connection.servers_text();
    Condition {
        stage: Stage::Threat,
        ..condition(
            view,
            AlertKind::Hung,
            since,
            format!("{servers}; {waiting}"),
        )
    }
}

fn condition(view: &View<'_>, kind: AlertKind, since: Mono, reason: String) -> Condition {
    let (victims, victims_total) = victims::of(view, since);
    Condition {
        kind,
        severity: Severity::Warning,
        stage: Stage::Harm,
        since,
        reason,
        evidence: evidence(view),
        victims,
        victims_total,
    }
}

/// What is overdue.
struct Overdue<'a> {
    requests: Vec<&'a Pending<'a>>,
    waiters: Vec<&'a Blocked<'a>>,
}

impl<'a> Overdue<'a> {
    fn of(view: &View<'a>) -> Self {
        let is_late = |pending: &&Pending<'_>| {
            pending.is_confirmed
                && threshold(view, pending)
                    .is_some_and(|threshold| pending.request.age(view.now) >= threshold)
        };
        let is_blocked = |blocked: &&Blocked<'_>| {
            is_evidence(view.superblock.service, blocked)
                && view.now.since(blocked.since()) >= view.config.hung_after
        };
        Self {
            requests: view.requests.iter().filter(is_late).collect(),
            waiters: view.waiters.iter().filter(is_blocked).collect(),
        }
    }

    fn starts(&self) -> impl Iterator<Item = Mono> {
        let requests = self.requests.iter().map(|pending| pending.request.start);
        requests.chain(self.waiters.iter().map(|blocked| blocked.since()))
    }

    fn since(&self) -> Option<Mono> {
        self.starts().min()
    }
}

/// Whether a request that waits is worth telling.
fn counts(pending: &Pending<'_>) -> bool {
    pending.is_confirmed && !pending.request.operation.is_blocking_by_design()
}

fn threshold(view: &View<'_>, pending: &Pending<'_>) -> Option<Duration> {
    if pending.request.operation.is_blocking_by_design() {
        Some(view.config.blocking_after).filter(|threshold| !threshold.is_zero())
    } else {
        Some(view.config.hung_after)
    }
}

/// Whether a sleeping task proves a stall by itself. With FUSE the requests do, except where a task
/// waits before it has one: for a slot, or for the lock of a directory.
fn is_evidence(service: Service, blocked: &Blocked<'_>) -> bool {
    match service {
        Service::Kernel => true,
        Service::Fuse | Service::Virtiofs => {
            let waits_in = blocked.waiter.waits_in.as_deref();
            blocked.operation.is_none()
                && matches!(waits_in, Some("fuse_get_req" | "fuse_lock_inode"))
        }
    }
}

fn stopped_since(view: &View<'_>) -> Option<Mono> {
    match view.superblock.service {
        Service::Fuse => view.superblock.connection.stopped_since(),
        Service::Virtiofs | Service::Kernel => None,
    }
}

fn is_gone(view: &View<'_>) -> bool {
    view.superblock.service == Service::Fuse
        && view.superblock.connection.status() == ServerStatus::Gone
}

/// When something last ended. Where no probe sees ends, what left the lists between two scans.
fn progress(view: &View<'_>) -> Option<Mono> {
    let superblock = view.superblock;
    let is_probed = superblock.service != Service::Kernel && view.sight.sees_requests;
    let moved_on = superblock.moved_on.filter(|_| !is_probed);
    superblock.counters.last_completion.max(moved_on)
}

fn reason(view: &View<'_>, overdue: &Overdue<'_>, is_hung: bool) -> String {
    let mut parts = Vec::new();
    if let Some(oldest) = overdue.requests.first() {
        let waiting = view
            .requests
            .iter()
            .filter(|pending| counts(pending))
            .count();
        let number = u64::try_from(waiting.max(1)).unwrap_or(u64::MAX);
        let verb = if number == 1 { "waits" } else { "wait" };
        let requests = text::count(number, "request");
        let oldest = oldest_text(view, oldest);
        parts.push(format!("{requests} {verb}, the oldest ({oldest}"));
    } else if let Some(longest) = overdue.waiters.first() {
        let number = u64::try_from(overdue.waiters.len()).unwrap_or(u64::MAX);
        let verb = if number == 1 { "is" } else { "are" };
        let caller = &longest.waiter.caller;
        let place = longest.waiter.waits_in.as_deref().unwrap_or("the kernel");
        parts.push(format!(
            "{} {verb} blocked, the longest ({}[{}] in {place}) for {}",
            text::count(number, "task"),
            caller.comm,
            caller.pid,
            text::age(view.now.since(longest.since())),
        ));
    }
    if !is_hung {
        parts.push("others complete meanwhile".to_owned());
    }
    if view.superblock.service == Service::Fuse {
        parts.push(view.superblock.connection.servers_text());
    }
    parts.extend(view.causes_text(view.now));
    parts.join("; ")
}

/// `LOOKUP by stat[12]) for 6.2 s`
fn oldest_text(view: &View<'_>, oldest: &Pending<'_>) -> String {
    let request = oldest.request;
    let at_least = if request.is_start_known {
        ""
    } else {
        "at least "
    };
    let age = text::age(request.age(view.now));
    format!("{}) for {at_least}{age}", who_text(oldest))
}

/// `LOOKUP by stat[12]`
fn who_text(pending: &Pending<'_>) -> String {
    let request = pending.request;
    let known = pending.caller.map(|waiter| &waiter.caller);
    let by = match (request.caller.as_ref().or(known), request.queue_pid) {
        (Some(caller), _) => format!(" by {}[{}]", caller.comm, caller.pid),
        (None, Some(pid)) => format!(" by pid {pid}"),
        (None, None) => String::new(),
    };
    format!("{}{by}", request.operation)
}

fn evidence(view: &View<'_>) -> Vec<String> {
    let mut evidence = Vec::new();
    if let Some(waiting) = view.superblock.connection.waiting {
        evidence.push(format!("the connection counts {waiting} waiting"));
    }
    if let Some(last) = progress(view) {
        let ago = text::age(view.now.since(last));
        evidence.push(format!("the last request ended {ago} ago"));
    }
    if !view.waiters.is_empty() {
        let number = u64::try_from(view.waiters.len()).unwrap_or(u64::MAX);
        evidence.push(format!("{} blocked", text::count(number, "task")));
    }
    evidence
}
