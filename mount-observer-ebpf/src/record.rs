//! Ring buffer records: reserve or count the loss.

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_cgroup_id, generated::bpf_get_current_comm},
    maps::ring_buf::RingBufEntry,
};
use aya_log_ebpf::warn;
use mount_observer_common::{COMM_BYTES, Counter, Record, RecordKind};

use crate::{counters::count, maps::EVENTS};

/// Whether the daemon is woken for a record. A wake-up costs 3 to 8 us in the context of whoever
/// made the record, so it is kept for facts that settle the matter at once.
#[derive(Clone, Copy)]
pub enum Wake {
    /// The daemon's next poll finds it.
    Later,
    /// The daemon is woken.
    Now,
}

/// Room for a record; `None` when the ring is full, which is counted.
#[inline(always)]
pub fn reserve<T: 'static>() -> Option<RingBufEntry<T>> {
    let entry = EVENTS.reserve::<T>(0);
    if entry.is_none() {
        count(Counter::RingFull);
        warn!((), "no room in the ring buffer");
    }
    entry
}

/// Hands a record over.
#[inline(always)]
pub fn submit<T>(entry: RingBufEntry<T>, wake: Wake) {
    count(Counter::Records);
    entry.submit(u64::from(match wake {
        Wake::Later => BPF_RB_NO_WAKEUP,
        Wake::Now => BPF_RB_FORCE_WAKEUP,
    }));
}

/// What every record says.
#[derive(Clone, Copy)]
pub struct Facts {
    /// What happened.
    pub kind: RecordKind,
    /// The operation's wire number.
    pub op: u16,
    /// Now.
    pub time_ns: u64,
    /// From start to end; 0 when not known.
    pub latency_ns: u64,
    /// The superblock; 0 when not known.
    pub dev: u32,
    /// Positive errno, or an exit code.
    pub errno: u32,
    /// The caller: process in the upper half, thread in the lower.
    pub pid_tgid: u64,
    /// Records held back before this one.
    pub suppressed: u32,
    /// The caller's mount namespace; 0 when not read.
    pub mnt_ns: u32,
}

/// Writes the fixed part of a record, field by field: a struct copy becomes a byte loop.
///
/// # Safety
/// `record` must be writable ring buffer memory.
#[inline(always)]
pub unsafe fn fill(record: *mut Record, facts: &Facts) {
    // SAFETY: as required of the caller; a plain write of every field but the name.
    unsafe {
        (*record).kind = facts.kind as u32;
        (*record).op = u32::from(facts.op);
        (*record).time_ns = facts.time_ns;
        (*record).latency_ns = facts.latency_ns;
        (*record).cgroup_id = bpf_get_current_cgroup_id();
        (*record).dev = facts.dev;
        (*record).errno = facts.errno;
        (*record).tgid = (facts.pid_tgid >> 32) as u32;
        (*record).tid = facts.pid_tgid as u32;
        (*record).suppressed = facts.suppressed;
        (*record).mnt_ns = facts.mnt_ns;
    }
}

/// Writes the current task's name.
///
/// # Safety
/// `comm` must be writable.
#[inline(always)]
pub unsafe fn fill_current_comm(comm: *mut [u8; COMM_BYTES]) {
    // SAFETY: as required of the caller. The helper cannot fail for a non-null buffer.
    unsafe { bpf_get_current_comm(comm.cast(), COMM_BYTES as u32) };
}
