//! A snapshot as the scenarios show it.

use std::{fmt::Write as _, time::Duration};

use mount_observer::{alert::Victim, snapshot::Superblock};

use crate::world::World;

/// Writes the state of every superblock to the log.
pub(crate) fn show(world: &mut World, details: &[&str]) {
    let at = world.elapsed() / 1_000_000;
    let snapshot = world.session.snapshot();
    let log = &mut world.log;
    writeln!(log, "@{}.{:03}s", at / 1000, at % 1000).unwrap();
    for superblock in &snapshot.superblocks {
        let oldest = superblock.oldest_request_age_ns.map(Duration::from_nanos);
        writeln!(
            log,
            "    {} {} {}: in flight {}, oldest {oldest:?}, blocked {}, {}",
            superblock.id,
            superblock.mountpoint,
            superblock.state.name(),
            superblock.in_flight,
            superblock.blocked,
            superblock.reason,
        )
        .unwrap();
        show_details(log, superblock, details);
        for count in &superblock.operations {
            if let Some(errno) = count.errno {
                writeln!(
                    log,
                    "        {errno} on {} x {}",
                    count.operation, count.count
                )
                .unwrap();
            }
        }
        for task in &superblock.blocked_tasks {
            let operation = task.operation.map(|o| o.to_string()).unwrap_or_default();
            let place = task.waits_in.as_deref().unwrap_or("-");
            let (comm, pid, state) = (&task.comm, task.pid, task.task_state);
            let cause = task
                .caused_by
                .iter()
                .map(|one| format!(" because of {one}"));
            let cause: String = cause.collect();
            writeln!(
                log,
                "        {comm}[{pid}] {state} {place} {operation}{cause}"
            )
            .unwrap();
        }
    }
    for missed in &snapshot.observer.not_seen {
        writeln!(log, "    not seen: {}", missed.what).unwrap();
    }
    let dropped = snapshot.observer.dropped.iter().filter(|(_, n)| *n > 0);
    let dropped: Vec<String> = dropped.map(|(name, n)| format!("{name} {n}")).collect();
    if !dropped.is_empty() {
        writeln!(log, "    dropped: {}", dropped.join(", ")).unwrap();
    }
    for count in &snapshot.unattributed {
        let errno = count
            .errno
            .map(|errno| errno.to_string())
            .unwrap_or_default();
        writeln!(
            log,
            "    unattributed: {} {errno} {}",
            count.operation, count.count
        )
        .unwrap();
    }
}

/// The facts behind a state, and who failed.
fn show_details(log: &mut String, superblock: &Superblock, details: &[&str]) {
    if details.contains(&"evidence") {
        for fact in &superblock.evidence {
            writeln!(log, "        evidence: {fact}").unwrap();
        }
        let abort = superblock
            .fuse
            .as_ref()
            .and_then(|fuse| fuse.abort.as_ref());
        if let Some(abort) = abort {
            let (cause, pid) = (abort.cause, abort.pid);
            writeln!(log, "        aborted: {cause} by {pid:?}").unwrap();
        }
    }
    if details.contains(&"failures") {
        for failure in &superblock.failures {
            writeln!(log, "        failure: {}", victim(failure)).unwrap();
        }
    }
}

/// Who suffers, from what, and which other superblock has a part in it.
pub(crate) fn victim(victim: &Victim) -> String {
    let operation = victim.operation.as_deref().unwrap_or("-");
    let errno = victim.errno.as_deref().unwrap_or("");
    let by = victim.attribution.map_or("", |_| " by path");
    let cause = victim
        .caused_by
        .iter()
        .map(|one| format!(" because of {one}"));
    let above = victim
        .failed_on
        .iter()
        .map(|one| format!(" by way of {one}"));
    let other: String = cause.chain(above).collect();
    let (comm, pid) = (&victim.comm, victim.pid);
    format!("{comm}[{pid}] {operation} {errno}{by}{other}")
}
