//! FUSE requests: sent, ended, in flight.
//!
//! Requests are paired by the address of their `struct fuse_req`: `unique` is 0 at send before
//! 6.18. What fails before a request exists (`fuse_get_req` on a dead connection) is not seen here.

use core::mem::MaybeUninit;

use aya_ebpf::{
    Global,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_current_comm, bpf_ktime_get_ns},
    },
    macros::{btf_tracepoint, raw_tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext},
};
use aya_log_ebpf::{debug, warn};
use mount_observer_common::{COMM_BYTES, Counter, InFlight, Op, Record, RecordKind, TotalsKey};

use crate::{
    counters::count,
    kernel::{
        OFF_REQ_ERROR, OFF_REQ_NODEID, OFF_REQ_OPCODE, OFF_REQ_PID, OFF_REQ_UNIQUE, Probed, Reader,
        Typed, exists, field, request_dev,
    },
    maps::{IN_FLIGHT, SERVERS, SETTINGS},
    record::{self, Facts, Wake},
    totals,
};

/// One bit per errno whose failures leave a record: those a broken connection or server answers.
#[unsafe(no_mangle)]
static RECORDED_ERRNO: [Global<u64>; 3] = [const { Global::new(0) }; 3];

/// Whether failures with this errno leave a record.
#[inline(always)]
pub fn is_recorded(errno: u32) -> bool {
    let bits = match errno >> 6 {
        0 => RECORDED_ERRNO[0].load(),
        1 => RECORDED_ERRNO[1].load(),
        2 => RECORDED_ERRNO[2].load(),
        _ => 0,
    };
    bits >> (errno & 63) & 1 != 0
}

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

/// Where FUSE is a module: its BTF is out of aya's reach, its tracepoints are not.
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

#[inline(always)]
fn sent<R: Reader>(request: *const u8) {
    let dev = request_dev::<R>(request);
    if dev == 0 {
        return;
    }
    count(Counter::RequestsSent);
    let pid_tgid = bpf_get_current_pid_tgid();
    let tgid = (pid_tgid >> 32) as u32;
    if let Some(settings) = SETTINGS.get(0)
        && settings.self_tgid == tgid
    {
        count(Counter::SelfTouches);
    }
    // SAFETY: the helper has no requirement.
    let start_ns = unsafe { bpf_ktime_get_ns() };
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
        } else {
            (*entry).tgid = (pid_tgid >> 32) as u32;
            (*entry).tid = pid_tgid as u32;
            bpf_get_current_comm((&raw mut (*entry).comm).cast(), COMM_BYTES as u32);
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
    let end = End {
        now_ns,
        op: Op::wire_of_opcode(opcode),
        errno,
        dev,
    };
    match entry {
        Some(entry) => {
            end_matched(&end, entry);
            // Idle, not deleted: the slab hands the address out again, and a delete with the insert
            // that follows costs 150 ns a request. The daemon deletes idle entries when they are many.
            // SAFETY: a live map value.
            unsafe { (*entry).start_ns = 0 };
        }
        None => end_unmatched(&end),
    }
}

/// What the end of a request tells by itself.
struct End {
    now_ns: u64,
    op: u16,
    errno: u32,
    dev: u32,
}

impl End {
    #[inline(always)]
    fn key(&self) -> TotalsKey {
        TotalsKey {
            dev: self.dev,
            op: self.op,
            errno: self.errno as u16,
        }
    }
}

#[inline(always)]
fn end_matched(end: &End, entry: *const InFlight) {
    // SAFETY: a live map value.
    let entry = unsafe { &*entry };
    let latency_ns = end.now_ns.saturating_sub(entry.start_ns);
    let is_slow = SETTINGS
        .get(0)
        .is_some_and(|settings| latency_ns >= settings.slow_ns);
    let Some(slot) = totals::slot_of(&end.key()) else {
        return;
    };
    // SAFETY: just looked up.
    unsafe { totals::add_latency(slot, end.now_ns, latency_ns, is_slow) };
    let kind = if is_recorded(end.errno) {
        RecordKind::RequestFailed
    } else if is_slow {
        RecordKind::RequestSlow
    } else {
        return;
    };
    // SAFETY: just looked up.
    let Some(suppressed) = (unsafe { totals::admit(slot, end.now_ns) }) else {
        return;
    };
    let Some(mut room) = record::reserve::<Record>() else {
        return;
    };
    let facts = Facts {
        kind,
        op: end.op,
        time_ns: end.now_ns,
        latency_ns,
        dev: end.dev,
        errno: end.errno,
        pid_tgid: u64::from(entry.tgid) << 32 | u64::from(entry.tid),
        suppressed,
        mnt_ns: 0,
    };
    // SAFETY: reserved memory.
    unsafe {
        record::fill(room.as_mut_ptr(), &facts);
        (*room.as_mut_ptr()).comm = entry.comm;
    }
    record::submit(room, Wake::Later);
}

/// A request older than the probes: counted, without a latency. Failures still leave a record,
/// which names nobody: the current task is the server or the aborter.
#[inline(always)]
fn end_unmatched(end: &End) {
    count(Counter::EndsUnmatched);
    let Some(slot) = totals::slot_of(&end.key()) else {
        return;
    };
    // SAFETY: just looked up.
    unsafe { totals::add_end(slot, end.now_ns) };
    if !is_recorded(end.errno) {
        return;
    }
    // SAFETY: just looked up.
    let Some(suppressed) = (unsafe { totals::admit(slot, end.now_ns) }) else {
        return;
    };
    let Some(mut room) = record::reserve::<Record>() else {
        return;
    };
    let facts = Facts {
        kind: RecordKind::RequestFailed,
        op: end.op,
        time_ns: end.now_ns,
        latency_ns: 0,
        dev: end.dev,
        errno: end.errno,
        pid_tgid: 0,
        suppressed,
        mnt_ns: 0,
    };
    // SAFETY: reserved memory.
    unsafe {
        record::fill(room.as_mut_ptr(), &facts);
        (*room.as_mut_ptr()).comm = [0; COMM_BYTES];
    }
    record::submit(room, Wake::Later);
}
