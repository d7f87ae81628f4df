//! A snapshot as a table for people.

use super::{
    alert_line,
    duration::Age,
    escape::{Escaped, escaped},
};
use crate::{
    alert::{Severity, State, Victim},
    snapshot::{ServerStatus, Snapshot, Superblock, namespace_elsewhere},
    text::append,
};

/// Blocked processes named per mount; the rest are counted.
const BLOCKED_NAMED_MAX: usize = 3;
/// Widest cell, in characters, except the last column's.
const CELL_MAX: usize = 48;
const COLUMNS: usize = 7;
const HEADINGS: [&str; COLUMNS] = [
    "STATE",
    "MOUNT POINT",
    "TYPE",
    "SERVER",
    "WAITING",
    "OLDEST",
    "BLOCKED",
];

/// Where the table is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct Medium {
    /// A screen, whose lines end: long paths are cut.
    pub is_terminal: bool,
    /// It takes colours.
    pub is_coloured: bool,
}

/// The table, worst first and then by mount point, with the reason below whatever is not ok; ends
/// with the verdict.
pub fn table(snapshot: &Snapshot, medium: Medium) -> String {
    let mut superblocks: Vec<&Superblock> = snapshot.superblocks.iter().collect();
    superblocks.sort_by_key(|&superblock| {
        let worst = std::cmp::Reverse(superblock.state);
        (worst, &superblock.mountpoint, superblock.id)
    });
    let rows: Vec<[String; COLUMNS]> = (superblocks.iter())
        .map(|superblock| cells(superblock, medium))
        .collect();
    let mut widths = HEADINGS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut out = String::new();
    if !rows.is_empty() {
        out.push_str(&line(&HEADINGS.map(str::to_owned), &widths, None));
    }
    for (superblock, row) in superblocks.iter().zip(&rows) {
        let colour = medium.is_coloured.then(|| colour(superblock)).flatten();
        out.push_str(&line(row, &widths, colour));
        if superblock.state != State::Ok {
            append(
                &mut out,
                format_args!("  {}\n", Escaped(&superblock.reason)),
            );
        }
    }
    for mount in snapshot.absent() {
        let point = Escaped(&mount.mountpoint);
        append(
            &mut out,
            format_args!(
                "missing: nothing is mounted on {point}, where the configuration expects it\n"
            ),
        );
    }
    for lack in &snapshot.observer.degraded {
        append(&mut out, format_args!("note: {}\n", Escaped(lack)));
    }
    for missed in &snapshot.observer.not_seen {
        append(&mut out, format_args!("not seen: {}\n", missed.what));
    }
    if rows.is_empty() {
        out.push_str(&nothing_in_scope(snapshot.superblocks_out_of_scope));
    }
    out.push_str(&verdict(snapshot));
    out.push('\n');
    out
}

/// Why the table is empty.
fn nothing_in_scope(out_of_scope: u64) -> String {
    let others = match out_of_scope {
        0 => String::new(),
        1 => " (1 is out of scope: see [scope] in the configuration)".to_owned(),
        many => format!(" ({many} are out of scope: see [scope] in the configuration)"),
    };
    format!("No mount is in scope{others}\n")
}

/// `Checked 42 mounts; 1 is dead`, and what else is wrong: `Checked 2 mounts; 1 is dead, 1 hung`.
pub fn verdict(snapshot: &Snapshot) -> String {
    let total = snapshot.superblocks.len();
    let count = |state| {
        let is_it = |superblock: &&Superblock| superblock.state == state;
        snapshot.superblocks.iter().filter(is_it).count()
    };
    let dead = count(State::Dead);
    let mut said = format!(
        "Checked {total} {}; {dead} {} dead",
        if total == 1 { "mount" } else { "mounts" },
        if dead == 1 { "is" } else { "are" },
    );
    let missing = snapshot.absent().count();
    if missing > 0 {
        append(&mut said, format_args!(", {missing} missing"));
    }
    for state in State::ALL.into_iter().rev() {
        let count = count(state);
        if count > 0 && !matches!(state, State::Ok | State::Dead) {
            append(&mut said, format_args!(", {count} {}", state.name()));
        }
    }
    said
}

fn cells(superblock: &Superblock, medium: Medium) -> [String; COLUMNS] {
    let none = || "-".to_owned();
    let waiting = superblock
        .fuse
        .as_ref()
        .and_then(|fuse| fuse.waiting)
        .map_or(superblock.in_flight, |waiting| {
            superblock.in_flight.max(waiting.into())
        });
    [
        superblock.state.name().to_owned(),
        if medium.is_terminal {
            within(superblock, cut(&superblock.mountpoint))
        } else {
            escaped(&place(superblock))
        },
        cut(&superblock.fstype),
        server(superblock).unwrap_or_else(none),
        waiting.to_string(),
        superblock
            .oldest_request_age_ns
            .map_or_else(none, |age_ns| Age(age_ns).to_string()),
        blocked(superblock).unwrap_or_else(none),
    ]
}

/// The mount point, with its namespace where that is not the observer's.
pub fn place(superblock: &Superblock) -> String {
    within(superblock, superblock.mountpoint.clone())
}

fn within(superblock: &Superblock, mountpoint: String) -> String {
    match namespace_elsewhere(&superblock.mounts) {
        Some(namespace) => format!("{mountpoint} in mnt:[{namespace}]"),
        None => mountpoint,
    }
}

