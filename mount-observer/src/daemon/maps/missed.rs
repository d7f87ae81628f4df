//! Runs that programs left out, as the kernel counts them.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
};

use crate::{
    daemon::bpf,
    health::{CALLS_MISSED, RUNS_LOST},
};

/// Runs that programs left out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Missed {
    /// Of programs that see only what concerns FUSE and its servers.
    runs: u64,
    /// Of those that see every system call, path walk, stat or remote procedure call of the machine. A
    /// program that is preempted in the middle misses what the next task does: on 7.0 and later, where
    /// tracepoints leave preemption on, that happens all the time, and hardly ever to a call that
    /// concerns us.
    calls: u64,
}

impl Missed {
    /// Both.
    pub(super) const fn plus(self, other: Self) -> Self {
        Self {
            runs: self.runs + other.runs,
            calls: self.calls + other.calls,
        }
    }

    /// As the observer takes them.
    pub(super) const fn counters(self) -> [(&'static str, u64); 2] {
        [(RUNS_LOST, self.runs), (CALLS_MISSED, self.calls)]
    }
}

/// How the names of programs begin that see every call of the machine.
const OF_CALLS: [&[u8]; 5] = [b"path_", b"stat_", b"walk_", b"attr_", b"nfs_"];

pub(super) fn missed_runs<'a>(programs: impl Iterator<Item = &'a OwnedFd>) -> io::Result<Missed> {
    let mut missed = Missed::default();
    for program in programs {
        let info = bpf::info_of(program.as_fd())?;
        if OF_CALLS.iter().any(|start| info.name.starts_with(start)) {
            missed.calls += info.missed_runs;
        } else {
            missed.runs += info.missed_runs;
        }
    }
    Ok(missed)
}
