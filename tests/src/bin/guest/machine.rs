//! The two things a guest needs that no safe interface offers.

#![expect(unsafe_code, reason = "an I/O port and an ioctl")]

use std::{
    net::UdpSocket,
    os::fd::{AsRawFd, BorrowedFd},
};

use anyhow::{Context, Result, bail};
use nix::{
    errno::Errno,
    libc,
    sys::reboot::{RebootMode, reboot},
};

use crate::talk::Talk;

/// Where `-device isa-debug-exit` listens.
const EXIT_PORT: u16 = 0xf4;

/// What is written there; QEMU ends with twice the number plus one. It ends with 0 when the kernel
/// panics, and with 1 when it is not started at all.
const PASSED: u8 = 16;
const FAILED: u8 = 17;

/// Ends the emulator with the verdict. Returns only when that does not work.
pub(crate) fn leave(is_ok: bool) -> Result<()> {
    let verdict = if is_ok { PASSED } else { FAILED };
    // SAFETY: ioperm takes three numbers and touches no memory of ours.
    let granted = unsafe { libc::ioperm(EXIT_PORT.into(), 1, 1) };
    match Errno::result(granted) {
        Ok(_) => write_port(EXIT_PORT, verdict),
        // A kernel that is locked down gives no port to anybody: then the verdict is said, and what
        // is left is to switch off, which QEMU ends with 0.
        Err(error) => {
            eprintln!("init: no port to end by: {error}");
            Talk::open()?.say("verdict", if is_ok { "passed" } else { "failed" });
        }
    }
    reboot(RebootMode::RB_POWER_OFF).context("power off")?;
    bail!("still running")
}

#[cfg(target_arch = "x86_64")]
fn write_port(port: u16, value: u8) {
    // SAFETY: the port was granted above, and writing to it touches neither memory nor the stack.
    unsafe {
        std::arch::asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack));
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn write_port(_: u16, _: u8) {}

/// Brings `lo` up, so that 127.0.0.1 can be reached.
pub(crate) fn raise_loopback() -> Result<()> {
    // Any socket will do; it need not be bound to a device that is down.
    let socket = UdpSocket::bind(("0.0.0.0", 0)).context("a socket")?;
    let mut name = [0; libc::IFNAMSIZ];
    for (slot, byte) in name.iter_mut().zip("lo".bytes()) {
        *slot = libc::c_char::try_from(byte)?;
    }
    let request = libc::ifreq {
        ifr_name: name,
        ifr_ifru: libc::__c_anonymous_ifr_ifru {
            ifru_flags: libc::c_short::try_from(libc::IFF_UP | libc::IFF_RUNNING)?,
        },
    };
    set_flags(std::os::fd::AsFd::as_fd(&socket), &request).context("SIOCSIFFLAGS")
}

fn set_flags(socket: BorrowedFd<'_>, request: &libc::ifreq) -> Result<()> {
    // SAFETY: the descriptor is open while borrowed, and the request is read, not kept.
    let set = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, request) };
    Errno::result(set)?;
    Ok(())
}
