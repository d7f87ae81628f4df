//! The instant a FUSE connection ends, and by whom.

use core::ffi::c_void;

use aya_ebpf::{
    EbpfContext,
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_get_stack, bpf_ktime_get_ns},
    },
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use mount_observer_common::{Counter, Record, RecordKind};

use crate::{
    counters::count,
    kernel::{
        OFF_CONN_CONNECTED, OFF_FILE_PRIVATE, Probed, Reader, Typed, connection_dev, field, follow,
        fuse_device_connection,
    },
    maps::ABORT_CAUSES,
    record::{self, Facts, Wake},
    text,
};

/// Frames looked at: the way from any cause to the abort is shorter, the trampoline's included.
const FRAMES: usize = 16;

/// `void fuse_chan_abort(struct fuse_chan *fch, bool abort_with_err)`, `fs/fuse/dev.c`, v7.2 and v7.3.
#[fentry(function = "fuse_chan_abort")]
fn abort_channel(context: FEntryContext) -> i32 {
    aborted::<Typed>(context.as_ptr(), context.arg(0));
    0
}

/// `void fuse_abort_conn(struct fuse_conn *fc)`, `fs/fuse/dev.c`, v5.10 to v7.0.
#[fentry(function = "fuse_abort_conn")]
fn abort_connection(context: FEntryContext) -> i32 {
    aborted::<Typed>(context.as_ptr(), context.arg(0));
    0
}

/// As [`abort_channel`], for a module without BTF.
#[kprobe]
fn abort_channel_kprobe(context: ProbeContext) -> u32 {
    if let Some(connection) = context.arg(0) {
        aborted::<Probed>(context.as_ptr(), connection);
    }
    0
}

/// As [`abort_connection`], for a module without BTF.
#[kprobe]
fn abort_connection_kprobe(context: ProbeContext) -> u32 {
    if let Some(connection) = context.arg(0) {
        aborted::<Probed>(context.as_ptr(), connection);
    }
    0
}

/// `int fuse_dev_release(struct inode *inode, struct file *file)`, `fs/fuse/dev.c`, v5.10 to v7.3:
/// the last reference to one open of `/dev/fuse` is gone.
#[fentry(function = "fuse_dev_release")]
fn device_release(context: FEntryContext) -> i32 {
    let file: *const u8 = context.arg(1);
    released(follow::<Typed>(file, &OFF_FILE_PRIVATE));
    0
}

/// As [`device_release`], for a module without BTF.
#[kprobe]
fn device_release_kprobe(context: ProbeContext) -> u32 {
    if let Some(file) = context.arg::<*const u8>(1) {
        released(follow::<Probed>(file, &OFF_FILE_PRIVATE));
    }
    0
}

/// Reports the end of a live connection; aborting a dead one is no event.
#[inline(always)]
fn aborted<R: Reader>(context: *mut c_void, connection: *const u8) {
    let dev = connection_dev::<R>(connection);
    if dev == 0 || field::<R, u32>(connection, &OFF_CONN_CONNECTED) == 0 {
        return;
    }
    count(Counter::ConnectionAborts);
    let cause = cause(context);
    tell(RecordKind::ConnectionAborted, cause as u16, dev);
}

/// Reports a closed descriptor. What it led to is behind an untyped pointer, so it is read where
/// kernel memory may be.
#[inline(always)]
fn released(device: *const u8) {
    count(Counter::DeviceReleases);
    let connection = fuse_device_connection(device);
    let dev = if connection.is_null() {
        0
    } else {
        connection_dev::<Probed>(connection)
    };
    tell(RecordKind::DeviceReleased, 0, dev);
}

/// Why a connection is aborted, as the kernel stack tells: the innermost function that is known to
/// abort connections; an [`mount_observer_common::AbortCause`] as a number.
#[inline(always)]
fn cause(context: *mut c_void) -> u32 {
    let Some(causes) = ABORT_CAUSES.get(0) else {
        return 0;
    };
    let mut stack = [0_u64; FRAMES];
    let bytes = size_of::<[u64; FRAMES]>() as u32;
    // SAFETY: the buffer is that long; without a flag the helper takes kernel addresses. It fails
    // with an untouched or a cleared buffer, which matches nothing.
    let _ = unsafe { bpf_get_stack(context, stack.as_mut_ptr().cast(), bytes, 0) };
    let mut frame = 0;
    while frame < FRAMES {
        // SAFETY: below the length; indexing would leave a panic path.
        let cause = text::tag(causes, unsafe { *stack.as_ptr().add(frame) });
        if cause != 0 {
            return cause as u32;
        }
        frame += 1;
    }
    0
}

/// Wakes the daemon with a record of the current task's doing.
#[inline(always)]
fn tell(kind: RecordKind, op: u16, dev: u32) {
    let Some(mut room) = record::reserve::<Record>() else {
        return;
    };
    let facts = Facts {
        kind,
        op,
        // SAFETY: the helper has no requirement.
        time_ns: unsafe { bpf_ktime_get_ns() },
        latency_ns: 0,
        dev,
        errno: 0,
        pid_tgid: bpf_get_current_pid_tgid(),
        suppressed: 0,
        mnt_ns: 0,
    };
    // SAFETY: reserved memory.
    unsafe {
        record::fill(room.as_mut_ptr(), &facts);
        record::fill_current_comm(&raw mut (*room.as_mut_ptr()).comm);
    }
    record::submit(room, Wake::Now);
}
