//! The summary of a trace, for people.

use super::{Paper, clock};
use crate::{
    render::{
        duration::{Age, Latency},
        escape::Escaped,
    },
    text::{append, count},
    time::Wall,
    trace::{
        Summary,
        histogram::Row,
        summary::{Blocked, MountSummary, OperationSummary},
    },
};

/// Letters of a bar.
const BAR: u64 = 40;

/// So many rows that have nothing, one after the other, are not shown.
const GAP_MIN: usize = 3;

/// What blocks at the end, named; the rest is counted.
const BLOCKED_MAX: usize = 20;

/// All of it.
pub fn text(summary: &Summary, paper: Paper) -> String {
    let mut out = String::new();
    let end = Wall(summary.begun_unix_ns.0.saturating_add(summary.duration_ns));
    append(
        &mut out,
        format_args!(
            "{} to {} UTC, {}: {}, {} failed, {}/s\n",
            clock(summary.begun_unix_ns),
            clock(end),
            Age(summary.duration_ns),
            count(summary.count, "operation"),
            summary.failed,
            rate(summary.per_second),
        ),
    );
    if summary.sample > 1 {
        append(
            &mut out,
            format_args!(
                "one of {} was taken: all counts are of those, and {} were left out\n",
                summary.sample,
                summary.lost.get("sampled_out").copied().unwrap_or_default(),
            ),
        );
    }
    losses(summary, &mut out);
    for mount in &summary.mounts {
        table(mount, &mut out);
        for operation in &mount.operations {
            histogram(mount, operation, paper, &mut out);
        }
    }
    blocked(&summary.blocked, &mut out);
    out
}

/// What something that was lost is called.
pub(super) fn reason(what: &str) -> &str {
    match what {
        "records_lost" => "records: the ring was full; --sample or a filter takes less",
        "requests_not_followed" => "requests: more were in flight than can be followed",
        "runs_missed" => "runs of programs that were preempted: an operation each at most",
        "calls_missed" => {
            "runs on the calls of the whole machine: some may have been on these mounts"
        }
        "calls_not_followed" => {
            "calls: another thread took their place; of some the start is not known"
        }
        "readings_failed" => "readings of what is in flight: what blocked then was not shown",
        "lines_not_shown" => "lines: nobody read them in time",
        other => other,
    }
}

fn losses(summary: &Summary, out: &mut String) {
    let lost = summary
        .lost
        .iter()
        .filter(|(what, _)| **what != "sampled_out");
    let total: u64 = lost.clone().map(|(_, count)| *count).sum();
    if total == 0 {
        out.push_str("nothing was lost\n");
    }
    for (what, count) in lost.filter(|(_, count)| **count > 0) {
        append(out, format_args!("LOST {count} {}\n", reason(what)));
    }
    if summary.unattributed > 0 {
        append(
            out,
            format_args!(
                "{} not shown: on which mount could not be told\n",
                count(summary.unattributed, "operation")
            ),
        );
    }
    if summary.others > 0 {
        append(
            out,
            format_args!(
                "{} on more mounts than are told apart\n",
                count(summary.others, "operation")
            ),
        );
    }
}

fn table(mount: &MountSummary, out: &mut String) {
    append(
        out,
        format_args!(
            "\n{} ({} {}): {}, {} failed, {}/s\n",
            Escaped(&mount.mount_point),
            mount.superblock,
            Escaped(&mount.fstype),
            count(mount.count, "operation"),
            mount.failed,
            rate(mount.per_second),
        ),
    );
    append(
        out,
        format_args!(
            "  {:<16} {:>9} {:>10} {:>7} {:>7} {:>7} {:>7}  {}\n",
            "OPERATION", "COUNT", "RATE/s", "p50", "p90", "p99", "max", "ERRORS"
        ),
    );
    for operation in &mount.operations {
        let shown =
            |ns: Option<u64>| ns.map_or_else(|| "-".to_owned(), |ns| Latency(ns).to_string());
        let latency = operation.latency;
        let line = format!(
            "  {:<16} {:>9} {:>10} {:>7} {:>7} {:>7} {:>7}  {}",
            operation.op.to_string(),
            operation.count,
            rate(operation.per_second),
            shown(latency.map(|latency| latency.p50_ns)),
            shown(latency.map(|latency| latency.p90_ns)),
            shown(latency.map(|latency| latency.p99_ns)),
            shown(latency.map(|latency| latency.max_ns)),
            errors(operation),
        );
        append(out, format_args!("{}\n", line.trim_end()));
    }
}

fn errors(operation: &OperationSummary) -> String {
    let mut errors: Vec<_> = operation.errors.iter().collect();
    errors.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let errors = errors
        .iter()
        .map(|(errno, count)| format!("{errno} {count}"));
    let gone = (operation.gone > 0).then(|| format!("not seen to end {}", operation.gone));
    errors.chain(gone).collect::<Vec<_>>().join(", ")
}

/// Nothing of latencies that are all alike: the percentiles say it.
fn histogram(mount: &MountSummary, operation: &OperationSummary, paper: Paper, out: &mut String) {
    if operation.histogram.len() < 2 {
        return;
    }
    append(
        out,
        format_args!("\n  {} on {}\n", operation.op, Escaped(&mount.mount_point)),
    );
    let most = operation
        .histogram
        .iter()
        .map(|row| row.count)
        .max()
        .unwrap_or(1);
    let is_empty = |row: &Row| row.count == 0;
    for rows in operation
        .histogram
        .chunk_by(|one, next| is_empty(one) && is_empty(next))
    {
        if rows.len() >= GAP_MIN {
            append(out, format_args!("  {:>6}\n", "..."));
        } else {
            for row in rows {
                bar(row, most, paper, out);
            }
        }
    }
}

fn bar(row: &Row, most: u64, paper: Paper, out: &mut String) {
    let length = u128::from(row.count) * u128::from(BAR) / u128::from(most.max(1));
    // What is there shows, however little.
    let length = usize::try_from(length)
        .unwrap_or(0)
        .max(usize::from(row.count > 0));
    let (from, below) = (
        Latency(row.from_ns).to_string(),
        Latency(row.below_ns).to_string(),
    );
    let width = usize::try_from(BAR).unwrap_or(0);
    let bar = "@".repeat(length);
    let bar = if paper.is_coloured {
        format!(
            "\x1b[36m{bar}\x1b[0m{}",
            " ".repeat(width - length.min(width))
        )
    } else {
        format!("{bar:<width$}")
    };
    append(
        out,
        format_args!("  {from:>6} .. {below:<6} {:>9} |{bar}|\n", row.count),
    );
}

fn blocked(all: &[Blocked], out: &mut String) {
    if all.is_empty() {
        return;
    }
    append(out, format_args!("\nblocked at the end: {}\n", all.len()));
    for one in all.iter().take(BLOCKED_MAX) {
        let comm = one.comm.as_deref().unwrap_or("-");
        let what = match (&one.op, &one.waits_in) {
            (Some(op), _) => op.to_string(),
            (None, Some(function)) => format!("in {function}"),
            (None, None) => "?".to_owned(),
        };
        append(
            out,
            format_args!(
                "  {:>7}  {}[{}] {} on {}\n",
                Latency(one.age_ns).to_string(),
                Escaped(comm),
                one.pid.unwrap_or_default(),
                Escaped(&what),
                Escaped(&one.mount_point),
            ),
        );
    }
    if all.len() > BLOCKED_MAX {
        append(
            out,
            format_args!("  and {} more\n", all.len() - BLOCKED_MAX),
        );
    }
}

fn rate(per_second: f64) -> String {
    format!("{per_second:.1}")
}
