//! Writes below a mount point on which nothing is mounted: they land on the filesystem underneath, and
//! vanish from sight with the next mount.
//!
//! Attached only while a mount is missing. By the caller's words: relative paths are not seen.

use aya_ebpf::{
    helpers::{
        bpf_get_current_pid_tgid,
        generated::{bpf_ktime_get_ns, bpf_probe_read_user, bpf_probe_read_user_str},
    },
    macros::btf_tracepoint,
    maps::lpm_trie::Key,
    programs::BtfTracePointContext,
};
use mount_observer_common::{
    AT_FDCWD, Counter, MATCHED_PATH_BYTES, MountPath, Op, PATH_MAX_BYTES, PathRecord, RecordKind,
    ShadowSlot, SyscallOp,
};

use crate::{
    counters::count,
    errno::errno_of,
    kernel::{
        OFF_REGS_ARG0, OFF_REGS_ARG1, OFF_REGS_ARG2, OFF_REGS_ARG3, OFF_REGS_NR, Typed, field,
        is_compat, with_current,
    },
    maps::{EXPECTED, SHADOW_KEY, SHADOW_WRITES, SYSCALL_OPS},
    memo::View,
    record::{self, Facts, Wake},
};

/// `O_WRONLY | O_RDWR | O_CREAT`, `include/uapi/asm-generic/fcntl.h`.
const WRITES: u64 = 0o1 | 0o2 | 0o100;

/// Records of one mount point per CPU in a window.
const BURST_RECORDS: u32 = 4;
const WINDOW_NS: u64 = 1_000_000_000;

#[btf_tracepoint(function = "sys_exit")]
fn shadow_write(context: BtfTracePointContext) -> i32 {
    if errno_of(context.arg(1)).is_some() {
        return 0;
    }
    let registers: *const u8 = context.arg(0);
    if let Some((op, path)) = written(registers)
        && !is_compat::<Typed>(registers)
    {
        with_current!(|task: R| landed(op, path, View::of::<R>(task)));
    }
    0
}

/// The operation and the path that a call writes to, if it writes.
#[inline(always)]
fn written(registers: *const u8) -> Option<(u16, u64)> {
    let number = field::<Typed, u64>(registers, &OFF_REGS_NR);
    if number >= 512 {
        return None;
    }
    let op = SYSCALL_OPS.get(number as u32)?.op;
    let Op::Syscall(call) = Op::from_wire(op) else {
        return None;
    };
    const OPEN: u16 = SyscallOp::Open as u16;
    const OPENAT: u16 = SyscallOp::Openat as u16;
    const OPENAT2: u16 = SyscallOp::Openat2 as u16;
    const CREAT: u16 = SyscallOp::Creat as u16;
    const MKDIR: u16 = SyscallOp::Mkdir as u16;
    const MKDIRAT: u16 = SyscallOp::Mkdirat as u16;
    const TRUNCATE: u16 = SyscallOp::Truncate as u16;
    const RENAME: u16 = SyscallOp::Rename as u16;
    const RENAMEAT: u16 = SyscallOp::Renameat as u16;
    const RENAMEAT2: u16 = SyscallOp::Renameat2 as u16;
    const LINK: u16 = SyscallOp::Link as u16;
    const LINKAT: u16 = SyscallOp::Linkat as u16;
    const SYMLINK: u16 = SyscallOp::Symlink as u16;
    const SYMLINKAT: u16 = SyscallOp::Symlinkat as u16;
    let first = || field::<Typed, u64>(registers, &OFF_REGS_ARG0);
    let second = || field::<Typed, u64>(registers, &OFF_REGS_ARG1);
    let third = || field::<Typed, u64>(registers, &OFF_REGS_ARG2);
    let fourth = || field::<Typed, u64>(registers, &OFF_REGS_ARG3);
    let path = match call {
        OPEN if second() & WRITES != 0 => first(),
        OPENAT if third() & WRITES != 0 => second(),
        OPENAT2 if flags_of_how(third()) & WRITES != 0 => second(),
        CREAT | MKDIR | TRUNCATE => first(),
        MKDIRAT | RENAME | LINK | SYMLINK => second(),
        RENAMEAT | RENAMEAT2 | LINKAT => fourth(),
        SYMLINKAT => third(),
        _ => return None,
    };
    Some((op, path))
}

