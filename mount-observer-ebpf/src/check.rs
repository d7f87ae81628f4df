//! Questions the daemon asks with `BPF_PROG_TEST_RUN`; these programs are never attached.
//!
//! Written without aya's macro, which answers 0 whatever the function returns.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, generated::bpf_jiffies64};

use crate::{
    cast::{TYPE_CONNECTION, cast},
    kernel::{OFF_CONN_CONNECTED, OFF_CONN_WAITING, Probed, Reader, Typed, connection_dev, field},
};

/// Answer when the pointer no longer leads to a connection of that device.
const GONE: u32 = u32::MAX;

/// The state of one connection, by the address a scan found and its device: `connected` in the
/// top bit, `num_waiting` below.
///
/// The memory may have been freed meanwhile. The device then matches only by accident, and
/// user space confirms with a scan what it does not expect.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
extern "C" fn connection_check(arguments: *const [u64; 2]) -> u32 {
    // SAFETY: a raw tracepoint program's context is at least that long.
    let [connection, dev] = unsafe { *arguments };
    state::<Probed>(connection as *const u8, dev)
}

/// As [`connection_check`] where kernel memory may not be read by its address.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
extern "C" fn connection_check_cast(arguments: *const [u64; 2]) -> u32 {
    // SAFETY: a raw tracepoint program's context is at least that long.
    let [connection, dev] = unsafe { *arguments };
    state::<Typed>(cast(connection, &TYPE_CONNECTION), dev)
}

#[inline(always)]
fn state<R: Reader>(connection: *const u8, dev: u64) -> u32 {
    if u64::from(connection_dev::<R>(connection)) != dev {
        return GONE;
    }
    let connected = field::<R, u32>(connection, &OFF_CONN_CONNECTED);
    let waiting = field::<R, u32>(connection, &OFF_CONN_WAITING);
    (connected & 1) << 31 | waiting & (GONE >> 1)
}

/// Who runs this, and when: the global process number for 0, the low and high halves of
/// `jiffies_64` for 1 and 2. A process in a pid namespace cannot learn the first otherwise.
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tp")]
extern "C" fn whoami(arguments: *const [u64; 2]) -> u32 {
    // SAFETY: a raw tracepoint program's context is at least that long.
    let [question, _] = unsafe { *arguments };
    match question {
        0 => (bpf_get_current_pid_tgid() >> 32) as u32,
        // SAFETY: the helper has no requirement.
        1 => unsafe { bpf_jiffies64() as u32 },
        // SAFETY: the helper has no requirement.
        _ => (unsafe { bpf_jiffies64() } >> 32) as u32,
    }
}
