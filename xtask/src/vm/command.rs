//! `cargo xtask guest`: one command in one guest, to look around.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{Machines, Manner, job::Job, matrix, qemu::Verdict};

/// Run a command in an emulated guest: `cargo xtask guest 6.12 -- mount-observer check`.
///
/// The guest has what tests have there, our programs among it. Each line of output comes with the
/// seconds since the guest booted.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Command {
    /// Which guest: 5.10, 6.1, 6.12, 6.16, 6.18, 7.2, 7.3, 6.12-integrity, 6.12-confidentiality or
    /// 6.12-smp.
    guest: String,
    /// Seconds after which the guest is ended.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// The command, without a shell.
    #[arg(last = true, required = true)]
    words: Vec<String>,
}

/// Runs it and prints what it wrote, with the time since boot.
pub(crate) fn run(command: &Command) -> Result<()> {
    let guests = matrix::select(std::slice::from_ref(&command.guest))?;
    let Some(machines) = Machines::prepare("command", guests)? else {
        return Ok(());
    };
    let manner = Manner {
        timeout: Duration::from_secs(command.timeout),
        is_kvm_wanted: false,
    };
    let words: Vec<_> = command.words.iter().map(String::as_str).collect();
    let job = |_: &_| {
        let mut job = Job::default();
        job.run("command", &words);
        job
    };
    for ran in machines.run(manner, job, |_| ())? {
        for (at, line) in ran.ended.report.runs.iter().flat_map(|run| &run.output) {
            println!("{:9.2}  {line}", at.as_secs_f64());
        }
        if let Some(code) = ran.ended.report.runs.iter().find_map(|run| run.code) {
            ensure!(code == 0, "the command ended with exit code {code}");
        }
        let verdict = ran.ended.verdict;
        ensure!(
            verdict == Verdict::Passed,
            "{verdict:?}; the console: {}",
            ran.ended.console.display()
        );
    }
    Ok(())
}
