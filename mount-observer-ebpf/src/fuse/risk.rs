//! What a FUSE request was to write: read only when it came to nothing.

use mount_observer_common::{RiskRecord, WRITING_OPCODES};

use super::arguments::{self, in_size, in_value};
use crate::{
    errno::is_recorded,
    kernel::{OFF_ARGS_NODEID, Probed, Reader, exists, field},
};

/// `enum fuse_opcode`, `include/uapi/linux/fuse.h`.
mod opcode {
    pub(super) const WRITE: u16 = 16;
    pub(super) const RELEASE: u16 = 18;
    pub(super) const FSYNC: u16 = 20;
    pub(super) const FLUSH: u16 = 25;
    pub(super) const FALLOCATE: u16 = 43;
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
        if !arguments::are_readable(args) {
            return;
        }
        match op {
            opcode::WRITE => range_of_write::<R>(record, args),
            opcode::FALLOCATE => range_of_fallocate::<R>(record, args),
            _ => {
                let name = &raw mut (*record).name;
                (*record).name_len = arguments::copy_name::<R, _>(op, args, name);
            }
        }
    }
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
