//! The stat family where the kernel does it: errno, latency and the superblock of every call that
//! reaches `vfs_statx` or `vfs_getattr_nosec`, from whatever system call, io_uring or 32-bit caller.
//!
//! `terminate_walk` ends every path walk and tells where it failed; `vfs_getattr_nosec` tells whose
//! attributes are asked for. What fails for an everyday reason outside the scope costs two lookups.

use core::ffi::c_void;

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str},
    macros::{fentry, fexit, kprobe},
    programs::{FEntryContext, FExitContext, ProbeContext},
};
use aya_log_ebpf::debug;
use mount_observer_common::{
    AT_FDCWD, CALL_FSTAT, CALL_STATX, CallStage, Counter, Op, PATH_MAX_BYTES, PathRecord,
    SYSCALL_OPS_MAX, SyscallOp, TotalsKey,
};

use crate::{
    calls::{self, Reached, Timing, current_tid},
    counters::{count, count_if_current_is_self},
    errno::{errno_of, is_recorded},
    kernel::{
        MAY_READ_KERNEL, OFF_DENTRY_SB, OFF_FILENAME_NAME, OFF_MNT_SB, OFF_ND_DENTRY, OFF_PATH_MNT,
        OFF_SB_DEV, Probed, Reader, Typed, UserCall, current_user_call, field, follow, is_on,
    },
    maps::SYSCALL_OPS,
    sample::Sample,
    scope::is_in_scope,
    totals,
};

/// Attributes asked for within one `vfs_getattr_nosec` at most: an overlay asks two layers, and
/// overlays are stacked twice (`FILESYSTEM_MAX_STACK_DEPTH`, `include/linux/fs.h`). More of them mean
/// that the end of the outermost was missed.
const NESTED_MAX: u16 = 8;

/// `int vfs_statx(int dfd, struct filename *filename, int flags, struct kstat *stat, u32
/// request_mask)`, `fs/stat.c`, v6.1 to v7.3; before 6.1 the name is the caller's pointer.
#[fentry(function = "vfs_statx")]
fn stat_enter(_context: FEntryContext) -> i32 {
    calls::begin(CALL_STATX);
    0
}

/// As [`stat_enter`]. `sys_exit` closes the call where it times calls; else the next call takes its slot.
#[kprobe]
fn stat_enter_kprobe(_context: ProbeContext) -> u32 {
    calls::begin(CALL_STATX);
    0
}

/// See [`stat_enter`]; the result follows the five arguments.
#[fexit(function = "vfs_statx")]
fn stat_exit(context: FExitContext) -> i32 {
    let result: i32 = context.arg(5);
    let ended = Ended::take(CALL_STATX, None);
    let dfd: i32 = context.arg(0);
    let name: *const u8 = context.arg(1);
    ended.conclude(result, SyscallOp::Stat, |user, record| {
        // SAFETY: reserved memory.
        unsafe { (*record).dfd = dfd };
        copy_name(user, name, record);
    });
    0
}

/// `void terminate_walk(struct nameidata *nd)`, `fs/namei.c`, v5.10 to v7.3: after a failure
/// `nd->path` still is where the walk stood; success has moved it to the caller.
#[fentry(function = "terminate_walk")]
fn walk_end(context: FEntryContext) -> i32 {
    walked::<Typed>(context.arg(0));
    0
}

/// As [`walk_end`].
#[kprobe]
fn walk_end_kprobe(context: ProbeContext) -> u32 {
    if let Some(walk) = context.arg(0) {
        walked::<Probed>(walk);
    }
    0
}

/// `int vfs_getattr_nosec(const struct path *path, struct kstat *stat, u32 request_mask, unsigned int
/// query_flags)`, `fs/stat.c`, v5.10 to v7.3.
#[fentry(function = "vfs_getattr_nosec")]
fn attr_enter(context: FEntryContext) -> i32 {
    let path: *const u8 = context.arg(0);
    asked::<Typed>(path, true);
    0
}

/// As [`attr_enter`]; opens no call, because nothing would close it.
#[kprobe]
fn attr_enter_kprobe(context: ProbeContext) -> u32 {
    if let Some(path) = context.arg::<*const u8>(0) {
        asked::<Probed>(path, false);
    }
    0
}

