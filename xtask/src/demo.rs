//! `cargo xtask demo`: builds what the demonstration needs and runs it.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use rustix::process::geteuid;

use crate::steps::{cargo, run as run_command, workspace_root};

/// Builds the observer, the file system it will watch break, and the program that breaks it.
pub(crate) fn run() -> Result<()> {
    allow(geteuid().is_root())?;
    run_command(&mut cargo(&[
        "build",
        "--quiet",
        "--package=mount-observer",
        "--package=mount-observer-tests",
        "--bins",
    ])?)?;
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or(workspace_root()?.join("target"), Into::into);
    run_command(&mut Command::new(target.join("debug/demo"))).context("the demonstration")
}

/// Before anything is built: a build takes minutes.
fn allow(is_root: bool) -> Result<()> {
    ensure!(
        is_root,
        "the demonstration mounts file systems and loads BPF programs: run it as root"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_demonstrates() {
        assert!(allow(true).is_ok());
        assert!(allow(false).is_err());
    }
}
