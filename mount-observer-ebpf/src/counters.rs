//! Counting what was seen and what was dropped.

use mount_observer_common::Counter;

use crate::maps::COUNTERS;

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter.slot()) {
        // SAFETY: the verifier knows the slot to be a live u64 of this CPU's copy. A program that
        // preempts this one on the same CPU (7.0 and later) may lose one count, never more.
        unsafe { *slot += 1 };
    }
}
