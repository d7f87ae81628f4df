//! When each thread's path syscall began.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns};
use mount_observer_common::{CALLS_MAX, Call, Counter};

use crate::{
    counters::count,
    maps::{CALLS, SETTINGS},
};

/// When a call began, and how long it took.
#[derive(Clone, Copy)]
pub struct Timing {
    /// Now.
    pub now_ns: u64,
    /// From start to end.
    pub latency_ns: u64,
    /// Whether that is at least the threshold.
    pub is_slow: bool,
}

#[inline(always)]
fn start_of(tid: u32) -> Option<*mut Call> {
    CALLS.get_ptr_mut(tid & (CALLS_MAX - 1))
}

/// Notes when the current thread's call begins.
#[inline(always)]
pub fn begin(number: u64) {
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(start) = start_of(tid) {
        // SAFETY: a live map value. A thread that shares the slot may overwrite it, which its
        // number tells.
        unsafe {
            (*start).number = number as u32;
            (*start).tid = tid;
            (*start).start_ns = bpf_ktime_get_ns();
        }
    }
}

/// Takes the start of the current thread's call; `None` when it was not seen or is overwritten.
#[inline(always)]
pub fn finish(number: u64) -> Option<Timing> {
    let tid = bpf_get_current_pid_tgid() as u32;
    let start = start_of(tid)?;
    // SAFETY: a live map value.
    let Call {
        start_ns,
        tid: owner,
        number: begun,
        ..
    } = unsafe { *start };
    if owner != tid || u64::from(begun) != number || start_ns == 0 {
        if owner != 0 && owner != tid {
            count(Counter::SlotCollisions);
        }
        return None;
    }
    // SAFETY: a live map value. Free: the iterator must not take it for a call in progress.
    unsafe { (*start).start_ns = 0 };
    // SAFETY: the helper has no requirement.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let latency_ns = now_ns.saturating_sub(start_ns);
    let is_slow = SETTINGS
        .get(0)
        .is_some_and(|settings| latency_ns >= settings.slow_ns);
    Some(Timing {
        now_ns,
        latency_ns,
        is_slow,
    })
}
