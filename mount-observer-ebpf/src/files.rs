//! The iterator over all open files: those open for writing on superblocks that were asked about, and
//! what each is called.

use aya_ebpf::{
    bindings::seq_file,
    helpers::generated::{bpf_d_path, bpf_probe_read_kernel_str, bpf_seq_write},
};
use mount_observer_common::{FILE_PATH_BYTES, FileRow, NAME_BYTES, PathForm, RowKind};

use crate::{
    cast::{TYPE_FUSE_INODE, cast},
    holders::TaskFile,
    kernel::{
        MAY_READ_KERNEL, OFF_DENTRY_NAME, OFF_DENTRY_PARENT, OFF_FILE_DENTRY, OFF_FILE_INODE,
        OFF_FILE_MODE, OFF_FILE_PATH, OFF_FILE_POSITION, OFF_FUSE_INODE_NODEID, OFF_INODE_NUMBER,
        OFF_INODE_SB, OFF_INODE_SIZE, OFF_SB_DEV, OFF_TASK_PID, OFF_TASK_TGID, Probed, Typed,
        address_of, exists, field, follow, is_on, read_comm,
    },
    maps::{FILES_ASKED, SCRATCH},
};

/// `FMODE_WRITE`, `include/linux/fs.h`.
const WRITE: u32 = 2;

/// Directories whose names are read above a file.
const DIRECTORIES_MAX: usize = 24;

/// A row, and room for the last name that is read.
#[repr(C)]
pub struct Room {
    row: FileRow,
    path: [u8; FILE_PATH_BYTES + NAME_BYTES],
}

/// How this kernel lets names and nodes be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// `bpf_d_path`, and kernel memory by its address.
    Path,
    /// `bpf_d_path`, and kernel memory through types.
    PathCast,
    /// Kernel memory by its address.
    Names,
}

/// `bpf_d_path` is for iterators since 5.12 (`bpf_d_path_allowed`, `kernel/trace/bpf_trace.c`).
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn files(context: *const TaskFile) -> i32 {
    look(context, Way::Path)
}

/// As [`files`] where kernel memory may not be read by its address.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn files_cast(context: *const TaskFile) -> i32 {
    look(context, Way::PathCast)
}

/// As [`files`] without `bpf_d_path`.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn files_by_name(context: *const TaskFile) -> i32 {
    look(context, Way::Names)
}

#[inline(always)]
fn look(context: *const TaskFile, way: Way) -> i32 {
    // SAFETY: the kernel passes a valid context; either pointer is null at the end of the walk.
    let (task, file) = unsafe { ((*context).task, (*context).file) };
    if task.is_null() || file.is_null() {
        return 0;
    }
    if field::<Typed, u32>(file, &OFF_FILE_MODE) & WRITE == 0 {
        return 0;
    }
    let inode = follow::<Typed>(file, &OFF_FILE_INODE);
    let superblock = follow::<Typed>(inode, &OFF_INODE_SB);
    let dev = field::<Typed, u32>(superblock, &OFF_SB_DEV);
    // SAFETY: a number is copied.
    let Some(&is_fuse) = (unsafe { FILES_ASKED.get(dev) }) else {
        return 0;
    };
    let Some(scratch) = SCRATCH.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: a live map value, and only one scan runs at a time.
    let room = unsafe { &raw mut (*scratch).file };
    // SAFETY: as above.
    unsafe {
        let row = &mut (*room).row;
        row.kind = RowKind::File as u32;
        row.fd = (*context).fd;
        row.dev = dev;
        row.tgid = field::<Typed, u32>(task, &OFF_TASK_TGID);
        row.tid = field::<Typed, u32>(task, &OFF_TASK_PID);
        row.position = field::<Typed, u64>(file, &OFF_FILE_POSITION);
        row.length = field::<Typed, u64>(inode, &OFF_INODE_SIZE);
        row.inode = field::<Typed, u64>(inode, &OFF_INODE_NUMBER);
        row.nodeid = if is_fuse == 0 { 0 } else { node(inode, way) };
        read_comm(task, &mut row.comm);
        let length = if way == Way::Names {
            read_names(room, follow::<Typed>(file, &OFF_FILE_DENTRY))
        } else {
            read_path(room, file)
        };
        write((*(*context).meta).seq, room, length);
    }
    0
}

/// The FUSE node behind an inode; 0 where it cannot be read.
#[inline(always)]
fn node(inode: *const u8, way: Way) -> u64 {
    if !exists(&OFF_FUSE_INODE_NODEID) {
        0
    } else if way == Way::PathCast {
        let inode = cast(inode as u64, &TYPE_FUSE_INODE);
        field::<Typed, u64>(inode, &OFF_FUSE_INODE_NODEID)
    } else if is_on(&MAY_READ_KERNEL) {
        field::<Probed, u64>(inode, &OFF_FUSE_INODE_NODEID)
    } else {
        0
    }
}

/// Reads the path; returns its length.
///
/// # Safety
/// `room` must be a live map value.
#[inline(always)]
unsafe fn read_path(room: *mut Room, file: *const u8) -> u64 {
    // SAFETY: as required of the caller; the helper checks the type of the path.
    unsafe {
        let path = address_of(file, &OFF_FILE_PATH).cast_mut().cast();
        let to = (&raw mut (*room).path).cast();
        let read = bpf_d_path(path, to, FILE_PATH_BYTES as u32);
        if read <= 1 {
            (*room).row.path_form = PathForm::None as u32;
            return 0;
        }
        (*room).row.path_form = PathForm::Path as u32;
        read as u64 - 1
    }
}

/// Reads the names from the file up to the root of its filesystem; returns the bytes they take.
///
/// # Safety
/// `room` must be a live map value.
#[inline(always)]
unsafe fn read_names(room: *mut Room, dentry: *const u8) -> u64 {
    let mut dentry = dentry;
    let mut used = 0_u64;
    let mut form = PathForm::LastNames;
    for _ in 0..DIRECTORIES_MAX {
        let parent = follow::<Probed>(dentry, &OFF_DENTRY_PARENT);
        if parent == dentry || parent.is_null() {
            form = PathForm::Names;
            break;
        }
        let name = follow::<Probed>(dentry, &OFF_DENTRY_NAME);
        let place = core::hint::black_box(used) as usize & (FILE_PATH_BYTES - 1);
        // SAFETY: a name fits behind any place below FILE_PATH_BYTES.
        let read = unsafe {
            let to = (&raw mut (*room).path).cast::<u8>().add(place);
            bpf_probe_read_kernel_str(to.cast(), NAME_BYTES as u32, name.cast())
        };
        if read <= 0 {
            break;
        }
        used += read as u64;
        if used >= (FILE_PATH_BYTES - NAME_BYTES) as u64 {
            break;
        }
        dentry = parent;
    }
    if used == 0 {
        form = PathForm::None;
    }
    // SAFETY: as required of the caller.
    unsafe { (*room).row.path_form = form as u32 };
    used
}

/// Writes the row with its path.
///
/// # Safety
/// `room` must be a live map value.
#[inline(always)]
unsafe fn write(seq: *mut seq_file, room: *mut Room, length: u64) {
    let length = if length < FILE_PATH_BYTES as u64 {
        length
    } else {
        0
    };
    let padded = (length + 7) & !7;
    let size = core::hint::black_box(padded + size_of::<FileRow>() as u64);
    if size > size_of::<Room>() as u64 {
        return;
    }
    // SAFETY: as required of the caller, and the size was just checked.
    unsafe {
        (*room).row.path_len = length as u32;
        (*room).row.size = size as u32;
        bpf_seq_write(seq, room.cast(), size as u32);
    }
}
