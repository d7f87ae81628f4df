//! What a test on real mounts needs from the machine, and what happens when it is not there: a loud
//! line on standard error, or a failure where somebody relies on the test (CI).

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;

/// Something that may be missing. Root is always needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The package bindfs.
    Bindfs,
    /// The packages sshfs and openssh-sftp-server.
    Sshfs,
    /// The package strace.
    Strace,
    /// The package bpftool.
    Bpftool,
    /// The package tmux.
    Tmux,
}

/// Directories in which distributions put programs that root uses.
const PROGRAM_DIRECTORIES: [&str; 4] =
    ["/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// Where distributions put sftp-server.
const SFTP_SERVERS: [&str; 3] = [
    "/usr/lib/openssh/sftp-server",
    "/usr/libexec/openssh/sftp-server",
    "/usr/lib/ssh/sftp-server",
];

/// The path of an installed program.
pub fn program(name: &str) -> Option<PathBuf> {
    PROGRAM_DIRECTORIES
        .iter()
        .map(|directory| Path::new(directory).join(name))
        .find(|path| is_file(path))
}

/// The path of sftp-server.
pub fn sftp_server() -> Option<PathBuf> {
    SFTP_SERVERS
        .iter()
        .map(PathBuf::from)
        .find(|path| is_file(path))
}

/// Whether a test may run. Says what is missing when not.
///
/// # Panics
/// When something is missing in CI, or where `MOUNT_OBSERVER_REQUIRE_HOST` asks for a failure.
pub fn are_met(test: &str, needs: &[Need]) -> bool {
    let missing = missing(needs);
    if missing.is_empty() {
        return true;
    }
    let complaint = format!("{test}: needs {}", missing.join(", "));
    assert!(!is_required(), "{complaint}");
    say(&format!("SKIPPED: {complaint}"));
    false
}

/// Writes a line that cargo's capture of test output does not hide.
pub fn say(line: &str) {
    // Standard error that is gone is no reason to fail a test.
    io::stderr().write_all(format!("{line}\n").as_bytes()).ok();
}

fn missing(needs: &[Need]) -> Vec<&'static str> {
    let mut missing = Vec::new();
    if !geteuid().is_root() {
        missing.push("root");
    }
    for need in needs {
        match need {
            Need::Bindfs if program("bindfs").is_none() => missing.push("the package bindfs"),
            Need::Sshfs if program("sshfs").is_none() => missing.push("the package sshfs"),
            Need::Sshfs if sftp_server().is_none() => {
                missing.push("the package openssh-sftp-server");
            }
            Need::Strace if program("strace").is_none() => missing.push("the package strace"),
            Need::Bpftool if program("bpftool").is_none() => missing.push("the package bpftool"),
            Need::Tmux if program("tmux").is_none() => missing.push("the package tmux"),
            Need::Bindfs | Need::Sshfs | Need::Strace | Need::Bpftool | Need::Tmux => {}
        }
    }
    missing
}

fn is_required() -> bool {
    ["CI", "MOUNT_OBSERVER_REQUIRE_HOST"]
        .iter()
        .any(|name| std::env::var_os(name).is_some_and(|value| !value.is_empty()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test looks for programs on local disks"
)]
pub(crate) fn is_file(path: &Path) -> bool {
    path.is_file()
}