/// `bindfs[99]`, with what is wrong with it.
pub(super) fn server(superblock: &Superblock) -> Option<String> {
    let fuse = superblock.fuse.as_ref()?;
    let name = fuse
        .servers
        .first()
        .map(|server| format!("{}[{}]", server.comm, server.pid));
    let status = match fuse.server_status {
        ServerStatus::Running => None,
        ServerStatus::Stopped => Some("stopped"),
        ServerStatus::Gone => Some("gone"),
        ServerStatus::Unknown => Some("unknown"),
    };
    let words: Vec<&str> = name.as_deref().into_iter().chain(status).collect();
    (!words.is_empty()).then(|| cut(&words.join(" ")))
}

/// `stat[12], ls[13] and 4 more`.
fn blocked(superblock: &Superblock) -> Option<String> {
    if superblock.blocked == 0 {
        return None;
    }
    let named: Vec<Victim> = superblock
        .blocked_tasks
        .iter()
        .take(BLOCKED_NAMED_MAX)
        .map(|task| Victim {
            pid: task.pid,
            tid: task.tid,
            comm: task.comm.clone(),
            operation: None,
            age_ns: None,
            errno: None,
            path: None,
            caused_by: None,
            failed_on: None,
            attribution: None,
        })
        .collect();
    if named.is_empty() {
        return Some(superblock.blocked.to_string());
    }
    Some(alert_line::victims(&named, superblock.blocked))
}

/// Escaped, and cut in the middle: both ends of a path tell it apart.
fn cut(text: &str) -> String {
    let text = escaped(text);
    let length = text.chars().count();
    if length <= CELL_MAX {
        return text;
    }
    let head = CELL_MAX / 2 - 2;
    let tail = CELL_MAX - head - 3;
    let first: String = text.chars().take(head).collect();
    let last: String = text.chars().skip(length - tail).collect();
    format!("{first}...{last}")
}

fn line(cells: &[String; COLUMNS], widths: &[usize; COLUMNS], colour: Option<&str>) -> String {
    let mut out = String::new();
    for (column, (cell, &width)) in cells.iter().zip(widths).enumerate() {
        match (column, colour) {
            (0, Some(colour)) => {
                out.push_str(colour);
                out.push_str(cell);
                out.push_str(PLAIN);
                out.push_str(&" ".repeat(width.saturating_sub(cell.chars().count())));
            }
            (4 | 5, _) => append(&mut out, format_args!("{cell:>width$}")),
            (_, _) => append(&mut out, format_args!("{cell:<width$}")),
        }
        out.push_str("  ");
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

const PLAIN: &str = "\x1b[0m";

/// Red must be acted on, yellow looked at, magenta is not seen.
fn colour(superblock: &Superblock) -> Option<&'static str> {
    match (superblock.state, superblock.severity) {
        (State::Ok, _) => None,
        (State::Unknown, _) => Some("\x1b[35m"),
        (_, Some(Severity::Critical)) => Some("\x1b[1;31m"),
        (_, Some(Severity::Warning) | None) => Some("\x1b[33m"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::fixture;

    #[test]
    fn the_table_shows_the_worst_first_and_says_why() {
        insta::assert_snapshot!(table(&fixture::snapshot(), Medium::default()));
    }

    #[test]
    fn only_states_are_coloured() {
        let plain = table(&fixture::snapshot(), Medium::default());
        let medium = Medium {
            is_terminal: true,
            is_coloured: true,
        };
        let coloured = table(&fixture::snapshot(), medium);
        assert!(!plain.contains('\u{1b}'), "{plain}");
        assert!(coloured.contains("\u{1b}[1;31mdead\u{1b}[0m"), "{coloured}");
    }

    #[test]
    fn the_verdict_counts_in_english() {
        let mut snapshot = fixture::snapshot();
        assert_eq!(
            verdict(&snapshot),
            "Checked 5 mounts; 1 is dead, 1 missing, 1 hung, 1 unknown"
        );
        snapshot.expected.clear();
        snapshot.superblocks.truncate(1);
        assert_eq!(verdict(&snapshot), "Checked 1 mount; 1 is dead");
        snapshot.superblocks.push(snapshot.superblocks[0].clone());
        assert_eq!(verdict(&snapshot), "Checked 2 mounts; 2 are dead");
        snapshot.superblocks.clear();
        assert_eq!(verdict(&snapshot), "Checked 0 mounts; 0 are dead");
    }

    #[test]
    fn an_empty_table_says_why() {
        let mut snapshot = fixture::healthy_snapshot();
        snapshot.superblocks.clear();
        snapshot.superblocks_out_of_scope = 21;
        assert_eq!(
            table(&snapshot, Medium::default()),
            "No mount is in scope (21 are out of scope: see [scope] in the configuration)\n\
             Checked 0 mounts; 0 are dead\n"
        );
    }

    #[test]
    fn only_a_terminal_cuts_a_path_and_nothing_cuts_the_namespace() {
        let mut snapshot = fixture::healthy_snapshot();
        let path = format!("/mnt/{}/end", "x".repeat(100));
        snapshot.superblocks[0].mountpoint.clone_from(&path);
        fixture::move_elsewhere(&mut snapshot.superblocks[0]);
        let whole = table(&snapshot, Medium::default());
        assert!(
            whole.contains(&format!("{path} in mnt:[4026532001]")),
            "{whole}"
        );
        let medium = Medium {
            is_terminal: true,
            is_coloured: false,
        };
        let cut = table(&snapshot, medium);
        assert!(cut.contains("x/end in mnt:[4026532001]"), "{cut}");
        assert!(!cut.contains(&path), "{cut}");
    }

    #[test]
    fn a_long_path_keeps_both_ends() {
        let path = format!("/mnt/{}/end", "x".repeat(100));
        let short = cut(&path);
        assert_eq!(short.chars().count(), CELL_MAX);
        assert!(
            short.starts_with("/mnt/") && short.ends_with("/end"),
            "{short}"
        );
    }
}
