//! Kprobes for programs that aya did not load.

use std::{
    ffi::{CStr, c_int},
    fs, io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd},
};

use super::own;

/// `struct perf_event_attr`, `PERF_ATTR_SIZE_VER1`.
#[repr(C)]
#[derive(Default)]
struct Event {
    kind: u32,
    size: u32,
    config: u64,
    sample_period: u64,
    sample_type: u64,
    read_format: u64,
    flags: u64,
    wakeup_events: u32,
    bp_type: u32,
    /// The function's name.
    config1: u64,
    /// Bytes into it.
    config2: u64,
}

/// `PERF_FLAG_FD_CLOEXEC`.
const CLOSE_ON_EXEC: libc::c_ulong = 1 << 3;
/// `PERF_EVENT_IOC_ENABLE`: `_IO('$', 0)`.
const ENABLE: libc::Ioctl = 0x2400;
/// `PERF_EVENT_IOC_SET_BPF`: `_IOW('$', 8, __u32)`.
const SET_BPF: libc::Ioctl = 0x4004_2408;

/// Puts a program on the entry of a function, of the kernel or a module, on all CPUs; detached when
/// the descriptor is closed.
pub fn attach_kprobe(program: BorrowedFd<'_>, function: &CStr) -> io::Result<OwnedFd> {
    let kind = fs::read_to_string("/sys/bus/event_source/devices/kprobe/type")?;
    let event = Event {
        kind: kind.trim().parse().map_err(io::Error::other)?,
        size: u32::try_from(size_of::<Event>()).unwrap_or(0),
        #[expect(clippy::as_conversions, reason = "the kernel takes addresses as u64")]
        config1: function.as_ptr() as u64,
        ..Event::default()
    };
    let (any_process, first_cpu, no_group): (c_int, c_int, c_int) = (-1, 0, -1);
    // SAFETY: the attributes are as long as they say, and they and the name outlive the call.
    let opened = unsafe {
        libc::syscall(
            libc::SYS_perf_event_open,
            std::ptr::from_ref(&event),
            any_process,
            first_cpu,
            no_group,
            CLOSE_ON_EXEC,
        )
    };
    if opened < 0 {
        return Err(io::Error::last_os_error());
    }
    let event = own(opened)?;
    // SAFETY: takes a program's descriptor.
    checked(unsafe { libc::ioctl(event.as_raw_fd(), SET_BPF, program.as_raw_fd()) })?;
    // SAFETY: takes nothing.
    checked(unsafe { libc::ioctl(event.as_raw_fd(), ENABLE, 0) })?;
    Ok(event)
}

fn checked(result: c_int) -> io::Result<()> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}
