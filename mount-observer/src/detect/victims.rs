//! Who waits for a superblock, or fails at it.

use std::collections::BTreeSet;

use crate::{
    alert::Victim,
    time::{Mono, nanos},
    watched::name_of,
};

use super::{Blocked, Pending, View};

/// Victims told with an alert.
const VICTIMS_MAX: usize = 16;

/// Those who wait, longest first, then those who failed since then or lately; and how many there are
/// in all.
pub(super) fn of(view: &View<'_>, since: Mono) -> (Vec<Victim>, u64) {
    let mut told = BTreeSet::new();
    let mut victims = Vec::new();
    let mut total = 0_u64;
    let mut add = |victim: Victim| {
        if told.insert(victim.tid) {
            total += 1;
            if victims.len() < VICTIMS_MAX {
                victims.push(victim);
            }
        }
    };
    let waiting = view
        .requests
        .iter()
        .filter(|pending| pending.is_confirmed)
        .filter(|pending| !pending.request.operation.is_blocking_by_design())
        .filter_map(|pending| of_request(pending, view.now));
    waiting.for_each(&mut add);
    let blocked = view.waiters.iter().map(|blocked| of_waiter(view, blocked));
    blocked.for_each(&mut add);
    failures(view, since).cloned().for_each(&mut add);
    (victims, total)
}

/// `stat[12] failed with ENOTCONN`, for the evidence.
pub(super) fn failures_text(view: &View<'_>, since: Mono) -> Option<String> {
    let last = failures(view, since).next()?;
    let errno = last.errno.as_deref()?;
    let operation = last.operation.as_deref().unwrap_or("an operation");
    Some(format!(
        "{}[{}] met {errno} on {operation}",
        last.comm, last.pid
    ))
}

/// Those who failed since then, or within the window in which failures count together: one of last
/// week suffers from something else. Newest first.
pub(super) fn failures<'a>(view: &View<'a>, since: Mono) -> impl Iterator<Item = &'a Victim> {
    let from = view.now.before(view.config.storm_window).min(since);
    let recent = view.superblock.failures.iter();
    recent
        .filter(move |failure| failure.at >= from)
        .map(|failure| &failure.victim)
}

fn of_request(pending: &Pending<'_>, now: Mono) -> Option<Victim> {
    let request = pending.request;
    let known = pending.caller.map(|waiter| &waiter.caller);
    let caller = request.caller.as_ref().or(known);
    let pid = caller.map(|caller| caller.pid).or(request.queue_pid)?;
    Some(Victim {
        pid,
        tid: caller.map_or(pid, |caller| caller.tid),
        comm: caller.map(|caller| caller.comm.clone()).unwrap_or_default(),
        operation: Some(request.operation.to_string()),
        age_ns: Some(nanos(request.age(now))),
        errno: None,
        path: None,
        caused_by: None,
        failed_on: None,
        attribution: None,
    })
}

fn of_waiter(view: &View<'_>, blocked: &Blocked<'_>) -> Victim {
    let (waiter, now, own) = (blocked.waiter, view.now, view.superblock.id.dev);
    let cause = waiter.cause.filter(|cause| *cause != own);
    let above = Some(waiter.dev).filter(|dev| *dev != own);
    let operation = blocked.operation.map(|operation| operation.to_string());
    Victim {
        pid: waiter.caller.pid,
        tid: waiter.caller.tid,
        comm: waiter.caller.comm.clone(),
        operation: operation.or_else(|| waiter.waits_in.clone()),
        age_ns: Some(nanos(now.since(blocked.since()))),
        errno: None,
        path: None,
        caused_by: cause.map(|cause| name_of(view.all, cause)),
        failed_on: above.map(|above| name_of(view.all, above)),
        attribution: None,
    }
}
