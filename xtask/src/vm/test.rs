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

/// A guest that is not done by then hangs: many times what it takes on an idle machine.
const TIMEOUT: Duration = Duration::from_mins(12);

/// The same with `--full`.
const TIMEOUT_FULL: Duration = Duration::from_hours(1);

/// Tests of `host` for every guest: one death, one hang, one kind of error. An observer takes an
/// emulated processor seconds to start, and every test starts one: the whole program would take
/// each guest minutes, and the matrix has five in all.
const ALWAYS: [&str; 3] = [
    "dead::an_aborted_mount_is_dead_until_it_is_unmounted",
    "hung::one_blocked_stat_on_a_stopped_bindfs_is_hung_with_all_that_is_known_and_recovers",
    "erroring::reads_that_fail_with_eio_are_erroring_while_all_else_is_served",
];

/// Those that also run, with `--thorough`, where a guest stands for its own way to attach.
const THOROUGH: [&str; 7] = [
    "command_line::one_look_without_a_daemon_names_the_dead_and_the_hung",
    "dead::a_mount_that_umount_f_could_not_remove_is_dead_until_it_is_unmounted",
    "dead::failures_on_a_killed_sshfs_are_counted_there_and_nowhere_else",
    "hung::a_hang_that_began_before_the_observer_is_seen_with_its_true_age",
    "hung::one_lost_lookup_reply_is_stuck_and_never_hung",
    "identity::a_mount_in_another_namespace_is_seen_and_named_by_its_path_there",
    "quiet::an_observed_mount_can_be_unmounted_at_once",
];

/// Of `vm`, the tests that every guest runs; with `--thorough` some run all of it.
const BRIEF: [&str; 3] = ["tier::", "attribution::", "aborts::a_killed_server"];

/// What a trace shows of a fixed workload: a test of `vm` for every guest with one processor. With two,
/// the emulator now and then lets one run into a function that the other is just attaching to: the
/// kernel dies of the breakpoint, `int3` in `vfs_statx` (QEMU 7.2, of ten thousand stats meanwhile).
const WORKLOAD: &str = "trace::a_trace_shows_each_request";

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
    /// For `vm`: more tests in 5.10, 6.1, 6.12 and 7.2, which stand for a way to attach each
    #[arg(long)]
    thorough: bool,
    /// For `vm`: every test in every guest, which takes the better part of an hour.
    #[arg(long, conflicts_with = "thorough")]
    full: bool,
    /// For `vm`: use the processor's virtualisation instead of emulation, where there is any.
    #[arg(long)]
    kvm: bool,
}

impl Request {
    /// Whether there is time for everything.
    pub(crate) fn is_long(&self) -> bool {
        (self.thorough || self.full) && self.tests.is_empty()
    }

    /// Whether anything was asked for that only guests understand.
    pub(crate) fn is_special(&self) -> bool {
        let is_listed = !self.kernels.is_empty() || !self.tests.is_empty();
        is_listed || self.thorough || self.full || self.kvm
    }
}

/// Runs the tests in the guests asked for.
pub(crate) fn run(args: &Request) -> Result<()> {
    let guests = matrix::select(&args.kernels)?;
    let Some(mut machines) = Machines::prepare("test", guests)? else {
        return Ok(());
    };
    let manner = Manner {
        timeout: if args.full { TIMEOUT_FULL } else { TIMEOUT },
        is_kvm_wanted: args.kvm,
    };
    let began = now();
    let mut ran = machines.run(manner, |guest| job(guest, args), show)?;
    // An emulated processor on a busy machine can stand still for seconds, which no deadline foresees.
    let failed: Vec<_> = ran.iter().filter(|ran| !is_ok(ran)).collect();
    let failed: Vec<_> = failed.iter().map(|ran| ran.guest.name).collect();
    if !failed.is_empty() && args.kernels.is_empty() {
        println!(
            "    ONCE MORE, after what failed above: {}",
            failed.join(", ")
        );
        machines
            .guests
            .retain(|(guest, _)| failed.contains(&guest.name));
        ran.retain(is_ok);
        ran.extend(machines.run(manner, |guest| job(guest, args), show)?);
    }
    let table = table::tests(&ran);
    print!("{table}");
    fs::write(machines.directory.join("tests.txt"), &table)?;
    println!(
        "    {} guests in {:.0} s",
        ran.len(),
        began.elapsed().as_secs_f64()
    );
    let has_run = |ran: &Ran| {
        ran.ended
            .report
            .runs
            .iter()
            .any(|run| !run.tests().is_empty())
    };
    if !ran.iter().any(has_run) {
        bail!(
            "no test ran in any guest: does a test's name contain {:?}?",
            args.tests
        );
    }
    let failed: Vec<_> = ran.iter().filter(|ran| !is_ok(ran)).collect();
    if !failed.is_empty() {
        let names: Vec<_> = failed.iter().map(|ran| ran.guest.name).collect();
        bail!("failed on {}", names.join(", "));
    }
    Ok(())
}

