//! One mount, opened: what is in flight, who waits where, what failed, how long things took, and what
//! there was before. A wide and high screen shows all of it, a small one a panel at a time.

use super::{
    Book, Panel, Top, heat,
    list::{reason, tone},
    look::{Incident, Look, Superblock},
    text::{Line, Tone, below, cut, left, number, rate, right, safe, short, wrapped},
};
use crate::{render::escape::escaped, time::Wall};

/// From this size on, all panels are shown.
const WIDE: usize = 150;
const HIGH: usize = 36;

/// The page of a superblock.
pub(super) fn body(top: &Top, id: &str, panel: Panel, columns: usize, height: usize) -> Vec<Line> {
    let book = top.book();
    let look = book.look.as_deref();
    let found = look.and_then(|look| {
        let mut superblocks = look.superblocks.iter();
        Some((look, superblocks.find(|superblock| superblock.id == id)?))
    });
    let Some((look, superblock)) = found else {
        let gone = format!(
            " {} is not there any more: unmounted, or left out of scope",
            safe(id)
        );
        return vec![
            Line::of(gone, Tone::Strong),
            Line::plain(" Esc leads back to the list"),
        ];
    };
    let mut lines = title(book, look, superblock, columns);
    let room = height.saturating_sub(lines.len() + 1);
    let shown = Shown { book, superblock };
    if columns >= WIDE && height >= HIGH {
        lines.push(Line::default());
        lines.extend(shown.all(panel, top.scroll, columns, room));
    } else {
        lines.push(shown.tabs(panel));
        lines.extend(scrolled(
            shown.panel(panel, columns, room),
            top.scroll,
            room,
        ));
    }
    lines
}

/// What is to be said first: what it is, how it is, and since when.
fn title(book: &Book, look: &Look, superblock: &Superblock, columns: usize) -> Vec<Line> {
    let about = format!("{} {}", safe(&superblock.id), safe(&superblock.fstype));
    let source = safe(&superblock.device);
    let place = cut(&safe(&superblock.place()), columns / 2);
    let mut lines = vec![
        Line::of(format!(" {place}"), Tone::Strong)
            .and(format!("  {about} from {source}"), Tone::Plain),
    ];
    let since = superblock.since_unix_ns;
    let lasts = look.taken_unix_ns.0.saturating_sub(since.0);
    let state = superblock.state.name();
    let first = format!(
        " for {}, since {}: {}",
        short(lasts),
        clock(since),
        reason(superblock)
    );
    let said = wrapped(&first, columns.saturating_sub(state.len() + 2));
    for (index, text) in said.into_iter().take(2).enumerate() {
        let (text_before, tone_before) = match index {
            0 => (
                format!(" {state} "),
                tone(superblock.state, superblock.severity),
            ),
            _ => ("   ".to_owned(), Tone::Plain),
        };
        lines.push(Line::of(text_before, tone_before).and(text, Tone::Plain));
    }
    let figures = wrapped(&figures(book, superblock), columns.saturating_sub(2));
    lines.extend(
        figures
            .into_iter()
            .take(2)
            .map(|text| Line::plain(format!(" {text}"))),
    );
    lines
}

fn figures(book: &Book, superblock: &Superblock) -> String {
    let rates = book.history.rates(&superblock.id);
    let unknown = || "-".to_owned();
    let server = match (superblock.server(), &superblock.fuse) {
        (server, _) if server.is_empty() => "no server known".to_owned(),
        (server, Some(fuse)) => {
            let first = fuse.servers.first();
            let more = first.map(|first| [&first.exit, &first.unit]);
            let more = more.into_iter().flatten().filter_map(Option::as_deref);
            let more: Vec<&str> = more.collect();
            let more = match more.as_slice() {
                [] => String::new(),
                more => format!(" ({})", more.join(", ")),
            };
            format!("server {server}{more}")
        }
        (server, None) => server,
    };
    format!(
        "{}; {} ops/s, {} errors/s, p99 {}; {} in flight, oldest {}; {} blocked",
        safe(&server),
        rates.map_or_else(unknown, |rates| rate(rates.operations)),
        rates.map_or_else(unknown, |rates| rate(rates.errors)),
        book.history.p99(&superblock.id).map_or_else(unknown, below),
        superblock.waiting(),
        superblock.oldest_request_age_ns.map_or_else(unknown, short),
        superblock.blocked,
    )
}

