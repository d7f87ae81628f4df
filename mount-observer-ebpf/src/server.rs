//! The exit of a process that serves a FUSE connection.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use mount_observer_common::{Counter, Record, RecordKind};

use crate::{
    counters::count,
    kernel::{
        OFF_SIGNAL_LIVE, OFF_SIGNAL_OOM_MM, OFF_TASK_EXIT_CODE, OFF_TASK_PID, OFF_TASK_SIGNAL,
        OFF_TASK_TGID, Typed, exists, field, follow,
    },
    maps::SERVERS,
    record::{self, Facts, Wake},
};

/// Runs before the process closes its descriptors (`exit_files` follows in `do_exit`,
/// `kernel/exit.c`): the daemon looks at the connection until it is gone.
#[btf_tracepoint(function = "sched_process_exit")]
fn server_exit(context: BtfTracePointContext) -> i32 {
    let task: *const u8 = context.arg(0);
    let tgid = field::<Typed, u32>(task, &OFF_TASK_TGID);
    // SAFETY: the value is not used.
    if unsafe { SERVERS.get(tgid) }.is_none() {
        return 0;
    }
    // `signal->live` is decremented before the tracepoint: 0 says this was the last thread.
    let signal = follow::<Typed>(task, &OFF_TASK_SIGNAL);
    if field::<Typed, i32>(signal, &OFF_SIGNAL_LIVE) != 0 {
        return 0;
    }
    count(Counter::ServerExits);
    debug!((), "server {} exits", tgid);
    let Some(mut room) = record::reserve::<Record>() else {
        return 0;
    };
    let facts = Facts {
        kind: RecordKind::ServerExit,
        op: u16::from(is_oom_victim(signal)),
        // SAFETY: the helper has no requirement.
        time_ns: unsafe { bpf_ktime_get_ns() },
        latency_ns: 0,
        dev: 0,
        errno: field::<Typed, u32>(task, &OFF_TASK_EXIT_CODE),
        pid_tgid: u64::from(tgid) << 32 | u64::from(field::<Typed, u32>(task, &OFF_TASK_PID)),
        suppressed: 0,
        mnt_ns: 0,
    };
    // SAFETY: reserved memory; the exiting task is the current one.
    unsafe {
        record::fill(room.as_mut_ptr(), &facts);
        record::fill_current_comm(&raw mut (*room.as_mut_ptr()).comm);
    }
    record::submit(room, Wake::Now);
    0
}

/// Whether the kernel chose the process to free its memory: the mark is never taken back
/// (`mark_oom_victim`, `mm/oom_kill.c`, v5.10 to v7.3).
#[inline(always)]
fn is_oom_victim(signal: *const u8) -> bool {
    exists(&OFF_SIGNAL_OOM_MM) && !follow::<Typed>(signal, &OFF_SIGNAL_OOM_MM).is_null()
}
