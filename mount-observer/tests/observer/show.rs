//! A snapshot as the scenarios show it.

use std::{fmt::Write as _, time::Duration};

use crate::world::World;

/// Writes the state of every superblock to the log.
pub(crate) fn show(world: &mut World) {
    let at = world.elapsed() / 1_000_000;
    let snapshot = world.observer.snapshot();
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
            writeln!(log, "        {comm}[{pid}] {state} {place} {operation}").unwrap();
        }
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
