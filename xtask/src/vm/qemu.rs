//! Starts a guest and waits for its verdict.
//!
//! The processor is emulated: `/dev/kvm` is there on machines whose own kernel is a guest without
//! nested virtualisation, and QEMU then hangs instead of falling back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{matrix::Guest, report::Report};

/// What `guest` writes to the exit port, as QEMU's status (`tests/src/bin/guest/machine.rs`). A
/// kernel that panics restarts, which ends QEMU with 0, as does one that is switched off.
const PASSED: i32 = 33;
const FAILED: i32 = 35;
const OFF: i32 = 0;

/// Between two looks at a running emulator.
const INTERVAL: Duration = Duration::from_millis(50);

/// How a guest came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Everything that was run ended well.
    Passed,
    /// Something did not.
    Failed,
    /// The kernel panicked or restarted.
    Panicked,
    /// It was killed after its time.
    TimedOut,
    /// The emulator itself failed with this status.
    Broken(Option<i32>),
}

/// What to start.
#[derive(Clone, Debug)]
pub(super) struct Start<'a> {
    pub(super) guest: &'a Guest,
    pub(super) kernel: &'a Path,
    /// Its first root, unless a drive is.
    pub(super) initrd: Option<&'a Path>,
    /// File systems; what is written to them is lost.
    pub(super) drives: &'a [&'a Path],
    /// Where its two serial lines are kept.
    pub(super) directory: &'a Path,
    pub(super) memory_mib: u32,
    pub(super) timeout: Duration,
    /// Use the processor's virtualisation, where it has any.
    pub(super) is_kvm_wanted: bool,
}

/// How it went.
#[derive(Clone, Debug)]
pub(super) struct Ended {
    pub(super) verdict: Verdict,
    pub(super) report: Report,
    pub(super) took: Duration,
    /// What the kernel wrote.
    pub(super) console: PathBuf,
}

/// Runs a guest to its end.
pub(super) fn run(start: &Start<'_>) -> Result<Ended> {
    let (console, said) = (
        start.directory.join("console.log"),
        start.directory.join("said.log"),
    );
    let begin = now();
    let mut emulator = command(start, &console, &said)
        .spawn()
        .context("cannot run qemu-system-x86_64")?;
    let status = loop {
        if let Some(status) = emulator.try_wait()? {
            break Some(status);
        }
        if begin.elapsed() > start.timeout {
            emulator.kill().context("cannot end qemu-system-x86_64")?;
            emulator.wait()?;
            break None;
        }
        pause();
    };
    let said = fs::read(&said).unwrap_or_default();
    let report = Report::parse(&String::from_utf8_lossy(&said));
    Ok(Ended {
        verdict: status.map_or(Verdict::TimedOut, |status| {
            verdict(status.code(), report.verdict)
        }),
        report,
        took: begin.elapsed(),
        console,
    })
}

fn command(start: &Start<'_>, console: &Path, said: &Path) -> Command {
    let mut command = Command::new("qemu-system-x86_64");
    let (accelerator, cpu) = if start.is_kvm_wanted && is_virtual_capable() {
        ("kvm", "host")
    } else {
        ("tcg", "max")
    };
    let file = |path: &Path| format!("file:{}", path.display());
    command
        .args(["-nodefaults", "-no-user-config", "-machine", "q35"])
        .args(["-accel", accelerator, "-cpu", cpu])
        .args(["-smp", &start.guest.cpus.to_string()])
        .args(["-m", &start.memory_mib.to_string()])
        .args(["-display", "none", "-monitor", "none", "-no-reboot"])
        .args(["-serial", &file(console), "-serial", &file(said)])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .arg("-kernel")
        .arg(start.kernel)
        .arg("-append")
        .arg(format!(
            "console=ttyS0 panic=-1 oops=panic quiet {}",
            start.guest.append
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    if let Some(initrd) = start.initrd {
        command.arg("-initrd").arg(initrd);
    }
    // NVMe, because every kernel of the matrix has it built in; one controller, because several are
    // numbered as they answer.
    if !start.drives.is_empty() {
        command.args(["-device", "nvme,id=nvme,serial=1"]);
    }
    for (number, drive) in start.drives.iter().enumerate() {
        let file = drive.display();
        command
            .arg("-drive")
            .arg(format!(
                "file={file},format=raw,if=none,id=d{number},snapshot=on"
            ))
            .arg("-device")
            .arg(format!(
                "nvme-ns,drive=d{number},bus=nvme,nsid={}",
                number + 1
            ));
    }
    command
}

/// `said` is what a guest said before it switched itself off.
fn verdict(code: Option<i32>, said: Option<bool>) -> Verdict {
    match (code, said) {
        (Some(PASSED), _) | (Some(OFF), Some(true)) => Verdict::Passed,
        (Some(FAILED), _) | (Some(OFF), Some(false)) => Verdict::Failed,
        (Some(OFF), None) => Verdict::Panicked,
        (other, _) => Verdict::Broken(other),
    }
}

fn is_virtual_capable() -> bool {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    has_virtualisation(&cpu) && fs::File::options().write(true).open("/dev/kvm").is_ok()
}

fn has_virtualisation(cpuinfo: &str) -> bool {
    cpuinfo
        .lines()
        .filter_map(|line| line.strip_prefix("flags"))
        .flat_map(str::split_ascii_whitespace)
        .any(|flag| ["vmx", "svm"].contains(&flag))
}

#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no part of the observer"
)]
pub(super) fn now() -> Instant {
    Instant::now()
}

#[expect(
    clippy::disallowed_methods,
    reason = "an emulator that runs for a minute is looked at now and then"
)]
fn pause() {
    std::thread::sleep(INTERVAL);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_a_failure_although_the_emulator_ends_well() {
        assert_eq!(verdict(Some(33), None), Verdict::Passed);
        assert_eq!(verdict(Some(35), None), Verdict::Failed);
        assert_eq!(verdict(Some(0), None), Verdict::Panicked);
        assert_eq!(verdict(Some(0), Some(true)), Verdict::Passed);
        assert_eq!(verdict(Some(0), Some(false)), Verdict::Failed);
        assert_eq!(verdict(Some(1), Some(true)), Verdict::Broken(Some(1)));
        assert_eq!(verdict(None, None), Verdict::Broken(None));
    }

    #[test]
    fn virtualisation_is_a_flag_of_the_processor() {
        assert!(has_virtualisation("model : x\nflags\t\t: fpu vmx sse\n"));
        assert!(!has_virtualisation("flags\t\t: fpu\nvmx flags\t: vnmi\n"));
    }
}
