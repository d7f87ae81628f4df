//! System calls of this architecture: their numbers, and where their path arguments are.

use libc::c_long;
use mount_observer_common::{NO_ARGUMENT as NONE, Op, PathArguments, SyscallOp};

/// Calls that can wait for a filesystem and whose first argument is a file descriptor.
const DESCRIPTOR_CALLS: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_ioctl,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_getdents64,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fstatfs,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fgetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_readahead,
    libc::SYS_fadvise64,
];

/// One bit per system call number whose first argument is a file descriptor.
pub(super) fn descriptor_bits() -> [u64; 8] {
    let mut bits = [0; 8];
    for &number in DESCRIPTOR_CALLS {
        let word = usize::try_from(number >> 6)
            .ok()
            .and_then(|word| bits.get_mut(word));
        if let Some(word) = word {
            *word |= 1 << (number & 63);
        }
    }
    bits
}

/// Every path syscall by its number.
pub(super) fn path_arguments() -> impl Iterator<Item = (u32, PathArguments)> {
    let lists = [AT_CALLS, LEGACY_CALLS];
    lists
        .into_iter()
        .flatten()
        .filter_map(|&(number, op, path, dfd, stat)| {
            #[expect(
                clippy::as_conversions,
                reason = "the discriminant of a repr(u16) enum"
            )]
            let arguments = PathArguments {
                op: Op::Syscall(op as u16).to_wire(),
                path,
                dfd,
                stat,
                is_statx: u8::from(op == SyscallOp::Statx),
                is_by_function: u16::from(op == SyscallOp::Fstat),
            };
            Some((u32::try_from(number).ok()?, arguments))
        })
}

/// Whether a call is of the stat family, all of which ends in `vfs_statx` or, with an empty path, in
/// `vfs_getattr_nosec` (`fs/stat.c`, 5.10 to 7.3).
pub(super) fn is_stat(number: u32) -> bool {
    let ops = [
        SyscallOp::Stat,
        SyscallOp::Lstat,
        SyscallOp::Newfstatat,
        SyscallOp::Statx,
    ];
    let calls = [AT_CALLS, LEGACY_CALLS];
    let mut calls = calls.into_iter().flatten();
    calls.any(|call| u32::try_from(call.0) == Ok(number) && ops.contains(&call.1))
}

/// Number, call, and the indices of its path, directory descriptor and stat buffer.
type PathCall = (c_long, SyscallOp, u8, u8, u8);

/// Calls every architecture has.
const AT_CALLS: &[PathCall] = &[
    (libc::SYS_newfstatat, SyscallOp::Newfstatat, 1, 0, 2),
    (libc::SYS_statx, SyscallOp::Statx, 1, 0, 4),
    (libc::SYS_fstat, SyscallOp::Fstat, NONE, 0, 1),
    (libc::SYS_openat, SyscallOp::Openat, 1, 0, NONE),
    (libc::SYS_openat2, SyscallOp::Openat2, 1, 0, NONE),
    (libc::SYS_faccessat, SyscallOp::Faccessat, 1, 0, NONE),
    (libc::SYS_faccessat2, SyscallOp::Faccessat2, 1, 0, NONE),
    (libc::SYS_readlinkat, SyscallOp::Readlinkat, 1, 0, NONE),
    (libc::SYS_statfs, SyscallOp::Statfs, 0, NONE, NONE),
    (libc::SYS_chdir, SyscallOp::Chdir, 0, NONE, NONE),
    (libc::SYS_mkdirat, SyscallOp::Mkdirat, 1, 0, NONE),
    (libc::SYS_unlinkat, SyscallOp::Unlinkat, 1, 0, NONE),
    (libc::SYS_renameat2, SyscallOp::Renameat2, 1, 0, NONE),
    (libc::SYS_getxattr, SyscallOp::Getxattr, 0, NONE, NONE),
    (libc::SYS_lgetxattr, SyscallOp::Lgetxattr, 0, NONE, NONE),
    (libc::SYS_listxattr, SyscallOp::Listxattr, 0, NONE, NONE),
    (libc::SYS_llistxattr, SyscallOp::Llistxattr, 0, NONE, NONE),
    (libc::SYS_truncate, SyscallOp::Truncate, 0, NONE, NONE),
    (libc::SYS_fchmodat, SyscallOp::Fchmodat, 1, 0, NONE),
    (libc::SYS_fchmodat2, SyscallOp::Fchmodat2, 1, 0, NONE),
    (libc::SYS_fchownat, SyscallOp::Fchownat, 1, 0, NONE),
    (libc::SYS_utimensat, SyscallOp::Utimensat, 1, 0, NONE),
    (libc::SYS_linkat, SyscallOp::Linkat, 1, 0, NONE),
    (libc::SYS_symlinkat, SyscallOp::Symlinkat, 2, 1, NONE),
    (libc::SYS_execve, SyscallOp::Execve, 0, NONE, NONE),
    (libc::SYS_execveat, SyscallOp::Execveat, 1, 0, NONE),
];

/// Calls of the older architectures.
#[cfg(target_arch = "x86_64")]
const LEGACY_CALLS: &[PathCall] = &[
    (libc::SYS_stat, SyscallOp::Stat, 0, NONE, 1),
    (libc::SYS_lstat, SyscallOp::Lstat, 0, NONE, 1),
    (libc::SYS_open, SyscallOp::Open, 0, NONE, NONE),
    (libc::SYS_creat, SyscallOp::Creat, 0, NONE, NONE),
    (libc::SYS_access, SyscallOp::Access, 0, NONE, NONE),
    (libc::SYS_readlink, SyscallOp::Readlink, 0, NONE, NONE),
    (libc::SYS_mkdir, SyscallOp::Mkdir, 0, NONE, NONE),
    (libc::SYS_rmdir, SyscallOp::Rmdir, 0, NONE, NONE),
    (libc::SYS_unlink, SyscallOp::Unlink, 0, NONE, NONE),
    (libc::SYS_rename, SyscallOp::Rename, 0, NONE, NONE),
    (libc::SYS_renameat, SyscallOp::Renameat, 1, 0, NONE),
    (libc::SYS_chmod, SyscallOp::Chmod, 0, NONE, NONE),
    (libc::SYS_chown, SyscallOp::Chown, 0, NONE, NONE),
    (libc::SYS_lchown, SyscallOp::Lchown, 0, NONE, NONE),
    (libc::SYS_link, SyscallOp::Link, 0, NONE, NONE),
    (libc::SYS_symlink, SyscallOp::Symlink, 1, NONE, NONE),
];

/// None.
#[cfg(not(target_arch = "x86_64"))]
const LEGACY_CALLS: &[PathCall] = &[];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use mount_observer_common::SYSCALL_OPS_MAX;

    use super::*;

    #[test]
    fn every_call_has_its_own_number_and_operation_and_fits_the_map() {
        let calls: Vec<_> = path_arguments().collect();
        let numbers: BTreeSet<_> = calls.iter().map(|call| call.0).collect();
        let operations: BTreeSet<_> = calls.iter().map(|call| call.1.op).collect();
        assert_eq!(numbers.len(), calls.len());
        assert_eq!(operations.len(), calls.len());
        assert!(numbers.iter().all(|&number| number < SYSCALL_OPS_MAX));
    }

    #[test]
    fn a_descriptors_bit_is_its_number() {
        let bits = descriptor_bits();
        for number in [libc::SYS_read, libc::SYS_fstat, libc::SYS_getdents64] {
            let word = bits[usize::try_from(number >> 6).unwrap()];
            assert_eq!(word >> (number & 63) & 1, 1, "{number}");
        }
    }
}
