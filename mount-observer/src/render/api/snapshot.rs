//! The fields of `/api/v1/snapshot`.

use super::Field;

pub(super) const FIELDS: &[Field] = &[
    (
        "taken_unix_ns",
        "integer",
        "when it was taken, ns since the epoch",
    ),
    (
        "taken_monotonic_ns",
        "integer",
        "the same on the machine's monotonic clock: what intervals are taken from",
    ),
    (
        "mounts_seen",
        "integer",
        "mounts in all namespaces, in and out of scope",
    ),
    (
        "superblocks_out_of_scope",
        "integer",
        "superblocks that are not observed",
    ),
    (
        "superblocks[]",
        "object",
        "each superblock in scope, worst first",
    ),
    (
        "superblocks[].id",
        "string",
        "device number, `0:52`; `0:52#1` for the second superblock under that number",
    ),
    ("superblocks[].fstype", "string", "filesystem type"),
    (
        "superblocks[].device",
        "string",
        "its source, as `mount` shows it",
    ),
    (
        "superblocks[].mountpoint",
        "string",
        "the shortest mount point in the observer's namespace, else in another",
    ),
    (
        "superblocks[].state",
        "string",
        "`ok`, `unknown`, `slow`, `erroring`, `stuck`, `hung` or `dead`",
    ),
    (
        "superblocks[].severity",
        "string?",
        "`warning` or `critical`",
    ),
    (
        "superblocks[].since_unix_ns",
        "integer",
        "when the state began, ns since the epoch",
    ),
    ("superblocks[].reason", "string", "one sentence"),
    ("superblocks[].evidence[]", "string", "facts behind it"),
    (
        "superblocks[].advice",
        "string",
        "what to do about it; empty in the states that ask for nothing",
    ),
    (
        "superblocks[].in_flight",
        "integer",
        "requests sent and not ended: all of them",
    ),
    (
        "superblocks[].oldest_request_age_ns",
        "integer?",
        "age of the oldest",
    ),
    (
        "superblocks[].blocked",
        "integer",
        "tasks that wait for it: all of them",
    ),
    (
        "superblocks[].mounts[]",
        "object",
        "every mount of it, in every namespace",
    ),
    (
        "superblocks[].mounts[].mount_point",
        "string",
        "what is no UTF-8 is replaced",
    ),
    (
        "superblocks[].mounts[].mount_point_escaped",
        "string",
        "what is no UTF-8, and control characters, as `\\xHH`",
    ),
    (
        "superblocks[].mounts[].root",
        "string",
        "which directory of the filesystem is mounted",
    ),
    (
        "superblocks[].mounts[].mount_namespace",
        "integer",
        "inode number of the namespace, as in `/proc/PID/ns/mnt`",
    ),
    (
        "superblocks[].mounts[].is_own_namespace",
        "boolean",
        "whether it is the observer's own",
    ),
    (
        "superblocks[].mounts[].mount_id",
        "integer",
        "as in mountinfo",
    ),
    (
        "superblocks[].mounts[].is_covered",
        "boolean",
        "whether another mount hides it",
    ),
    ("superblocks[].mounts[].options", "string", "mount options"),
    (
        "superblocks[].requests[]",
        "object",
        "the oldest requests in flight",
    ),
    (
        "superblocks[].requests[].operation",
        "string",
        "FUSE opcode",
    ),
    (
        "superblocks[].requests[].unique",
        "integer?",
        "its number; null while not assigned",
    ),
    (
        "superblocks[].requests[].nodeid",
        "integer",
        "the FUSE node it is about",
    ),
    (
        "superblocks[].requests[].age_ns",
        "integer?",
        "null when it began before the observer and the kernel keeps no time",
    ),
    (
        "superblocks[].requests[].pid",
        "integer?",
        "the caller's process",
    ),
    (
        "superblocks[].requests[].tid",
        "integer?",
        "the caller's thread",
    ),
    (
        "superblocks[].requests[].comm",
        "string?",
        "the caller's name",
    ),
    (
        "superblocks[].requests[].is_at_server",
        "boolean?",
        "whether the server has read it; null when not seen on a queue",
    ),
    (
        "superblocks[].requests[].source",
        "string",
        "`probe`: seen sent; `queue`: found on the connection's lists",
    ),
    (
        "superblocks[].blocked_tasks[]",
        "object",
        "the tasks that wait longest",
    ),
    ("superblocks[].blocked_tasks[].pid", "integer", "process"),
    ("superblocks[].blocked_tasks[].tid", "integer", "thread"),
    ("superblocks[].blocked_tasks[].comm", "string", "name"),
    (
        "superblocks[].blocked_tasks[].task_state",
        "string",
        "`S` or `D`, as ps shows it",
    ),
    (
        "superblocks[].blocked_tasks[].waits_in",
        "string?",
        "the kernel function it waits in",
    ),
    (
        "superblocks[].blocked_tasks[].operation",
        "string?",
        "the request it waits for, when it is its own",
    ),
    (
        "superblocks[].blocked_tasks[].caused_by",
        "string?",
        "the FUSE superblock below that it waits for, on an overlay: `0:45 at /mnt/x`",
    ),
    (
        "superblocks[].blocked_tasks[].age_ns",
        "integer?",
        "how long",
    ),
    (
        "superblocks[].blocked_tasks[].stack[]",
        "string",
        "kernel stack, innermost first: functions, or `?`; never addresses",
    ),
    (
        "superblocks[].failures[]",
        "object",
        "recent failures with who met them, newest first",
    ),
    ("superblocks[].failures[].pid", "integer", "process"),
    ("superblocks[].failures[].tid", "integer", "thread"),
    ("superblocks[].failures[].comm", "string", "name"),
    (
        "superblocks[].failures[].operation",
        "string?",
        "what it tried",
    ),
    (
        "superblocks[].failures[].age_ns",
        "integer?",
        "how long it waited",
    ),
    ("superblocks[].failures[].errno", "string?", "what it got"),
    (
        "superblocks[].failures[].path",
        "string?",
        "the path it gave, where that was seen",
    ),
    (
        "superblocks[].failures[].caused_by",
        "string",
        "the FUSE superblock below that made it fail, on an overlay: `0:45 at /mnt/x`; else absent",
    ),
    (
        "superblocks[].failures[].failed_on",
        "string",
        "the overlay above on which it failed because of this superblock; else absent",
    ),
    (
        "superblocks[].failures[].attribution",
        "string",
        "`path` where the superblock was found by that path only; else absent: the kernel named it",
    ),
    (
        "superblocks[].at_risk",
        "object",
        "data that may not have been written; of a trouble that is over, until the next begins",
    ),
    (
        "superblocks[].at_risk.entries[]",
        "object",
        "what was to be written, and the files open for writing",
    ),
    (
        "superblocks[].at_risk.entries[].operation",
        "string",
        "FUSE opcode, or `open` for a file that was open for writing",
    ),
    (
        "superblocks[].at_risk.entries[].why",
        "string",
        "`failed`, `aborted` with its connection, `refused` by a dead one, `in_flight` at the end, or \
         `open_for_writing` at the end",
    ),
    (
        "superblocks[].at_risk.entries[].errno",
        "string?",
        "what it got",
    ),
    (
        "superblocks[].at_risk.entries[].path",
        "string?",
        "the file; of a request that carries a name, that name alone; escaped with `\\xHH`",
    ),
    (
        "superblocks[].at_risk.entries[].nodeid",
        "integer?",
        "the FUSE node: the file, or the directory of a name",
    ),
    (
        "superblocks[].at_risk.entries[].pid",
        "integer?",
        "the process that asked, or has the file open",
    ),
    (
        "superblocks[].at_risk.entries[].comm",
        "string?",
        "its name",
    ),
    (
        "superblocks[].at_risk.entries[].offset",
        "integer?",
        "first byte; of an open file, where its writer stands",
    ),
    (
        "superblocks[].at_risk.entries[].length",
        "integer?",
        "how many bytes; of an open file, its size as the kernel knows it",
    ),
    (
        "superblocks[].at_risk.entries[].at_unix_ns",
        "integer",
        "when that became of it, or was seen, ns since the epoch",
    ),
    (
        "superblocks[].at_risk.dropped",
        "integer",
        "what did not fit",
    ),
    (
        "superblocks[].at_risk.looked_unix_ns",
        "integer?",
        "when all open files were last looked through; null when they were not: then only requests are listed",
    ),
    (
        "expected[]",
        "object",
        "each mount of `expect.mount_points`",
    ),
    ("expected[].mountpoint", "string", "where it should be"),
    (
        "expected[].is_present",
        "boolean?",
        "whether something is mounted there; null while the mount table was not read",
    ),
    (
        "expected[].absent_ns",
        "integer?",
        "how long nothing has been",
    ),
    (
        "expected[].alert",
        "string?",
        "the alert that fires: `missing`, or `shadow_writes` once data is written underneath",
    ),
    (
        "expected[].shadow_writes",
        "integer",
        "calls that wrote underneath while nothing was mounted, since the observer attached",
    ),
    (
        "expected[].underneath",
        "object",
        "what was written underneath since it went, as in `superblocks[].at_risk`",
    ),
    ("expected[].underneath.entries[]", "object", "each of them"),
    (
        "expected[].underneath.dropped",
        "integer",
        "what did not fit",
    ),
    (
        "expected[].underneath.looked_unix_ns",
        "integer?",
        "always null",
    ),
    ("superblocks[].fuse", "object?", "FUSE only"),
    (
        "superblocks[].fuse.connection",
        "string",
        "the connection's number; its directory under `/sys/fs/fuse/connections` is the minor number",
    ),
    (
        "superblocks[].fuse.is_connected",
        "boolean?",
        "null when nobody could be asked",
    ),
    (
        "superblocks[].fuse.waiting",
        "integer?",
        "requests that wait for an answer or a slot",
    ),
    (
        "superblocks[].fuse.server_status",
        "string",
        "`running`, `stopped`, `gone` or `unknown`",
    ),
    (
        "superblocks[].fuse.servers[]",
        "object",
        "processes that hold, or held, the connection",
    ),
    (
        "superblocks[].fuse.abort",
        "object?",
        "how the kernel ended the connection; null while it lives, and where that is not seen",
    ),
    (
        "superblocks[].fuse.abort.cause",
        "string",
        "`server_exit`, `fusectl`, `forced_unmount`, `timeout`, `unmount` or `unknown`",
    ),
    (
        "superblocks[].fuse.abort.at_unix_ns",
        "integer",
        "when, ns since the epoch",
    ),
    (
        "superblocks[].fuse.abort.pid",
        "integer?",
        "the process that ended it; null for the kernel's own timeout",
    ),
    ("superblocks[].fuse.abort.comm", "string?", "its name"),
    ("superblocks[].fuse.servers[].pid", "integer", "process"),
    ("superblocks[].fuse.servers[].comm", "string", "name"),
    (
        "superblocks[].fuse.servers[].unit",
        "string?",
        "its systemd unit or container (`docker 4f1d22a0c6e9`), else its control group, where known",
    ),
    (
        "superblocks[].fuse.servers[].status",
        "string",
        "`running`, `stopped`, `gone` or `unknown`",
    ),
    (
        "superblocks[].fuse.servers[].exit",
        "string?",
        "how it ended, when that was seen: `exit 1`, `SIGKILL`",
    ),
    (
        "superblocks[].operations[]",
        "object",
        "operations since the observer attached, by outcome",
    ),
    (
        "superblocks[].operations[].operation",
        "string",
        "FUSE opcode or NFS procedure (`LOOKUP`), or path system call (`newfstatat`)",
    ),
    (
        "superblocks[].operations[].errno",
        "string?",
        "null for success",
    ),
    ("superblocks[].operations[].count", "integer", "how many"),
    (
        "superblocks[].latency[]",
        "object",
        "latencies since the observer attached, by class of operation",
    ),
    (
        "superblocks[].latency[].class",
        "string",
        "`metadata`, `data`, `sync`, `blocking` (waits by design) or `stat` (path system calls)",
    ),
    (
        "superblocks[].latency[].buckets[]",
        "integer",
        "28 of them: below 2048 ns, below 4096 ns and so on in powers of two, the last without end",
    ),
    (
        "superblocks[].latency[].sum_ns",
        "integer",
        "all latencies together",
    ),
    (
        "unattributed[]",
        "object",
        "operations whose superblock could not be named",
    ),
    (
        "unattributed[].operation",
        "string",
        "path system call, or NFS procedure for no single mount",
    ),
    ("unattributed[].errno", "string?", "what it got"),
    ("unattributed[].count", "integer", "how many"),
    ("observer", "object", "what the observer knows about itself"),
    (
        "observer.degraded[]",
        "string",
        "what it promised to see and does not",
    ),
    ("observer.probes[]", "object", "each probe of the plan"),
    ("observer.probes[].probe", "string", "name"),
    (
        "observer.probes[].kind",
        "string?",
        "how it is attached; null when it is not",
    ),
    (
        "observer.probes[].is_wanted",
        "boolean",
        "whether it should be",
    ),
    (
        "observer.probes[].reason",
        "string",
        "why this way, or why not",
    ),
    (
        "observer.not_seen[]",
        "object",
        "what is not seen on this kernel, because a probe cannot be attached",
    ),
    ("observer.not_seen[].probe", "string", "the probe"),
    ("observer.not_seen[].what", "string", "what it would show"),
    (
        "observer.events[]",
        "[string, integer]",
        "inputs taken: source, how many",
    ),
    (
        "observer.dropped[]",
        "[string, integer]",
        "what was lost: reason, how many",
    ),
    (
        "observer.maps[]",
        "[string, integer, integer]",
        "eBPF map, entries, limit",
    ),
    (
        "observer.self_touches",
        "integer",
        "FUSE requests the observer itself sent, and its own failed path calls on an observed filesystem: 0",
    ),
    (
        "observer.transitions[]",
        "[string, string, integer]",
        "alerts: kind, `firing` or `resolved`, how many",
    ),
    (
        "observer.recoveries[]",
        "[string, string, integer]",
        "recoveries: mount point, outcome (`ok`, `dry_run`, `refused`, `capped`, `failed`, `timeout`), how many",
    ),
];
