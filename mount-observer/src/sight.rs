//! What each probe lets us see, and what is not seen where it is not attached: one table, for
//! `check`, the snapshot and docs/KERNELS.md.
//!
//! Some lacks make silence say nothing: the superblocks they concern are unknown. The others only
//! leave a detail out; they are told, and nothing is guessed in their place.

use serde::Serialize;

/// Something that is not seen, and the probe that would show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NotSeen {
    /// The probe that is not attached.
    pub probe: &'static str,
    /// What is not seen without it.
    pub what: &'static str,
}

/// A probe as far as sight is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attached<'a> {
    /// Its name.
    pub probe: &'a str,
    /// Whether the configuration asks for it.
    pub is_wanted: bool,
    /// Whether it is attached.
    pub is_attached: bool,
    /// What it does not show in the way it is.
    pub lacks: Option<&'static str>,
}

/// Whose silence says nothing without a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blinds {
    /// FUSE's.
    pub fuse: bool,
    /// That of filesystems of the kernel's own.
    pub kernel: bool,
}

impl Blinds {
    const NOTHING: Self = Self::new(false, false);
    const FUSE: Self = Self::new(true, false);
    const KERNEL: Self = Self::new(false, true);
    const BOTH: Self = Self::new(true, true);

    const fn new(fuse: bool, kernel: bool) -> Self {
        Self { fuse, kernel }
    }

    /// Whether anything is unknown without it.
    pub const fn anything(self) -> bool {
        self.fuse || self.kernel
    }
}

/// One line of the table.
#[derive(Clone, Copy, Debug)]
struct Row {
    probe: &'static str,
    blinds: Blinds,
    /// Probes that show the same, less well or at a higher cost.
    instead: &'static [&'static str],
    what: &'static str,
}

const fn row(probe: &'static str, blinds: Blinds, what: &'static str) -> Row {
    Row {
        probe,
        blinds,
        instead: &[],
        what,
    }
}

impl Row {
    const fn unless(self, instead: &'static [&'static str]) -> Self {
        Self { instead, ..self }
    }
}

const TABLE: &[Row] = &[
    row(
        "fuse_send",
        Blinds::FUSE,
        "FUSE requests on their way: how long they take, and which never end",
    ),
    row(
        "fuse_end",
        Blinds::FUSE,
        "ends of FUSE requests: how many, how long they took, with what errors",
    ),
    row(
        "fuse_call",
        Blinds::NOTHING,
        "how long a FUSE request waits for a slot: its age and latency begin when it is sent",
    ),
    row(
        "fuse_return",
        Blinds::NOTHING,
        "FUSE requests that a dead connection refuses: only the system calls that fail are counted",
    ),
    row(
        "fuse_background",
        Blinds::NOTHING,
        "refused FUSE requests that nobody waits for, such as readahead",
    ),
    row(
        "connection_abort",
        Blinds::NOTHING,
        "who aborts a FUSE connection, and when: that it was aborted is found at the next look",
    ),
    row(
        "device_release",
        Blinds::NOTHING,
        "a FUSE server that closes its connection and lives on: found at the next look",
    ),
    row(
        "server_exit",
        Blinds::FUSE,
        "exits of FUSE servers: found at the next look",
    ),
    row(
        "holders",
        Blinds::FUSE,
        "who serves a FUSE mount, and requests older than the observer",
    ),
    row(
        "tasks",
        Blinds::BOTH,
        "which tasks are blocked, and where in the kernel",
    ),
    row(
        "files",
        Blinds::NOTHING,
        "which files are open for writing when a mount fails, and the paths of writes that failed",
    ),
    row(
        "shadow_writes",
        Blinds::NOTHING,
        "what is written where a mount is missing",
    ),
    row(
        "connection_check",
        Blinds::NOTHING,
        "the end of a FUSE connection between two scans over all open files",
    ),
    row(
        "stat_enter",
        Blinds::NOTHING,
        "since when a stat is blocked: its age counts from the first scan that shows it",
    )
    .unless(&["path_enter"]),
    row("stat_exit", Blinds::NOTHING, "how long stats take").unless(&["path_enter"]),
    row(
        "stat_exit",
        Blinds::NOTHING,
        "stats made through io_uring or by 32-bit programs",
    ),
    row(
        "walk_end",
        Blinds::NOTHING,
        "on which filesystem a path walk failed: it is told from the caller's words (attribution=path)",
    ),
    row(
        "attr_enter",
        Blinds::NOTHING,
        "on which filesystem a stat waits that has walked its path",
    ),
    row(
        "attr_exit",
        Blinds::NOTHING,
        "failed stats of open files (fstat, an empty path)",
    ),
    row(
        "nfs_end",
        Blinds::NOTHING,
        "NFS operations: how many, how long they take, with what errors",
    ),
    row(
        "nfs_mounts",
        Blinds::NOTHING,
        "to which mount an NFS operation belongs",
    ),
    row(
        "path_enter",
        Blinds::KERNEL,
        "how long path system calls take",
    ),
    row(
        "path_exit",
        Blinds::KERNEL,
        "path system calls that fail, on filesystems of the kernel's own above all",
    ),
];

