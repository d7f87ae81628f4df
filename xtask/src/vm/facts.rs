//! `cargo xtask facts`: what each kernel offers, for the tests of the plan.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{Machines, Manner, image::OURS, job::Job, matrix};
use crate::steps;

/// Where the tests of the plan find them.
const DIRECTORY: &str = "tests/data/kernels";

const TIMEOUT: Duration = Duration::from_mins(1);

/// Ask every kernel what it offers, and keep the answers as data of the plan's tests.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Facts {
    /// Guests: 6.1, 6.12-integrity and so on. All when none is named.
    kernels: Vec<String>,
}

/// Captures and writes.
pub(crate) fn run(args: &Facts) -> Result<()> {
    let mut guests = matrix::select(&args.kernels)?;
    // More processors change no fact.
    guests.retain(|guest| guest.cpus == 1 || !args.kernels.is_empty());
    let Some(machines) = Machines::prepare("facts", guests)? else {
        return Ok(());
    };
    let manner = Manner {
        timeout: TIMEOUT,
        is_kvm_wanted: false,
    };
    let directory = steps::workspace_root()?.join(DIRECTORY);
    fs::create_dir_all(&directory)?;
    let job = |_: &_| {
        let mut job = Job::default();
        job.module("nfs");
        let program = format!("{OURS}/mount-observer");
        job.run("facts", &[&program, "check", "--facts"]);
        job
    };
    for ran in machines.run(manner, job, |_| ())? {
        let name = ran.guest.name;
        let facts = ran.ended.report.run("facts").context("nothing was run")?;
        ensure!(
            facts.is_ok(),
            "{name}: {:?}, {:?}; the console: {}",
            ran.ended.verdict,
            facts.output,
            ran.ended.console.display()
        );
        let text = facts.stdout.join("\n") + "\n";
        serde_json::from_str::<serde_json::Value>(&text)
            .with_context(|| format!("the facts of {name}"))?;
        let path = directory.join(format!("{name}.json"));
        fs::write(&path, &text)?;
        println!(
            "{DIRECTORY}/{name}.json: {}, {} bytes",
            ran.release,
            text.len()
        );
    }
    Ok(())
}
