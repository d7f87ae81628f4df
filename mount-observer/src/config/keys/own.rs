//! The keys of what is no sink.

use super::{CONFINEMENT, COUNT, DURATION, Key, PATTERNS, key};

pub(super) const OWN: &[Key] = &[
    key(
        "web",
        "listen_address",
        "an address and a port: \"127.0.0.1:9967\", \"[::1]:9967\", \"localhost:9967\", or \":9967\" for every address",
        "Where /metrics, the API and the health checks listen. There is no authentication: leave it on loopback, or put a proxy in front.",
    )
    .or_flag("--web.listen-address"),
    key(
        "log",
        "level",
        "one of \"error\", \"warn\", \"info\", \"debug\", \"trace\"",
        "Least severe level shown. `info` is one line per change of state.",
    )
    .or_flag("--log.level"),
    key(
        "log",
        "format",
        "one of \"auto\", \"text\", \"json\"",
        "How a line looks. `auto` sends fields to journald when systemd started the observer, else writes text.",
    )
    .or_flag("--log.format"),
    key(
        "log",
        "bpf",
        "one of \"off\", \"warn\", \"debug\"",
        "Messages of the eBPF programs themselves. `off` compiles them out; `debug` costs microseconds per event.",
    )
    .or_flag("--log.bpf"),
    key(
        "probes",
        "statx",
        "one of \"auto\", \"full\", \"errors\", \"off\"",
        "How path syscalls (stat, open, access, ...) are observed. `full`: errno and latency of each. `errors`: connection-class failures only. `off`: not at all, and nothing outside FUSE costs anything. `auto`: `errors`; where the stat functions can be attached to, stats are timed there in every mode but `off`, while `full` times the others too and taxes every system call of the host.",
    )
    .or_flag("--probes.statx"),
    key(
        "probes",
        "ring_bytes",
        "a whole number from 4096 to 67108864",
        "Size of the buffer through which the kernel side reports single failures, rounded up to a power of two. It is emptied ten times a second; what does not fit is counted in `mount_observer_events_dropped_total`. Totals do not pass through it and stay exact.",
    ),
    key(
        "scope",
        "include_fstypes",
        PATTERNS,
        "Filesystem types observed.",
    ),
    key(
        "scope",
        "exclude_fstypes",
        PATTERNS,
        "Filesystem types left out, even if included above.",
    ),
    key(
        "scope",
        "include_mount_points",
        PATTERNS,
        "Mount points observed whatever their type.",
    ),
    key(
        "scope",
        "exclude_mount_points",
        PATTERNS,
        "Mount points left out.",
    ),
    key(
        "scope",
        "include_sources",
        PATTERNS,
        "Sources (the device column of `mount`) observed whatever their type.",
    ),
    key("scope", "exclude_sources", PATTERNS, "Sources left out."),
    key(
        "scope",
        "local_filesystems",
        "true or false",
        "Whether local block filesystems (ext4, xfs, btrfs, ...) are observed too.",
    ),
    key(
        "expect",
        "mount_points",
        "a list of absolute paths",
        "Mount points at which something should be mounted, 64 at most.",
    ),
    key(
        "expect",
        "missing_after",
        DURATION,
        "How long nothing may be mounted there before that alerts. What is written underneath meanwhile alerts at once.",
    ),
    key(
        "detect",
        "hung_after",
        DURATION,
        "Age at which a request in flight is overdue. A superblock where nothing completes any more is then hung, one where other requests complete is stuck: a warning.",
    ),
    key(
        "detect",
        "hung_critical_after",
        DURATION,
        "Age at which that becomes critical; not below `hung_after`.",
    ),
    key(
        "detect",
        "blocking_after",
        DURATION,
        "The same age for requests that wait by design (SETLKW, POLL, IOCTL, INIT). \"0s\" never calls them overdue.",
    ),
    key(
        "detect",
        "storm_errors",
        COUNT,
        "Connection-class failures (EIO, ENOTCONN, ETIMEDOUT, ...) within `storm_window` from which a superblock is erroring.",
    ),
    key(
        "detect",
        "storm_window",
        DURATION,
        "Sliding window of the storm; more than 0.",
    ),
    key(
        "detect",
        "slow_p99",
        DURATION,
        "99th percentile of latency over `slow_window` above which a superblock is slow.",
    ),
    key(
        "detect",
        "slow_window",
        DURATION,
        "Sliding window of the percentile; more than 0.",
    ),
    key(
        "detect",
        "slow_min_samples",
        COUNT,
        "Samples in the window below which the percentile says nothing.",
    ),
    key(
        "detect",
        "clear_after",
        DURATION,
        "How long a condition must stay away before its alert is resolved.",
    ),
    key(
        "storage",
        "path",
        "a directory, or \"\" to remember nothing",
        "Where the incident journal is kept; made when it is not there. It must not lie on a mount that is observed.",
    )
    .or_flag("--storage.path"),
    key(
        "storage",
        "max_age",
        DURATION,
        "Incidents that ended longer ago are forgotten.",
    ),
    key(
        "storage",
        "max_bytes",
        "a whole number, 1048576 or more",
        "Size of the journal above which the oldest incidents that ended are forgotten. What goes on is never forgotten.",
    ),
    key(
        "record",
        "flight",
        DURATION,
        "How much of what was learnt is held in memory. \"0s\" records nothing.",
    ),
    key(
        "record",
        "flight_bytes",
        "a whole number from 1048576 to 268435456",
        "Memory that it may take, packed: on a busy host, less time is held.",
    ),
    key(
        "record",
        "flight_after",
        DURATION,
        "How long recording goes on after an alert before it is saved.",
    ),
    key(
        "record",
        "keep_files",
        COUNT,
        "Recordings of incidents that are kept; the oldest go first.",
    ),
    key(
        "record",
        "keep_bytes",
        "a whole number, 1048576 or more",
        "Bytes of them.",
    ),
    key(
        "recovery",
        "dry_run",
        "true or false",
        "Whether a recovery only says what it would do, in the log, the journal and the metrics.",
    ),
    key(
        "recovery",
        "enabled_by",
        "an absolute path",
        "A file without which nothing is done: made to allow recovery, removed to stop it at once. It must not lie on a mount that is observed.",
    ),
    key(
        "recovery",
        "confirmations",
        COUNT,
        "Looks that must find the same trouble.",
    ),
    key(
        "recovery",
        "confirm_every",
        DURATION,
        "Time between two such looks.",
    ),
    key(
        "recovery",
        "min_age",
        DURATION,
        "How long the trouble must have lasted.",
    ),
    key(
        "recovery",
        "cooldown",
        DURATION,
        "Time between the beginnings of two recoveries of one mount.",
    ),
    key(
        "recovery",
        "max_per_hour",
        COUNT,
        "Recoveries within an hour, of all mounts together; what the journal remembers counts.",
    ),
    key(
        "recovery",
        "max_per_day",
        COUNT,
        "Recoveries within a day, of all mounts together.",
    ),
    key(
        "recovery",
        "max_per_mount_per_day",
        COUNT,
        "Recoveries within a day, of one mount.",
    ),
    key(
        "recovery",
        "step_timeout",
        DURATION,
        "Time a step may take; a command that takes longer is killed.",
    ),
    key(
        "recover",
        "mount_point",
        "an absolute path other than \"/\"",
        "Where it is mounted; bytes that are no text as `\\xHH`.",
    ),
    key(
        "recover",
        "kinds",
        "a list of \"dead\" and \"hung\"",
        "The kinds of trouble that are repaired. A mount whose server is alive and answers is never touched.",
    ),
    key(
        "recover",
        "steps",
        "a list of \"abort-connection\", \"lazy-unmount\", \"run /absolute/path ARGUMENTS\" and \"verify\"",
        "What is done, in this order, up to the first step that fails. `verify` waits until something with a living connection is mounted there again.",
    ),
    key(
        "confine",
        "mounts",
        CONFINEMENT,
        "A mount table of its own in which nothing observed is mounted, so that no path of the daemon leads there. Needs CAP_SYS_ADMIN at the start, which it gives up then.",
    ),
    key(
        "confine",
        "landlock",
        CONFINEMENT,
        "The kernel refuses the daemon every file but those it needs: /proc, /sys, its storage, its configuration (Linux 5.13, with Landlock among its security modules). A path that a later configuration names first needs a restart.",
    ),
    key(
        "metrics",
        "max_superblocks",
        COUNT,
        "Superblocks with metric series of their own: unhealthy ones first, then the busiest; the rest are folded into superblock=\"overflow\". Detection, alerts and the snapshot cover every mount.",
    ),
];