fn job(guest: &Guest, request: &Request) -> Job {
    let mut job = Job::default();
    let is_brief = request.tests.is_empty() && !request.full && !request.thorough;
    // The rig tests the tests' own file systems.
    let tests = image::tests().iter();
    for &test in tests.filter(|&&test| test != "rig" || !is_brief) {
        let program = format!("{OURS}/{test}");
        // What is captured is lost when a guest ends before its test program.
        let mut words = vec![&*program, "--nocapture", "--test-threads", TEST_THREADS];
        if !request.tests.is_empty() {
            words.extend(request.tests.iter().map(String::as_str));
        } else if !request.full {
            words.extend(chosen(guest.is_thorough && request.thorough, test));
            if is_brief && test == "vm" && guest.cpus == 1 {
                words.push(WORKLOAD);
            }
        }
        job.run(test, &words);
    }
    job
}

/// Names of the tests of a program that a guest runs; none for all of them.
fn chosen(is_thorough: bool, program: &str) -> Vec<&'static str> {
    match (program, is_thorough) {
        ("host", false) => ALWAYS.into(),
        ("host", true) => ALWAYS.into_iter().chain(THOROUGH).collect(),
        ("vm", false) => BRIEF.into(),
        _ => Vec::new(),
    }
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
        lines.extend(lines_of(run));
    }
    if !report.is_done {
        let console = fs::read(&ran.ended.console).unwrap_or_default();
        let console = String::from_utf8_lossy(&console);
        lines.extend(tail(&console.lines().collect::<Vec<_>>()));
        lines.push(format!("    all of it: {}", ran.ended.console.display()));
    }
    println!("    {}", lines.join("\n    "));
}

/// Says how a single run went.
pub(super) fn show_run(run: &Run) {
    println!("    {}", lines_of(run).join("\n    "));
}

fn lines_of(run: &Run) -> Vec<String> {
    let mut lines = vec![line(run)];
    let skipped = run.skipped().into_iter();
    lines.extend(skipped.map(|(test, why)| format!("    SKIPPED: {test}: {why}")));
    let absent = run.not_here().into_iter();
    lines.extend(absent.map(|(test, why)| format!("    NOT HERE: {test}: {why}")));
    if !run.is_ok() {
        let output = run.output.iter().map(|(_, line)| line.as_str());
        let output: Vec<_> = output.filter(|line| !line.ends_with("... ok")).collect();
        lines.extend(tail(&output));
    }
    lines
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A name that matches no test would silently choose none.
    #[test]
    fn every_chosen_test_exists() {
        let root = crate::steps::workspace_root().unwrap();
        for (name, program) in ALWAYS
            .iter()
            .chain(&THOROUGH)
            .map(|name| (name, "host"))
            .chain(BRIEF.iter().chain([&WORKLOAD]).map(|name| (name, "vm")))
        {
            let (file, function) = name.split_once("::").unwrap();
            let path = root.join(format!("tests/{program}/{file}.rs"));
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(&format!("fn {function}")), "{name}");
        }
    }
}