/// As much of a page as fits, from the line scrolled to; its last lines where that is beyond.
pub(super) fn scrolled(mut lines: Vec<Line>, scroll: usize, room: usize) -> Vec<Line> {
    let first = scroll.min(lines.len().saturating_sub(room));
    lines.drain(..first);
    let left_out = lines.len().saturating_sub(room);
    if left_out > 0 {
        lines.truncate(room.saturating_sub(1));
        let more = format!(" {} more lines below", left_out + 1);
        lines.push(Line::of(more, Tone::Dim));
    }
    lines
}

struct Shown<'a> {
    book: &'a Book,
    superblock: &'a Superblock,
}

impl Shown<'_> {
    fn count(&self, panel: Panel) -> Option<u64> {
        match panel {
            Panel::Requests => Some(self.superblock.waiting()),
            Panel::Blocked => Some(self.superblock.blocked),
            Panel::Errors => Some(
                self.book
                    .history
                    .failures(&self.superblock.id)
                    .values()
                    .sum(),
            ),
            Panel::Latency => None,
            Panel::Alerts => {
                let known = self.book.incidents.as_ref()?.as_ref().ok()?;
                let own = known.iter().filter(|one| self.is_own(one)).count();
                u64::try_from(own).ok()
            }
        }
    }

    fn label(&self, number: usize, panel: Panel) -> String {
        let count = self.count(panel).map(|count| format!(" ({count})"));
        format!("{number} {}{}", panel.name(), count.unwrap_or_default())
    }

    /// The names of the panels; the one in front in brackets.
    fn tabs(&self, shown: Panel) -> Line {
        let mut line = Line::plain("");
        for (number, panel) in (1..).zip(Panel::ALL) {
            let label = self.label(number, panel);
            line = if panel == shown {
                line.and(format!("[{label}]"), Tone::Strong)
            } else {
                line.and(format!(" {label} "), Tone::Dim)
            };
        }
        line
    }

    /// All panels: what is going on at the left, how it came to that at the right.
    fn all(&self, shown: Panel, scroll: usize, columns: usize, room: usize) -> Vec<Line> {
        let half = columns.saturating_sub(3) / 2;
        let third = room / 3;
        let left = [(Panel::Requests, third), (Panel::Blocked, room - third)];
        let right = [
            (Panel::Latency, room / 2),
            (Panel::Errors, room / 4),
            (Panel::Alerts, room - room / 2 - room / 4),
        ];
        let column = |panels: &[(Panel, usize)], width: usize| -> Vec<Line> {
            let panels = panels.iter();
            let lines = panels.flat_map(|&(panel, height)| {
                let scroll = if panel == shown { scroll } else { 0 };
                self.framed(panel, panel == shown, scroll, width, height)
            });
            lines.collect()
        };
        let right = column(&right, columns.saturating_sub(half + 3));
        let pairs = column(&left, half).into_iter().zip(right);
        let joined = pairs.map(|(left, right)| {
            let mut line = left.fitted(half).and(" | ", Tone::Dim);
            line.pieces.extend(right.pieces);
            line
        });
        joined.collect()
    }

    /// A panel below its name, in exactly so many lines.
    fn framed(
        &self,
        panel: Panel,
        is_shown: bool,
        scroll: usize,
        columns: usize,
        height: usize,
    ) -> Vec<Line> {
        let at = Panel::ALL
            .iter()
            .position(|known| *known == panel)
            .unwrap_or(0);
        let label = self.label(at + 1, panel);
        let (name, tone) = if is_shown {
            (format!("[{label}]"), Tone::Strong)
        } else {
            (format!(" {label} "), Tone::Dim)
        };
        let rule = "-".repeat(columns.saturating_sub(name.len()));
        let mut lines = vec![Line::of(name, tone).and(rule, Tone::Dim)];
        let room = height.saturating_sub(1);
        lines.extend(scrolled(self.panel(panel, columns, room), scroll, room));
        lines.resize(height, Line::default());
        lines
    }

    fn panel(&self, panel: Panel, columns: usize, room: usize) -> Vec<Line> {
        match panel {
            Panel::Requests => self.requests(),
            Panel::Blocked => self.blocked(columns),
            Panel::Errors => self.errors(),
            Panel::Latency => match self.superblock.latency {
                Some(_) => heat::map(&self.book.history, &self.superblock.id, columns, room),
                None => vec![Line::plain(
                    " The daemon is older and does not tell latencies",
                )],
            },
            Panel::Alerts => self.alerts(columns),
        }
    }

    fn requests(&self) -> Vec<Line> {
        let superblock = self.superblock;
        let (Some(fuse), false) = (&superblock.fuse, superblock.requests.is_empty()) else {
            let why = match &superblock.fuse {
                Some(_) if superblock.waiting() == 0 => "No request is in flight",
                Some(_) => "Requests wait, and none of them could be read",
                None => "Single requests are seen on FUSE only; who waits is under 2",
            };
            return vec![Line::plain(format!(" {why}"))];
        };
        let row = |age: &str, operation: &str, node: &str, by: &str, place: &str| {
            let (age, operation) = (right(age, 8), left(operation, 16));
            format!(
                "{age}  {operation} {} {} {place}",
                right(node, 8),
                left(by, 24)
            )
        };
        let mut lines = vec![Line::of(
            row("AGE", "OPERATION", "NODE", "BY", "WHERE"),
            Tone::Strong,
        )];
        for request in &superblock.requests {
            let comm = request.comm.as_deref().map(safe).unwrap_or_default();
            let by = match request.pid {
                Some(pid) => format!("{comm}[{pid}]"),
                None => "not known".to_owned(),
            };
            let place = match request.is_at_server {
                Some(true) => "at the server",
                Some(false) => "queued",
                None => "sent",
            };
            let age = request.age_ns.map_or_else(|| "?".to_owned(), short);
            let node = request.nodeid.to_string();
            lines.push(Line::plain(row(
                &age,
                &safe(&request.operation),
                &node,
                &by,
                place,
            )));
        }
        let shown = u64::try_from(superblock.requests.len()).unwrap_or(u64::MAX);
        let all = superblock.in_flight.max(fuse.waiting.map_or(0, u64::from));
        if all > shown {
            lines.push(Line::of(format!("  and {} more", all - shown), Tone::Dim));
        }
        lines
    }

    fn blocked(&self, columns: usize) -> Vec<Line> {
        let superblock = self.superblock;
        if superblock.blocked == 0 {
            return vec![Line::plain(" No task waits for it")];
        }
        let mut lines = Vec::new();
        for task in &superblock.blocked_tasks {
            let age = task.age_ns.map_or_else(|| "?".to_owned(), short);
            let thread = if task.tid == task.pid {
                String::new()
            } else {
                format!(" thread {}", task.tid)
            };
            let name = format!("{}[{}]{thread}", safe(&task.comm), task.pid);
            let operation = task
                .operation
                .as_deref()
                .map(|what| format!(" for {}", safe(what)));
            let place = task
                .waits_in
                .as_deref()
                .map(|what| format!(" in {}", safe(what)));
            let rest = format!(
                " {} waits{}{}",
                task.task_state,
                operation.unwrap_or_default(),
                place.unwrap_or_default()
            );
            lines.push(
                Line::plain(format!("{}  ", right(&age, 8)))
                    .and(name, Tone::Strong)
                    .and(rest, Tone::Plain),
            );
            if let Some(cause) = &task.caused_by {
                let text = format!("          really for {}", safe(cause));
                lines.push(Line::of(text, Tone::Warning));
            }
            let stack: Vec<String> = task.stack.iter().map(|function| safe(function)).collect();
            let stack = stack.join(" < ");
            let stack = wrapped(&stack, columns.saturating_sub(11));
            lines.extend(
                (stack.into_iter()).map(|text| Line::of(format!("          {text}"), Tone::Dim)),
            );
        }
        let shown = u64::try_from(superblock.blocked_tasks.len()).unwrap_or(u64::MAX);
        if superblock.blocked > shown {
            let more = superblock.blocked - shown;
            lines.push(Line::of(format!("  and {more} more"), Tone::Dim));
        }
        lines
    }

    /// Failures by operation and errno, those of the last minute first; then what succeeded.
    fn errors(&self) -> Vec<Line> {
        let recent = self.book.history.failures(&self.superblock.id);
        let mut rows: Vec<(u64, u64, &str, &str)> = Vec::new();
        let mut succeeded = Vec::new();
        for count in &self.superblock.operations {
            match &count.errno {
                Some(errno) => {
                    let kind = (count.operation.clone(), errno.clone());
                    let lately = recent.get(&kind).copied().unwrap_or_default();
                    rows.push((lately, count.count, &count.operation, errno));
                }
                None => succeeded.push((count.count, count.operation.as_str())),
            }
        }
        rows.sort_by_key(|&(lately, count, operation, errno)| {
            (std::cmp::Reverse((lately, count)), operation, errno)
        });
        succeeded.sort_by_key(|&(count, operation)| (std::cmp::Reverse(count), operation));
        let row = |operation: &str, errno: &str, lately: &str, count: &str| {
            let (operation, errno) = (left(operation, 20), left(errno, 16));
            format!(
                " {operation} {errno} {} {}",
                right(lately, 12),
                right(count, 10)
            )
        };
        let heading = row("OPERATION", "OUTCOME", "LAST MINUTE", "IN ALL");
        let mut lines = vec![Line::of(heading, Tone::Strong)];
        if rows.is_empty() {
            lines.push(Line::plain(
                " Nothing has failed since the observer attached",
            ));
        }
        for (lately, count, operation, errno) in rows {
            let text = row(
                &safe(operation),
                &safe(errno),
                &number(lately),
                &number(count),
            );
            let tone = if lately > 0 {
                Tone::Warning
            } else {
                Tone::Plain
            };
            lines.push(Line::of(text, tone));
        }
        for (count, operation) in succeeded {
            lines.push(Line::of(
                row(&safe(operation), "ok", "", &number(count)),
                Tone::Dim,
            ));
        }
        lines
    }

    fn is_own(&self, incident: &Incident) -> bool {
        incident.mount_point == escaped(&self.superblock.mountpoint)
    }

    /// What is behind the state now, and what there was before.
    fn alerts(&self, columns: usize) -> Vec<Line> {
        let mut lines = Vec::new();
        for fact in &self.superblock.evidence {
            let said = wrapped(&safe(fact), columns.saturating_sub(4));
            lines.extend(
                said.into_iter()
                    .map(|text| Line::plain(format!(" now: {text}"))),
            );
        }
        let incidents = match &self.book.incidents {
            None => return said(lines, "The history was not told yet"),
            Some(Err(why)) => return said(lines, &format!("No history: {}", safe(why))),
            Some(Ok(incidents)) => incidents,
        };
        let own: Vec<&Incident> = incidents.iter().filter(|one| self.is_own(one)).collect();
        if own.is_empty() {
            return said(lines, "Nothing is remembered of it");
        }
        for incident in own {
            let drill = if incident.is_drill { " (drill)" } else { "" };
            let kind = format!("{} {}{drill}", incident.kind, incident.severity);
            let lasted = match (incident.ended_unix_ns, incident.lasted_ns) {
                (None, _) => " goes on".to_owned(),
                (Some(_), Some(ns)) => format!(" for {}", short(ns)),
                (Some(_), None) => String::new(),
            };
            let why = incident
                .ended_why
                .as_deref()
                .map(|why| format!(", {}", safe(why)));
            let is_open = incident.ended_unix_ns.is_none();
            let tone = if is_open { Tone::Critical } else { Tone::Plain };
            let head = format!(" {}  ", moment(incident.started_unix_ns));
            lines.push(
                Line::plain(head)
                    .and(safe(&kind), tone)
                    .and(format!("{lasted}{}", why.unwrap_or_default()), Tone::Plain),
            );
            let reason = wrapped(&safe(&incident.reason), columns.saturating_sub(4));
            lines.extend(
                (reason.into_iter().take(2)).map(|text| Line::of(format!("   {text}"), Tone::Dim)),
            );
        }
        lines
    }
}

fn said(mut lines: Vec<Line>, text: &str) -> Vec<Line> {
    lines.push(Line::plain(format!(" {text}")));
    lines
}

/// `2026-01-02 03:04:05`, UTC.
fn moment(at: Wall) -> String {
    let text = crate::notify::rfc3339(at);
    text.get(..19)
        .map_or(text.clone(), |text| text.replace('T', " "))
}

/// `03:04:05`, UTC.
pub(super) fn clock(at: Wall) -> String {
    moment(at).get(11..).unwrap_or_default().to_owned()
}
