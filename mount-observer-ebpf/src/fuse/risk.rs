//! What a FUSE request was to write: read only when it came to nothing.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use mount_observer_common::{NAME_BYTES, RiskRecord, WRITING_OPCODES};

use crate::{
    errno::is_recorded,
    kernel::{MAY_READ_KERNEL, OFF_ARGS_IN, OFF_ARGS_NODEID, Probed, Reader, exists, field, is_on},
};

/// `struct fuse_in_arg` (`fs/fuse/fuse_i.h`, v5.10; `fs/fuse/args.h` since 7.2): a size and a pointer.
const IN_ARG_BYTES: usize = 16;
const IN_ARG_VALUE: usize = 8;

/// `enum fuse_opcode`, `include/uapi/linux/fuse.h`.
mod opcode {
    pub(super) const SYMLINK: u16 = 6;
    pub(super) const MKNOD: u16 = 8;
    pub(super) const MKDIR: u16 = 9;
    pub(super) const UNLINK: u16 = 10;
    pub(super) const RMDIR: u16 = 11;
    pub(super) const RENAME: u16 = 12;
    pub(super) const LINK: u16 = 13;
    pub(super) const WRITE: u16 = 16;
    pub(super) const RELEASE: u16 = 18;
    pub(super) const FSYNC: u16 = 20;
    pub(super) const FLUSH: u16 = 25;
    pub(super) const CREATE: u16 = 35;
    pub(super) const FALLOCATE: u16 = 43;
    pub(super) const RENAME2: u16 = 45;
}

/// `EINTR`, `EAGAIN`, `ENOSYS`: the caller goes on, or the server never does that.
const HARMLESS: u64 = 1 << 4 | 1 << 11 | 1 << 38;

/// Whether data may be lost with this failure: every failure to write content counts; another one may
/// just be the answer, unless it is a broken connection's.
#[inline(always)]
pub(super) fn is_at_risk(op: u16, errno: u32) -> bool {
    if errno == 0 || op >= 64 || WRITING_OPCODES >> op & 1 == 0 {
        return false;
    }
    match op {
        opcode::WRITE | opcode::FLUSH | opcode::FSYNC | opcode::RELEASE => {
            errno >= 64 || HARMLESS >> errno & 1 == 0
        }
        _ => is_recorded(errno),
    }
}

/// Fills in what is known beyond the fixed part, from a request's `struct fuse_args`, null when that is
/// not known.
///
/// # Safety
/// `record` must be writable.
#[inline(always)]
pub(super) unsafe fn describe<R: Reader>(record: *mut RiskRecord, op: u16, args: *const u8) {
    let has_args = !args.is_null();
    // SAFETY: as required of the caller.
    unsafe {
        (*record).nodeid = 0;
        (*record).offset = u64::MAX;
        (*record).length = u64::MAX;
        (*record).name_len = 0;
        if has_args && exists(&OFF_ARGS_NODEID) {
            (*record).nodeid = field::<R, u64>(args, &OFF_ARGS_NODEID);
        }
        if !has_args || !exists(&OFF_ARGS_IN) || !is_on(&MAY_READ_KERNEL) {
            return;
        }
        match op {
            opcode::WRITE => range_of_write::<R>(record, args),
            opcode::FALLOCATE => range_of_fallocate::<R>(record, args),
            opcode::MKNOD
            | opcode::MKDIR
            | opcode::CREATE
            | opcode::RENAME
            | opcode::RENAME2
            | opcode::LINK => name::<R>(record, args, 1),
            opcode::SYMLINK | opcode::UNLINK | opcode::RMDIR => {
                // Since 6.14 an empty argument stands before it (`fuse_set_zero_arg0`).
                if in_size::<R>(args, 0) == 0 {
                    name::<R>(record, args, 1);
                } else {
                    name::<R>(record, args, 0);
                }
            }
            _ => {}
        }
    }
}

#[inline(always)]
fn in_size<R: Reader>(args: *const u8, index: usize) -> u32 {
    let at = args.wrapping_add(OFF_ARGS_IN.load() as usize + index * IN_ARG_BYTES);
    // SAFETY: a number is valid for any bytes.
    unsafe { R::read(at) }
}

#[inline(always)]
fn in_value<R: Reader>(args: *const u8, index: usize) -> *const u8 {
    let at = OFF_ARGS_IN.load() as usize + index * IN_ARG_BYTES + IN_ARG_VALUE;
    // SAFETY: a pointer is valid for any bytes.
    unsafe { R::read(args.wrapping_add(at)) }
}

/// `struct fuse_write_in`: `fh`, `offset`, `size`. The second argument is the content: its size must be
/// the same, or this is something else.
#[inline(always)]
unsafe fn range_of_write<R: Reader>(record: *mut RiskRecord, args: *const u8) {
    let size = in_size::<R>(args, 1);
    // SAFETY: numbers; the helper checks the source.
    let [_, offset, told] = unsafe { Probed::read::<[u64; 3]>(in_value::<R>(args, 0)) };
    if told as u32 != size {
        return;
    }
    // SAFETY: as required of the caller.
    unsafe {
        (*record).offset = offset;
        (*record).length = u64::from(size);
    }
}

/// `struct fuse_fallocate_in`: `fh`, `offset`, `length`, 32 bytes.
#[inline(always)]
unsafe fn range_of_fallocate<R: Reader>(record: *mut RiskRecord, args: *const u8) {
    if in_size::<R>(args, 0) != 32 {
        return;
    }
    // SAFETY: numbers; the helper checks the source.
    let [_, offset, length] = unsafe { Probed::read::<[u64; 3]>(in_value::<R>(args, 0)) };
    // SAFETY: as required of the caller.
    unsafe {
        (*record).offset = offset;
        (*record).length = length;
    }
}

#[inline(always)]
unsafe fn name<R: Reader>(record: *mut RiskRecord, args: *const u8, index: usize) {
    let from = in_value::<R>(args, index);
    // SAFETY: the destination is that long; the helper checks the source and writes a NUL.
    unsafe {
        let to = (&raw mut (*record).name).cast();
        let read = bpf_probe_read_kernel_str(to, NAME_BYTES as u32, from.cast());
        if read > 0 {
            (*record).name_len = read as u32 - 1;
        }
    }
}
