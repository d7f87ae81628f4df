//! The incident's part of docs/API.md. A test holds the tables equal to what is serialised.

use super::Field;

/// Of each incident in `/api/v1/incidents`.
pub(super) const LIST: &[Field] = &[
    ("incidents[]", "object", "each incident, the latest first"),
    (
        "incidents[].id",
        "string",
        "its id: when it began (UTC) and what it is about",
    ),
    (
        "incidents[].kind",
        "string",
        "the worst kind of alert it came to",
    ),
    (
        "incidents[].severity",
        "string",
        "the worst: `warning` or `critical`",
    ),
    (
        "incidents[].device_number",
        "string?",
        "as mountinfo shows it, `0:52`; null for a mount that is not there",
    ),
    (
        "incidents[].fstype",
        "string",
        "filesystem type; here and below escaped for a terminal",
    ),
    (
        "incidents[].source",
        "string",
        "its source, as `mount` shows it",
    ),
    (
        "incidents[].mount_point",
        "string",
        "the mount point used as a label",
    ),
    (
        "incidents[].started_unix_ns",
        "integer",
        "the first evidence, ns since the epoch",
    ),
    (
        "incidents[].detected_unix_ns",
        "integer",
        "the first alert, ns since the epoch",
    ),
    (
        "incidents[].ended_unix_ns",
        "integer?",
        "the end, ns since the epoch; null while it goes on",
    ),
    (
        "incidents[].lasted_ns",
        "integer?",
        "how long it lasted, ns; null while it goes on, and where a restart hides it",
    ),
    (
        "incidents[].ended_why",
        "string?",
        "`recovered`, `unmounted`, `replaced`, `excluded`, `ended_unobserved` or `drill`",
    ),
    (
        "incidents[].returns",
        "integer",
        "how often it ended and came back within ten minutes",
    ),
    ("incidents[].victims", "integer", "threads that suffered"),
    (
        "incidents[].at_risk",
        "integer",
        "entries of what may not have reached its file",
    ),
    (
        "incidents[].is_drill",
        "boolean",
        "whether it is a rehearsal",
    ),
    ("incidents[].reason", "string", "one sentence"),
];