/// The first field of `struct open_how` (`include/uapi/linux/openat2.h`).
#[inline(always)]
fn flags_of_how(how: u64) -> u64 {
    let mut flags = 0_u64;
    // SAFETY: the destination is 8 bytes; the helper checks the source.
    let failed = unsafe { bpf_probe_read_user((&raw mut flags).cast(), 8, how as *const _) };
    if failed != 0 {
        count(Counter::UserReadsFailed);
        return 0;
    }
    flags
}

/// Counts a write if it landed below a mount point that is expected.
#[inline(always)]
fn landed(op: u16, path: u64, view: Option<View>) {
    let (Some(view), Some(key)) = (view, SHADOW_KEY.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: a live map value of this CPU; the helper writes at most the field.
    let read = unsafe {
        bpf_probe_read_user_str(
            (&raw mut (*key).data.path).cast(),
            MATCHED_PATH_BYTES as u32,
            path as *const _,
        )
    };
    if read <= 0 {
        count(Counter::UserReadsFailed);
        return;
    }
    // SAFETY: as above.
    let place = unsafe {
        (*key).data.mnt_ns = view.mnt_ns;
        (*key).data.root = view.root;
        (*key).prefix_len = (8 + read as u32) * 8;
        EXPECTED.get(&*key).copied()
    };
    let Some(place) = place else { return };
    let Some(slot) = SHADOW_WRITES.get_ptr_mut(place) else {
        return;
    };
    // SAFETY: a live map value of this CPU.
    unsafe { (*slot).count += 1 };
    // SAFETY: the helper has no requirement.
    let now_ns = unsafe { bpf_ktime_get_ns() };
    // SAFETY: as above.
    if let Some(suppressed) = unsafe { admit(slot, now_ns) } {
        tell(op, place, key, (now_ns, suppressed));
    }
}

/// Whether this write may leave a record, and how many before it could not.
///
/// # Safety
/// `slot` must be a live map value of this CPU.
#[inline(always)]
unsafe fn admit(slot: *mut ShadowSlot, now_ns: u64) -> Option<u32> {
    // SAFETY: as required of the caller.
    let slot = unsafe { &mut *slot };
    if now_ns.wrapping_sub(slot.window_ns) >= WINDOW_NS {
        slot.window_ns = now_ns;
        slot.window_records = 0;
    }
    if slot.window_records >= BURST_RECORDS {
        slot.suppressed += 1;
        return None;
    }
    slot.window_records += 1;
    Some(core::mem::take(&mut slot.suppressed))
}

#[inline(always)]
fn tell(op: u16, place: u32, key: *const Key<MountPath>, (now_ns, suppressed): (u64, u32)) {
    let Some(mut room) = record::reserve::<PathRecord>() else {
        return;
    };
    let facts = Facts {
        kind: RecordKind::ShadowWrite,
        op,
        time_ns: now_ns,
        latency_ns: 0,
        dev: place,
        errno: 0,
        pid_tgid: bpf_get_current_pid_tgid(),
        suppressed,
        mnt_ns: 0,
    };
    let record = room.as_mut_ptr();
    // SAFETY: reserved memory, and a live map value; the path's field is larger than the key's.
    unsafe {
        record::fill(&raw mut (*record).record, &facts);
        record::fill_current_comm(&raw mut (*record).record.comm);
        (*record).dfd = AT_FDCWD;
        (*record).cause_dev = 0;
        (*record).is_exact = 0;
        let length = (*key).prefix_len / 8 - 8;
        (*record).path_len = if length > 0 { length - 1 } else { 0 };
        let (from, to) = (&raw const (*key).data.path, &raw mut (*record).path);
        let (from, to) = (from.cast::<u64>(), to.cast::<u64>());
        let mut index = 0;
        while index < PATH_MAX_BYTES / 8 {
            let word = if index < MATCHED_PATH_BYTES / 8 {
                from.add(index).read_unaligned()
            } else {
                0
            };
            core::ptr::write_volatile(to.add(index), word);
            index += 1;
        }
    }
    record::submit(room, Wake::Later);
}
