//! Writes that land below a mount point on which nothing is mounted.

use crate::wire::wire;

/// Mount points that should be there and are not, at most.
pub const EXPECTED_MAX: u32 = 64;

/// Value of the per-CPU array `SHADOW_WRITES`, by the place of the mount point in `EXPECTED`.
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
pub struct ShadowSlot {
    /// System calls that opened something for writing there, or made or changed a name.
    pub count: u64,
    /// When the current window of records began, `CLOCK_MONOTONIC`, ns.
    pub window_ns: u64,
    /// Records left in it.
    pub window_records: u32,
    /// Records held back since the last.
    pub suppressed: u32,
}
wire!(ShadowSlot, 24);
