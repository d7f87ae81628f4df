//! `cargo xtask demo`: builds what the demonstration needs and runs it.

use std::process::Command;

use anyhow::{Context, Result};

use crate::steps::{cargo, run as run_command, workspace_root};

/// Builds the observer, the file system it will watch break, and the program that breaks it.
pub(crate) fn run() -> Result<()> {
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
