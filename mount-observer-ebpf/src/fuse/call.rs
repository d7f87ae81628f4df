//! Calls that ask a FUSE server for something, from the moment they are made.
//!
//! A call waits for a slot on its connection before there is a request, and a dead connection refuses
//! it there (`fuse_get_req`, `fs/fuse/dev.c`): both are seen by nobody else.

use aya_ebpf::{
    helpers::generated::bpf_ktime_get_ns,
    macros::{fentry, fexit, kprobe},
    programs::{FEntryContext, FExitContext, ProbeContext},
};
use mount_observer_common::{CALLS_MAX, CallStage, Counter, FuseCall, Op, TotalsKey};

use super::end::{End, Request, Who};
use crate::{
    calls::{self, current_tid},
    counters::{count, count_if_current_is_self},
    errno::{errno_of, is_recorded},
    kernel::{
        OFF_ARGS_OPCODE, OFF_FM_SB, OFF_SB_DEV, OFF_TASK_NAMEIDATA, Probed, Reader, Typed, exists,
        field, follow, with_current,
    },
    maps::FUSE_CALLS,
};

/// `ssize_t __fuse_simple_request(struct mnt_idmap *idmap, struct fuse_mount *fm, struct fuse_args
/// *args)`, `fs/fuse/dev.c`, v6.12 to v7.3.
#[fentry(function = "__fuse_simple_request")]
fn fuse_call_idmap(context: FEntryContext) -> i32 {
    asked::<Typed>(context.arg(1), context.arg(2), true);
    0
}

/// `ssize_t fuse_simple_request(struct fuse_mount *fm, struct fuse_args *args)`, `fs/fuse/dev.c`,
/// v5.10 to v6.11.
#[fentry(function = "fuse_simple_request")]
fn fuse_call(context: FEntryContext) -> i32 {
    asked::<Typed>(context.arg(0), context.arg(1), true);
    0
}

/// As [`fuse_call_idmap`], for a module without BTF. Its return is not observed: a kretprobe on what
/// blocks runs out of instances in the very storm it is meant to see.
#[kprobe]
fn fuse_call_idmap_kprobe(context: ProbeContext) -> u32 {
    if let (Some(mount), Some(args)) = (context.arg(1), context.arg(2)) {
        asked::<Probed>(mount, args, false);
    }
    0
}

/// As [`fuse_call`], for a module without BTF; see [`fuse_call_idmap_kprobe`].
#[kprobe]
fn fuse_call_kprobe(context: ProbeContext) -> u32 {
    if let (Some(mount), Some(args)) = (context.arg(0), context.arg(1)) {
        asked::<Probed>(mount, args, false);
    }
    0
}

/// See [`fuse_call_idmap`]; the result follows the arguments.
#[fexit(function = "__fuse_simple_request")]
fn fuse_return_idmap(context: FExitContext) -> i32 {
    returned(context.arg(2), context.arg(3));
    0
}

/// See [`fuse_call`]; the result follows the arguments.
#[fexit(function = "fuse_simple_request")]
fn fuse_return(context: FExitContext) -> i32 {
    returned(context.arg(1), context.arg(2));
    0
}

/// `int fuse_simple_background(struct fuse_mount *fm, struct fuse_args *args, gfp_t gfp_flags)`,
/// `fs/fuse/dev.c`, v5.10 to v7.3; the result follows the arguments. What it accepts is sent and ends
/// like any request.
#[fexit(function = "fuse_simple_background")]
fn fuse_background(context: FExitContext) -> i32 {
    let result: i32 = context.arg(3);
    let Some(errno) = errno_of(i64::from(result)) else {
        return 0;
    };
    if !is_recorded(errno) {
        return 0;
    }
    let (mount, args): (*const u8, *const u8) = (context.arg(0), context.arg(1));
    refused(
        superblock_dev::<Typed>(mount),
        field::<Typed, u32>(args, &OFF_ARGS_OPCODE),
        errno,
        (0, args),
    );
    0
}

/// `s_dev` of a `struct fuse_mount`; 0 for CUSE, which has none.
#[inline(always)]
fn superblock_dev<R: Reader>(mount: *const u8) -> u32 {
    field::<R, u32>(follow::<R>(mount, &OFF_FM_SB), &OFF_SB_DEV)
}

