//! The clocks: the only place of the daemon that reads one.

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::time::{Mono, Now, Wall};

/// Both clocks, read one right after the other.
pub fn now() -> Now {
    Now {
        mono: Mono(nanoseconds(clock_gettime(ClockId::Monotonic))),
        wall: Wall(nanoseconds(clock_gettime(ClockId::Realtime))),
    }
}

/// The processor time of this thread, in the kernel and outside; only differences mean anything.
pub fn thread_cpu() -> Mono {
    Mono(nanoseconds(clock_gettime(ClockId::ThreadCPUTime)))
}

/// A clock before its epoch reads 0.
fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let rest = u64::try_from(time.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}
