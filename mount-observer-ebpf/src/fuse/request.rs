//! FUSE requests: sent, ended, in flight.
//!
//! Requests are paired by the address of their `struct fuse_req`: `unique` is 0 at send before
//! 6.18. What fails before a request exists is seen by [`super::call`].

use core::mem::MaybeUninit;

use aya_ebpf::{
    helpers::{
        bpf_get_current_cgroup_id, bpf_get_current_pid_tgid,
        generated::{bpf_get_current_comm, bpf_ktime_get_ns},
    },
    macros::{btf_tracepoint, fentry, kprobe, raw_tracepoint},
    programs::{BtfTracePointContext, FEntryContext, ProbeContext, RawTracePointContext},
};
use aya_log_ebpf::{debug, warn};
use mount_observer_common::{COMM_BYTES, Counter, InFlight, Op, TotalsKey};

use super::{
    call,
    end::{End, Request, Who},
};
use crate::{
    counters::{count, count_if_self},
    kernel::{
        OFF_REQ_ARGS, OFF_REQ_ERROR, OFF_REQ_NODEID, OFF_REQ_OPCODE, OFF_REQ_PID, OFF_REQ_UNIQUE,
        Probed, Reader, Typed, exists, field, follow, request_dev,
    },
    maps::{IN_FLIGHT, SERVERS},
    trace,
};

#[btf_tracepoint(function = "fuse_request_send")]
fn fuse_send(context: BtfTracePointContext) -> i32 {
    sent::<Typed>(context.arg(0));
    0
}

#[btf_tracepoint(function = "fuse_request_end")]
fn fuse_end(context: BtfTracePointContext) -> i32 {
    ended::<Typed>(context.arg(0));
    0
}

/// Where FUSE is a module without BTF: its tracepoints need none.
#[raw_tracepoint(tracepoint = "fuse_request_send")]
fn fuse_send_raw(context: RawTracePointContext) -> i32 {
    sent::<Probed>(context.arg(0));
    0
}

/// See [`fuse_send_raw`].
#[raw_tracepoint(tracepoint = "fuse_request_end")]
fn fuse_end_raw(context: RawTracePointContext) -> i32 {
    ended::<Probed>(context.arg(0));
    0
}

/// Before the tracepoints (6.12) every request goes through here: `void queue_request_and_unlock(
/// struct fuse_iqueue *fiq, struct fuse_req *req)`, `fs/fuse/dev.c`, v5.10 to v6.11.
#[fentry(function = "queue_request_and_unlock")]
fn fuse_send_fentry(context: FEntryContext) -> i32 {
    sent::<Typed>(context.arg(1));
    0
}

/// `void fuse_request_end(struct fuse_req *req)`, `fs/fuse/dev.c`, v5.10 to v7.3.
#[fentry(function = "fuse_request_end")]
fn fuse_end_fentry(context: FEntryContext) -> i32 {
    ended::<Typed>(context.arg(0));
    0
}

/// As [`fuse_send_fentry`], for a module without BTF.
#[kprobe]
fn fuse_send_kprobe(context: ProbeContext) -> u32 {
    if let Some(request) = context.arg::<*const u8>(1) {
        sent::<Probed>(request);
    }
    0
}

/// As [`fuse_end_fentry`], for a module without BTF.
#[kprobe]
fn fuse_end_kprobe(context: ProbeContext) -> u32 {
    if let Some(request) = context.arg::<*const u8>(0) {
        ended::<Probed>(request);
    }
    0
}

/// The arguments a request was made from; null when not known.
#[inline(always)]
fn args_of<R: Reader>(request: *const u8) -> *const u8 {
    if exists(&OFF_REQ_ARGS) {
        follow::<R>(request, &OFF_REQ_ARGS)
    } else {
        core::ptr::null()
    }
}

#[inline(always)]
fn sent<R: Reader>(request: *const u8) {
    let dev = request_dev::<R>(request);
    if dev == 0 {
        return;
    }
    count(Counter::RequestsSent);
    let pid_tgid = bpf_get_current_pid_tgid();
    count_if_self((pid_tgid >> 32) as u32);
    // The wait for a slot on the connection belongs to the request.
    let start_ns = match call::sent_now(pid_tgid as u32, args_of::<R>(request) as u64) {
        0 => {
            // SAFETY: the helper has no requirement.
            unsafe { bpf_ktime_get_ns() }
        }
        asked_ns => asked_ns,
    };
    let address = request as u64;
    if let Some(entry) = IN_FLIGHT.get_ptr_mut(address) {
        // SAFETY: a live map value; only the owner of the address writes to it.
        unsafe { describe::<R>(entry, request, dev, pid_tgid, start_ns) };
        return;
    }
    let mut entry = MaybeUninit::<InFlight>::uninit();
    // SAFETY: every field is written, so the value is complete.
    let entry = unsafe {
        describe::<R>(entry.as_mut_ptr(), request, dev, pid_tgid, start_ns);
        entry.assume_init_ref()
    };
    if IN_FLIGHT.insert(address, entry, 0).is_err() {
        count(Counter::InFlightFull);
        warn!((), "no room for a request in flight");
    }
}