/// What is not seen with these probes; what the configuration leaves out is not missed.
pub fn not_seen(probes: &[Attached<'_>]) -> Vec<NotSeen> {
    let find = |name: &str| probes.iter().find(|known| known.probe == name);
    let is_attached = |name: &str| find(name).is_some_and(|probe| probe.is_attached);
    let is_missed = |row: &&Row| {
        let is_lacking = find(row.probe).is_some_and(|probe| probe.is_wanted && !probe.is_attached);
        is_lacking && !row.instead.iter().any(|name| is_attached(name))
    };
    let missed = TABLE.iter().filter(is_missed);
    let missed = missed.map(|row| (row.probe, row.what));
    let lacking = probes.iter().filter(|probe| probe.is_attached);
    let names = TABLE.iter().map(|row| row.probe);
    let lacking = lacking.filter_map(|probe| {
        let name = names.clone().find(|name| *name == probe.probe)?;
        Some((name, probe.lacks?))
    });
    missed
        .chain(lacking)
        .map(|(probe, what)| NotSeen { probe, what })
        .collect()
}

/// Whose silence says nothing while this probe is wanted and not attached. One that is not in the
/// table is of the shell's making, and nothing is known without it.
pub fn blinds(probe: &str) -> Blinds {
    let found = TABLE.iter().find(|row| row.probe == probe);
    found.map_or(Blinds::BOTH, |row| row.blinds)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Probe;

    /// Everything wanted, and these attached.
    fn with(attached: &[&str]) -> Vec<NotSeen> {
        let probe = |row: &Row| Attached {
            probe: row.probe,
            is_wanted: true,
            is_attached: attached.contains(&row.probe),
            lacks: None,
        };
        not_seen(&TABLE.iter().map(probe).collect::<Vec<_>>())
    }

    #[test]
    fn every_probe_of_the_plan_is_in_the_table() {
        let listed = |probe: &&Probe| TABLE.iter().any(|row| row.probe == probe.name());
        let unlisted: Vec<_> = Probe::ALL.iter().filter(|probe| !listed(probe)).collect();
        assert_eq!(unlisted, Vec::<&Probe>::new());
    }

    #[test]
    fn what_every_probe_shows_is_seen() {
        let all: Vec<&str> = TABLE.iter().map(|row| row.probe).collect();
        assert_eq!(with(&all), []);
    }

    #[test]
    fn a_substitute_is_enough() {
        let texts = |attached: &[&str]| -> Vec<&str> {
            let missed = with(attached).into_iter();
            missed
                .filter(|missed| missed.probe == "stat_enter")
                .map(|missed| missed.what)
                .collect()
        };
        assert_eq!(texts(&[]).len(), 1);
        assert_eq!(texts(&["path_enter"]), [""; 0]);
    }

    #[test]
    fn what_a_lesser_way_lacks_is_missed() {
        let lesser = |is_attached| Attached {
            probe: "holders",
            is_wanted: true,
            is_attached,
            lacks: Some("the queues"),
        };
        let missed = not_seen(&[lesser(true)]);
        assert_eq!((missed.len(), missed[0].what), (1, "the queues"));
        assert_ne!(not_seen(&[lesser(false)])[0].what, "the queues");
    }

    #[test]
    fn what_is_not_wanted_is_not_missed() {
        let off = Attached {
            probe: "path_enter",
            is_wanted: false,
            is_attached: false,
            lacks: None,
        };
        assert_eq!(not_seen(&[off]), []);
    }

    #[test]
    fn a_detail_blinds_nobody_and_a_stranger_everybody() {
        assert!(!blinds("fuse_return").anything());
        assert_eq!(blinds("fuse_end"), Blinds::FUSE);
        assert_eq!(blinds("path_exit"), Blinds::KERNEL);
        assert_eq!(blinds("something else"), Blinds::BOTH);
    }
}
