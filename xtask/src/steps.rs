//! Runs commands one after the other, says what it runs and how long that took, and forgets no
//! failure: a later step still runs after an earlier one failed, and the summary names both.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

/// The steps of one run.
#[derive(Debug)]
pub(crate) struct Steps {
    started: Instant,
    passed: usize,
    failed: Vec<String>,
}

impl Steps {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            started: now(),
            passed: 0,
            failed: Vec::new(),
        }
    }

    /// Runs a step; a failure is printed at once and remembered.
    pub(crate) fn step(&mut self, title: &str, work: impl FnOnce() -> Result<()>) {
        println!("==> {title}");
        let started = now();
        let outcome = work();
        let took = seconds(started.elapsed());
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("<== {title}: ok in {took}");
            }
            Err(error) => {
                println!("<== {title}: FAILED after {took}: {error:#}");
                self.failed.push(title.to_owned());
            }
        }
    }

    /// The closing line, and an error when any step failed.
    pub(crate) fn finish(self) -> Result<()> {
        println!(
            "xtask: {} steps passed, {} failed in {}",
            self.passed,
            self.failed.len(),
            seconds(self.started.elapsed())
        );
        ensure!(self.failed.is_empty(), "failed: {}", self.failed.join("; "));
        Ok(())
    }
}

/// The workspace's root directory.
pub(crate) fn workspace_root() -> Result<PathBuf> {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .map(Path::to_path_buf)
        .context("xtask has no parent directory")
}

/// `cargo ARGS` in the workspace's root, with the cargo that runs us.
pub(crate) fn cargo(args: &[&str]) -> Result<Command> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root()?).args(args);
    Ok(command)
}

/// Runs a command to its end; its output goes where ours goes.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    println!("    $ {}", shown(command));
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", shown(command));
    }
    Ok(())
}

/// A command as one would type it.
fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let mut line = name.to_string_lossy().into_owned();
    for arg in command.get_args() {
        line.push(' ');
        line.push_str(&arg.to_string_lossy());
    }
    line
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

/// The clock of a progress line.
#[expect(
    clippy::disallowed_methods,
    reason = "xtask is no part of the observer"
)]
fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failed_step_is_named_at_the_end_and_later_steps_still_run() {
        let mut steps = Steps::new();
        let mut later_ran = false;
        steps.step("first", || bail!("broken"));
        steps.step("second", || {
            later_ran = true;
            Ok(())
        });
        steps.step("third", || bail!("broken too"));
        assert!(later_ran);
        assert_eq!(
            steps.finish().map_err(|error| error.to_string()),
            Err("failed: first; third".to_owned())
        );
    }

    #[test]
    fn a_failing_command_is_an_error_that_shows_the_command() {
        let error = run(Command::new("/bin/sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "sh -c exit 3 ended with exit status: 3");
    }
}
