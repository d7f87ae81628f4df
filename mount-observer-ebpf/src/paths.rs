//! Path syscalls: failures of a broken connection, and in `full` mode the latency of every call.

mod attribute;

use aya_ebpf::{
    helpers::generated::{bpf_ktime_get_ns, bpf_probe_read_user, bpf_probe_read_user_str},
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use aya_log_ebpf::debug;
use mount_observer_common::{
    AT_FDCWD, Counter, NO_ARGUMENT, PATH_MAX_BYTES, PathArguments, PathRecord, SYSCALL_OPS_MAX,
    TotalsKey,
};

use crate::{
    calls::{self, Reached, Timing},
    counters::{count, count_if_current_is_self},
    errno::{errno_of, is_recorded},
    kernel::{
        OFF_REGS_ARG0, OFF_REGS_ARG1, OFF_REGS_ARG2, OFF_REGS_ARG3, OFF_REGS_ARG4, OFF_REGS_NR,
        Typed, field, is_compat,
    },
    maps::SYSCALL_OPS,
    sample::Sample,
    scope::is_in_scope,
    totals,
    trace::{self, Operation},
};
use attribute::attribute;

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
        && !is_compat::<Typed>(registers)
    {
        failed(&call, errno, None);
    }
    0
}

/// Notes when a path syscall begins. A 32-bit caller's number means another call.
#[btf_tracepoint(function = "sys_enter")]
fn path_enter(context: BtfTracePointContext) -> i32 {
    let number: u64 = context.arg(1);
    if arguments_of(number).is_some() && !is_compat::<Typed>(context.arg(0)) {
        calls::begin(number as u32);
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
    if is_compat::<Typed>(registers) {
        return 0;
    }
    let timing = calls::finish(call.number, call.arguments.stat != NO_ARGUMENT);
    match errno_of(context.arg(1)) {
        None => succeeded(&call, timing),
        // An everyday failure is worth nothing unless somebody waited for it, or wants to see it.
        Some(errno) => {
            if is_recorded(errno)
                || timing.is_some_and(|timing| timing.is_slow)
                || is_of_interest(&call, errno, timing)
            {
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
        if self.arguments.dfd == NO_ARGUMENT {
            AT_FDCWD
        } else {
            self.argument(self.arguments.dfd) as i32
        }
    }
}

#[inline(always)]
fn arguments_of(number: u64) -> Option<&'static PathArguments> {
    if number >= u64::from(SYSCALL_OPS_MAX) {
        return None;
    }
    let arguments = SYSCALL_OPS.get(number as u32)?;
    (arguments.op != 0 && arguments.is_by_function == 0).then_some(arguments)
}

/// A call that succeeded: the caller's `struct stat` tells the superblock. Calls that fill none
/// tell nothing.
#[inline(always)]
fn succeeded(call: &Call, timing: Option<Timing>) {
    let Some(timing) = timing else { return };
    if call.arguments.stat == NO_ARGUMENT {
        return;
    }
    let dev = stat_dev(call);
    if !is_in_scope(dev) {
        return;
    }
    count_if_current_is_self();
    let key = TotalsKey {
        dev,
        op: call.arguments.op,
        errno: 0,
    };
    let sample = sample(key, Reached::NOTHING, Some(timing), timing.now_ns);
    sample.trace(|record| describe(call, record));
    let Some(slot) = totals::slot_of(&key) else {
        return;
    };
    // SAFETY: just looked up.
    unsafe { totals::add_latency(slot, timing.now_ns, timing.latency_ns, timing.is_slow) };
    if timing.is_slow {
        sample.leave(slot, |record| describe(call, record));
    }
}

/// Whether a trace wants to see an everyday failure, whatever superblock it concerns.
#[inline(always)]
fn is_of_interest(call: &Call, errno: u32, timing: Option<Timing>) -> bool {
    trace::is_traced() && {
        let key = TotalsKey {
            dev: 0,
            op: call.arguments.op,
            errno: errno as u16,
        };
        let latency_ns = timing.map_or(0, |timing| timing.latency_ns);
        trace::admits(&Operation::of_current(&key, latency_ns))
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

/// Counts a failure on its superblock, or on none when it cannot be told, and samples it. Where a
/// probe watches the path walks, the superblock is the one its walk reached; what it reached is then
/// known to be observed or not.
#[inline(always)]
fn failed(call: &Call, errno: u32, timing: Option<Timing>) {
    let reached = calls::take_reached();
    let dev = if reached.dev == 0 {
        attribute(call)
    } else if is_in_scope(reached.dev) || is_in_scope(reached.cause_dev) {
        reached.dev
    } else {
        return;
    };
    let is_everyday = !is_recorded(errno) && !timing.is_some_and(|timing| timing.is_slow);
    if is_everyday && dev == 0 {
        return;
    }
    let key = TotalsKey {
        dev,
        op: call.arguments.op,
        errno: errno as u16,
    };
    // SAFETY: the helper has no requirement.
    let now_ns = timing.map_or_else(|| unsafe { bpf_ktime_get_ns() }, |timing| timing.now_ns);
    let sample = sample(key, reached, timing, now_ns);
    sample.trace(|record| describe(call, record));
    if is_everyday {
        return;
    }
    count(Counter::PathFailures);
    debug!(
        (),
        "syscall {} failed with errno {} on {:x}", call.number, errno, dev
    );
    if dev == 0 {
        count(Counter::PathsUnattributed);
    } else {
        // A dead mount refuses a call of the observer itself before there is a FUSE request to count.
        count_if_current_is_self();
    }
    let Some(slot) = totals::slot_of(&key) else {
        return;
    };
    match timing {
        // SAFETY: just looked up.
        Some(timing) => unsafe {
            totals::add_latency(slot, now_ns, timing.latency_ns, timing.is_slow);
        },
        // SAFETY: just looked up.
        None => unsafe { totals::add_end(slot, now_ns) },
    }
    sample.leave(slot, |record| describe(call, record));
}

/// What a record says of a call.
#[inline(always)]
fn sample(key: TotalsKey, reached: Reached, timing: Option<Timing>, now_ns: u64) -> Sample {
    Sample {
        key,
        cause_dev: reached.cause_dev,
        is_exact: reached.dev != 0,
        now_ns,
        latency_ns: timing.map_or(0, |timing| timing.latency_ns),
    }
}

/// Writes what the caller asked for.
#[inline(always)]
fn describe(call: &Call, record: *mut PathRecord) {
    let path = call.argument(call.arguments.path);
    // SAFETY: reserved memory; the helper writes at most the field.
    unsafe {
        (*record).dfd = call.dfd();
        let to = (&raw mut (*record).path).cast();
        let read = bpf_probe_read_user_str(to, PATH_MAX_BYTES as u32, path as *const _);
        (*record).path_len = if read > 0 { read as u32 - 1 } else { 0 };
    }
}
