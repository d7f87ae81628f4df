//! What a trace wants to see: checked in the kernel, so that what it does not want costs little.

use crate::{COMM_BYTES, wire::wire};

/// Processes a filter may name.
pub const TRACE_PIDS_MAX: usize = 8;
/// Names of processes a filter may name.
pub const TRACE_COMMS_MAX: usize = 4;
/// Control groups a filter may name.
pub const TRACE_CGROUPS_MAX: usize = 16;

/// Bit of [`TraceFilter::fuse`] for every opcode from 127 on.
pub const TRACE_FUSE_REST: u32 = 127;
/// Bit of [`TraceFilter::errno`] for every errno from 191 on; bit 0 stands for success.
pub const TRACE_ERRNO_REST: u32 = 191;

/// The one element of the array `TRACE_FILTER`: all of it must admit an operation. What is not known of
/// an operation (who asked, how long it took) admits it: user space has the last word.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "decode",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct TraceFilter {
    /// What took less, in ns, is left out.
    pub min_latency_ns: u64,
    /// What took as long, in ns, is never sampled out: it was shown while it blocked.
    pub unsampled_ns: u64,
    /// FUSE opcodes, one bit each; the last for all that have none.
    pub fuse: [u64; 2],
    /// Path syscalls, one bit each, by [`crate::SyscallOp`].
    pub syscalls: u64,
    /// Ends by errno, one bit each; the last for all that have none.
    pub errno: [u64; 3],
    /// cgroup v2 ids; unused places are 0.
    pub cgroups: [u64; TRACE_CGROUPS_MAX],
    /// Processes; unused places are 0.
    pub pids: [u32; TRACE_PIDS_MAX],
    /// Names of processes, NUL-padded; unused places are all NUL.
    pub comms: [[u8; COMM_BYTES]; TRACE_COMMS_MAX],
    /// 1 when NFS operations are admitted: their numbers are the kernel's own, so which of them is user
    /// space's business.
    pub nfs: u32,
    /// 1 when `cgroups` counts, else whoever's operation is admitted.
    pub has_cgroups: u32,
    /// The same for `pids`.
    pub has_pids: u32,
    /// The same for `comms`.
    pub has_comms: u32,
    /// One of so many that are admitted leaves a record, per CPU; at least 1.
    pub sample: u32,
    /// Zero.
    pub pad: u32,
}
wire!(TraceFilter, 16 + 16 + 8 + 24 + 128 + 32 + 64 + 24);

impl TraceFilter {
    /// Admits everything.
    pub const EVERYTHING: Self = Self {
        min_latency_ns: 0,
        unsampled_ns: u64::MAX,
        fuse: [u64::MAX; 2],
        syscalls: u64::MAX,
        errno: [u64::MAX; 3],
        cgroups: [0; TRACE_CGROUPS_MAX],
        pids: [0; TRACE_PIDS_MAX],
        comms: [[0; COMM_BYTES]; TRACE_COMMS_MAX],
        nfs: 1,
        has_cgroups: 0,
        has_pids: 0,
        has_comms: 0,
        sample: 1,
        pad: 0,
    };
}

/// Value of the per-CPU array `TRACE_STATE`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "decode",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct TraceState {
    /// Operations admitted since the last that left a record.
    pub skipped: u32,
    /// Records since the reader was last woken.
    pub unannounced: u32,
}
wire!(TraceState, 8);
