//! What a trace shows of a FUSE request, beyond what the observer wants of it.

use mount_observer_common::{COMM_BYTES, InFlight, RecordKind, TraceRecord};

use super::{
    arguments,
    end::{End, Request, Who},
};
use crate::{
    kernel::{OFF_ARGS_NODEID, OFF_REQ_NODEID, OFF_REQ_UNIQUE, Reader, exists, field},
    scope::is_in_scope,
    trace::{self, Operation, comm_words},
};

/// Leaves a record of a request that ended, if the trace wants it.
#[inline(always)]
pub(super) fn leave<R: Reader>(end: &End, latency_ns: u64, of: Request) {
    if !is_in_scope(end.key.dev) {
        return;
    }
    let operation = match end.who {
        Who::Current => Operation::of_current(&end.key, latency_ns),
        Who::Sender(entry) => of_sender(end, latency_ns, entry),
        Who::Nobody => of_nobody(end, latency_ns),
    };
    let Some(mut room) = trace::reserve::<TraceRecord>(&operation) else {
        return;
    };
    let record = room.as_mut_ptr();
    // SAFETY: reserved memory.
    unsafe {
        let fixed = &raw mut (*record).record;
        end.fill(fixed, RecordKind::RequestTraced, latency_ns, 0);
        // That of the caller, not of the current task, which is the server.
        (*fixed).cgroup_id = operation.cgroup_id;
        (*record).pad = 0;
        match of.request {
            Some(request) => {
                (*record).nodeid = field::<R, u64>(request, &OFF_REQ_NODEID);
                (*record).unique = field::<R, u64>(request, &OFF_REQ_UNIQUE);
            }
            None => {
                (*record).nodeid = if !of.args.is_null() && exists(&OFF_ARGS_NODEID) {
                    field::<R, u64>(of.args, &OFF_ARGS_NODEID)
                } else {
                    0
                };
                (*record).unique = 0;
            }
        }
        let name = &raw mut (*record).name;
        (*record).name_len = arguments::copy_name::<R, _>(end.key.op, of.args, name);
    }
    trace::submit(room);
}

#[inline(always)]
fn of_nobody(end: &End, latency_ns: u64) -> Operation {
    Operation {
        op: end.key.op,
        errno: u32::from(end.key.errno),
        latency_ns,
        tgid: 0,
        cgroup_id: 0,
        comm: [0; COMM_BYTES / 8],
    }
}

#[inline(always)]
fn of_sender(end: &End, latency_ns: u64, entry: *const InFlight) -> Operation {
    // SAFETY: a live map value, whose name is aligned.
    unsafe {
        Operation {
            tgid: (*entry).tgid,
            cgroup_id: (*entry).cgroup_id,
            comm: comm_words(&raw const (*entry).comm),
            ..of_nobody(end, latency_ns)
        }
    }
}
