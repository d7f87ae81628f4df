//! The path syscalls we look at, and where each keeps its path.

use crate::wire::wire;

/// Slots of the map `SYSCALL_OPS`, by system call number; x86-64 and arm64 stay below it.
pub const SYSCALL_OPS_MAX: u32 = 512;

/// A path syscall, the 32-bit and the `at` forms under their own names.
#[repr(u16)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(
    missing_docs,
    reason = "each variant is the syscall of that name: man 2"
)]
pub enum SyscallOp {
    Stat = 1,
    Lstat,
    Newfstatat,
    Statx,
    Open,
    Openat,
    Openat2,
    Access,
    Faccessat,
    Faccessat2,
    Readlink,
    Readlinkat,
    Statfs,
    Chdir,
    Mkdir,
    Mkdirat,
    Rmdir,
    Unlink,
    Unlinkat,
    Rename,
    Renameat,
    Renameat2,
    Getxattr,
    Lgetxattr,
    Listxattr,
    Llistxattr,
    Truncate,
    Creat,
    Chmod,
    Fchmodat,
    Fchmodat2,
    Chown,
    Lchown,
    Fchownat,
    Utimensat,
    Link,
    Linkat,
    Symlink,
    Symlinkat,
    Execve,
    Execveat,
}

/// Value of the map `SYSCALL_OPS`, indexed by system call number; all zero for the others.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "decode",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct PathArguments {
    /// [`crate::Op::to_wire`] of the syscall; 0 when the syscall takes no path.
    pub op: u16,
    /// Index of the path argument, 0 to 5.
    pub path: u8,
    /// Index of the directory descriptor argument; 255 when the path is relative to the cwd.
    pub dfd: u8,
    /// Index of the `struct stat` (or `struct statx`) argument that tells `st_dev`; 255 for none.
    pub stat: u8,
    /// 1 when `stat` is a `struct statx`.
    pub is_statx: u8,
    /// Zero.
    pub pad: u16,
}
wire!(PathArguments, 8);
