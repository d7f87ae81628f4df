//! Clocks, medians, and tables.

use std::time::Duration;

use anyhow::Result;
use nix::{
    sched::{CpuSet, sched_setaffinity},
    time::{ClockId, clock_gettime},
    unistd::Pid,
};

/// Client and server share a CPU, so that no wake-up crosses CPUs: the last one, which gets fewer
/// interrupts.
pub(crate) fn keep_to_one_cpu() -> Result<()> {
    let mut cpus = CpuSet::new();
    let last = std::thread::available_parallelism()?.get() - 1;
    cpus.set(last)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &cpus)?)
}

/// Time this thread has run: what others do does not count.
pub(crate) fn cpu_time() -> Duration {
    read(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

/// Time that passed.
pub(crate) fn wall_time() -> Duration {
    read(ClockId::CLOCK_MONOTONIC)
}

fn read(clock: ClockId) -> Duration {
    clock_gettime(clock).map(Duration::from).unwrap_or_default()
}

/// Nanoseconds per call: the median of `batches` batches of `calls` calls.
pub(crate) fn ns_per_call(
    clock: fn() -> Duration,
    batches: usize,
    calls: u32,
    mut call: impl FnMut(),
) -> f64 {
    let mut samples = Vec::with_capacity(batches);
    for _ in 0..batches {
        let start = clock();
        for _ in 0..calls {
            call();
        }
        let took = clock().saturating_sub(start);
        samples.push(took.as_secs_f64() * 1e9 / f64::from(calls));
    }
    median(&mut samples)
}

/// The middle value; 0 for none.
pub(crate) fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(0.0)
}

/// One line of a table.
#[derive(Debug)]
pub(crate) struct Row {
    /// What was attached.
    pub(crate) name: &'static str,
    /// A figure per round.
    pub(crate) rounds: Vec<f64>,
}

/// Prints a table; the first row is the baseline of each round.
#[expect(clippy::print_stdout, reason = "the table is what this program is for")]
pub(crate) fn print(title: &str, rows: &[Row]) {
    println!("\n### {title}\n\n| attached | ns | more | ratio (quartiles) |\n|---|---|---|---|");
    let Some(baseline) = rows.first() else { return };
    for row in rows {
        let mut more: Vec<f64> = row
            .rounds
            .iter()
            .zip(&baseline.rounds)
            .map(|(ns, base)| ns - base)
            .collect();
        let mut ratios: Vec<f64> = row
            .rounds
            .iter()
            .zip(&baseline.rounds)
            .map(|(ns, base)| ns / base)
            .collect();
        let middle = median(&mut row.rounds.clone());
        let (more, ratio) = (median(&mut more), median(&mut ratios));
        let quartile = |part: usize| ratios.get(ratios.len() * part / 4).copied().unwrap_or(0.0);
        println!(
            "| {} | {middle:.0} | {more:+.0} | {ratio:.3} ({:.3}-{:.3}) |",
            row.name,
            quartile(1),
            quartile(3)
        );
    }
}
