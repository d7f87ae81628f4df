//! Which operations a trace wants to see, as far as the kernel can tell.

use mount_observer_common::{COMM_BYTES, Op, TRACE_ERRNO_REST, TRACE_FUSE_REST, TraceFilter};

use super::{Operation, comm_words};

/// Whether a filter admits an operation; what is not known of it admits it.
#[inline(always)]
pub(super) fn admits(filter: &TraceFilter, operation: &Operation) -> bool {
    is_operation(filter, operation.op)
        && is_set(&filter.errno, operation.errno.min(TRACE_ERRNO_REST))
        && (operation.latency_ns == 0 || operation.latency_ns >= filter.min_latency_ns)
        && is_pid(filter, operation.tgid)
        && is_cgroup(filter, operation.cgroup_id)
        && is_comm(filter, operation.comm)
}

#[inline(always)]
fn is_operation(filter: &TraceFilter, op: u16) -> bool {
    let number = u32::from(op & Op::NUMBER);
    if op & Op::SYSCALL != 0 {
        filter.syscalls >> (number & 63) & 1 != 0
    } else if op & Op::NFS != 0 {
        filter.nfs != 0
    } else {
        is_set(&filter.fuse, number.min(TRACE_FUSE_REST))
    }
}

/// A bit of a set. Its word is chosen by comparison: an index would have to be bounded for the verifier.
#[inline(always)]
fn is_set<const WORDS: usize>(words: &[u64; WORDS], bit: u32) -> bool {
    let mut word = 0;
    let mut index = 0;
    while index < WORDS {
        if bit >> 6 == index as u32 {
            // SAFETY: below the length; indexing would leave a panic path.
            word = unsafe { *words.as_ptr().add(index) };
        }
        index += 1;
    }
    word >> (bit & 63) & 1 != 0
}

#[inline(always)]
fn is_pid(filter: &TraceFilter, tgid: u32) -> bool {
    filter.has_pids == 0 || tgid == 0 || has(&filter.pids, tgid)
}

#[inline(always)]
fn is_cgroup(filter: &TraceFilter, cgroup_id: u64) -> bool {
    filter.has_cgroups == 0 || cgroup_id == 0 || has(&filter.cgroups, cgroup_id)
}

/// Whether a value, which is not zero, has a place.
#[inline(always)]
fn has<T: Copy + PartialEq, const PLACES: usize>(places: &[T; PLACES], value: T) -> bool {
    places.iter().any(|place| *place == value)
}

#[inline(always)]
fn is_comm(filter: &TraceFilter, comm: [u64; COMM_BYTES / 8]) -> bool {
    if filter.has_comms == 0 || comm == [0; 2] {
        return true;
    }
    // SAFETY: a map value, whose names are aligned.
    let mut wanted = filter.comms.iter().map(|name| unsafe { comm_words(name) });
    wanted.any(|wanted| wanted == comm)
}
