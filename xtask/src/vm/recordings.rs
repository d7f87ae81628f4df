//! `cargo xtask recordings`: every fault on every kernel, as recordings that the tests decide again.

use std::{collections::BTreeMap, fs, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{Machines, Manner, image::OURS, job::Job, matrix, report::Run};
use crate::steps;

/// Where the tests find them.
const DIRECTORY: &str = "tests/data/recordings";

/// Nine observers, and each takes an emulated processor seconds to start.
const TIMEOUT: Duration = Duration::from_mins(12);

/// Record every fault on kernels of the matrix into tests/data/recordings; a quarter of an hour for all.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Recordings {
    /// Guests: 6.1, 6.12-integrity and so on. All when none is named.
    kernels: Vec<String>,
    /// Faults, by the names of their files. All when none is named.
    #[arg(last = true)]
    faults: Vec<String>,
}

/// Records and writes.
pub(crate) fn run(args: &Recordings) -> Result<()> {
    let mut guests = matrix::select(&args.kernels)?;
    // More processors make no other recording.
    guests.retain(|guest| guest.cpus == 1 || !args.kernels.is_empty());
    let Some(machines) = Machines::prepare("recordings", guests)? else {
        return Ok(());
    };
    let manner = Manner {
        timeout: TIMEOUT,
        is_kvm_wanted: false,
    };
    let faults = if args.faults.is_empty() {
        vec!["recordings::".to_owned()]
    } else {
        let test = |fault: &String| format!("recordings::{fault}");
        args.faults.iter().map(test).collect()
    };
    let job = |_: &_| {
        let mut job = Job::default();
        job.module("nfs");
        job.env("MOUNT_OBSERVER_RECORDINGS", "1");
        let program = format!("{OURS}/vm");
        let mut words = vec![program.as_str(), "--nocapture", "--test-threads", "3"];
        words.extend(faults.iter().map(String::as_str));
        job.run("recordings", &words);
        job
    };
    for ran in machines.run(manner, job, |_| ())? {
        let run = ran.ended.report.run("recordings");
        let run = run.context("nothing was run")?;
        keep(ran.guest.name, run)
            .with_context(|| format!("cannot keep those of {}", ran.guest.name))?;
        let failed: Vec<_> = run
            .output
            .iter()
            .filter(|(_, line)| !line.starts_with("RECORD"))
            .collect();
        ensure!(
            run.is_ok(),
            "{}: {failed:#?}; the console: {}",
            ran.guest.name,
            ran.ended.console.display()
        );
    }
    Ok(())
}

fn keep(guest: &str, run: &Run) -> Result<()> {
    let directory = steps::workspace_root()?.join(DIRECTORY).join(guest);
    fs::create_dir_all(&directory)?;
    let mut parts: BTreeMap<&str, Vec<u8>> = BTreeMap::new();
    for line in &run.stdout {
        // The name of the test may stand before it, where nothing is captured.
        let Some(at) = line.find("RECORD") else {
            continue;
        };
        let words: Vec<&str> = line.get(at..).unwrap_or_default().split(' ').collect();
        match *words {
            ["RECORDING", name, _, digits] => parts.entry(name).or_default().extend(bytes(digits)?),
            ["RECORDED", name, length] => {
                let whole = parts.remove(name).unwrap_or_default();
                ensure!(
                    whole.len() == length.parse::<usize>()?,
                    "{name} is not whole"
                );
                fs::write(directory.join(format!("{name}.mor")), &whole)?;
                println!("{DIRECTORY}/{guest}/{name}.mor: {} bytes", whole.len());
            }
            _ => {}
        }
    }
    Ok(())
}

fn bytes(digits: &str) -> Result<Vec<u8>> {
    let pairs = digits.as_bytes().chunks_exact(2);
    let pair = |pair: &[u8]| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?);
    pairs.map(pair).collect()
}
