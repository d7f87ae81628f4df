//! What each thread asks a filesystem: a slot per thread, overwritten in place (`CALLS`).
//!
//! A slot is open from the start of a path syscall, of `vfs_statx` or of `vfs_getattr_nosec` to its
//! end. Every path walk of a thread notes in its slot where it failed, whether it is open or not:
//! the last walk before a path syscall returns is the one of that call.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_ktime_get_ns};
use mount_observer_common::{CALL_STATX, CALLS_MAX, Call, CallStage, Counter};

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

impl Timing {
    /// The time since a start.
    #[inline(always)]
    pub fn since(start_ns: u64) -> Self {
        // SAFETY: the helper has no requirement.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        let latency_ns = now_ns.saturating_sub(start_ns);
        let is_slow = SETTINGS
            .get(0)
            .is_some_and(|settings| latency_ns >= settings.slow_ns);
        Self {
            now_ns,
            latency_ns,
            is_slow,
        }
    }
}

/// The superblocks a call has met.
#[derive(Clone, Copy)]
pub struct Reached {
    /// The one it reached; 0 when not known.
    pub dev: u32,
    /// The FUSE superblock asked last; 0 for none.
    pub cause_dev: u32,
}

impl Reached {
    /// Nothing known.
    pub const NOTHING: Self = Self {
        dev: 0,
        cause_dev: 0,
    };
}

/// The current thread, in the initial pid namespace.
#[inline(always)]
pub fn current_tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// The slot of a thread, which may hold another's call.
#[inline(always)]
pub fn slot_of(tid: u32) -> Option<*mut Call> {
    CALLS.get_ptr_mut(tid & (CALLS_MAX - 1))
}

/// The slot of a thread, if it is its own.
#[inline(always)]
pub fn own_slot(tid: u32) -> Option<*mut Call> {
    // SAFETY: a live map value.
    slot_of(tid).filter(|&slot| unsafe { (*slot).tid } == tid)
}

/// The slot of a thread, taken over from another one if need be.
#[inline(always)]
pub fn take_slot(tid: u32) -> Option<*mut Call> {
    let slot = slot_of(tid)?;
    // SAFETY: a live map value.
    unsafe {
        if (*slot).tid != tid {
            if (*slot).start_ns != 0 {
                count(Counter::SlotCollisions);
            }
            clear(slot);
            (*slot).tid = tid;
        }
    }
    Some(slot)
}

/// Opens a call of the current thread.
#[inline(always)]
pub fn begin(number: u32) {
    let tid = current_tid();
    if let Some(slot) = slot_of(tid) {
        // SAFETY: a live map value. A thread that shares the slot may overwrite it, which its
        // number tells. The start comes last: with it the call is open.
        unsafe {
            clear(slot);
            (*slot).number = number;
            (*slot).tid = tid;
            core::ptr::write_volatile(&raw mut (*slot).start_ns, bpf_ktime_get_ns());
        }
    }
}

/// Empties a slot but for its owner.
#[inline(always)]
unsafe fn clear(slot: *mut Call) {
    // SAFETY: a live map value, as required of the caller.
    unsafe {
        core::ptr::write_volatile(&raw mut (*slot).start_ns, 0);
        (*slot).number = 0;
        (*slot).dev = 0;
        (*slot).cause_dev = 0;
        (*slot).stage = CallStage::None as u8;
        (*slot).is_cause_walking = 0;
        (*slot).nested = 0;
        (*slot).path = 0;
    }
}

/// Closes the current thread's path syscall; `None` when its start was not seen or is overwritten.
/// A call of the stat family may have been opened by `vfs_statx` instead.
#[inline(always)]
pub fn finish(number: u64, is_stat: bool) -> Option<Timing> {
    let tid = current_tid();
    let slot = slot_of(tid)?;
    // SAFETY: a live map value.
    let (start_ns, owner, begun) = unsafe { ((*slot).start_ns, (*slot).tid, (*slot).number) };
    if owner != tid {
        if owner != 0 {
            count(Counter::SlotCollisions);
        }
        return None;
    }
    let is_same = u64::from(begun) == number || is_stat && begun == CALL_STATX;
    if !is_same || start_ns == 0 {
        return None;
    }
    // SAFETY: a live map value. Free: the iterator must not take it for a call in progress.
    unsafe { (*slot).start_ns = 0 };
    Some(Timing::since(start_ns))
}

/// What the current thread's last path walk met; forgotten here, so that no later call is told it.
#[inline(always)]
pub fn take_reached() -> Reached {
    let Some(slot) = own_slot(current_tid()) else {
        return Reached::NOTHING;
    };
    // SAFETY: a live map value.
    unsafe {
        if (*slot).stage == CallStage::None as u8 {
            return Reached::NOTHING;
        }
        (*slot).stage = CallStage::None as u8;
        Reached {
            dev: (*slot).dev,
            cause_dev: (*slot).cause_dev,
        }
    }
}
