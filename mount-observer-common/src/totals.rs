//! Counters and latency histograms kept in the kernel: exact under any load.

use crate::{BUCKETS, wire::wire};

/// An operation: a FUSE opcode, an NFS procedure or a path syscall, in one number space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// `enum fuse_opcode`.
    Fuse(u16),
    /// In the kernel's programs, an index of `NFS_NAMES`; elsewhere, what the daemon makes of the name
    /// there.
    Nfs(u16),
    /// One of [`crate::SyscallOp`].
    Syscall(u16),
}

impl Op {
    /// Set in the wire number of a syscall.
    pub const SYSCALL: u16 = 0x8000;

    /// Set in the wire number of an NFS procedure. FUSE opcodes stay below it, `CUSE_INIT` (4096) too.
    pub const NFS: u16 = 0x4000;

    /// The bits of a number within its kind.
    pub const NUMBER: u16 = 0x3fff;

    /// The wire number of a FUSE opcode.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would cost an eBPF stack frame per request"
    )]
    #[expect(
        clippy::as_conversions,
        reason = "opcodes are below 4097; TryFrom has a panic path"
    )]
    pub const fn wire_of_opcode(opcode: u32) -> u16 {
        (opcode & 0x3fff) as u16
    }

    /// The wire number of an NFS procedure, by the index of its name.
    #[inline(always)]
    #[expect(
        clippy::inline_always,
        reason = "a call would cost an eBPF stack frame per operation"
    )]
    #[expect(
        clippy::as_conversions,
        reason = "indices are below 512; TryFrom has a panic path"
    )]
    pub const fn wire_of_nfs(index: u32) -> u16 {
        (index & 0x3fff) as u16 | Self::NFS
    }

    /// The wire number.
    pub const fn to_wire(self) -> u16 {
        match self {
            Self::Fuse(opcode) => opcode & Self::NUMBER,
            Self::Nfs(number) => number & Self::NUMBER | Self::NFS,
            Self::Syscall(number) => number & Self::NUMBER | Self::SYSCALL,
        }
    }

    /// The operation a wire number stands for.
    pub const fn from_wire(wire: u16) -> Self {
        let number = wire & Self::NUMBER;
        if wire & Self::SYSCALL != 0 {
            Self::Syscall(number)
        } else if wire & Self::NFS != 0 {
            Self::Nfs(number)
        } else {
            Self::Fuse(number)
        }
    }
}

/// Key of the per-CPU hash `TOTALS`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "decode",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct TotalsKey {
    /// `s_dev`; 0 for failures the kernel side could not attribute.
    pub dev: u32,
    /// [`Op::to_wire`].
    pub op: u16,
    /// Positive errno; 0 for a success.
    pub errno: u16,
}
wire!(TotalsKey, 8);

/// Value of the per-CPU hash `TOTALS`, since attach.
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
pub struct TotalsValue {
    /// Operations ended.
    pub count: u64,
    /// Sum of latencies in ns, of the operations whose start was seen.
    pub sum_ns: u64,
    /// `CLOCK_MONOTONIC`, ns, of the last end.
    pub last_ns: u64,
    /// Operations that took at least the slow threshold: exact where a bucket is too coarse.
    pub slow: u64,
    /// Operations by latency ([`crate::bucket_of`]), of those whose start was seen.
    pub buckets: [u32; BUCKETS],
}
wire!(TotalsValue, 144);

impl TotalsValue {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        count: 0,
        sum_ns: 0,
        last_ns: 0,
        slow: 0,
        buckets: [0; BUCKETS],
    };
}

/// What the map `TOTALS` holds per CPU: the counters, and the rate limit of their records.
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
pub struct TotalsSlot {
    /// The counters.
    pub value: TotalsValue,
    /// `CLOCK_MONOTONIC`, ns, when the current burst of records began.
    pub window_ns: u64,
    /// Records made in it.
    pub window_records: u32,
    /// Records held back since the last one made.
    pub suppressed: u32,
}
wire!(TotalsSlot, 160);

impl TotalsSlot {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        value: TotalsValue::ZERO,
        window_ns: 0,
        window_records: 0,
        suppressed: 0,
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_survives_the_wire() {
        for number in [0, 1, 52, 4096, 0x3fff] {
            for op in [Op::Fuse(number), Op::Nfs(number), Op::Syscall(number)] {
                assert_eq!(Op::from_wire(op.to_wire()), op);
            }
        }
    }
}
