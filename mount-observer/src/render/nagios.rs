//! One line and one exit code in the convention of the monitoring plugins
//! (<https://www.monitoring-plugins.org/doc/guidelines.html>).

use super::{escape::escaped, status::place};
use crate::{
    alert::{Severity, State},
    snapshot::{Snapshot, Superblock},
    text::append,
};

/// Superblocks named in the line; the rest are counted.
const NAMED_MAX: usize = 5;

/// What a plugin's exit code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Exit code 0.
    Ok,
    /// Exit code 1.
    Warning,
    /// Exit code 2.
    Critical,
    /// Exit code 3.
    Unknown,
}

impl Status {
    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Ok => 0,
            Self::Warning => 1,
            Self::Critical => 2,
            Self::Unknown => 3,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The plugin's answer about a snapshot.
pub fn nagios(snapshot: &Snapshot) -> (Status, String) {
    let status = status(snapshot);
    let line = format!(
        "MOUNTS {} - {} | {}",
        status.name(),
        text(&said(snapshot)),
        performance_data(snapshot)
    );
    (status, line)
}

/// The plugin's answer when there is no snapshot.
pub fn nagios_failure(why: &str) -> (Status, String) {
    // An error of several lines is a heading and a list.
    let why = why.trim_end().replace(":\n", ": ").replace('\n', "; ");
    let line = format!("MOUNTS UNKNOWN - {}", text(&why));
    (Status::Unknown, line)
}

/// A mount that should be there and is not is as bad as a dead one. A known fault outranks not seeing; not seeing outranks health.
fn status(snapshot: &Snapshot) -> Status {
    let worst = snapshot
        .superblocks
        .iter()
        .filter_map(|superblock| superblock.severity)
        .max();
    if snapshot.absent().next().is_some() {
        return Status::Critical;
    }
    match worst {
        Some(Severity::Critical) => Status::Critical,
        Some(Severity::Warning) => Status::Warning,
        None if count(snapshot, State::Unknown) > 0 => Status::Unknown,
        None if !snapshot.observer.degraded.is_empty() => Status::Unknown,
        None => Status::Ok,
    }
}

/// `1 of 42 mounts is dead, 2 are hung: /mnt/a (0:52) server is gone; ...`
fn said(snapshot: &Snapshot) -> String {
    let total = snapshot.superblocks.len();
    let unwell: Vec<&Superblock> = snapshot
        .superblocks
        .iter()
        .filter(|superblock| superblock.state != State::Ok)
        .collect();
    let absent: Vec<_> = snapshot
        .absent()
        .map(|mount| mount.mountpoint.as_str())
        .collect();
    if unwell.is_empty() && absent.is_empty() {
        let blind = snapshot.observer.degraded.first();
        return match blind {
            Some(why) => format!("{}; {why}", mounts(total)),
            None => format!("{}, none in trouble", mounts(total)),
        };
    }
    let mut counts = Vec::new();
    let mut named = Vec::new();
    if !absent.is_empty() {
        let (count, verb) = (absent.len(), if absent.len() == 1 { "is" } else { "are" });
        counts.push(format!(
            "{count} of {} expected {verb} missing",
            snapshot.expected.len()
        ));
        named.extend(
            absent
                .iter()
                .take(NAMED_MAX)
                .map(|point| format!("nothing is mounted on {point}")),
        );
        if absent.len() > NAMED_MAX {
            named.push(format!("{} more missing", absent.len() - NAMED_MAX));
        }
    }
    let mut has_total = false;
    for state in State::ALL
        .into_iter()
        .rev()
        .filter(|&state| state != State::Ok)
    {
        let count = count(snapshot, state);
        if count > 0 {
            let of = if std::mem::replace(&mut has_total, true) {
                String::new()
            } else {
                format!(" of {}", mounts(total))
            };
            let verb = if count == 1 { "is" } else { "are" };
            counts.push(format!("{count}{of} {verb} {}", state.name()));
        }
    }
    named.extend(unwell.iter().take(NAMED_MAX).map(|superblock| {
        let (id, reason) = (superblock.id, &superblock.reason);
        format!("{} ({id}) {reason}", place(superblock))
    }));
    if unwell.len() > NAMED_MAX {
        named.push(format!("{} more", unwell.len() - NAMED_MAX));
    }
    format!("{}: {}", counts.join(", "), named.join("; "))
}

/// Ranges as thresholds: dead is critical above 0, what may be a warning only warns above 0.
fn performance_data(snapshot: &Snapshot) -> String {
    let (mounts, missing) = (snapshot.superblocks.len(), snapshot.absent().count());
    let mut data = format!("mounts={mounts};;;0 missing={missing};;0;0");
    for (state, thresholds) in [
        (State::Dead, ";0"),
        (State::Hung, "0;"),
        (State::Stuck, "0;"),
        (State::Erroring, "0;"),
        (State::Slow, "0;"),
        (State::Unknown, ";"),
    ] {
        let (name, count) = (state.name(), count(snapshot, state));
        append(&mut data, format_args!(" {name}={count};{thresholds};0"));
    }
    data
}

fn count(snapshot: &Snapshot, state: State) -> usize {
    snapshot
        .superblocks
        .iter()
        .filter(|superblock| superblock.state == state)
        .count()
}

/// `1 mount`, `42 mounts`.
fn mounts(count: usize) -> String {
    if count == 1 {
        "1 mount".to_owned()
    } else {
        format!("{count} mounts")
    }
}

/// One line without control characters and without `|`, which begins the performance data.
fn text(text: &str) -> String {
    escaped(text).replace('|', "\\x7c")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    #[test]
    fn the_line_names_the_worst_first_and_cannot_be_forged() {
        let mut many = fixture::snapshot();
        let dead = many.superblocks[0].clone();
        many.superblocks = std::iter::repeat_n(dead, 7).collect();
        many.superblocks[0].mountpoint = "/mnt/a|dead=0".to_owned();
        let mut blind = fixture::healthy_snapshot();
        blind.observer.degraded = vec!["CAP_BPF is missing".to_owned()];
        let mut stuck = fixture::healthy_snapshot();
        stuck.superblocks[0].state = State::Stuck;
        stuck.superblocks[0].severity = Some(Severity::Warning);
        stuck.superblocks[0].reason = "1 READ waits".to_owned();
        let mut none = fixture::healthy_snapshot();
        none.superblocks.clear();
        let mut elsewhere = stuck.clone();
        fixture::move_elsewhere(&mut elsewhere.superblocks[0]);

        let mut missing = fixture::healthy_snapshot();
        missing.expected = fixture::snapshot().expected;

        let said: Vec<String> = [
            fixture::snapshot(),
            many,
            stuck,
            blind,
            fixture::healthy_snapshot(),
            none,
            elsewhere,
            missing,
        ]
        .iter()
        .map(|snapshot| {
            let (status, line) = nagios(snapshot);
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(line.matches('|').count(), 1, "{line}");
            format!("{} {line}", status.exit_code())
        })
        .collect();
        insta::assert_snapshot!(said.join("\n"));
        assert_eq!(
            nagios_failure("not valid:\nline 1: a\nline 2: b\r\n"),
            (
                Status::Unknown,
                "MOUNTS UNKNOWN - not valid: line 1: a; line 2: b".to_owned()
            )
        );
    }
}
