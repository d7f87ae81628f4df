//! Path syscalls: failures of a broken connection, and in `full` mode the latency of every call.

mod attribute;
mod start;

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{
            bpf_get_current_task_btf, bpf_ktime_get_ns, bpf_probe_read_user,
            bpf_probe_read_user_str,
        },
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use mount_observer_common::{
    Counter, PATH_MAX_BYTES, PathArguments, PathRecord, RecordKind, SYSCALL_OPS_MAX, TotalsKey,
    TotalsSlot,
};

use crate::{
    counters::count,
    fuse::is_recorded,
    kernel::{
        OFF_REGS_ARG0, OFF_REGS_ARG1, OFF_REGS_ARG2, OFF_REGS_ARG3, OFF_REGS_ARG4, OFF_REGS_CS,
        OFF_REGS_NR, Typed, exists, field, mount_namespace,
    },
    maps::{SETTINGS, SYSCALL_OPS},
    record::{self, Facts, Wake},
    totals,
};
use attribute::{attribute, is_in_scope};
use start::Timing;

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

/// Notes when a path syscall begins. A 32-bit caller's number means another call.
#[btf_tracepoint(function = "sys_enter")]
fn path_enter(context: BtfTracePointContext) -> i32 {
    let number: u64 = context.arg(1);
    if arguments_of(number).is_some() && !is_compat(context.arg(0)) {
        start::begin(number);
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
    let timing = start::finish(call.number);
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
    (arguments.op != 0 && arguments.is_by_function == 0).then_some(arguments)
}

#[inline(always)]
fn is_compat(registers: *const u8) -> bool {
    exists(&OFF_REGS_CS) && field::<Typed, u64>(registers, &OFF_REGS_CS) & 0xffff == USER32_CS
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
    note_self();
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
    } else {
        note_self();
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

/// Counts a call of the observer itself on what it observes: a dead mount refuses it before there is
/// a FUSE request to count.
#[inline(always)]
fn note_self() {
    let tgid = (bpf_get_current_pid_tgid() >> 32) as u32;
    if SETTINGS
        .get(0)
        .is_some_and(|settings| settings.self_tgid == tgid)
    {
        count(Counter::SelfTouches);
    }
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
        (*record).cause_dev = 0;
        (*record).is_exact = 0;
        let to = (&raw mut (*record).path).cast();
        let read = bpf_probe_read_user_str(to, PATH_MAX_BYTES as u32, path as *const _);
        (*record).path_len = if read > 0 { read as u32 - 1 } else { 0 };
    }
    record::submit(room, Wake::Later);
}
