//! How large the maps are.

use mount_observer_common::{CALLS_MAX, TotalsSlot};

/// How large the maps are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Entries of `TOTALS`.
    pub totals: u32,
    /// Entries of `IN_FLIGHT`.
    pub in_flight: u32,
    /// Bytes of `EVENTS`, rounded up to a power of two of pages.
    pub ring_bytes: u32,
    /// The same for `TRACES`; 0 without a trace.
    pub trace_bytes: u32,
    /// Entries of `CALLS` and of `FUSE_CALLS`.
    pub calls: u32,
}

impl Sizes {
    /// What `TOTALS` may take over all CPUs.
    const TOTALS_BYTES_MAX: usize = 32 << 20;

    /// Sizes for a machine with so many possible CPUs.
    pub fn for_cpus(cpus: usize) -> Self {
        let entry = size_of::<TotalsSlot>() * cpus.max(1);
        let totals = u32::try_from(Self::TOTALS_BYTES_MAX / entry).unwrap_or(u32::MAX);
        Self {
            totals: totals.min(16_384),
            in_flight: 16_384,
            ring_bytes: 1 << 20,
            trace_bytes: 0,
            calls: CALLS_MAX,
        }
    }

    /// Entries of a map; `None` for as many as the object says.
    pub(super) fn of(self, map: &str) -> Option<u32> {
        match map {
            "TOTALS" => Some(self.totals),
            "IN_FLIGHT" => Some(self.in_flight),
            "CALLS" | "FUSE_CALLS" => Some(self.calls),
            "EVENTS" => Some(ring(self.ring_bytes)),
            "TRACES" => Some(ring(self.trace_bytes)),
            _ => None,
        }
    }
}

/// What the kernel takes for the size of a ring: a power of two of pages.
fn ring(bytes: u32) -> u32 {
    let page = u32::try_from(rustix::param::page_size()).unwrap_or(4096);
    let bytes = bytes.max(page).checked_next_power_of_two();
    bytes.unwrap_or(1 << 31)
}
