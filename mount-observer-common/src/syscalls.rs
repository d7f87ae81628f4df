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
    Fstat,
}

/// In [`PathArguments`]: the system call has no such argument.
pub const NO_ARGUMENT: u8 = 255;

/// `AT_FDCWD`, `include/uapi/linux/fcntl.h`: the working directory instead of a descriptor.
pub const AT_FDCWD: i32 = -100;

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
    /// Index of the path argument, 0 to 5; [`NO_ARGUMENT`] for none.
    pub path: u8,
    /// Index of the directory descriptor argument; [`NO_ARGUMENT`]: the path is relative to the cwd.
    pub dfd: u8,
    /// Index of the `struct stat` (or `struct statx`) argument that tells `st_dev`;
    /// [`NO_ARGUMENT`] for none.
    pub stat: u8,
    /// 1 when `stat` is a `struct statx`.
    pub is_statx: u8,
    /// 1 when the call is counted where the kernel's function returns (`stat_exit`, `attr_exit`), and
    /// not where the system call does.
    pub is_by_function: u16,
}
wire!(PathArguments, 8);

/// Bytes of a path that are matched against mount points: the kernel's LPM trie takes keys of 256
/// bytes (`LPM_DATA_SIZE_MAX`, `kernel/bpf/lpm_trie.c`), 8 of which say whose path it is.
pub const MATCHED_PATH_BYTES: usize = 248;

/// Key data of the LPM trie `MOUNT_POINTS`: a mount point, and for whom the path means that.
///
/// A mount point has two entries: `/mnt/a/` for what lies below, `/mnt/a\0` for itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "decode",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct MountPath {
    /// Inode number of the mount namespace.
    pub mnt_ns: u32,
    /// `s_dev` of the root of the tasks that see it so.
    pub root: u32,
    /// The path from there.
    pub path: [u8; MATCHED_PATH_BYTES],
}
wire!(MountPath, 256);

/// Value of the LPM trie `MOUNT_POINTS`.
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
pub struct MountTarget {
    /// `s_dev` of the superblock on top.
    pub dev: u32,
    /// Bytes of the path that lead there, the `/` or NUL after them included.
    pub prefix_bytes: u16,
    /// 1 when no other mount point lies below: every path that begins so leads there.
    pub is_leaf: u16,
}
wire!(MountTarget, 8);

/// Words of the array `SCOPE_FILTER`: one bit per device number modulo 4096. A superblock whose bit
/// is not set is not in scope, which spares most calls the lookup in a hash.
pub const SCOPE_FILTER_WORDS: u32 = 64;
