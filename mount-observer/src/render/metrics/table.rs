//! Every metric: its name, kind, labels and meaning. docs/METRICS.md comes from here, and a test
//! holds the exposition to it.

use crate::text::append;

/// How a metric behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until the observer restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by upper bound.
    Histogram,
}

/// One metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Full name.
    pub name: &'static str,
    /// Kind.
    pub kind: Kind,
    /// Whether it carries the labels of a superblock ([`SUPERBLOCK_LABELS`]).
    pub is_per_superblock: bool,
    /// Further labels.
    pub labels: &'static [&'static str],
    /// What it says: the help text.
    pub help: &'static str,
}

/// Labels of every series about one superblock, in this order. Two superblocks can be stacked on
/// one mount point, so the device number is one of them.
pub const SUPERBLOCK_LABELS: [&str; 4] = ["superblock", "mountpoint", "fstype", "device"];

const fn global(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        is_per_superblock: false,
        labels,
        help,
    }
}

const fn of_superblock(
    name: &'static str,
    kind: Kind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        is_per_superblock: true,
        labels,
        help,
    }
}

pub(super) const INFO: Metric = of_superblock(
    "mount_observer_superblock_info",
    Kind::Gauge,
    &[],
    "A superblock in scope; always 1. Its labels are those of every series about it.",
);
pub(super) const STATE: Metric = of_superblock(
    "mount_observer_superblock_state",
    Kind::Gauge,
    &["state"],
    "1 for the state the superblock is in, 0 for the others.",
);
pub(super) const STATE_SINCE: Metric = of_superblock(
    "mount_observer_superblock_state_since_timestamp_seconds",
    Kind::Gauge,
    &[],
    "When that state began, in seconds since the epoch.",
);
pub(super) const OPERATIONS: Metric = of_superblock(
    "mount_observer_operations_total",
    Kind::Counter,
    &["op"],
    "Operations ended, successful or not, by FUSE opcode, NFS procedure or path system call. NFS procedures are counted as `/proc/self/mountstats` counts them: a retransmission is no operation of its own.",
);
pub(super) const ERRORS: Metric = of_superblock(
    "mount_observer_operation_errors_total",
    Kind::Counter,
    &["op", "errno"],
    "Operations ended with an error. Benign ones (ENOENT, ENODATA, ...) are counted too, but never alert; of an NFS procedure ESTALE is benign, because the client looks again. ERESTARTSYS: its caller was killed. NFS4ERR_...: what NFS version 4 answers beyond that.",
);
pub(super) const DURATION: Metric = of_superblock(
    "mount_observer_operation_duration_seconds",
    Kind::Histogram,
    &["class"],
    "Time from start to end of operations whose start was seen, by class: metadata, data, sync, stat.",
);
pub(super) const IN_FLIGHT: Metric = of_superblock(
    "mount_observer_inflight_requests",
    Kind::Gauge,
    &[],
    "Requests sent and not ended.",
);
pub(super) const BLOCKED: Metric = of_superblock(
    "mount_observer_blocked_tasks",
    Kind::Gauge,
    &[],
    "Tasks that wait for the filesystem, those queued behind its locks included.",
);
pub(super) const OLDEST: Metric = of_superblock(
    "mount_observer_oldest_request_age_seconds",
    Kind::Gauge,
    &[],
    "Age of the oldest request in flight; 0 when there is none.",
);
pub(super) const WAITING: Metric = of_superblock(
    "mount_observer_fuse_waiting_requests",
    Kind::Gauge,
    &[],
    "FUSE: requests that wait for an answer or a slot, as the connection counts them.",
);
pub(super) const SERVER_UP: Metric = of_superblock(
    "mount_observer_fuse_server_up",
    Kind::Gauge,
    &[],
    "FUSE: 1 when the server runs, 0 when it is stopped or gone; no series while that is not known.",
);
pub(super) const ALERTS: Metric = global(
    "mount_observer_alerts_firing",
    Kind::Gauge,
    &["kind"],
    "Superblocks with a firing alert of that kind.",
);
pub(super) const TRANSITIONS: Metric = global(
    "mount_observer_alert_transitions_total",
    Kind::Counter,
    &["kind", "to"],
    "Alerts that began (to=\"firing\") or ended (to=\"resolved\").",
);
pub(super) const EXPECTED_PRESENT: Metric = global(
    "mount_observer_expected_mount_present",
    Kind::Gauge,
    &["mountpoint"],
    "1 when something is mounted on a mount point of expect.mount_points, else 0; by the mount table alone.",
);
pub(super) const SHADOW_WRITES: Metric = global(
    "mount_observer_shadow_writes_total",
    Kind::Counter,
    &["mountpoint"],
    "Calls that opened a file for writing, or made or changed a name, below a mount point of expect.mount_points while nothing was mounted on it; by absolute paths.",
);
pub(super) const INCIDENTS: Metric = global(
    "mount_observer_incidents_total",
    Kind::Counter,
    &["kind"],
    "Incidents that came to that kind of alert: one that went from hung to dead counts once under each.",
);
pub(super) const INCIDENTS_ACTIVE: Metric = global(
    "mount_observer_incident_active",
    Kind::Gauge,
    &[],
    "Incidents that go on.",
);
pub(super) const DETECTION_DELAY: Metric = global(
    "mount_observer_incident_detection_delay_seconds",
    Kind::Histogram,
    &[],
    "Time from the first evidence of an incident to its first alert. For hung and stuck it is detect.hung_after or more.",
);
pub(super) const STORAGE_UP: Metric = global(
    "mount_observer_storage_up",
    Kind::Gauge,
    &[],
    "1 while the incident journal can be written, 0 while it cannot and what is to be kept waits in memory; no series where storage.path is empty.",
);
pub(super) const STORAGE_ERRORS: Metric = global(
    "mount_observer_storage_errors_total",
    Kind::Counter,
    &[],
    "Attempts to open or write the incident journal that failed.",
);
pub(super) const STORAGE_WAITING: Metric = global(
    "mount_observer_storage_waiting",
    Kind::Gauge,
    &[],
    "Incidents and recoveries that wait to be written.",
);
pub(super) const RECOVERIES: Metric = global(
    "mount_observer_recovery_runs_total",
    Kind::Counter,
    &["mount", "outcome"],
    "Recoveries of a mount of the configuration: ok, failed, timeout, or not done: dry_run, capped, refused.",
);
pub(super) const KEPT_BACK: Metric = global(
    "mount_observer_alerts_kept_back",
    Kind::Gauge,
    &["why"],
    "Alerts that fire and that the sinks are not told of, by why: a silence, or the alert of another superblock that explains them.",
);
pub(super) const SILENCES: Metric = global(
    "mount_observer_silences",
    Kind::Gauge,
    &[],
    "Silences that count now.",
);
pub(super) const NOTIFICATIONS: Metric = global(
    "mount_observer_notifications_total",
    Kind::Counter,
    &["sink", "outcome"],
    "What became of what sinks were told. delivered: the receiver took it. failed: an attempt, which is repeated. refused: the receiver will not take it. expired: given up after `give_up_after`.",
);
pub(super) const NOTIFICATIONS_DROPPED: Metric = global(
    "mount_observer_notifications_queue_dropped_total",
    Kind::Counter,
    &["sink"],
    "Notices that did not fit in the queue of a sink; the oldest go first.",
);
pub(super) const SUPERBLOCKS: Metric = global(
    "mount_observer_superblocks",
    Kind::Gauge,
    &[],
    "Superblocks in scope.",
);
pub(super) const FOLDED: Metric = global(
    "mount_observer_superblocks_folded",
    Kind::Gauge,
    &[],
    "Superblocks without series of their own, counted in superblock=\"overflow\" (metrics.max_superblocks).",
);
pub(super) const UNATTRIBUTED: Metric = global(
    "mount_observer_unattributed_errors_total",
    Kind::Counter,
    &["op", "errno"],
    "Failures that belong to a superblock which could not be named.",
);
pub(super) const BUILD_INFO: Metric = global(
    "mount_observer_build_info",
    Kind::Gauge,
    &["version"],
    "The observer's version; always 1.",
);
pub(super) const PROBE_ATTACHED: Metric = global(
    "mount_observer_probe_attached",
    Kind::Gauge,
    &["probe", "kind"],
    "1 when the probe is attached, 0 when it should be and is not; no series for those switched off.",
);
pub(super) const EVENTS: Metric = global(
    "mount_observer_events_total",
    Kind::Counter,
    &["source"],
    "Inputs taken, by source.",
);
pub(super) const DROPPED: Metric = global(
    "mount_observer_events_dropped_total",
    Kind::Counter,
    &["reason"],
    "What was lost, by reason. What could hide behind a loss is shown as unknown, not as ok.",
);
pub(super) const MAP_ENTRIES: Metric = global(
    "mount_observer_map_entries",
    Kind::Gauge,
    &["map"],
    "Entries in an eBPF map.",
);
pub(super) const MAP_ENTRIES_MAX: Metric = global(
    "mount_observer_map_entries_max",
    Kind::Gauge,
    &["map"],
    "Entries the map can hold.",
);
pub(super) const HEARTBEAT: Metric = global(
    "mount_observer_heartbeat_timestamp_seconds",
    Kind::Gauge,
    &["loop"],
    "When the loop last made progress, in seconds since the epoch.",
);
pub(super) const SELF_TOUCHES: Metric = global(
    "mount_observer_self_touches_total",
    Kind::Counter,
    &[],
    "FUSE requests the observer itself sent, and its own failed path system calls on an observed filesystem: 0, or there is a defect.",
);
pub(super) const PROCESS_CPU: Metric = global(
    "process_cpu_seconds_total",
    Kind::Counter,
    &[],
    "User and system CPU time of the observer.",
);
pub(super) const PROCESS_OPEN_FDS: Metric = global(
    "process_open_fds",
    Kind::Gauge,
    &[],
    "Open file descriptors of the observer.",
);
pub(super) const PROCESS_MAX_FDS: Metric = global(
    "process_max_fds",
    Kind::Gauge,
    &[],
    "Limit of open file descriptors.",
);
pub(super) const PROCESS_VIRTUAL: Metric = global(
    "process_virtual_memory_bytes",
    Kind::Gauge,
    &[],
    "Virtual memory of the observer.",
);
pub(super) const PROCESS_RESIDENT: Metric = global(
    "process_resident_memory_bytes",
    Kind::Gauge,
    &[],
    "Resident memory of the observer.",
);
pub(super) const PROCESS_START: Metric = global(
    "process_start_time_seconds",
    Kind::Gauge,
    &[],
    "When the observer started, in seconds since the epoch.",
);
pub(super) const PROCESS_THREADS: Metric = global(
    "process_threads",
    Kind::Gauge,
    &[],
    "Threads of the observer.",
);

