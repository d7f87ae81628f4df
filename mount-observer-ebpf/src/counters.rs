//! Counting what was seen and what was dropped.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use mount_observer_common::Counter;

use crate::maps::{COUNTERS, SETTINGS};

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(slot) = COUNTERS.get_ptr_mut(counter.slot()) {
        // SAFETY: the verifier knows the slot to be a live u64 of this CPU's copy. A program that
        // preempts this one on the same CPU (7.0 and later) loses what it counts meanwhile.
        unsafe { *slot += 1 };
    }
}

/// Counts what a process asks of what is observed, if that process is the observer.
#[inline(always)]
pub fn count_if_self(tgid: u32) {
    if SETTINGS
        .get(0)
        .is_some_and(|settings| settings.self_tgid == tgid)
    {
        count(Counter::SelfTouches);
    }
}

/// Counts what the current process asks, if it is the observer.
#[inline(always)]
pub fn count_if_current_is_self() {
    count_if_self((bpf_get_current_pid_tgid() >> 32) as u32);
}
