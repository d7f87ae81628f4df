//! The iterator over all open files: who holds `/dev/fuse`, the state of each connection, and the
//! requests queued on it ([`crate::walk`]).

use aya_ebpf::{bindings::seq_file, helpers::generated::bpf_seq_write};
use mount_observer_common::{HolderRow, QUEUED_MAX, QueuedRow, RowKind};

use crate::{
    cast::{TYPE_CONNECTION, TYPE_FUSE_DEV, cast},
    iterator::Meta,
    kernel::{
        OFF_CONN_CONNECTED, OFF_CONN_WAITING, OFF_FILE_INODE, OFF_FILE_PRIVATE, OFF_FUD_CONN,
        OFF_INODE_RDEV, OFF_TASK_STATE, OFF_TASK_TGID, Probed, Typed, connection_dev, field,
        follow, fuse_device_connection, read_comm, unmark,
    },
    maps::{SCRATCH, Scratch},
    walk,
};

/// `/dev/fuse`: misc major 10, `FUSE_MINOR` 229 (`include/linux/miscdevice.h`), as a `dev_t`.
const FUSE_RDEV: u32 = 10 << 20 | 229;

/// `struct bpf_iter__task_file`, whose layout is part of the iterator's contract.
#[repr(C)]
pub struct TaskFile {
    /// Where rows go.
    pub meta: *const Meta,
    /// The task; null at the end.
    pub task: *const u8,
    /// The descriptor.
    pub fd: u32,
    /// The file; null at the end.
    pub file: *const u8,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn holders(context: *const TaskFile) -> i32 {
    // SAFETY: the kernel passes a valid context; either pointer is null at the end of the walk.
    let (task, file) = unsafe { ((*context).task, (*context).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let inode = follow::<Typed>(file, &OFF_FILE_INODE);
    if field::<Typed, u32>(inode, &OFF_INODE_RDEV) != FUSE_RDEV {
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let device = follow::<Typed>(file, &OFF_FILE_PRIVATE);
    // SAFETY: a live map value, and only one scan runs at a time.
    let emitted = unsafe {
        (*scratch).holder.fd = (*context).fd;
        identify(&mut (*scratch).holder, task);
        describe(&mut (*scratch).holder, device)
    };
    // SAFETY: the context's meta is valid as long as the context is.
    unsafe { write((*(*context).meta).seq, scratch, emitted) };
    0
}

/// As [`holders`] where kernel memory may not be read by its address: what it needs is reached through
/// types. The requests are not walked: no type leads from one to the next.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn holders_cast(context: *const TaskFile) -> i32 {
    // SAFETY: as in `holders`, and so below.
    let (task, file) = unsafe { ((*context).task, (*context).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    let inode = follow::<Typed>(file, &OFF_FILE_INODE);
    if field::<Typed, u32>(inode, &OFF_INODE_RDEV) != FUSE_RDEV {
        return 0;
    }
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    let device = field::<Typed, u64>(file, &OFF_FILE_PRIVATE);
    // SAFETY: a live map value, and only one scan runs at a time.
    unsafe {
        (*scratch).holder.fd = (*context).fd;
        identify(&mut (*scratch).holder, task);
        describe_cast(&mut (*scratch).holder, device);
        write((*(*context).meta).seq, scratch, 0);
    }
    0
}

/// Fills in the task.
#[inline(always)]
fn identify(row: &mut HolderRow, task: *const u8) {
    row.tgid = field::<Typed, u32>(task, &OFF_TASK_TGID);
    row.task_state = field::<Typed, u32>(task, &OFF_TASK_STATE);
    read_comm(task, &mut row.comm);
}

/// Fills in a holder's connection. All that wait there count as seen, and none is reported: so the row
/// says that it is not all.
#[inline(always)]
fn describe_cast(row: &mut HolderRow, device: u64) {
    clear(row);
    let device = unmark(device as *const u8) as u64;
    if device == 0 {
        return;
    }
    let connection = field::<Typed, u64>(cast(device, &TYPE_FUSE_DEV), &OFF_FUD_CONN);
    // By way of the map it becomes a plain number: no bit of a typed pointer may be changed.
    let place = &raw mut row.connection_ptr;
    // SAFETY: a live map value.
    let connection = unsafe {
        core::ptr::write_volatile(place, connection);
        core::ptr::read_volatile(place)
    };
    row.connection_ptr = unmark(connection as *const u8) as u64;
    if row.connection_ptr == 0 {
        return;
    }
    let connection = cast(row.connection_ptr, &TYPE_CONNECTION);
    row.dev = connection_dev::<Typed>(connection);
    row.connected = field::<Typed, u32>(connection, &OFF_CONN_CONNECTED);
    row.waiting = field::<Typed, u32>(connection, &OFF_CONN_WAITING);
    row.queued_seen = row.waiting;
}

/// A row without a connection.
#[inline(always)]
fn clear(row: &mut HolderRow) {
    row.kind = RowKind::Holder as u32;
    row.size = size_of::<HolderRow>() as u32;
    row.connection_ptr = 0;
    row.dev = 0;
    row.connected = 0;
    row.waiting = 0;
    row.queued_seen = 0;
    row.queued_emitted = 0;
}

/// Writes the row and its requests. When the buffer is full the kernel runs the program again for
/// the same file, so a failed write loses nothing.
#[inline(always)]
unsafe fn write(seq: *mut seq_file, scratch: *const Scratch, emitted: u32) {
    // SAFETY: both parts lie inside the map value.
    unsafe {
        bpf_seq_write(
            seq,
            (&raw const (*scratch).holder).cast(),
            size_of::<HolderRow>() as u32,
        );
        // Opaque, so that the bound is checked on what is passed and not on what it came from.
        let bytes = core::hint::black_box(u64::from(emitted) * size_of::<QueuedRow>() as u64);
        if bytes <= (QUEUED_MAX * size_of::<QueuedRow>()) as u64 {
            bpf_seq_write(seq, (&raw const (*scratch).queued).cast(), bytes as u32);
        }
    }
}

/// Fills in a holder's connection and collects its requests; returns how many it collected.
#[inline(always)]
fn describe(row: &mut HolderRow, device: *const u8) -> u32 {
    clear(row);
    // Opened and not mounted yet: no fuse_dev, or one without a connection.
    let device = unmark(device);
    if device.is_null() {
        return 0;
    }
    let connection = fuse_device_connection(device);
    if connection.is_null() {
        return 0;
    }
    row.connection_ptr = connection as u64;
    row.dev = connection_dev::<Probed>(connection);
    row.connected = field::<Probed, u32>(connection, &OFF_CONN_CONNECTED);
    row.waiting = field::<Probed, u32>(connection, &OFF_CONN_WAITING);
    if row.waiting == 0 {
        return 0;
    }
    let emitted = walk::collect(connection, device, row.dev);
    // A full buffer ends the walk: the connection's own count then says how many there are.
    row.queued_seen = if emitted < QUEUED_MAX as u32 {
        emitted
    } else {
        row.waiting.max(emitted)
    };
    row.queued_emitted = emitted;
    emitted
}