#[inline(always)]
fn slot_of(tid: u32) -> Option<*mut FuseCall> {
    FUSE_CALLS.get_ptr_mut(tid & (CALLS_MAX - 1))
}

/// Opens the current thread's slot, and tells its call which superblock it asks.
#[inline(always)]
fn asked<R: Reader>(mount: *const u8, args: *const u8, is_closed: bool) {
    let dev = superblock_dev::<R>(mount);
    if dev == 0 {
        return;
    }
    let tid = current_tid();
    let Some(slot) = slot_of(tid) else { return };
    let opcode = field::<R, u32>(args, &OFF_ARGS_OPCODE);
    // SAFETY: a live map value. The start comes last: with it the call is open.
    unsafe {
        core::ptr::write_volatile(&raw mut (*slot).start_ns, 0);
        (*slot).args = args as u64;
        (*slot).tid = tid;
        (*slot).dev = dev;
        (*slot).opcode = opcode;
        (*slot).is_sent = 0;
        (*slot).is_closed = u16::from(is_closed);
        core::ptr::write_volatile(&raw mut (*slot).start_ns, bpf_ktime_get_ns());
    }
    blame(tid, dev);
}

/// Notes in the thread's call which FUSE superblock it asked last.
#[inline(always)]
fn blame(tid: u32, dev: u32) {
    let is_walking = exists(&OFF_TASK_NAMEIDATA)
        && with_current!(|task: R| !follow::<R>(task, &OFF_TASK_NAMEIDATA).is_null());
    if is_walking {
        // The walk that is going on ends in `walk_end`, and that keeps this.
        if let Some(call) = calls::take_slot(tid) {
            // SAFETY: a live map value.
            unsafe {
                (*call).cause_dev = dev;
                (*call).is_cause_walking = 1;
            }
        }
        return;
    }
    let Some(call) = calls::own_slot(tid) else {
        return;
    };
    // SAFETY: a live map value.
    unsafe {
        // Without a walk before it nothing would ever make room for another call's.
        if (*call).stage == CallStage::None as u8 && (*call).start_ns == 0 {
            return;
        }
        (*call).cause_dev = dev;
        if (*call).dev == 0 {
            (*call).dev = dev;
        }
    }
}

/// Notes that the current thread's call has become a request, made from `args`; returns when it was
/// asked for, 0 when it was not seen.
#[inline(always)]
pub(super) fn sent_now(tid: u32, args: u64) -> u64 {
    let Some(slot) = slot_of(tid) else { return 0 };
    // SAFETY: a live map value.
    unsafe {
        if args == 0 || (*slot).args != args || (*slot).tid != tid || (*slot).is_sent != 0 {
            return 0;
        }
        (*slot).is_sent = 1;
        (*slot).start_ns
    }
}

/// Closes the current thread's slot. What was refused without a request ever being made is counted
/// here: no end will tell it.
#[inline(always)]
fn returned(args: *const u8, result: i64) {
    let tid = current_tid();
    let Some(slot) = slot_of(tid) else { return };
    // SAFETY: a live map value.
    let call = unsafe { &mut *slot };
    if call.tid != tid || call.args != args as u64 {
        if call.tid != tid && call.tid != 0 {
            count(Counter::SlotCollisions);
        }
        return;
    }
    let start_ns = call.start_ns;
    call.start_ns = 0;
    if call.is_sent != 0 || start_ns == 0 {
        return;
    }
    if let Some(errno) = errno_of(result)
        && is_recorded(errno)
    {
        refused(call.dev, call.opcode, errno, (start_ns, args));
    }
}

/// Counts a request that never was: when it was asked for, 0 when not known, and its arguments.
#[inline(always)]
fn refused(dev: u32, opcode: u32, errno: u32, (start_ns, args): (u64, *const u8)) {
    if dev == 0 {
        return;
    }
    count(Counter::RequestsRefused);
    count_if_current_is_self();
    // SAFETY: the helper has no requirement.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let key = TotalsKey {
        dev,
        op: Op::wire_of_opcode(opcode),
        errno: errno as u16,
    };
    End {
        key,
        now_ns,
        start_ns,
        who: Who::Current,
    }
    .leave::<Typed>(Request {
        args,
        request: None,
    });
}
