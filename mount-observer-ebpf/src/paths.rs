//! Path syscalls: failures of a broken connection, and in `full` mode the latency of every call.
//!
//! A failure happens after the path walk is forgotten, so its superblock is told from what the
//! caller passed: the mount point its path begins with, or the directory the path is relative to.
//! Symbolic links and `..` inside a path are not followed; the daemon labels the result.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_probe_read_user,
            bpf_probe_read_user_str,
        },
    },
    macros::btf_tracepoint,
    maps::lpm_trie::Key,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use mount_observer_common::{
    Counter, MATCHED_PATH_BYTES, MountPath, PATH_MAX_BYTES, PathArguments, PathRecord, RecordKind,
    SCOPE_FILTER_WORDS, STARTS_MAX, SYSCALL_OPS_MAX, Start, TotalsKey, TotalsSlot,
};

use crate::{
    counters::count,
    fuse::is_recorded,
    kernel::{
        OFF_DENTRY_SB, OFF_FS_PWD_DENTRY, OFF_REGS_ARG0, OFF_REGS_ARG1, OFF_REGS_ARG2,
        OFF_REGS_ARG3, OFF_REGS_ARG4, OFF_REGS_CS, OFF_REGS_NR, OFF_SB_DEV, OFF_TASK_FS, Typed,
        exists, field, file_dev, follow, mount_namespace,
    },
    maps::{MOUNT_POINTS, PATH_KEY, SCOPE, SCOPE_FILTER, SETTINGS, STARTS, SYSCALL_OPS},
    memo::{self, View},
    record::{self, Facts, Wake},
    totals,
};

/// `MAX_ERRNO`, `include/linux/err.h`.
const MAX_ERRNO: u64 = 4_095;

/// `AT_FDCWD`, `include/uapi/linux/fcntl.h`.
const AT_FDCWD: i32 = -100;

/// `__USER32_CS`, `arch/x86/include/asm/segment.h`: the caller uses the 32-bit call numbers.
const USER32_CS: u64 = 0x23;

/// `PathArguments` has no such argument.
const NONE: u8 = 255;

/// Failures only: what does not fail, or fails for an everyday reason, costs two comparisons.
#[btf_tracepoint(function = "sys_exit")]
fn path_exit_errors(context: BtfTracePointContext) -> i32 {
    let Some(errno) = errno_of(context.arg(1)) else {
        return 0;
    };
    if !is_recorded(errno) {
        return 0;
    }
    let registers: *const u8 = context.arg(0);
    if let Some(call) = Call::of(registers)
        && !is_compat(registers)
    {
        failed(&call, errno, None);
    }
    0
}

/// Notes when a path syscall begins.
#[btf_tracepoint(function = "sys_enter")]
fn path_enter(context: BtfTracePointContext) -> i32 {
    let number: u64 = context.arg(1);
    if arguments_of(number).is_none() {
        return 0;
    }
    let tid = bpf_get_current_pid_tgid() as u32;
    if let Some(start) = start_of(tid) {
        // SAFETY: a live map value. A thread that shares the slot may overwrite it, which its
        // number tells.
        unsafe {
            (*start).number = number as u32;
            (*start).tid = tid;
            (*start).start_ns = bpf_ktime_get_ns();
        }
    }
    0
}

/// Every path syscall: latency of those that succeed, and failures as in [`path_exit_errors`].
#[btf_tracepoint(function = "sys_exit")]
fn path_exit_full(context: BtfTracePointContext) -> i32 {
    let registers: *const u8 = context.arg(0);
    let Some(call) = Call::of(registers) else {
        return 0;
    };
    if is_compat(registers) {
        return 0;
    }
    let timing = finish(call.number);
    match errno_of(context.arg(1)) {
        None => succeeded(&call, timing),
        // An everyday failure is worth nothing unless somebody waited for it.
        Some(errno) => {
            if is_recorded(errno) || timing.is_some_and(|timing| timing.is_slow) {
                failed(&call, errno, timing);
            }
        }
    }
    0
}

/// One system call as it ends.
struct Call {
    registers: *const u8,
    number: u64,
    arguments: &'static PathArguments,
}

impl Call {
    /// `None` when the call takes no path.
    #[inline(always)]
    fn of(registers: *const u8) -> Option<Self> {
        let number = field::<Typed, u64>(registers, &OFF_REGS_NR);
        let arguments = arguments_of(number)?;
        Some(Self {
            registers,
            number,
            arguments,
        })
    }

    /// An argument by its index. x86-64 leaves them in place until the call returns.
    #[inline(always)]
    fn argument(&self, index: u8) -> u64 {
        let offset = match index {
            0 => &OFF_REGS_ARG0,
            1 => return field::<Typed, u64>(self.registers, &OFF_REGS_ARG1),
            2 => return field::<Typed, u64>(self.registers, &OFF_REGS_ARG2),
            3 => return field::<Typed, u64>(self.registers, &OFF_REGS_ARG3),
            _ => return field::<Typed, u64>(self.registers, &OFF_REGS_ARG4),
        };
        field::<Typed, u64>(self.registers, offset)
    }

