//! What a thread is in the middle of: one slot per thread, overwritten in place.
//!
//! Threads that share the low bits of their number share a slot; who owns it is written in it, so a
//! collision is seen and counted, and never mistaken.

use crate::wire::wire;

/// Slots of the maps `CALLS` and `FUSE_CALLS`, by the low bits of the thread's number.
pub const CALLS_MAX: u32 = 1 << 16;

/// [`Call::number`] of a call that `vfs_statx` opened: the system call is not known there.
pub const CALL_STATX: u32 = u32::MAX - 1;

/// [`Call::number`] of a call that `vfs_getattr_nosec` opened: `fstat` and the empty-path forms.
pub const CALL_FSTAT: u32 = u32::MAX - 2;

/// How far a call has come.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallStage {
    /// No path walk of it has ended.
    None = 0,
    /// Its last path walk has ended: `dev` is where it failed, 0 when it did not.
    Walked = 1,
    /// It asks for attributes: `dev` is whose.
    Attr = 2,
}

/// Value of the map `CALLS`: what a thread asks a filesystem by path or by descriptor.
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
pub struct Call {
    /// `CLOCK_MONOTONIC`, ns, when the call began; 0 when none is open.
    pub start_ns: u64,
    /// Address of the `struct path` that a [`CALL_FSTAT`] is about.
    pub path: u64,
    /// The thread.
    pub tid: u32,
    /// System call number, [`CALL_STATX`] or [`CALL_FSTAT`].
    pub number: u32,
    /// `s_dev` of the superblock reached; 0 when not known.
    pub dev: u32,
    /// `s_dev` of the FUSE superblock asked last on the way: under an overlay, the one to blame.
    pub cause_dev: u32,
    /// [`CallStage`].
    pub stage: u8,
    /// 1 when `cause_dev` was asked within a path walk that has not ended yet.
    pub is_cause_walking: u8,
    /// Attributes asked for within a [`CALL_FSTAT`]: an overlay asks the layers below.
    pub nested: u16,
    /// Zero.
    pub pad: u32,
}
wire!(Call, 40);

/// Value of the map `FUSE_CALLS`: the FUSE request a thread asks for and waits for.
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
pub struct FuseCall {
    /// `CLOCK_MONOTONIC`, ns, when it was asked for; 0 when none is open.
    pub start_ns: u64,
    /// Address of its `struct fuse_args`, which leads from the request back to the call.
    pub args: u64,
    /// The thread.
    pub tid: u32,
    /// `s_dev` of the superblock.
    pub dev: u32,
    /// `enum fuse_opcode`.
    pub opcode: u32,
    /// 1 once there is a request: sent, or ended without being sent.
    pub is_sent: u16,
    /// 1 when the return is observed too: then an open slot is a call in progress.
    pub is_closed: u16,
}
wire!(FuseCall, 32);
