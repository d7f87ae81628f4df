//! The iterator over all tasks: who sleeps inside a filesystem, in which superblock, and whether
//! the known servers run.

mod open_call;

use aya_ebpf::{
    Global,
    helpers::generated::{bpf_get_task_stack, bpf_seq_write},
};
use mount_observer_common::{RowKind, STACK_DEPTH, ScanMode, TaskRow};

use crate::{
    iterator::Meta,
    kernel::{
        OFF_DENTRY_SB, OFF_ND_DENTRY, OFF_SB_DEV, OFF_TASK_NAMEIDATA, OFF_TASK_NIVCSW,
        OFF_TASK_NVCSW, OFF_TASK_PID, OFF_TASK_STATE, OFF_TASK_TGID, Typed, as_task, field,
        file_dev, follow, mount_namespace, read_comm, user_call,
    },
    maps::{SCAN_MODE, SCRATCH, SERVERS, WAIT_FUNCTIONS},
    text,
};
use open_call::OpenCall;

/// `TASK_INTERRUPTIBLE | TASK_UNINTERRUPTIBLE` (`include/linux/sched.h`); a killable sleep has the
/// second.
const SLEEPING: u32 = 3;

/// `TASK_NOLOAD` (`include/linux/sched.h`): an idle kernel thread, not a wait for anything.
const NOLOAD: u32 = 0x400;

/// One bit per system call number whose first argument is a file descriptor.
#[unsafe(no_mangle)]
static DESCRIPTOR_SYSCALLS: [Global<u64>; 8] = [const { Global::new(0) }; 8];

/// `struct bpf_iter__task`, whose layout is part of the iterator's contract.
#[repr(C)]
struct Task {
    meta: *const Meta,
    task: *const u8,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task")]
extern "C" fn tasks(context: *const Task) -> i32 {
    // SAFETY: the kernel passes a valid context; the task is null at the end of the walk.
    let task = unsafe { (*context).task };
    if task.is_null() {
        return 0;
    }
    let tid = field::<Typed, u32>(task, &OFF_TASK_PID);
    let tgid = field::<Typed, u32>(task, &OFF_TASK_TGID);
    let state = field::<Typed, u32>(task, &OFF_TASK_STATE);
    let walk = follow::<Typed>(task, &OFF_TASK_NAMEIDATA);
    let is_asleep = state & SLEEPING != 0 && state & NOLOAD == 0;
    // SAFETY: the value is not used.
    let is_server = tid == tgid && unsafe { SERVERS.get(tgid) }.is_some();
    let walks = is_asleep && !walk.is_null();
    let call = if is_asleep {
        OpenCall::of(task, tid)
    } else {
        OpenCall::NONE
    };
    let is_full = SCAN_MODE
        .get(0)
        .is_some_and(|&mode| mode == ScanMode::Full as u32);
    if !is_server && !walks && !call.is_open() && !(is_asleep && is_full) {
        return 0;
    }
    let Some(row) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a live map value, and only one scan runs at a time.
    let row = unsafe { &mut (*row).task };
    row.stack_len = if is_asleep && (walks || call.is_open() || is_full) {
        unwind(row, task)
    } else {
        0
    };
    if !is_server && !walks && !call.is_open() && !waits_for_filesystem(row) {
        return 0;
    }
    row.tid = tid;
    row.tgid = tgid;
    row.task_state = state;
    row.walk_dev = if walks { walk_dev(walk) } else { 0 };
    describe(row, task, &call);
    // SAFETY: the row lies inside the map value; meta is valid as long as the context is. When the
    // buffer is full the kernel runs the program again for the same task.
    unsafe {
        let seq = (*(*context).meta).seq;
        bpf_seq_write(seq, (&raw const *row).cast(), size_of::<TaskRow>() as u32);
    }
    0
}

/// Takes the kernel stack; returns the number of frames.
#[inline(always)]
fn unwind(row: &mut TaskRow, task: *const u8) -> u32 {
    let bytes = (STACK_DEPTH * 8) as u32;
    // SAFETY: the buffer is that long.
    let taken =
        unsafe { bpf_get_task_stack(as_task(task), row.stack.as_mut_ptr().cast(), bytes, 0) };
    if taken > 0 {
        (taken as u32 / 8) & 31
    } else {
        0
    }
}

/// Whether a frame lies in one of the functions in which tasks wait for a filesystem.
#[inline(always)]
fn waits_for_filesystem(row: &TaskRow) -> bool {
    let Some(functions) = WAIT_FUNCTIONS.get(0) else {
        return false;
    };
    let frames = row.stack_len as usize;
    let mut index = 0;
    while index < STACK_DEPTH {
        if index >= frames {
            return false;
        }
        // SAFETY: below STACK_DEPTH; indexing would leave a panic path.
        if text::tag(functions, unsafe { *row.stack.as_ptr().add(index) }) != 0 {
            return true;
        }
        index += 1;
    }
    false
}

/// Fills in what is read only of tasks that are reported.
#[inline(always)]
fn describe(row: &mut TaskRow, task: *const u8, call: &OpenCall) {
    row.kind = RowKind::Task as u32;
    row.size = size_of::<TaskRow>() as u32;
    row.since_ns = call.since_ns;
    row.call_dev = call.dev;
    row.cause_dev = call.cause_dev;
    row.switches = field::<Typed, u64>(task, &OFF_TASK_NVCSW)
        .wrapping_add(field::<Typed, u64>(task, &OFF_TASK_NIVCSW));
    row.mnt_ns = mount_namespace::<Typed>(task);
    row.syscall = u32::MAX;
    row.file_dev = 0;
    read_comm(task, &mut row.comm);
    if let Some(user) = user_call(task) {
        row.syscall = user.number as u32;
        if takes_descriptor(user.number) {
            row.file_dev = file_dev::<Typed>(task, user.arguments[0]);
        }
    }
}

/// `s_dev` where a path walk stands; 0 at its very start.
#[inline(always)]
fn walk_dev(walk: *const u8) -> u32 {
    let dentry = follow::<Typed>(walk, &OFF_ND_DENTRY);
    field::<Typed, u32>(follow::<Typed>(dentry, &OFF_DENTRY_SB), &OFF_SB_DEV)
}

#[inline(always)]
fn takes_descriptor(number: u64) -> bool {
    if number >= 512 {
        return false;
    }
    let word = (number >> 6) as usize & 7;
    // SAFETY: masked below the length; indexing would leave a panic path.
    let bits = unsafe { (*DESCRIPTOR_SYSCALLS.as_ptr().add(word)).load() };
    bits >> (number & 63) & 1 != 0
}
