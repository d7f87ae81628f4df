//! What a trace shows of an NFS operation.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use mount_observer_common::{COMM_BYTES, RecordKind, TotalsKey, TraceRecord};

use crate::{
    calls::Timing,
    kernel::{OFF_RPC_OWNER, Probed, exists, field},
    record::{self, Facts},
    scope::is_in_scope,
    trace::{self, Operation},
};

/// Leaves a record of a call that ended, if the trace wants it. What nobody waits for ends in a worker of
/// the kernel's: then no more is known of the caller than its process.
#[inline(always)]
pub(super) fn leave(task: *const u8, key: &TotalsKey, timing: Timing) {
    if !is_in_scope(key.dev) {
        return;
    }
    let current = bpf_get_current_pid_tgid();
    let owner = if exists(&OFF_RPC_OWNER) {
        field::<Probed, u32>(task, &OFF_RPC_OWNER)
    } else {
        0
    };
    let is_current = owner == (current >> 32) as u32;
    let mut operation = Operation::of_current(key, timing.latency_ns);
    if !is_current {
        operation.tgid = owner;
        operation.cgroup_id = 0;
        operation.comm = [0; COMM_BYTES / 8];
    }
    let Some(mut room) = trace::reserve::<TraceRecord>(&operation) else {
        return;
    };
    let facts = Facts {
        kind: RecordKind::RequestTraced,
        op: key.op,
        time_ns: timing.now_ns,
        latency_ns: timing.latency_ns,
        dev: key.dev,
        errno: u32::from(key.errno),
        pid_tgid: if is_current {
            current
        } else {
            u64::from(owner) << 32
        },
        suppressed: 0,
        mnt_ns: 0,
    };
    let record = room.as_mut_ptr();
    // SAFETY: reserved memory.
    unsafe {
        record::fill(&raw mut (*record).record, &facts);
        (*record).record.cgroup_id = operation.cgroup_id;
        (&raw mut (*record).record.comm)
            .cast::<[u64; COMM_BYTES / 8]>()
            .write(operation.comm);
        (*record).nodeid = 0;
        (*record).unique = 0;
        (*record).pad = 0;
        (*record).name_len = 0;
    }
    trace::submit(room);
}
