//! The kernel side of mount-observer: it counts, tracks and samples, and decides nothing.
//!
//! Every program does bounded work and touches no file. What a program cannot do it counts
//! (`COUNTERS`). Struct offsets arrive in frozen `.rodata` ([`kernel`]), so the verifier sees
//! constants and accepts typed loads without a `bpf_probe_read_kernel` per field. The programs' own
//! messages depend on such a constant too: at the default level the verifier removes them.

#![no_std]
#![no_main]

mod branchless;
mod calls;
mod cast;
mod check;
mod counters;
mod errno;
mod files;
mod floor;
mod fuse;
mod holders;
mod iterator;
mod kernel;
mod maps;
mod memo;
mod nfs;
mod paths;
mod record;
mod sample;
mod scope;
mod server;
mod shadow;
mod stat;
mod tasks;
mod text;
mod totals;
mod trace;
mod walk;

/// Lets the programs use helpers that the kernel keeps for GPL-compatible code.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
