//! NFS operations: whose they are, and what they are called.

use crate::wire::wire;

/// Entries of the map `NFS_SERVERS`: NFS superblocks whose operations are told apart.
pub const NFS_SERVERS_MAX: u32 = 4096;

/// Elements of the array `NFS_NAMES`: four protocols with room for 128 procedures each (version 4 has
/// 69 in 7.2, `NFSPROC4_CLNT_*`, `include/linux/nfs4.h`).
pub const NFS_NAMES_MAX: u32 = 4 << NFS_PROCEDURE_BITS;

/// Bits of a procedure's number; the protocol is above them.
pub const NFS_PROCEDURE_BITS: u32 = 7;

/// Bytes of an element of `NFS_NAMES`. The longest name of 7.2 is `BIND_CONN_TO_SESSION`.
pub const NFS_NAME_BYTES: usize = 24;

/// Value of the map `NFS_SERVERS`; the key is the address of the kernel's `struct rpc_clnt`.
///
/// A hint, not a fact: the superblock may be gone since. Whoever uses it looks whether the server
/// still has this client.
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
pub struct NfsServer {
    /// Address of the `struct nfs_server`.
    pub server: u64,
    /// `s_dev` of its superblock when it was found.
    pub dev: u32,
    /// The look that found it last.
    pub turn: u32,
}
wire!(NfsServer, 16);

/// Where a look at all superblocks stands: the one element of the array `NFS_WALK`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "decode",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::KnownLayout,
        zerocopy::Immutable
    )
)]
pub struct NfsWalk {
    /// The link of the superblock it began at; 0 before the first.
    pub start: u64,
    /// The link it goes on with.
    pub at: u64,
}
wire!(NfsWalk, 16);