/// See [`attr_enter`]; the result follows the four arguments.
#[fexit(function = "vfs_getattr_nosec")]
fn attr_exit(context: FExitContext) -> i32 {
    let path: *const u8 = context.arg(0);
    let Some(slot) = calls::own_slot(current_tid()) else {
        return 0;
    };
    // SAFETY: a live map value.
    let is_outermost = unsafe { (*slot).number == CALL_FSTAT && (*slot).path == path as u64 };
    if !is_outermost {
        return 0;
    }
    let result: i32 = context.arg(4);
    let ended = Ended::take(CALL_FSTAT, Some(path as u64));
    ended.conclude(result, SyscallOp::Fstat, |user, record| {
        // The caller named a descriptor, where it was a system call that asked.
        let dfd = user.map_or(AT_FDCWD, |user| user.arguments[0] as i32);
        // SAFETY: reserved memory.
        unsafe {
            (*record).dfd = dfd;
            (*record).path_len = 0;
        }
    });
    0
}

/// Notes where the current thread's path walk ended.
#[inline(always)]
fn walked<R: Reader>(walk: *const u8) {
    let dentry = follow::<R>(walk, &OFF_ND_DENTRY);
    let dev = if dentry.is_null() {
        0
    } else {
        field::<R, u32>(follow::<R>(dentry, &OFF_DENTRY_SB), &OFF_SB_DEV)
    };
    let Some(slot) = calls::take_slot(current_tid()) else {
        return;
    };
    // SAFETY: a live map value.
    unsafe {
        (*slot).dev = dev;
        (*slot).stage = CallStage::Walked as u8;
        // Asked outside of this walk and outside of an open call: an earlier call's affair.
        if (*slot).is_cause_walking == 0 && (*slot).start_ns == 0 {
            (*slot).cause_dev = 0;
        }
        (*slot).is_cause_walking = 0;
    }
}

/// Notes whose attributes the current thread asks for; without an open call this begins one, if
/// somebody will close it.
#[inline(always)]
fn asked<R: Reader>(path: *const u8, opens: bool) {
    let tid = current_tid();
    let Some(slot) = calls::slot_of(tid) else {
        return;
    };
    // SAFETY: a live map value.
    let is_open = unsafe { (*slot).tid == tid && (*slot).start_ns != 0 };
    if is_open {
        // SAFETY: as above.
        unsafe {
            if (*slot).number == CALL_STATX && (*slot).stage != CallStage::Attr as u8 {
                (*slot).dev = path_dev::<R>(path);
                (*slot).stage = CallStage::Attr as u8;
                return;
            }
            (*slot).nested = (*slot).nested.wrapping_add(1);
            if (*slot).nested <= NESTED_MAX || (*slot).number < CALL_FSTAT {
                return;
            }
        }
    }
    if opens {
        calls::begin(CALL_FSTAT);
        // SAFETY: as above.
        unsafe {
            (*slot).dev = path_dev::<R>(path);
            (*slot).stage = CallStage::Attr as u8;
            (*slot).path = path as u64;
        }
    }
}

/// `s_dev` of the filesystem a `struct path` lies on.
#[inline(always)]
fn path_dev<R: Reader>(path: *const u8) -> u32 {
    let mount = follow::<R>(path, &OFF_PATH_MNT);
    field::<R, u32>(follow::<R>(mount, &OFF_MNT_SB), &OFF_SB_DEV)
}

/// A call as it ends.
struct Ended {
    /// 0 when its start was not seen.
    start_ns: u64,
    reached: Reached,
}

impl Ended {
    /// Closes the current thread's call of that kind. When another thread has taken its slot, nothing
    /// is known of it but how it ends.
    #[inline(always)]
    fn take(number: u32, path: Option<u64>) -> Self {
        let nothing = Self {
            start_ns: 0,
            reached: Reached::NOTHING,
        };
        let tid = current_tid();
        let Some(slot) = calls::slot_of(tid) else {
            return nothing;
        };
        // SAFETY: a live map value.
        unsafe {
            if (*slot).tid != tid {
                count(Counter::SlotCollisions);
                return nothing;
            }
            let is_this_call =
                (*slot).number == number && path.is_none_or(|path| (*slot).path == path);
            if !is_this_call && (*slot).start_ns != 0 {
                return nothing;
            }
            // When the slot was taken and taken back meanwhile, the walk is known and the start is not.
            let start_ns = (*slot).start_ns;
            (*slot).start_ns = 0;
            Self {
                start_ns,
                reached: calls::take_reached(),
            }
        }
    }

