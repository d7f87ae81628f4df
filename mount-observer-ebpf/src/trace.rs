//! A trace: a record of every operation on a superblock in scope that its filter admits, in a ring of its
//! own, so that a flood never costs the observer a record. Off in the daemon: the verifier removes all
//! of it.

mod filter;

use aya_ebpf::{
    Global,
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{bpf_get_current_cgroup_id, bpf_get_current_pid_tgid},
    maps::ring_buf::RingBufEntry,
};
use mount_observer_common::{COMM_BYTES, Counter, TotalsKey};

use crate::{
    counters::count,
    kernel::is_on,
    maps::{TRACE_FILTER, TRACE_STATE, TRACES},
    record::fill_current_comm,
};

/// Injected: whether there is a trace.
#[unsafe(no_mangle)]
static IS_TRACED: Global<u32> = Global::new(0);

/// Records after which the reader is woken: one wake-up, of 3 to 8 us, in so many operations. Fewer
/// wait for the reader's next poll. 256 x 352 B on each of 64 CPUs are 5.5 MiB.
const WAKE_AFTER: u32 = 256;

/// Whether there is a trace.
#[inline(always)]
pub fn is_traced() -> bool {
    is_on(&IS_TRACED)
}

/// An operation as it ends, on a superblock in scope or on one that could not be told.
#[derive(Clone, Copy)]
pub struct Operation {
    /// Its wire number.
    pub op: u16,
    /// Positive errno; 0 for a success.
    pub errno: u32,
    /// From start to end; 0 when not known.
    pub latency_ns: u64,
    /// The caller; 0 when not known.
    pub tgid: u32,
    /// The caller's control group; 0 when not known.
    pub cgroup_id: u64,
    /// The caller's name; all NUL when not known.
    pub comm: [u64; COMM_BYTES / 8],
}

impl Operation {
    /// One that the current task asked for.
    #[inline(always)]
    pub fn of_current(key: &TotalsKey, latency_ns: u64) -> Self {
        let mut comm = [0; COMM_BYTES / 8];
        // SAFETY: as long as a name.
        unsafe { fill_current_comm((&raw mut comm).cast()) };
        Self {
            op: key.op,
            errno: u32::from(key.errno),
            latency_ns,
            tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
            // SAFETY: the helper has no requirement.
            cgroup_id: unsafe { bpf_get_current_cgroup_id() },
            comm,
        }
    }
}

/// A name as two words, to compare it.
///
/// # Safety
/// `comm` must be readable and aligned to 8 bytes.
#[inline(always)]
pub unsafe fn comm_words(comm: *const [u8; COMM_BYTES]) -> [u64; COMM_BYTES / 8] {
    let at = comm.cast::<u64>();
    // SAFETY: as required of the caller.
    unsafe { [*at, *at.add(1)] }
}

/// Whether a trace wants to see an operation, if it is on a superblock in scope.
#[inline(always)]
pub fn admits(operation: &Operation) -> bool {
    TRACE_FILTER
        .get(0)
        .is_some_and(|filter| filter::admits(filter, operation))
}

/// Room for the record of an operation on a superblock in scope, if the trace wants to see it.
#[inline(always)]
pub fn reserve<T: 'static>(operation: &Operation) -> Option<RingBufEntry<T>> {
    let filter = TRACE_FILTER.get(0)?;
    let is_wanted = filter::admits(filter, operation)
        && (operation.latency_ns >= filter.unsampled_ns || is_sampled(filter.sample));
    if !is_wanted {
        return None;
    }
    let entry = TRACES.reserve::<T>(0);
    if entry.is_none() {
        count(Counter::TraceLost);
    }
    entry
}

/// Hands a record over.
#[inline(always)]
pub fn submit<T>(entry: RingBufEntry<T>) {
    count(Counter::TraceRecords);
    entry.submit(u64::from(if is_reader_due() {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    }));
}

/// Whether this one of those admitted leaves a record.
#[inline(always)]
fn is_sampled(one_of: u32) -> bool {
    if one_of <= 1 {
        return true;
    }
    let Some(state) = TRACE_STATE.get_ptr_mut(0) else {
        return false;
    };
    // SAFETY: a live map value of this CPU.
    let state = unsafe { &mut *state };
    if state.skipped + 1 < one_of {
        state.skipped += 1;
        count(Counter::TraceSkipped);
        return false;
    }
    state.skipped = 0;
    true
}

/// Whether the reader is to be woken.
#[inline(always)]
fn is_reader_due() -> bool {
    let Some(state) = TRACE_STATE.get_ptr_mut(0) else {
        return true;
    };
    // SAFETY: a live map value of this CPU.
    let state = unsafe { &mut *state };
    state.unannounced += 1;
    if state.unannounced < WAKE_AFTER {
        return false;
    }
    state.unannounced = 0;
    true
}
