//! One FUSE request that was sent and has not ended.

use crate::{COMM_BYTES, wire::wire};

/// Value of the map `IN_FLIGHT`; the key is the address of the kernel's `struct fuse_req`.
///
/// An entry is a hint, not a fact: a caller killed while its request is still queued leaves no end
/// event (`request_wait_answer`, `fs/fuse/dev.c`, v6.18), so entries are confirmed before they alert.
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
pub struct InFlight {
    /// `CLOCK_MONOTONIC`, ns, when the request was sent; 0 in an idle entry, whose request has ended.
    pub start_ns: u64,
    /// The request's number as the server sees it; 0 on 6.12 to 6.17, where it is assigned later.
    pub unique: u64,
    /// The FUSE node the request is about.
    pub nodeid: u64,
    /// `s_dev` of the superblock, as the kernel encodes it (major << 20 | minor).
    pub dev: u32,
    /// `enum fuse_opcode`, `include/uapi/linux/fuse.h`.
    pub opcode: u32,
    /// The caller's process, in the initial pid namespace; 0, with the next two, when not known: a
    /// background request that its server sent on.
    pub tgid: u32,
    /// The caller's thread, in the initial pid namespace.
    pub tid: u32,
    /// The caller's name.
    pub comm: [u8; COMM_BYTES],
    /// The caller's cgroup v2 id, in a trace; 0 when not known.
    pub cgroup_id: u64,
}
wire!(InFlight, 64);