    /// Counts the call if its superblock is observed; `describe` writes the caller's path and the
    /// descriptor it is relative to.
    #[inline(always)]
    fn conclude(
        &self,
        result: i32,
        op: SyscallOp,
        describe: impl Fn(Option<&UserCall>, *mut PathRecord),
    ) {
        let errno = errno_of(i64::from(result)).unwrap_or(0);
        let Reached { dev, cause_dev } = self.reached;
        let matters = is_recorded(errno);
        // A failure whose superblock is not known may be about one that is observed.
        let is_observed =
            is_in_scope(dev) || errno != 0 && cause_dev != 0 && is_in_scope(cause_dev);
        if !is_observed && !(matters && dev == 0) {
            return;
        }
        if is_observed {
            count_if_current_is_self();
        }
        if matters {
            count(Counter::PathFailures);
            if dev == 0 {
                count(Counter::PathsUnattributed);
            }
        }
        debug!((), "a stat ended with errno {} on {:x}", errno, dev);
        let user = current_user_call();
        let key = TotalsKey {
            dev,
            op: op_of(user.as_ref(), op),
            errno: errno as u16,
        };
        let mut timing = Timing::since(self.start_ns);
        if self.start_ns == 0 {
            timing.latency_ns = 0;
            timing.is_slow = false;
        }
        let sample = Sample {
            key,
            cause_dev,
            is_exact: dev != 0,
            now_ns: timing.now_ns,
            latency_ns: timing.latency_ns,
        };
        sample.trace(|record| describe(user.as_ref(), record));
        let Some(slot) = totals::slot_of(&key) else {
            return;
        };
        if self.start_ns == 0 {
            // SAFETY: just looked up.
            unsafe { totals::add_end(slot, timing.now_ns) };
        } else {
            // SAFETY: just looked up.
            unsafe {
                totals::add_latency(slot, timing.now_ns, timing.latency_ns, timing.is_slow);
            }
        }
        if !matters && !timing.is_slow {
            return;
        }
        sample.leave(slot, |record| describe(user.as_ref(), record));
    }
}

/// The operation under the name of its system call, where that is known; else a general one: of
/// io_uring, of a 32-bit caller, of a kernel thread, and where user registers cannot be read.
#[inline(always)]
fn op_of(user: Option<&UserCall>, general: SyscallOp) -> u16 {
    let general = Op::Syscall(general as u16).to_wire();
    let Some(user) = user else { return general };
    if user.is_compat || user.number >= u64::from(SYSCALL_OPS_MAX) {
        return general;
    }
    match SYSCALL_OPS.get(user.number as u32) {
        Some(arguments) if arguments.is_by_function == 1 => arguments.op,
        _ => general,
    }
}

/// Copies the path of a `vfs_statx`. Its argument is the caller's pointer before 6.1, and a `struct
/// filename` since; where kernel memory may not be read, the caller's register leads to it as well.
#[inline(always)]
fn copy_name(user: Option<&UserCall>, name: *const u8, record: *mut PathRecord) {
    // SAFETY: reserved memory.
    let to: *mut c_void = unsafe { &raw mut (*record).path }.cast();
    // SAFETY: the field is that long; the helpers check the source, as in each call below.
    let copied = unsafe { bpf_probe_read_user_str(to, PATH_MAX_BYTES as u32, name.cast()) };
    let copied = if copied > 0 {
        copied
    } else if is_on(&MAY_READ_KERNEL) {
        copy_filename(name, to)
    } else {
        copy_argument(user, to)
    };
    // SAFETY: reserved memory.
    unsafe { (*record).path_len = if copied > 0 { copied as u32 - 1 } else { 0 } };
}

#[inline(always)]
fn copy_filename(filename: *const u8, to: *mut c_void) -> i64 {
    let text = follow::<Probed>(filename, &OFF_FILENAME_NAME);
    // SAFETY: see copy_name.
    unsafe { bpf_probe_read_kernel_str(to, PATH_MAX_BYTES as u32, text.cast()) }
}

#[inline(always)]
fn copy_argument(user: Option<&UserCall>, to: *mut c_void) -> i64 {
    let Some(user) = user else { return 0 };
    let Some(arguments) = SYSCALL_OPS.get(user.number as u32) else {
        return 0;
    };
    if user.is_compat || arguments.is_by_function == 0 || arguments.path > 1 {
        return 0;
    }
    let text = user.arguments[usize::from(arguments.path & 1)];
    // SAFETY: see copy_name.
    unsafe { bpf_probe_read_user_str(to, PATH_MAX_BYTES as u32, text as *const c_void) }
}
