//! The part of docs/API.md about the lines of a trace. A test holds the tables equal to what is
//! serialised.

use super::Field;

/// What comes before the tables.
pub(super) const ABOUT: &str = "\n## Lines of a trace\n\n\
    What `mount-observer trace --json` prints on standard output, and `replay --json` of the recording of a \
    trace: one object a line. `type` says which of those below it is; others may be added. Names of files are \
    written so that they can be read back: control characters and bytes that are no UTF-8 as `\\xHH`, a \
    backslash as `\\\\`.\n\n\
    An operation that blocks has an object while it does (`blocked`) and another when it does so no more \
    (`ended` or `gone`), with the same `superblock` and `unique`, else the same `tid`. The objects of operations \
    that ended are as many as the summary counts, unless `lost` says that lines were not shown.\n";

/// By type.
pub(super) const OBJECTS: &[(&str, &[Field])] = &[
    ("operation", OPERATION),
    ("alert", ALERT),
    ("lost", LOST),
    ("summary", SUMMARY),
];

const OPERATION: &[Field] = &[
    ("type", "string", "`operation`"),
    (
        "state",
        "string",
        "`ended`; `blocked`: it has not, and will have another object; `gone`: it blocked and does so no more, \
         and how it ended was not seen",
    ),
    (
        "unix_ns",
        "integer",
        "when it ended, or was seen to block, ns since the epoch",
    ),
    (
        "pid",
        "integer?",
        "process that asked; null for the kernel's own",
    ),
    ("tid", "integer?", "its thread"),
    ("comm", "string?", "its name"),
    ("superblock", "string", "device number, as mountinfo has it"),
    (
        "mount_point",
        "string",
        "where it is mounted: the one that `--mount` names, else the shortest",
    ),
    ("fstype", "string", "its type"),
    (
        "op",
        "string?",
        "FUSE opcode or NFS operation as the kernel names it (`LOOKUP`), or a system call (`statx`); null for a \
         task that waits in a call that is not known",
    ),
    (
        "waits_in",
        "string?",
        "the kernel function such a task waits in",
    ),
    (
        "file",
        "string?",
        "the path that a system call gave; of a request with a name, `/name` in the root of the filesystem and \
         `node 7/name` elsewhere; of one without, `node 7`; null where nothing is known",
    ),
    ("unique", "integer?", "the FUSE request's number"),
    (
        "errno",
        "string?",
        "why it failed; null for a success, and for what has not ended",
    ),
    (
        "latency_ns",
        "integer?",
        "how long it took, or has waited so far, ns; null where only its end was seen",
    ),
    (
        "is_at_least",
        "boolean",
        "whether it began earlier, or ended later, than was seen",
    ),
    (
        "was_blocked",
        "boolean",
        "whether an object said before that it blocks",
    ),
];

const ALERT: &[Field] = &[
    ("type", "string", "`alert`: the same as the daemon tells"),
    ("unix_ns", "integer", "when, ns since the epoch"),
    ("status", "string", "`firing` or `resolved`"),
    ("kind", "string", "as of a notice"),
    ("severity", "string", "`warning` or `critical`"),
    ("incident", "string", "its incident, of this trace alone"),
    (
        "superblock",
        "string?",
        "as in the snapshot; null for a mount that is missing",
    ),
    ("mount_point", "string", "where it is mounted"),
    ("fstype", "string", "its type"),
    ("device", "string", "mountinfo's source"),
    ("reason", "string", "one sentence: what is wrong"),
    ("evidence[]", "string", "facts behind it"),
    ("advice", "string", "what to do about it"),
    (
        "line",
        "string",
        "all of it in one line, without control characters",
    ),
];

const LOST: &[Field] = &[
    ("type", "string", "`lost`"),
    (
        "unix_ns",
        "integer",
        "when it was noticed, ns since the epoch",
    ),
    (
        "what",
        "string",
        "`records_lost`: operations that are in no count, their ring was full; `requests_not_followed`: more were \
         in flight than can be followed; `runs_missed`: programs that were preempted, an operation each at most; \
         `calls_not_followed`: calls whose place another thread took; `readings_failed`: of what is in flight; \
         `lines_not_shown`: counted, but nobody read in time",
    ),
    ("count", "integer", "how many since the last such object"),
    ("total", "integer", "how many since the beginning"),
];

