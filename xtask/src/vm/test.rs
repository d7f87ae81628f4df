//! `cargo xtask test vm`: the tests of real mounts, in every guest.

use std::{fs, time::Duration};

use anyhow::{Result, bail};

use super::{
    Machines, Manner, Ran,
    image::{self, OURS},
    job::Job,
    matrix::{self, Guest},
    qemu::{Verdict, now},
    report::{Outcome, Run},
    table,
};

/// Tests that run at the same time in a guest: they mostly wait.
const TEST_THREADS: &str = "3";

/// A guest that is not done by then hangs.
const TIMEOUT: Duration = Duration::from_mins(3);

/// Lines of a failed program or a dead kernel that are shown; all of them are kept in files.
const SHOWN_LINES: usize = 120;

/// What to test in guests.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct Request {
    /// Guests, for `vm`: 6.1, 6.12-smp and so on. All when none is named.
    kernels: Vec<String>,
    /// For `vm`: arguments of the test programs, most often part of a test's name.
    #[arg(last = true)]
    tests: Vec<String>,
    /// For `vm`: use the processor's virtualisation instead of emulation, where there is any.
    #[arg(long)]
    kvm: bool,
}

/// Runs the tests in the guests asked for.
pub(crate) fn run(args: &Request) -> Result<()> {
    let guests = matrix::select(&args.kernels)?;
    let Some(machines) = Machines::prepare(guests)? else {
        return Ok(());
    };
    let manner = Manner {
        timeout: TIMEOUT,
        is_kvm_wanted: args.kvm,
    };
    let began = now();
    let ran = machines.run(manner, |guest| job(guest, &args.tests), show)?;
    let table = table::tests(&ran);
    print!("{table}");
    fs::write(machines.directory.join("tests.txt"), &table)?;
    println!(
        "    {} guests in {:.0} s",
        ran.len(),
        began.elapsed().as_secs_f64()
    );
    let failed: Vec<_> = ran.iter().filter(|ran| !is_ok(ran)).collect();
    if !failed.is_empty() {
        let names: Vec<_> = failed.iter().map(|ran| ran.guest.name).collect();
        bail!("failed on {}", names.join(", "));
    }
    Ok(())
}

fn job(_: &Guest, arguments: &[String]) -> Job {
    let mut job = Job::default();
    for test in image::tests() {
        let program = format!("{OURS}/{test}");
        // What is captured is lost when a guest ends before its test program.
        let mut words = vec![&*program, "--nocapture", "--test-threads", TEST_THREADS];
        words.extend(arguments.iter().map(String::as_str));
        job.run(test, &words);
    }
    job
}

/// A guest passed when everything ran to its end and nothing failed or was left out.
fn is_ok(ran: &Ran) -> bool {
    let report = &ran.ended.report;
    ran.ended.verdict == Verdict::Passed
        && report.is_done
        && report
            .runs
            .iter()
            .all(|run| run.is_ok() && run.skipped().is_empty())
}

/// Says how a guest went as soon as it is known, in one piece: another may speak meanwhile.
fn show(ran: &Ran) {
    let report = &ran.ended.report;
    let mut lines = vec![format!(
        "{} ({}): {:?} in {:.1} s, booted in {:.1} s",
        ran.guest.name,
        ran.release,
        ran.ended.verdict,
        ran.ended.took.as_secs_f64(),
        report.booted.as_secs_f64(),
    )];
    for run in &report.runs {
        lines.push(line(run));
        let skipped = run.skipped().into_iter();
        lines.extend(skipped.map(|skipped| format!("    SKIPPED: {skipped}")));
        if !run.is_ok() {
            let output = run.output.iter().map(|(_, line)| line.as_str());
            let output: Vec<_> = output.filter(|line| !line.ends_with("... ok")).collect();
            lines.extend(tail(&output));
        }
    }
    if !report.is_done {
        let console = fs::read(&ran.ended.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        lines.extend(tail(&console.lines().collect::<Vec<_>>()));
        lines.push(format!("    all of it: {}", ran.ended.console.display()));
    }
    println!("    {}", lines.join("\n    "));
}

fn line(run: &Run) -> String {
    let tests = run.tests();
    let count = |outcome| tests.iter().filter(|test| test.outcome == outcome).count();
    format!(
        "  {}: {} passed, {} failed, {} ignored in {:.1} s{}",
        run.name,
        count(Outcome::Passed),
        count(Outcome::Failed),
        count(Outcome::Ignored),
        run.ended.saturating_sub(run.began).as_secs_f64(),
        match run.code {
            Some(0) => String::new(),
            Some(code) => format!(", exit code {code}"),
            None => ", NEVER ENDED".to_owned(),
        }
    )
}

/// The last lines, indented.
fn tail(lines: &[&str]) -> Vec<String> {
    let from = lines.len().saturating_sub(SHOWN_LINES);
    let shown = lines.get(from..).unwrap_or_default();
    shown.iter().map(|line| format!("    | {line}")).collect()
}