    #[inline(always)]
    fn dfd(&self) -> i32 {
        if self.arguments.dfd == NONE {
            AT_FDCWD
        } else {
            self.argument(self.arguments.dfd) as i32
        }
    }
}

/// When a call began, and how long it took.
#[derive(Clone, Copy)]
struct Timing {
    now_ns: u64,
    latency_ns: u64,
    is_slow: bool,
}

/// The errno of a return value; `None` for a success.
#[inline(always)]
fn errno_of(result: i64) -> Option<u32> {
    let errno = result.wrapping_neg() as u64;
    (errno.wrapping_sub(1) < MAX_ERRNO).then_some(errno as u32)
}

#[inline(always)]
fn arguments_of(number: u64) -> Option<&'static PathArguments> {
    if number >= u64::from(SYSCALL_OPS_MAX) {
        return None;
    }
    let arguments = SYSCALL_OPS.get(number as u32)?;
    (arguments.op != 0).then_some(arguments)
}

#[inline(always)]
fn is_compat(registers: *const u8) -> bool {
    exists(&OFF_REGS_CS) && field::<Typed, u64>(registers, &OFF_REGS_CS) & 0xffff == USER32_CS
}

#[inline(always)]
fn start_of(tid: u32) -> Option<*mut Start> {
    STARTS.get_ptr_mut(tid & (STARTS_MAX - 1))
}

/// Takes the start of the current thread's call; `None` when it was not seen or is overwritten.
#[inline(always)]
fn finish(number: u64) -> Option<Timing> {
    let tid = bpf_get_current_pid_tgid() as u32;
    let start = start_of(tid)?;
    // SAFETY: a live map value.
    let Start {
        start_ns,
        tid: owner,
        number: begun,
    } = unsafe { *start };
    if owner != tid || u64::from(begun) != number || start_ns == 0 {
        if owner != 0 && owner != tid {
            count(Counter::SlotCollisions);
        }
        return None;
    }
    // SAFETY: a live map value. Free: the iterator must not take it for a call in progress.
    unsafe { (*start).start_ns = 0 };
    // SAFETY: the helper has no requirement.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    let latency_ns = now_ns.saturating_sub(start_ns);
    let is_slow = SETTINGS
        .get(0)
        .is_some_and(|settings| latency_ns >= settings.slow_ns);
    Some(Timing {
        now_ns,
        latency_ns,
        is_slow,
    })
}

/// A call that succeeded: the caller's `struct stat` tells the superblock. Calls that fill none
/// tell nothing.
#[inline(always)]
fn succeeded(call: &Call, timing: Option<Timing>) {
    let Some(timing) = timing else { return };
    if call.arguments.stat == NONE {
        return;
    }
    let dev = stat_dev(call);
    if !is_in_scope(dev) {
        return;
    }
    let key = TotalsKey {
        dev,
        op: call.arguments.op,
        errno: 0,
    };
    let Some(slot) = totals::slot_of(&key) else {
        return;
    };
    // SAFETY: just looked up.
    unsafe { totals::add_latency(slot, timing.now_ns, timing.latency_ns, timing.is_slow) };
    if timing.is_slow {
        sample(call, slot, &key, Some(timing), timing.now_ns);
    }
}

/// `st_dev` of the result, as the kernel's `dev_t`.
#[inline(always)]
fn stat_dev(call: &Call) -> u32 {
    /// `stx_dev_major`, then `stx_dev_minor` (`include/uapi/linux/stat.h`).
    const STATX_DEV: u64 = 136;
    let buffer = call.argument(call.arguments.stat);
    let at = if call.arguments.is_statx == 1 {
        buffer.wrapping_add(STATX_DEV)
    } else {
        buffer
    };
    let mut device = 0_u64;
    // SAFETY: the destination is 8 bytes; the helper checks the source.
    let failed = unsafe { bpf_probe_read_user((&raw mut device).cast(), 8, at as *const _) };
    if failed != 0 {
        count(Counter::UserReadsFailed);
        return 0;
    }
    if call.arguments.is_statx == 1 {
        (device as u32) << 20 | (device >> 32) as u32
    } else {
        // `new_encode_dev`, `include/linux/kdev_t.h`.
        let major = device >> 8 & 0xfff;
        let minor = device & 0xff | device >> 12 & 0xf_ff00;
        (major << 20 | minor) as u32
    }
}

/// Counts a failure on its superblock, or on none when it cannot be told, and samples it.
#[inline(always)]
fn failed(call: &Call, errno: u32, timing: Option<Timing>) {
    count(Counter::PathFailures);
    let dev = attribute(call);
    debug!(
        (),
        "syscall {} failed with errno {} on {:x}", call.number, errno, dev
    );
    if dev == 0 {
        count(Counter::PathsUnattributed);
    }
    let key = TotalsKey {
        dev,
        op: call.arguments.op,
        errno: errno as u16,
    };
    let Some(slot) = totals::slot_of(&key) else {
        return;
    };
    // SAFETY: the helper has no requirement.
    let now_ns = timing.map_or_else(|| unsafe { bpf_ktime_get_ns() }, |timing| timing.now_ns);
    match timing {
        // SAFETY: just looked up.
        Some(timing) => unsafe {
            totals::add_latency(slot, now_ns, timing.latency_ns, timing.is_slow);
        },
        // SAFETY: just looked up.
        None => unsafe { totals::add_end(slot, now_ns) },
    }
    sample(call, slot, &key, timing, now_ns);
}

