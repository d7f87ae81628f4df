//! What the ring buffer carries: one record per failure that matters, per slow end, and per edge.

use crate::{COMM_BYTES, wire::wire};

/// Longest path copied with a failed path syscall, its NUL included; longer ones are cut.
pub const PATH_MAX_BYTES: usize = 256;

/// What a [`Record`] reports.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    /// A FUSE request ended with a connection-class errno, or was refused before it was sent.
    RequestFailed = 1,
    /// A FUSE request took longer than the slow threshold.
    RequestSlow = 2,
    /// A path syscall failed with a connection-class errno: a [`PathRecord`].
    PathFailed = 3,
    /// A statx-family syscall took longer than the slow threshold: a [`PathRecord`].
    PathSlow = 4,
    /// A known FUSE server's process is exiting; its descriptors close right after.
    ServerExit = 5,
    /// A FUSE connection is being aborted: `op` is the wire number of an [`crate::AbortCause`], and
    /// the caller is who does it.
    ConnectionAborted = 6,
    /// A descriptor of `/dev/fuse` was closed for good; `dev` is 0 when the connection could not be
    /// read.
    DeviceReleased = 7,
    /// A FUSE request that was to write something came to nothing: a [`RiskRecord`].
    WriteFailed = 8,
    /// Something was written below a mount point on which nothing is mounted: a [`PathRecord`] whose `dev`
    /// is the place in `EXPECTED`.
    ShadowWrite = 9,
    /// A trace: a FUSE request or an NFS operation ended. A [`TraceRecord`].
    RequestTraced = 10,
    /// A trace: a path syscall ended. A [`PathRecord`].
    CallTraced = 11,
}

impl RecordKind {
    /// The kind a wire number stands for.
    pub const fn from_wire(kind: u32) -> Option<Self> {
        match kind {
            1 => Some(Self::RequestFailed),
            2 => Some(Self::RequestSlow),
            3 => Some(Self::PathFailed),
            4 => Some(Self::PathSlow),
            5 => Some(Self::ServerExit),
            6 => Some(Self::ConnectionAborted),
            7 => Some(Self::DeviceReleased),
            8 => Some(Self::WriteFailed),
            9 => Some(Self::ShadowWrite),
            10 => Some(Self::RequestTraced),
            11 => Some(Self::CallTraced),
            _ => None,
        }
    }
}

/// The fixed part of every record, and the whole of those without a path.
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
pub struct Record {
    /// [`RecordKind`] as a number.
    pub kind: u32,
    /// Operation, as [`crate::Op`] encodes it; 0 for a closed descriptor; the [`crate::AbortCause`] of an
    /// abort; 1 for the exit of a server that the kernel killed for its memory, else 0.
    pub op: u32,
    /// `CLOCK_MONOTONIC`, ns, when the record was made.
    pub time_ns: u64,
    /// Nanoseconds from send to end; 0 where only the end is seen.
    pub latency_ns: u64,
    /// cgroup v2 id of the current task; for FUSE ends that is the server's or the aborter's. In a trace
    /// the caller's; 0 when not known.
    pub cgroup_id: u64,
    /// `s_dev` of the superblock; 0 when the kernel side could not tell.
    pub dev: u32,
    /// Positive errno; 0 for a success. For a server's exit: the raw wait status (`task.exit_code`).
    pub errno: u32,
    /// The caller's process (for an exit: the server's).
    pub tgid: u32,
    /// The caller's thread.
    pub tid: u32,
    /// Records of the same superblock and errno that the rate limit held back since the last one.
    pub suppressed: u32,
    /// Inode number of the caller's mount namespace; 0 when not read.
    pub mnt_ns: u32,
    /// The caller's name.
    pub comm: [u8; COMM_BYTES],
}
wire!(Record, 72);

/// A record about a path syscall.
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
pub struct PathRecord {
    /// The fixed part; its `dev` is 0 when the path must be attributed in user space.
    pub record: Record,
    /// Directory descriptor the path is relative to (`AT_FDCWD` is -100).
    pub dfd: i32,
    /// `s_dev` of the FUSE superblock that was asked last within the call; 0 for none. Under an
    /// overlay, the one to blame.
    pub cause_dev: u32,
    /// 1 when the kernel's own path walk named `dev`; 0 when the caller's words did.
    pub is_exact: u32,
    /// Bytes of `path` in use, without the NUL; [`PATH_MAX_BYTES`] - 1 when it was cut.
    pub path_len: u32,
    /// The path as the caller gave it, read at exit: at entry its page may not be present.
    pub path: [u8; PATH_MAX_BYTES],
}
wire!(PathRecord, 344);

/// FUSE opcodes that write something, as bits: what fails of them is data at risk. By number, 4 to 53:
/// `SETATTR`, `SYMLINK`, `MKNOD`, `MKDIR`, `UNLINK`, `RMDIR`, `RENAME`, `LINK`; `WRITE`, `RELEASE`,
/// `FSYNC`, `FLUSH`, `CREATE`; `FALLOCATE`, `RENAME2`, `COPY_FILE_RANGE`, `TMPFILE`,
/// `COPY_FILE_RANGE_64`.
pub const WRITING_OPCODES: u64 = 1 << 4
    | 1 << 6
    | 0b11_1111 << 8
    | 1 << 16
    | 1 << 18
    | 1 << 20
    | 1 << 25
    | 1 << 35
    | 1 << 43
    | 1 << 45
    | 1 << 47
    | 1 << 51
    | 1 << 53;

/// Bytes of a file's name, its NUL included (`NAME_MAX`, `include/uapi/linux/limits.h`).
pub const NAME_BYTES: usize = 256;

/// A record about a FUSE request that was to write something.
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
pub struct RiskRecord {
    /// The fixed part.
    pub record: Record,
    /// The FUSE node the request is about: of one that has a name, the directory.
    pub nodeid: u64,
    /// The first byte concerned; `u64::MAX` when not known.
    pub offset: u64,
    /// How many bytes; `u64::MAX` when not known.
    pub length: u64,
    /// 1 when the connection refused it before it was sent.
    pub is_refused: u32,
    /// Bytes of `name` in use, without the NUL; 0 for none.
    pub name_len: u32,
    /// The name in the request; of a rename the old one, of a link the new one.
    pub name: [u8; NAME_BYTES],
}
wire!(RiskRecord, 360);

/// Bytes of a name in a trace, its NUL included; longer ones are cut.
pub const TRACE_NAME_BYTES: usize = 64;

/// A record of a FUSE request or an NFS operation that a trace shows.
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
pub struct TraceRecord {
    /// The fixed part.
    pub record: Record,
    /// The FUSE node the request is about: of one that has a name, the directory; 0 when not known.
    pub nodeid: u64,
    /// The request's number as the server sees it; 0 when it never had one, and for NFS.
    pub unique: u64,
    /// Zero.
    pub pad: u32,
    /// Bytes of `name` in use, without the NUL; 0 for none, [`TRACE_NAME_BYTES`] - 1 when it was cut.
    pub name_len: u32,
    /// The name in the request; of a rename the old one, of a link the new one.
    pub name: [u8; TRACE_NAME_BYTES],
}
wire!(TraceRecord, 160);