/// Every metric, in the order of the exposition.
pub const METRICS: &[Metric] = &[
    INFO,
    STATE,
    STATE_SINCE,
    OPERATIONS,
    ERRORS,
    DURATION,
    IN_FLIGHT,
    BLOCKED,
    OLDEST,
    WAITING,
    SERVER_UP,
    ALERTS,
    TRANSITIONS,
    EXPECTED_PRESENT,
    SHADOW_WRITES,
    INCIDENTS,
    INCIDENTS_ACTIVE,
    DETECTION_DELAY,
    STORAGE_UP,
    STORAGE_ERRORS,
    STORAGE_WAITING,
    RECOVERIES,
    KEPT_BACK,
    SILENCES,
    NOTIFICATIONS,
    NOTIFICATIONS_DROPPED,
    SUPERBLOCKS,
    FOLDED,
    UNATTRIBUTED,
    BUILD_INFO,
    PROBE_ATTACHED,
    EVENTS,
    DROPPED,
    MAP_ENTRIES,
    MAP_ENTRIES_MAX,
    HEARTBEAT,
    SELF_TOUCHES,
    PROCESS_CPU,
    PROCESS_OPEN_FDS,
    PROCESS_MAX_FDS,
    PROCESS_VIRTUAL,
    PROCESS_RESIDENT,
    PROCESS_START,
    PROCESS_THREADS,
];

