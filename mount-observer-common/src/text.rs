//! Where the kernel's functions lie, for programs that look at a kernel stack.

use crate::wire::wire;

/// Ranges in one value; more than we know functions of either sort.
pub const TEXT_RANGES_MAX: usize = 16;

/// The text of one kernel function. All zero when not in use.
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
pub struct TextRange {
    /// First address.
    pub start: u64,
    /// Address after the last.
    pub end: u64,
    /// What it says to come from here; not zero.
    pub tag: u64,
}
wire!(TextRange, 24);

/// The value of `WAIT_FUNCTIONS` and of `ABORT_CAUSES`: no two of the ranges overlap.
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
pub struct TextRanges(pub [TextRange; TEXT_RANGES_MAX]);
wire!(TextRanges, 24 * TEXT_RANGES_MAX);
