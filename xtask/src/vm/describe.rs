//! `cargo xtask kernels`: docs/KERNELS.md.

use std::{fs, time::Duration};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    Machines, Manner, Ran,
    image::OURS,
    job::Job,
    matrix,
    page::{Answers, page},
};
use crate::steps;

const PAGE: &str = "docs/KERNELS.md";

const TIMEOUT: Duration = Duration::from_mins(4);

/// Ask every kernel how the observer attaches there and what that costs, and write
/// docs/KERNELS.md.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Describe {
    /// Guests, of which the page is printed and not written. All when none is named.
    kernels: Vec<String>,
}

/// Asks and writes.
pub(crate) fn run(args: &Describe) -> Result<()> {
    let Some(machines) = Machines::prepare("describe", matrix::select(&args.kernels)?)? else {
        return Ok(());
    };
    let manner = Manner {
        timeout: TIMEOUT,
        is_kvm_wanted: false,
    };
    let job = |_: &_| {
        let mut job = Job::default();
        let (observer, bench) = (format!("{OURS}/mount-observer"), format!("{OURS}/bench"));
        job.run(
            "mount",
            &[
                "/bin/mount",
                "-tfusectl",
                "none",
                "/sys/fs/fuse/connections",
            ],
        );
        // Otherwise there would be nothing of NFS to try.
        job.module("nfs");
        job.run("check", &[&observer, "check", "--json"]);
        job.run("bench", &[&bench, "--guest"]);
        job
    };
    let ran = machines.run(manner, job, |ran| println!("    {}: done", ran.guest.name))?;
    let answers: Vec<_> = ran.iter().map(answers).collect::<Result<_>>()?;
    let page = page(&answers)?;
    if args.kernels.is_empty() {
        fs::write(steps::workspace_root()?.join(PAGE), page).context("cannot write the page")?;
        println!("{PAGE}: {} guests", answers.len());
    } else {
        print!("{page}");
    }
    Ok(())
}

fn answers(ran: &Ran) -> Result<Answers> {
    let guest = ran.guest.name;
    let told = |name: &str| -> Result<Value> {
        let run = ran.ended.report.run(name).context("it was not run")?;
        // `check` fails where something is missing, and says what all the same.
        serde_json::from_str(&run.stdout.concat()).with_context(|| {
            let lines = run.output.iter().map(|(_, line)| line.as_str());
            lines.collect::<Vec<_>>().join("\n")
        })
    };
    let bench = told("bench");
    if let Err(error) = &bench {
        println!("    {guest}: nothing could be measured: {error:#}");
    }
    Ok(Answers {
        guest,
        release: ran.release.clone(),
        check: told("check").with_context(|| format!("{guest}: check"))?,
        bench: bench.ok(),
    })
}