/// Of one incident: `/api/v1/incidents/ID`, `incidents show --json`, `incident` of an export.
pub(super) const ONE: &[Field] = &[
    (
        "id",
        "string",
        "its id: when it began (UTC) and what it is about",
    ),
    ("is_drill", "boolean", "whether it is a rehearsal"),
    ("subject", "object", "what it happened to"),
    (
        "subject.boot_id",
        "string",
        "the boot in which its numbers mean something",
    ),
    (
        "subject.device_number",
        "string?",
        "as mountinfo shows it, `0:52`; null for a mount that is not there",
    ),
    ("subject.fstype", "string", "filesystem type"),
    (
        "subject.source",
        "string",
        "its source, as `mount` shows it",
    ),
    (
        "subject.mount_point",
        "string",
        "the mount point used as a label",
    ),
    (
        "subject.mounts[]",
        "object",
        "every mount of it when the incident began",
    ),
    (
        "subject.mounts[].mount_id",
        "integer",
        "mountinfo's mount id",
    ),
    (
        "subject.mounts[].mount_namespace",
        "integer",
        "inode number of its mount namespace",
    ),
    (
        "subject.mounts[].mount_point",
        "string",
        "where; bytes that are no text as `\\xHH`",
    ),
    (
        "subject.mounts[].root",
        "string",
        "what part of the filesystem",
    ),
    ("subject.mounts[].options", "string", "its options"),
    ("kind", "string", "the worst kind of alert it came to"),
    ("severity", "string", "the worst: `warning` or `critical`"),
    (
        "phases[]",
        "object",
        "every kind of alert it went through, in order",
    ),
    ("phases[].kind", "string", "the kind"),
    ("phases[].severity", "string", "its worst severity"),
    (
        "phases[].started_unix_ns",
        "integer",
        "the first evidence of it, ns since the epoch",
    ),
    (
        "phases[].ended_unix_ns",
        "integer?",
        "when another took over or it ended, ns since the epoch",
    ),
    ("phases[].reason", "string", "one sentence, as last said"),
    (
        "started_unix_ns",
        "integer",
        "the first evidence, ns since the epoch",
    ),
    (
        "started_monotonic_ns",
        "integer",
        "the same on the monotonic clock of its boot",
    ),
    (
        "detected_unix_ns",
        "integer",
        "the first alert, ns since the epoch",
    ),
    (
        "detection_delay_ns",
        "integer",
        "from the one to the other on the monotonic clock",
    ),
    ("ended", "object?", "its end; null while it goes on"),
    ("ended.at_unix_ns", "integer", "when, ns since the epoch"),
    (
        "ended.duration_ns",
        "integer?",
        "from the first evidence on the monotonic clock; null where a restart hides it",
    ),
    (
        "ended.why",
        "string",
        "`recovered`, `unmounted`, `replaced`, `excluded`, `ended_unobserved` or `drill`",
    ),
    (
        "returns",
        "integer",
        "how often it ended and came back within ten minutes",
    ),
    ("reason", "string", "one sentence, of its worst phase"),
    ("evidence[]", "string", "facts behind it"),
    ("advice", "string", "what to do about it"),
    (
        "failures[]",
        "object",
        "failures since it began, the most frequent first",
    ),
    (
        "failures[].operation",
        "string",
        "FUSE or NFS operation, or system call",
    ),
    ("failures[].errno", "string", "what it got"),
    ("failures[].count", "integer", "how many"),
    (
        "failures[].peak",
        "integer",
        "the most within one `detect.storm_window`",
    ),
    (
        "victims[]",
        "object",
        "who suffered, the longest wait first; 64 at most",
    ),
    ("victims[].pid", "integer", "process"),
    ("victims[].tid", "integer", "thread"),
    ("victims[].comm", "string", "its name"),
    (
        "victims[].unit",
        "string?",
        "its systemd unit, container or cgroup",
    ),
    (
        "victims[].first_seen_unix_ns",
        "integer",
        "when it began to wait or first failed, ns since the epoch",
    ),
    (
        "victims[].last_seen_unix_ns",
        "integer",
        "when it was last seen to, ns since the epoch",
    ),
    (
        "victims[].operation",
        "string?",
        "what it waited for or failed at",
    ),
    (
        "victims[].longest_wait_ns",
        "integer?",
        "the longest it was seen to wait",
    ),
    ("victims[].errno", "string?", "what its last failure was"),
    ("victims[].path", "string?", "the path it gave"),
    (
        "victims_total",
        "integer",
        "threads that suffered, also those that are not listed",
    ),
    ("servers[]", "object", "the FUSE server's processes"),
    ("servers[].pid", "integer", "process"),
    ("servers[].comm", "string", "its name"),
    (
        "servers[].unit",
        "string?",
        "its systemd unit, container or cgroup",
    ),
    (
        "servers[].status",
        "string",
        "`running`, `stopped`, `gone` or `unknown`",
    ),
    (
        "servers[].exit",
        "string?",
        "how it ended: `exit 1`, `SIGKILL`",
    ),
    (
        "abort",
        "string?",
        "how the connection was ended, and by whom",
    ),
    (
        "stacks[]",
        "object",
        "kernel stacks of tasks that waited, 16 at most",
    ),
    ("stacks[].pid", "integer", "process"),
    ("stacks[].tid", "integer", "thread"),
    ("stacks[].comm", "string", "its name"),
    (
        "stacks[].functions[]",
        "string",
        "innermost first; `?` where not known",
    ),
    (
        "sysctls[]",
        "[string, string]",
        "the kernel's own timeouts of FUSE requests: name and value",
    ),
    (
        "last_success_unix_ns",
        "integer?",
        "the last operation that succeeded before it, ns since the epoch",
    ),
    (
        "at_risk",
        "object",
        "what may not have reached its file, as in the snapshot",
    ),
    (
        "at_risk.entries[]",
        "object",
        "each, as `superblocks[].at_risk.entries[]` of the snapshot",
    ),
    ("at_risk.dropped", "integer", "what did not fit"),
    (
        "at_risk.looked_unix_ns",
        "integer?",
        "when all open files were last looked through, ns since the epoch",
    ),
    (
        "cut[]",
        "string",
        "lists that are not complete: `stacks`, `failure_kinds`, `servers`",
    ),
    ("recovery[]", "object", "what was done about it"),
    ("recovery[].id", "string", "its name"),
    ("recovery[].incident", "string", "the incident"),
    (
        "recovery[].mount_point",
        "string",
        "the mount point of the configuration",
    ),
    (
        "recovery[].started_unix_ns",
        "integer",
        "when it began, ns since the epoch",
    ),
    (
        "recovery[].ended_unix_ns",
        "integer?",
        "when it ended, ns since the epoch",
    ),
    (
        "recovery[].outcome",
        "string?",
        "`ok`, `dry_run`, `refused`, `capped`, `failed` or `timeout`",
    ),
    ("recovery[].steps[]", "object", "what was done, in order"),
    (
        "recovery[].steps[].at_unix_ns",
        "integer",
        "when, ns since the epoch",
    ),
    (
        "recovery[].steps[].step",
        "string",
        "`abort-connection`, `lazy-unmount`, `run ...`, `verify`",
    ),
    ("recovery[].steps[].outcome", "string", "what came of it"),
    (
        "recovery[].steps[].detail",
        "string",
        "what was said about it",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        incident::Summary,
        render::{api::tests::places, fixture},
    };

    fn documented(fields: &[Field]) -> BTreeSet<String> {
        fields
            .iter()
            .map(|(path, _, _)| (*path).to_owned())
            .collect()
    }

    #[test]
    fn the_tables_name_every_place_of_an_incident_and_no_other() {
        let incident = fixture::full_incident();
        let mut found = BTreeSet::new();
        places(&serde_json::to_value(&incident).unwrap(), "", &mut found);
        // What an entry says is told with the snapshot.
        found.retain(|place| !place.starts_with("at_risk.entries[]."));
        assert_eq!(documented(ONE), found);

        let list = serde_json::json!({ "incidents": [Summary::of(&incident)] });
        let mut found = BTreeSet::new();
        places(&list, "", &mut found);
        assert_eq!(documented(LIST), found);
    }
}
