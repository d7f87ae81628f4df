//! What the BPF iterators write: rows of different kinds one after the other, each starting with
//! its kind and its size, so that a reader can walk and a truncated tail is noticed.

use crate::{COMM_BYTES, wire::wire};

/// Kernel stack frames kept per task; deep enough from the wait up to the system call.
pub const STACK_DEPTH: usize = 16;

/// Requests written per `/dev/fuse` descriptor: the walk over them stays below 100 000 verified
/// instructions, and 176 x 56 B far below the 32 KiB that a `seq_file`
/// element may take (`bpf_seq_read`, `kernel/bpf/bpf_iter.c`: `PAGE_SIZE << 3`).
pub const QUEUED_MAX: usize = 176;

/// The kind of a row, its first `u32`; the second is its size in bytes.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowKind {
    /// [`HolderRow`].
    Holder = 1,
    /// [`QueuedRow`].
    Queued = 2,
    /// [`TaskRow`].
    Task = 3,
    /// [`FileRow`], and the bytes of its path.
    File = 4,
}

/// One open `/dev/fuse` descriptor of one process.
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
pub struct HolderRow {
    /// [`RowKind::Holder`].
    pub kind: u32,
    /// Size of this row.
    pub size: u32,
    /// Address of the kernel's `struct fuse_conn` (7.2 and later: `struct fuse_chan`).
    pub connection_ptr: u64,
    /// The holder's process.
    pub tgid: u32,
    /// The descriptor.
    pub fd: u32,
    /// `fuse_conn.dev`: `s_dev` of the root superblock; 0 when the descriptor is not mounted yet.
    pub dev: u32,
    /// `fuse_conn.connected`: 1 alive, 0 aborted.
    pub connected: u32,
    /// `fuse_conn.num_waiting`: requests that wait for an answer or for a slot.
    pub waiting: u32,
    /// The holder's `task.__state` (`include/linux/sched.h`: 4 is stopped).
    pub task_state: u32,
    /// Requests on the connection's lists as seen from this descriptor; `waiting` when they are more
    /// than [`QUEUED_MAX`].
    pub queued_seen: u32,
    /// How many of those follow as [`QueuedRow`]; the rest did not fit.
    pub queued_emitted: u32,
    /// The holder's name.
    pub comm: [u8; COMM_BYTES],
}
wire!(HolderRow, 64);

/// One request on a FUSE connection's lists. The lists are walked without their locks: a row may
/// describe a request that has just ended.
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
pub struct QueuedRow {
    /// [`RowKind::Queued`].
    pub kind: u32,
    /// Size of this row.
    pub size: u32,
    /// Address of the `struct fuse_req`: the key of the map `IN_FLIGHT`.
    pub request_ptr: u64,
    /// The request's number; 0 while not assigned.
    pub unique: u64,
    /// The FUSE node the request is about.
    pub nodeid: u64,
    /// Nanoseconds since the request was created, from `fuse_req.create_time` (6.15 and later,
    /// to the jiffy); `u64::MAX` where the kernel keeps no time.
    pub age_ns: u64,
    /// `fuse_conn.dev`.
    pub dev: u32,
    /// `enum fuse_opcode`.
    pub opcode: u32,
    /// The caller in the server's pid namespace; 0 when not mapped there or without credentials.
    pub pid: u32,
    /// 0 the server has not read it yet, 1 the server has it.
    pub at_server: u32,
}
wire!(QueuedRow, 56);

/// One task that is blocked, or that serves a FUSE connection.
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
pub struct TaskRow {
    /// [`RowKind::Task`].
    pub kind: u32,
    /// Size of this row.
    pub size: u32,
    /// `CLOCK_MONOTONIC`, ns, when the task entered its system call, or the kernel function that
    /// observes it (`vfs_statx`, `vfs_getattr_nosec`, `fuse_simple_request`); 0 when not known.
    pub since_ns: u64,
    /// `task.nvcsw + task.nivcsw`: unchanged between two scans, the task has not run in between, so
    /// it is blocked rather than often seen asleep; 0 when not read.
    pub switches: u64,
    /// The task.
    pub tid: u32,
    /// Its process.
    pub tgid: u32,
    /// `task.__state`: 1 interruptible, 2 uninterruptible, 0x102 killable, 4 stopped.
    pub task_state: u32,
    /// `s_dev` under `task.nameidata`: where its path walk stands; 0 when it walks no path.
    pub walk_dev: u32,
    /// `s_dev` of the file its descriptor system call is about; 0 when there is none.
    pub file_dev: u32,
    /// `s_dev` that its open call has reached ([`crate::Call::dev`]); 0 when not known.
    pub call_dev: u32,
    /// `s_dev` of the FUSE superblock it asks, or asked last within its open call; 0 for none.
    pub cause_dev: u32,
    /// Inode number of its mount namespace.
    pub mnt_ns: u32,
    /// System call number; `u32::MAX` when not known.
    pub syscall: u32,
    /// Frames of `stack` in use.
    pub stack_len: u32,
    /// Its name.
    pub comm: [u8; COMM_BYTES],
    /// Kernel return addresses, innermost first.
    pub stack: [u64; STACK_DEPTH],
}
wire!(TaskRow, 208);

/// Longest path that follows a [`FileRow`], its NUL included; of a longer one nothing follows.
pub const FILE_PATH_BYTES: usize = 1024;

/// How the bytes that follow a [`FileRow`] are to be read.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathForm {
    /// There are none.
    None = 0,
    /// The path as the kernel shows it to the observer (`d_path`).
    Path = 1,
    /// The names of the file and of the directories above it up to the root of its filesystem, each with
    /// its NUL.
    Names = 2,
    /// The same, and there were more directories.
    LastNames = 3,
}

/// One file that some process has open for writing. `path_len` bytes of path follow, and as many zeroes
/// as make `size` a multiple of 8.
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
pub struct FileRow {
    /// [`RowKind::File`].
    pub kind: u32,
    /// Size of this row and of what follows.
    pub size: u32,
    /// `file.f_pos`: what was last read or written without a position of its own ends there.
    pub position: u64,
    /// `inode.i_size`.
    pub length: u64,
    /// The FUSE node; 0 when not known.
    pub nodeid: u64,
    /// `inode.i_ino`.
    pub inode: u64,
    /// The process.
    pub tgid: u32,
    /// The first of its threads that share the descriptor.
    pub tid: u32,
    /// The descriptor.
    pub fd: u32,
    /// `s_dev` of the superblock.
    pub dev: u32,
    /// [`PathForm`] as a number.
    pub path_form: u32,
    /// Bytes of path that follow.
    pub path_len: u32,
    /// The process's name.
    pub comm: [u8; COMM_BYTES],
}
wire!(FileRow, 80);