const SUMMARY: &[Field] = &[
    ("type", "string", "`summary`: the last object"),
    ("begun_unix_ns", "integer", "when the trace began"),
    ("duration_ns", "integer", "how long it was"),
    ("count", "integer", "operations that ended"),
    ("failed", "integer", "those of them that failed"),
    ("per_second", "number", "how many ended in a second"),
    (
        "mounts[]",
        "object",
        "by superblock and mount point, most operations first",
    ),
    ("mounts[].superblock", "string", "device number"),
    ("mounts[].mount_point", "string", "where it is mounted"),
    ("mounts[].fstype", "string", "its type"),
    ("mounts[].count", "integer", "operations that ended"),
    ("mounts[].failed", "integer", "those of them that failed"),
    (
        "mounts[].per_second",
        "number",
        "how many ended in a second",
    ),
    (
        "mounts[].operations[]",
        "object",
        "by operation, most first",
    ),
    (
        "mounts[].operations[].op",
        "string",
        "as `op` of an operation",
    ),
    ("mounts[].operations[].count", "integer", "how many ended"),
    (
        "mounts[].operations[].failed",
        "integer",
        "those of them that failed",
    ),
    (
        "mounts[].operations[].per_second",
        "number",
        "how many ended in a second",
    ),
    (
        "mounts[].operations[].errors",
        "object",
        "errno to how many",
    ),
    (
        "mounts[].operations[].gone",
        "integer",
        "how many blocked and were then not seen to end; not in `count`",
    ),
    (
        "mounts[].operations[].sum_ns",
        "integer",
        "sum of the known latencies",
    ),
    (
        "mounts[].operations[].latency",
        "object?",
        "null where none is known",
    ),
    (
        "mounts[].operations[].latency.p50_ns",
        "integer",
        "half took no longer; rounded up by 1 % at most, as the next two",
    ),
    (
        "mounts[].operations[].latency.p90_ns",
        "integer",
        "nine of ten",
    ),
    (
        "mounts[].operations[].latency.p99_ns",
        "integer",
        "99 of 100",
    ),
    (
        "mounts[].operations[].latency.max_ns",
        "integer",
        "the longest, exactly",
    ),
    (
        "mounts[].operations[].histogram[]",
        "object",
        "known latencies by powers of two, from the shortest to the longest",
    ),
    (
        "mounts[].operations[].histogram[].from_ns",
        "integer",
        "from here on",
    ),
    (
        "mounts[].operations[].histogram[].below_ns",
        "integer",
        "and below this",
    ),
    (
        "mounts[].operations[].histogram[].count",
        "integer",
        "how many",
    ),
    (
        "blocked[]",
        "object",
        "what blocks at the end, longest first",
    ),
    ("blocked[].superblock", "string", "device number"),
    ("blocked[].mount_point", "string", "where it is mounted"),
    ("blocked[].op", "string?", "as `op` of an operation"),
    ("blocked[].waits_in", "string?", "as of an operation"),
    ("blocked[].pid", "integer?", "process"),
    ("blocked[].comm", "string?", "its name"),
    ("blocked[].age_ns", "integer", "how long, so far"),
    (
        "others",
        "integer",
        "operations in `count` on more mounts and of more kinds than are told apart",
    ),
    (
        "unattributed",
        "integer",
        "operations in no count, whose mount could not be told; with `--mount` or `--fstype` they are not counted",
    ),
    ("sample", "integer", "one of so many operations was taken"),
    (
        "lost",
        "object",
        "what is in no count, by reason: those of `lost`; `calls_missed`: runs of programs that were preempted, on \
         calls anywhere on the machine; `sampled_out`",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::tests::places;
    use crate::render::trace::{json, tests as examples};

    use super::*;

    #[test]
    fn the_tables_name_every_place_of_the_objects_and_no_other() {
        let lines = examples::lines();
        let summary = examples::summary();
        let objects = lines.iter().map(json::object);
        for object in objects.chain([json::Object::Summary(&summary)]) {
            let value = serde_json::to_value(object).unwrap();
            let kind = value["type"].as_str().unwrap().to_owned();
            let mut found = BTreeSet::new();
            places(&value, "", &mut found);
            // By name, each.
            found.retain(|place| !place.starts_with("lost.") && !place.contains("errors."));
            let (_, fields) = OBJECTS.iter().find(|(name, _)| *name == kind).unwrap();
            let documented: BTreeSet<String> = fields
                .iter()
                .map(|(path, _, _)| (*path).to_owned())
                .collect();
            assert_eq!(documented, found, "{kind}");
        }
    }
}
