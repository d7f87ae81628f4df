//! Named slots of the per-CPU array `COUNTERS`: what the programs saw and what they had to drop.

/// A slot of `COUNTERS`. Every failed helper and every refused record lands in one.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counter {
    /// FUSE requests sent.
    RequestsSent = 0,
    /// FUSE requests ended.
    RequestsEnded,
    /// Ends whose send was not seen: requests older than the probes, or refused by `IN_FLIGHT`.
    EndsUnmatched,
    /// Sends that found no room in `IN_FLIGHT`.
    InFlightFull,
    /// Operations not counted because `TOTALS` was full.
    TotalsFull,
    /// Records written to the ring buffer.
    Records,
    /// Records lost because the ring buffer was full.
    RingFull,
    /// Records held back by the rate limit; the totals counted what they were about.
    RecordsSuppressed,
    /// Path syscalls that failed with a connection-class errno.
    PathFailures,
    /// Of those, the ones that could not be attributed to a superblock in the kernel.
    PathsUnattributed,
    /// Paths and stat buffers of the caller that could not be read.
    UserReadsFailed,
    /// Kernel memory that could not be read.
    KernelReadsFailed,
    /// Path syscalls whose start was overwritten by another thread's.
    SlotCollisions,
    /// Exits of known FUSE servers.
    ServerExits,
    /// FUSE requests sent by the observer itself or refused to it, its own stats in scope, and its own
    /// other path syscalls there that `path_exit` looks at (in `errors` mode those that failed): must
    /// stay 0.
    SelfTouches,
    /// FUSE requests refused before they were sent: the connection is gone.
    RequestsRefused,
    /// Live FUSE connections that were aborted, by whomever.
    ConnectionAborts,
    /// Descriptors of `/dev/fuse` closed for good.
    DeviceReleases,
    /// NFS superblocks that found no room in `NFS_SERVERS`.
    NfsServersFull,
    /// Records of a trace written to its ring.
    TraceRecords,
    /// Records of a trace lost because its ring was full.
    TraceLost,
    /// Operations that a trace's filter admitted and its sampling left out.
    TraceSkipped,
}

impl Counter {
    /// Every counter, in the order of its slot.
    pub const ALL: [Self; 22] = [
        Self::RequestsSent,
        Self::RequestsEnded,
        Self::EndsUnmatched,
        Self::InFlightFull,
        Self::TotalsFull,
        Self::Records,
        Self::RingFull,
        Self::RecordsSuppressed,
        Self::PathFailures,
        Self::PathsUnattributed,
        Self::UserReadsFailed,
        Self::KernelReadsFailed,
        Self::SlotCollisions,
        Self::ServerExits,
        Self::SelfTouches,
        Self::RequestsRefused,
        Self::ConnectionAborts,
        Self::DeviceReleases,
        Self::NfsServersFull,
        Self::TraceRecords,
        Self::TraceLost,
        Self::TraceSkipped,
    ];

    /// Slots in use.
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        reason = "22 fits, and a const context knows no TryFrom"
    )]
    pub const COUNT: u32 = Self::ALL.len() as u32;

    /// The slot.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would cost an eBPF stack frame per request"
    )]
    #[expect(
        clippy::as_conversions,
        reason = "the discriminant of a repr(u32) enum"
    )]
    pub const fn slot(self) -> u32 {
        self as u32
    }

    /// The counter's name, as metrics and the snapshot show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RequestsSent => "requests_sent",
            Self::RequestsEnded => "requests_ended",
            Self::EndsUnmatched => "ends_unmatched",
            Self::InFlightFull => "in_flight_full",
            Self::TotalsFull => "totals_full",
            Self::Records => "records",
            Self::RingFull => "ring_full",
            Self::RecordsSuppressed => "records_suppressed",
            Self::PathFailures => "path_failures",
            Self::PathsUnattributed => "paths_unattributed",
            Self::UserReadsFailed => "user_reads_failed",
            Self::KernelReadsFailed => "kernel_reads_failed",
            Self::SlotCollisions => "slot_collisions",
            Self::ServerExits => "server_exits",
            Self::SelfTouches => "self_touches",
            Self::RequestsRefused => "requests_refused",
            Self::ConnectionAborts => "connection_aborts",
            Self::DeviceReleases => "device_releases",
            Self::NfsServersFull => "nfs_servers_full",
            Self::TraceRecords => "trace_records",
            Self::TraceLost => "trace_lost",
            Self::TraceSkipped => "trace_skipped",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_counter_sits_in_its_own_slot() {
        for (slot, counter) in Counter::ALL.iter().enumerate() {
            assert_eq!(usize::try_from(counter.slot()), Ok(slot), "{counter:?}");
        }
    }
}
