//! Programs that do nothing on the hooks of those that do: what attaching alone costs. The daemon
//! never loads them; `cargo xtask bench` does.

use aya_ebpf::{
    macros::{btf_tracepoint, fentry, fexit},
    programs::{BtfTracePointContext, FEntryContext, FExitContext},
};

#[btf_tracepoint(function = "fuse_request_send")]
fn empty_send(_context: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "fuse_request_end")]
fn empty_end(_context: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sys_enter")]
fn empty_enter(_context: BtfTracePointContext) -> i32 {
    0
}

#[btf_tracepoint(function = "sys_exit")]
fn empty_exit(_context: BtfTracePointContext) -> i32 {
    0
}

#[fentry(function = "vfs_statx")]
fn empty_stat_enter(_context: FEntryContext) -> i32 {
    0
}

#[fexit(function = "vfs_statx")]
fn empty_stat_exit(_context: FExitContext) -> i32 {
    0
}
