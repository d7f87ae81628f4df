//! What a FUSE request was made from: `struct fuse_args`.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;

use crate::kernel::{MAY_READ_KERNEL, OFF_ARGS_IN, Reader, exists, is_on};

/// `struct fuse_in_arg` (`fs/fuse/fuse_i.h`, v5.10; `fs/fuse/args.h` since 7.2): a size and a pointer.
const IN_ARG_BYTES: usize = 16;
const IN_ARG_VALUE: usize = 8;

/// `enum fuse_opcode`, `include/uapi/linux/fuse.h`: those whose request has the name of a file.
mod opcode {
    pub(super) const LOOKUP: u16 = 1;
    pub(super) const SYMLINK: u16 = 6;
    pub(super) const MKNOD: u16 = 8;
    pub(super) const MKDIR: u16 = 9;
    pub(super) const UNLINK: u16 = 10;
    pub(super) const RMDIR: u16 = 11;
    pub(super) const RENAME: u16 = 12;
    pub(super) const LINK: u16 = 13;
    pub(super) const CREATE: u16 = 35;
    pub(super) const RENAME2: u16 = 45;
}

/// Whether what a request carries can be read.
#[inline(always)]
pub(super) fn are_readable(args: *const u8) -> bool {
    !args.is_null() && exists(&OFF_ARGS_IN) && is_on(&MAY_READ_KERNEL)
}

/// Copies the name in a request, cut to the room for it; returns its length without the NUL, 0 where it
/// has none or cannot be read.
///
/// # Safety
/// `to` must be writable.
#[inline(always)]
pub(super) unsafe fn copy_name<R: Reader, const ROOM: usize>(
    op: u16,
    args: *const u8,
    to: *mut [u8; ROOM],
) -> u32 {
    if !are_readable(args) {
        return 0;
    }
    let from = match op {
        opcode::MKNOD
        | opcode::MKDIR
        | opcode::CREATE
        | opcode::RENAME
        | opcode::RENAME2
        | opcode::LINK => in_value::<R>(args, 1),
        opcode::LOOKUP | opcode::SYMLINK | opcode::UNLINK | opcode::RMDIR => {
            // Since 6.14 an empty argument stands before it (`fuse_set_zero_arg0`).
            if in_size::<R>(args, 0) == 0 {
                in_value::<R>(args, 1)
            } else {
                in_value::<R>(args, 0)
            }
        }
        _ => return 0,
    };
    // SAFETY: the destination is that long; the helper checks the source and writes a NUL.
    let read = unsafe { bpf_probe_read_kernel_str(to.cast::<c_void>(), ROOM as u32, from.cast()) };
    if read > 0 { read as u32 - 1 } else { 0 }
}

/// The size of an argument.
#[inline(always)]
pub(super) fn in_size<R: Reader>(args: *const u8, index: usize) -> u32 {
    let at = args.wrapping_add(OFF_ARGS_IN.load() as usize + index * IN_ARG_BYTES);
    // SAFETY: a number is valid for any bytes.
    unsafe { R::read(at) }
}

/// Where an argument lies.
#[inline(always)]
pub(super) fn in_value<R: Reader>(args: *const u8, index: usize) -> *const u8 {
    let at = OFF_ARGS_IN.load() as usize + index * IN_ARG_BYTES + IN_ARG_VALUE;
    // SAFETY: a pointer is valid for any bytes.
    unsafe { R::read(args.wrapping_add(at)) }
}