/// Writes all of an entry. It is idle until the start is written, which comes last: a reader never
/// sees the start of one request with the rest of another.
///
/// # Safety
/// `entry` must be writable.
#[inline(always)]
unsafe fn describe<R: Reader>(
    entry: *mut InFlight,
    request: *const u8,
    dev: u32,
    pid_tgid: u64,
    start_ns: u64,
) {
    // SAFETY: as required of the caller; the name's buffer is COMM_BYTES long.
    unsafe {
        core::ptr::write_volatile(&raw mut (*entry).start_ns, 0);
        (*entry).unique = field::<R, u64>(request, &OFF_REQ_UNIQUE);
        (*entry).nodeid = field::<R, u64>(request, &OFF_REQ_NODEID);
        (*entry).dev = dev;
        (*entry).opcode = field::<R, u32>(request, &OFF_REQ_OPCODE);
        if is_sent_for_another::<R>(request, pid_tgid) {
            (*entry).tgid = 0;
            (*entry).tid = 0;
            (*entry).comm = [0; COMM_BYTES];
            (*entry).cgroup_id = 0;
        } else {
            (*entry).tgid = (pid_tgid >> 32) as u32;
            (*entry).tid = pid_tgid as u32;
            bpf_get_current_comm((&raw mut (*entry).comm).cast(), COMM_BYTES as u32);
            (*entry).cgroup_id = if trace::is_traced() {
                bpf_get_current_cgroup_id()
            } else {
                0
            };
        }
        core::ptr::write_volatile(&raw mut (*entry).start_ns, start_ns);
    }
}

/// Whether a server sends what somebody else asked for: a background request that waited for its turn
/// goes out when another one ends (`flush_bg_queue` from `fuse_request_end`, `fs/fuse/dev.c`, v6.18).
/// A server that asks on its own account is named in the request.
#[inline(always)]
fn is_sent_for_another<R: Reader>(request: *const u8, pid_tgid: u64) -> bool {
    exists(&OFF_REQ_PID)
        && field::<R, u32>(request, &OFF_REQ_PID) != pid_tgid as u32
        // SAFETY: the value is not used.
        && unsafe { SERVERS.get((pid_tgid >> 32) as u32) }.is_some()
}

#[inline(always)]
fn ended<R: Reader>(request: *const u8) {
    // SAFETY: the helper has no requirement.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let address = request as u64;
    let error: i32 = field::<R, i32>(request, &OFF_REQ_ERROR);
    let errno = error.wrapping_neg() as u32;
    let opcode = field::<R, u32>(request, &OFF_REQ_OPCODE);
    // SAFETY: a live map value; an idle one is left over from an earlier request.
    let entry = IN_FLIGHT
        .get_ptr_mut(address)
        .filter(|&entry| unsafe { (*entry).start_ns } != 0);
    let dev = match entry {
        // SAFETY: a live map value.
        Some(entry) => unsafe { (*entry).dev },
        None => request_dev::<R>(request),
    };
    if dev == 0 {
        return;
    }
    count(Counter::RequestsEnded);
    debug!(
        (),
        "opcode {} on {:x} ended with errno {}", opcode, dev, errno
    );
    let key = TotalsKey {
        dev,
        op: Op::wire_of_opcode(opcode),
        errno: errno as u16,
    };
    let (start_ns, who) = match entry {
        // SAFETY: a live map value.
        Some(entry) => (unsafe { (*entry).start_ns }, Who::Sender(entry)),
        None => unsent(args_of::<R>(request) as u64),
    };
    End {
        key,
        now_ns,
        start_ns,
        who,
    }
    .leave::<R>(Request {
        args: args_of::<R>(request),
        request: Some(request),
    });
    if let Some(entry) = entry {
        // Idle, not deleted: the slab hands the address out again, and a delete with the insert that
        // follows costs 150 ns a request. The daemon deletes idle entries when they are many.
        // SAFETY: a live map value.
        unsafe { (*entry).start_ns = 0 };
    }
}

/// When a request was asked for whose send was not seen, and by whom. Since 6.18 one that is forced
/// onto a dead connection ends in its caller's own hands without being sent (`fuse_dev_queue_req`,
/// `fs/fuse/dev.c`). Any other is older than the probes: counted without a latency, and its record
/// names nobody, because the current task is the server or the aborter.
#[inline(always)]
fn unsent(args: u64) -> (u64, Who) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let start_ns = call::sent_now(pid_tgid as u32, args);
    if start_ns == 0 {
        count(Counter::EndsUnmatched);
        return (0, Who::Nobody);
    }
    count(Counter::RequestsSent);
    count_if_self((pid_tgid >> 32) as u32);
    (start_ns, Who::Current)
}