/// docs/METRICS.md.
pub fn markdown() -> String {
    let mut out = String::from(
        "# Metrics\n\n\
         Generated by `mount-observer print metrics-doc`; a test compares.\n\n\
         `/metrics` speaks the Prometheus text format. Series about a superblock carry the labels \
         `superblock` (device number, with `#n` for the n-th later superblock under the same number), \
         `mountpoint` (the shortest one in the observer's mount namespace, else in another), `fstype` \
         and `device` (its source). Process ids, names and paths are never labels: they are in \
         `/api/v1/snapshot`.\n\n\
         Series of a superblock that is gone disappear. At most `metrics.max_superblocks` superblocks \
         have series of their own, unhealthy ones first, then the busiest; the others are summed in \
         `superblock=\"overflow\"`, which has no state. A counter there can fall when a superblock \
         gets series of its own: `rate()` takes that for a restart.\n\n\
         | metric | kind | labels | meaning |\n|---|---|---|---|\n",
    );
    for metric in METRICS {
        let kind = match metric.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let own = metric
            .is_per_superblock
            .then_some("*superblock*".to_owned());
        let labels: Vec<String> = own
            .into_iter()
            .chain(metric.labels.iter().map(|label| format!("`{label}`")))
            .collect();
        append(
            &mut out,
            format_args!(
                "| `{}` | {kind} | {} | {} |\n",
                metric.name,
                labels.join(", "),
                metric.help
            ),
        );
    }
    super::counts::markdown(&mut out);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for metric in METRICS {
            let Metric { name, kind, .. } = metric;
            assert_eq!(*kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert!(
                name.starts_with("mount_observer_") || name.starts_with("process_"),
                "{name}"
            );
            assert!(metric.help.ends_with('.'), "{name}");
            for forbidden in ["pid", "comm", "path"] {
                assert!(!metric.labels.contains(&forbidden), "{name}");
            }
        }
    }

    #[test]
    fn the_committed_page_is_the_generated_one() {
        assert_eq!(
            include_str!("../../../../docs/METRICS.md"),
            markdown(),
            "run: mount-observer print metrics-doc > docs/METRICS.md"
        );
    }
}
