//! What the sources of `mount_observer_events_total` and the reasons of
//! `mount_observer_events_dropped_total` stand for: a table for docs/METRICS.md.

use crate::text::append;

/// A label's value, and what is counted under it.
type Count = (&'static str, &'static str);

/// Values of `source`, in the order of the way from the kernel to a decision.
pub(super) const SOURCES: &[Count] = &[
    ("requests_sent", "FUSE requests sent"),
    (
        "requests_ended",
        "FUSE requests that ended after they were sent",
    ),
    (
        "requests_refused",
        "FUSE requests refused before they were sent: the connection is gone. They are operations too, \
         and neither sent nor ended",
    ),
    (
        "path_failures",
        "path system calls that failed like a broken connection",
    ),
    (
        "paths_unattributed",
        "of those, the ones whose superblock the kernel side could not name",
    ),
    ("server_exits", "exits of FUSE servers"),
    (
        "connection_aborts",
        "living FUSE connections that were ended, by whomever",
    ),
    (
        "device_releases",
        "descriptors of `/dev/fuse` closed for good",
    ),
    ("self_touches", "touches by the observer itself: 0"),
    (
        "records",
        "records of failures and edges written for the observer",
    ),
    (
        "trace_records",
        "records written for `mount-observer trace`; 0 in a daemon, as the next",
    ),
    (
        "trace_skipped",
        "operations that its filter admitted and `--sample` left out",
    ),
    ("record", "records taken"),
    (
        "operations",
        "operations counted in the kernel, on any superblock",
    ),
    (
        "operations_elsewhere",
        "of those, the ones on superblocks out of scope, or gone",
    ),
    ("totals", "readings of the counters"),
    ("in_flight", "readings of the requests in flight"),
    ("scan_holders", "scans for those who hold `/dev/fuse`"),
    ("scan_tasks_light", "scans for tasks within a call"),
    ("scan_tasks_full", "scans of all tasks"),
    ("connection_check", "looks at one connection"),
    ("fusectl", "readings of fusectl"),
    ("mountinfo", "readings of mount tables"),
    ("namespaces", "looks for mount namespaces"),
    ("links", "looks for where a failed path began"),
    ("tick", "decisions"),
];

/// Values of `reason`. The first group hides something: what it concerns is unknown for a minute.
pub(super) const REASONS: &[Count] = &[
    (
        "in_flight_full",
        "hides: requests sent that found no room in their map",
    ),
    (
        "totals_full",
        "hides: operations that found no room in their map",
    ),
    ("ring_full", "hides: records that found no room in the ring"),
    ("lost_map_reads", "hides: readings of a map that failed"),
    (
        "lost_watches",
        "hides: changes of what the programs look for that failed",
    ),
    (
        "lost_probe_runs",
        "runs that a program which looks at FUSE left out, because it was preempted on that processor: \
         looks at the whole kernel make up for them, and they hide something only where those do not \
         come within 20 s",
    ),
    (
        "calls_missed",
        "calls, NFS operations among them, that a program which sees every one of the machine left out, because it was preempted \
         on that processor; on 7.0 and later this grows all the time",
    ),
    (
        "not_recorded",
        "inputs that are missing in a recording (`--record`, the flight recorder), because the disk or the \
         processor did not keep up; all were observed",
    ),
    (
        "records_suppressed",
        "records held back by their rate limit; counted all the same",
    ),
    (
        "ends_unmatched",
        "ends of requests whose start was not seen: no latency",
    ),
    (
        "slot_collisions",
        "calls whose start was overwritten by another thread's: no latency",
    ),
    (
        "user_reads_failed",
        "paths of callers that could not be read",
    ),
    (
        "kernel_reads_failed",
        "kernel memory that could not be read",
    ),
    (
        "nfs_servers_full",
        "NFS mounts whose operations are not told apart, because there are too many, at each look for them",
    ),
    (
        "requests_orphaned",
        "requests that were sent and will never end: their caller was killed",
    ),
    (
        "requests_untracked",
        "requests not followed, because too many are",
    ),
    (
        "tasks_refused",
        "blocked tasks not followed, because too many are",
    ),
    (
        "paths_pending_refused",
        "failed paths not looked into, because too many wait",
    ),
    (
        "paths_refused",
        "failed paths found out too late to be counted where they belong",
    ),
    (
        "trace_lost",
        "records of `mount-observer trace` that found no room in its ring",
    ),
    ("records_undecodable", "records that make no sense"),
    ("rows_undecodable", "rows of scans that make no sense"),
    (
        "mountinfo_lines_bad",
        "lines of mount tables that make no sense",
    ),
    (
        "mount_namespaces_refused",
        "mount namespaces left out, because there are too many",
    ),
    (
        "mount_points_refused",
        "mount points that paths are not matched against: too many",
    ),
    (
        "mount_tables_cut",
        "mount tables that could not be read to their end",
    ),
    (
        "incidents_refused",
        "incidents not remembered because more than 1024 went on; they alerted all the same",
    ),
    (
        "incidents_not_kept",
        "incidents given up because too many waited to be written, or because another has their name",
    ),
    ("log_full", "lines that did not fit into the log's queue"),
];

/// Appends both tables.
pub(super) fn markdown(out: &mut String) {
    for (title, label, counts) in [
        ("Sources", "source", SOURCES),
        ("Losses", "reason", REASONS),
    ] {
        append(
            out,
            format_args!("\n## {title}\n\n| `{label}` | counts |\n|---|---|\n"),
        );
        for (name, meaning) in counts {
            append(out, format_args!("| `{name}` | {meaning} |\n"));
        }
    }
    out.push_str(
        "\nFUSE requests that were sent have ended, are in flight, or were lost: \
         `requests_sent` = `requests_ended` + requests in flight + `requests_orphaned`, but for what \
         the losses above took and for requests older than the observer.\n",
    );
}

#[cfg(test)]
mod tests {
    use mount_observer_common::Counter;

    use super::*;
    use crate::{
        config::Config,
        input::{BootId, SelfInfo},
        observer::Observer,
    };

    #[test]
    fn every_counter_of_the_kernel_side_is_explained() {
        let explained = |name: &str| {
            let mut all = SOURCES.iter().chain(REASONS);
            all.any(|(known, _)| *known == name)
        };
        let mute: Vec<&str> = Counter::ALL
            .iter()
            .map(|counter| counter.name())
            .filter(|name| !explained(name))
            .collect();
        assert_eq!(mute, [""; 0]);
    }

    #[test]
    fn every_loss_that_is_listed_from_the_start_is_explained() {
        let info = SelfInfo {
            boot: BootId(7),
            is_initial_pid_namespace: true,
            is_single_look: false,
        };
        let mut observer = Observer::new(&Config::default(), info).unwrap();
        observer.step(crate::time::Now::default(), crate::input::Input::Tick);
        let snapshot = observer.snapshot();
        let is_mute = |name: &&str| !REASONS.iter().any(|(known, _)| known == name);
        let listed = snapshot.observer.dropped.iter().map(|(name, _)| *name);
        assert_eq!(listed.filter(is_mute).collect::<Vec<_>>(), [""; 0]);
        let is_source = |name: &&str| !SOURCES.iter().any(|(known, _)| known == name);
        let listed = snapshot.observer.events.iter().map(|(name, _)| *name);
        assert_eq!(listed.filter(is_source).collect::<Vec<_>>(), [""; 0]);
    }
}
