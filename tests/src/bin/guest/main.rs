//! The first process of an emulated guest (`cargo xtask test vm`), and its `modprobe`.
//!
//! As init it mounts what a system has, hands the work to a child, collects whatever dies, and ends
//! the emulator with the child's verdict. The child does the steps of `/guest/job` and says what
//! happens on the second serial line: the first belongs to the kernel.

#![deny(unsafe_code)]
#![expect(
    clippy::print_stderr,
    reason = "standard error is the guest's console, which is kept when it fails"
)]

mod job;
mod machine;
mod modules;
mod talk;

use std::{
    fs,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    sys::wait::{WaitStatus, wait},
    unistd::Pid,
};

/// What a running system has mounted: file system and place. Some kernels lack some of them.
const MOUNTS: [(&str, &str); 11] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("devpts", "/dev/pts"),
    ("tmpfs", "/dev/shm"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("securityfs", "/sys/kernel/security"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
    ("cgroup2", "/sys/fs/cgroup"),
];

/// Links below `/dev` that programs expect.
const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().collect();
    let program = words.first().map(String::as_str).unwrap_or_default();
    let done = if program.ends_with("modprobe") {
        // As the kernel calls it: `/sbin/modprobe -q -- fs-overlay`.
        modules::load(words.last().map(String::as_str).unwrap_or_default())
    } else if words.get(1).is_some_and(|word| word == "job") {
        job::run()
    } else if std::process::id() == 1 {
        let is_ok = init().unwrap_or_else(|error| {
            eprintln!("init: {error:#}");
            false
        });
        machine::leave(is_ok)
    } else {
        Err(anyhow::anyhow!("this is the init of an emulated guest"))
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{program}: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Sets the system up, runs the job and says whether all of it went well.
fn init() -> Result<bool> {
    for (kind, place) in MOUNTS {
        if let Err(error) = provide(kind, place) {
            eprintln!("init: no {kind} on {place}: {error:#}");
        }
    }
    for (target, link) in LINKS {
        symlink(target, link).ok();
    }
    machine::raise_loopback().context("the loopback device")?;
    let job = Command::new("/init")
        .arg("job")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin:/opt/mount-observer")
        .env("HOME", "/root")
        .current_dir("/root")
        .spawn()
        .context("start the job")?;
    let job = Pid::from_raw(i32::try_from(job.id())?);
    loop {
        match wait() {
            Ok(WaitStatus::Exited(pid, code)) if pid == job => return Ok(code == 0),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == job => {
                eprintln!("init: the job ended by {signal}");
                return Ok(false);
            }
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(error).context("wait"),
        }
    }
}

fn provide(kind: &str, place: &str) -> Result<()> {
    fs::create_dir_all(place)?;
    match mount(
        Some(kind),
        Path::new(place),
        Some(kind),
        MsFlags::empty(),
        None::<&str>,
    ) {
        // The kernel may have mounted devtmpfs by itself.
        Ok(()) | Err(Errno::EBUSY) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