/// The superblock a path leads to, by the words of the caller; 0 when it cannot be told here.
#[inline(always)]
fn attribute(call: &Call) -> u32 {
    // SAFETY: the helper has no requirement.
    let task = unsafe { bpf_get_current_task_btf() } as *const u8;
    let Some(key) = PATH_KEY.get_ptr_mut(0) else {
        return 0;
    };
    let path = call.argument(call.arguments.path);
    let view = View::of(task);
    if let Some(view) = view
        && let Some(dev) = memo::recall(view, path)
    {
        return dev;
    }
    // SAFETY: a live map value; the helper writes at most the field.
    let read = unsafe {
        bpf_probe_read_user_str(
            (&raw mut (*key).data.path).cast(),
            MATCHED_PATH_BYTES as u32,
            path as *const _,
        )
    };
    if read <= 0 {
        count(Counter::UserReadsFailed);
        return 0;
    }
    // SAFETY: a live map value.
    let [first, second] = unsafe { [(*key).data.path[0], (*key).data.path[1]] };
    if first == b'/' {
        return view.map_or(0, |view| by_mount_point(view, key, read as u32));
    }
    // `..` may lead out of the directory's filesystem.
    if first == b'.' && second == b'.' {
        return 0;
    }
    let dfd = call.dfd();
    let dev = if dfd == AT_FDCWD {
        cwd_dev(task)
    } else {
        file_dev(task, dfd as u64)
    };
    // Outside the scope the path may still lead into it: the daemon has the record.
    if is_in_scope(dev) { dev } else { 0 }
}

/// The superblock on the longest mount point an absolute path begins with.
#[inline(always)]
fn by_mount_point(view: View, key: *mut Key<MountPath>, length: u32) -> u32 {
    let changes = memo::changes();
    // SAFETY: a live map value.
    let target = unsafe {
        (*key).data.mnt_ns = view.mnt_ns;
        (*key).data.root = view.root;
        (*key).prefix_len = (8 + length) * 8;
        MOUNT_POINTS.get(&*key).copied()
    };
    let Some(target) = target else { return 0 };
    memo::remember(changes, view, key, target);
    target.dev
}

/// Whether a superblock is observed. Most are not, and their bit says so.
#[inline(always)]
fn is_in_scope(dev: u32) -> bool {
    let word = SCOPE_FILTER
        .get(dev >> 6 & (SCOPE_FILTER_WORDS - 1))
        .copied()
        .unwrap_or(0);
    // SAFETY: the value is not used.
    word >> (dev & 63) & 1 != 0 && unsafe { SCOPE.get(dev) }.is_some()
}

/// `s_dev` of the working directory.
#[inline(always)]
fn cwd_dev(task: *const u8) -> u32 {
    let fs = follow::<Typed>(task, &OFF_TASK_FS);
    if fs.is_null() {
        return 0;
    }
    let dentry = follow::<Typed>(fs, &OFF_FS_PWD_DENTRY);
    field::<Typed, u32>(follow::<Typed>(dentry, &OFF_DENTRY_SB), &OFF_SB_DEV)
}

/// Leaves a record with the path, as far as the rate limit admits one.
#[inline(always)]
fn sample(
    call: &Call,
    slot: *mut TotalsSlot,
    key: &TotalsKey,
    timing: Option<Timing>,
    now_ns: u64,
) {
    // SAFETY: from slot_of.
    let Some(suppressed) = (unsafe { totals::admit(slot, now_ns) }) else {
        return;
    };
    let Some(mut room) = record::reserve::<PathRecord>() else {
        return;
    };
    // SAFETY: the helper has no requirement.
    let task = unsafe { bpf_get_current_task_btf() } as *const u8;
    let errno = u32::from(key.errno);
    let facts = Facts {
        kind: if is_recorded(errno) {
            RecordKind::PathFailed
        } else {
            RecordKind::PathSlow
        },
        op: key.op,
        time_ns: now_ns,
        latency_ns: timing.map_or(0, |timing| timing.latency_ns),
        dev: key.dev,
        errno,
        pid_tgid: bpf_get_current_pid_tgid(),
        suppressed,
        mnt_ns: mount_namespace::<Typed>(task),
    };
    let record = room.as_mut_ptr();
    let path = call.argument(call.arguments.path);
    // SAFETY: reserved memory; the helper writes at most the field.
    unsafe {
        record::fill(&raw mut (*record).record, &facts);
        record::fill_current_comm(&raw mut (*record).record.comm);
        (*record).dfd = call.dfd();
        let to = (&raw mut (*record).path).cast();
        let read = bpf_probe_read_user_str(to, PATH_MAX_BYTES as u32, path as *const _);
        (*record).path_len = if read > 0 { read as u32 - 1 } else { 0 };
    }
    record::submit(room, Wake::Later);
}
