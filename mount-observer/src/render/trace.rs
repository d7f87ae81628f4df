//! The lines of a trace, for people.

pub mod json;
pub mod summary;

use super::{alert_line, duration::Latency, escape::escaped};
use crate::{
    alert::Change,
    text,
    time::Wall,
    trace::{File, Line, Lost, OperationLine, State},
};

/// From this width on every column has the room it likes.
const WIDE: usize = 110;

/// What the lines are written on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Paper {
    /// Columns of a screen, where long texts are cut; `None` for what keeps all.
    pub width: Option<usize>,
    /// It takes colours.
    pub is_coloured: bool,
}

/// Widths of the columns before the last; the time's is fixed.
#[derive(Clone, Copy, Debug)]
struct Widths {
    process: usize,
    pid: usize,
    mount: usize,
    operation: usize,
    result: usize,
    latency: usize,
}

impl Paper {
    fn widths(self) -> Widths {
        if self.width.is_some_and(|width| width < WIDE) {
            Widths {
                process: 9,
                pid: 7,
                mount: 12,
                operation: 10,
                result: 9,
                latency: 7,
            }
        } else {
            Widths {
                process: 15,
                pid: 7,
                mount: 20,
                operation: 14,
                result: 12,
                latency: 7,
            }
        }
    }
}

/// The names of the columns.
pub fn heading(paper: Paper) -> String {
    let cells = [
        "TIME (UTC)",
        "PROCESS",
        "PID",
        "MOUNT",
        "OPERATION",
        "RESULT",
        "LATENCY",
        "FILE",
    ];
    row(cells.map(str::to_owned), paper, None)
}

/// One line, its end included.
pub fn line(line: &Line, paper: Paper) -> String {
    match line {
        Line::Operation(operation) => row(cells(operation), paper, colour(operation)),
        Line::Alert { at, transition } => {
            let colour = match transition.change {
                Change::Firing => "1;31",
                Change::Resolved { .. } => "1;32",
            };
            let text = format!("{} {}", clock(*at), alert_line::alert_line(transition));
            painted(text, paper, Some(colour))
        }
        Line::Lost(lost) => painted(loss(lost), paper, Some("1;35")),
    }
}

fn loss(lost: &Lost) -> String {
    format!(
        "{} LOST {} {} (all in all {})",
        clock(lost.at),
        lost.count,
        summary::reason(lost.what),
        lost.total
    )
}

const COLUMNS: usize = 8;

fn cells(line: &OperationLine) -> [String; COLUMNS] {
    let caller = line.caller.as_ref();
    let latency = line.latency_ns.map(|ns| Latency(ns).to_string());
    let more = if line.is_at_least || line.state == State::Blocked {
        "+"
    } else {
        ""
    };
    [
        clock(line.at),
        caller.map_or_else(|| "-".to_owned(), |caller| escaped(&caller.comm)),
        caller.map_or_else(|| "-".to_owned(), |caller| caller.pid.to_string()),
        escaped(&line.place.mount_point),
        match (line.operation, &line.waits_in) {
            (Some(operation), _) => operation.to_string(),
            (None, Some(_)) => "(waits)".to_owned(),
            (None, None) => "?".to_owned(),
        },
        result(line),
        latency.map_or_else(|| "-".to_owned(), |latency| latency + more),
        about(line),
    ]
}

fn result(line: &OperationLine) -> String {
    match (line.state, line.errno) {
        (_, Some(errno)) => errno.to_string(),
        (State::Blocked, None) => "BLOCKED".to_owned(),
        (State::Gone, None) => "gone".to_owned(),
        (State::Ok | State::Failed, None) if line.was_blocked => "unblocked".to_owned(),
        (State::Ok | State::Failed, None) => "ok".to_owned(),
    }
}

fn about(line: &OperationLine) -> String {
    match (&line.file, &line.waits_in) {
        (Some(file), _) => escaped(&file_text(file)),
        (None, Some(function)) => format!("in {}", escaped(function)),
        (None, None) => String::new(),
    }
}

/// What an operation was about, in a form that can be read back: a path below the mount where the node
/// is the root of the filesystem (1, `FUSE_ROOT_ID`, `include/uapi/linux/fuse.h`).
pub fn file_text(file: &File) -> String {
    match file {
        File::Path(path) => text::escaped(path),
        File::Name { parent, name } => {
            let name = text::escaped(name);
            match parent {
                Some(1) => format!("/{name}"),
                Some(node) => format!("node {node}/{name}"),
                None => name,
            }
        }
        File::Node(1) => "/".to_owned(),
        File::Node(node) => format!("node {node}"),
    }
}

fn colour(line: &OperationLine) -> Option<&'static str> {
    match line.state {
        State::Blocked => Some("1;33"),
        State::Gone => Some("33"),
        State::Failed => Some("31"),
        State::Ok => line.was_blocked.then_some("32"),
    }
}

/// Time of day in UTC, to the millisecond, as the log has it.
pub fn clock(at: Wall) -> String {
    let ms = at.0 / 1_000_000 % 86_400_000;
    let (hours, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", ms % 1_000)
}

fn row(cells: [String; COLUMNS], paper: Paper, colour: Option<&str>) -> String {
    let widths = paper.widths();
    let is_screen = paper.width.is_some();
    let [time, process, pid, mount, operation, result, latency, file] = cells;
    let head = |text: String, width| if is_screen { cut(text, width) } else { text };
    let tail = |text: String, width| {
        if is_screen {
            cut_start(text, width)
        } else {
            text
        }
    };
    let text = format!(
        "{time:<12} {:<process_width$} {pid:>pid_width$} {:<mount_width$} {operation:<operation_width$} \
         {result:<result_width$} {latency:>latency_width$} {file}",
        head(process, widths.process),
        tail(mount, widths.mount),
        process_width = widths.process,
        pid_width = widths.pid,
        mount_width = widths.mount,
        operation_width = widths.operation,
        result_width = widths.result,
        latency_width = widths.latency,
    );
    painted(text.trim_end().to_owned(), paper, colour)
}

/// Cut to the screen, coloured, and ended.
fn painted(text: String, paper: Paper, colour: Option<&str>) -> String {
    let text = match paper.width {
        Some(width) => cut(text, width),
        None => text,
    };
    match colour.filter(|_| paper.is_coloured) {
        Some(colour) => format!("\x1b[{colour}m{text}\x1b[0m\n"),
        None => text + "\n",
    }
}

/// The first letters, `..` where there are more.
fn cut(text: String, width: usize) -> String {
    if text.chars().count() <= width {
        return text;
    }
    let kept: String = text.chars().take(width.saturating_sub(2)).collect();
    kept + ".."
}

/// The last letters: of a path, what tells it from others.
fn cut_start(text: String, width: usize) -> String {
    let length = text.chars().count();
    if length <= width {
        return text;
    }
    let kept = text.chars().skip(length - width.saturating_sub(2));
    [".."]
        .into_iter()
        .map(str::to_owned)
        .chain([kept.collect()])
        .collect()
}

#[cfg(test)]
pub(super) mod tests;
