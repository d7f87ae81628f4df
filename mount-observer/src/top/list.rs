//! All mounts, the worst first.

use super::{
    Order, Page, Top,
    look::{Expected, Look, Superblock},
    text::{Line, Tone, beginning, below, left, number, rate, right, safe, short, wrapped},
};
use crate::alert::{Severity, State};

/// A row of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: String,
    /// Whether there is more to see of it.
    pub(super) opens: bool,
    state: &'static str,
    tone: Tone,
    place: String,
    fstype: String,
    operations: String,
    errors: String,
    p99: String,
    waiting: String,
    oldest: String,
    server: String,
    reason: String,
    /// By what it is ordered, the greatest first; then by place.
    rank: u64,
}

/// The rows that the filter lets through, in order.
pub(super) fn rows(top: &Top) -> Vec<Row> {
    let Some(look) = &top.book().look else {
        return Vec::new();
    };
    let superblocks = look.superblocks.iter();
    let missing = look
        .expected
        .iter()
        .filter(|one| one.is_present != Some(true));
    let rows = missing.map(|expected| absent(expected, top.order));
    let rows = rows.chain(superblocks.map(|superblock| row(top, superblock)));
    let wanted = top.filter.to_lowercase();
    let mut rows: Vec<Row> = rows.filter(|row| row.matches(&wanted)).collect();
    let key = |row: &Row| {
        (
            std::cmp::Reverse(row.rank),
            row.place.clone(),
            row.id.clone(),
        )
    };
    rows.sort_by_cached_key(key);
    rows
}

fn row(top: &Top, superblock: &Superblock) -> Row {
    let history = &top.book().history;
    let rates = history.rates(&superblock.id);
    let p99 = history.p99(&superblock.id);
    let waiting = superblock.waiting();
    let oldest = superblock.oldest_request_age_ns;
    let none = || "-".to_owned();
    let rank = match top.order {
        Order::Badness => badness(superblock.state),
        Order::Operations => rates.map_or(0, |rates| rates.operations),
        Order::Errors => rates.map_or(0, |rates| rates.errors),
        Order::P99 => p99.map_or(0, |bucket| u64::from(bucket) + 1),
        Order::Waiting => oldest.map_or(waiting.min(1), |age| age.max(1)),
        Order::MountPoint => 0,
    };
    Row {
        id: superblock.id.clone(),
        opens: true,
        state: superblock.state.name(),
        tone: tone(superblock.state, superblock.severity),
        place: safe(&superblock.place()),
        fstype: safe(&superblock.fstype),
        operations: rates.map_or_else(none, |rates| rate(rates.operations)),
        errors: rates.map_or_else(none, |rates| rate(rates.errors)),
        p99: p99.map_or_else(none, below),
        waiting: number(waiting),
        oldest: oldest.map_or_else(none, short),
        server: safe(&superblock.server()),
        reason: reason(superblock),
        rank,
    }
}

/// A mount that should be there and is not, or that nobody could look for.
fn absent(expected: &Expected, order: Order) -> Row {
    let none = || "-".to_owned();
    let since = expected.absent_ns.map(|ns| format!(" for {}", short(ns)));
    let since = since.unwrap_or_default();
    let is_written = expected.shadow_writes > 0;
    let (state, tone, reason) = match expected.is_present {
        Some(_) if is_written => {
            let writes = expected.shadow_writes;
            let why =
                format!("nothing is mounted here{since}, and {writes} calls wrote underneath");
            ("missing", Tone::Critical, why)
        }
        Some(_) => (
            "missing",
            Tone::Critical,
            format!("nothing is mounted here{since}"),
        ),
        None => (
            "unknown",
            Tone::Unknown,
            "the mount table was not read".to_owned(),
        ),
    };
    Row {
        id: format!("expected {}", expected.mountpoint),
        opens: false,
        state,
        tone,
        place: safe(&expected.mountpoint),
        fstype: none(),
        operations: none(),
        errors: none(),
        p99: none(),
        waiting: none(),
        oldest: none(),
        server: String::new(),
        reason,
        rank: if order == Order::Badness {
            badness(State::Dead)
        } else {
            0
        },
    }
}

/// The reason, or that there is nothing to say.
pub(super) fn reason(superblock: &Superblock) -> String {
    match (superblock.state, superblock.reason.is_empty()) {
        (State::Ok, true) => "nothing is wrong".to_owned(),
        _ => safe(&superblock.reason),
    }
}

fn badness(state: State) -> u64 {
    let worse = State::ALL.iter().take_while(|known| **known != state);
    u64::try_from(worse.count()).unwrap_or(u64::MAX)
}

/// How a state is shown where there are colours.
pub(super) fn tone(state: State, severity: Option<Severity>) -> Tone {
    match (state, severity) {
        (State::Ok, _) => Tone::Good,
        (State::Unknown, _) => Tone::Unknown,
        (_, Some(Severity::Critical)) => Tone::Critical,
        (_, Some(Severity::Warning) | None) => Tone::Warning,
    }
}

impl Row {
    fn matches(&self, wanted: &str) -> bool {
        let texts = [&self.place, &self.fstype, &self.server];
        let mut texts = texts.into_iter().map(String::as_str).chain([self.state]);
        wanted.is_empty() || texts.any(|text| text.to_lowercase().contains(wanted))
    }
}

/// Widths of the columns that depend on the screen's.
struct Widths {
    place: usize,
    /// 0: not shown.
    fstype: usize,
    server: usize,
}

/// Columns of state, rates and ages, with the space before each.
const FIXED: usize = 2 + 9 + 7 + 7 + 8 + 6 + 8 + 1;

impl Widths {
    fn of(columns: usize) -> Self {
        let room = columns.saturating_sub(FIXED);
        let (fstype, server) = match columns {
            0..100 => (0, 14),
            100..140 => (14, 22),
            _ => (18, 32),
        };
        Self {
            place: room.saturating_sub(fstype + usize::from(fstype > 0) + server + 1),
            fstype,
            server,
        }
    }
}

/// The page: a heading, the rows around the selected one, and what is to say of that.
pub(super) fn body(top: &Top, is_old: bool, columns: usize, height: usize) -> Vec<Line> {
    let rows = rows(top);
    let widths = Widths::of(columns);
    let selected = top.selected_row(&rows);
    let said = rows
        .get(selected)
        .map(|row| wrapped(&row.reason, columns.saturating_sub(2)));
    let said = said.unwrap_or_default();
    let said: Vec<String> = said.into_iter().take(3).collect();
    let room = height.saturating_sub(1 + said.len() + 1);
    let first = selected.saturating_sub(room.saturating_sub(1));
    let mut lines = vec![heading(&widths)];
    for (index, row) in rows.iter().enumerate().skip(first).take(room) {
        lines.push(line(row, &widths, index == selected, is_old));
    }
    if rows.is_empty() {
        lines.push(Line::plain(nothing(top)));
    }
    lines.resize(height.saturating_sub(said.len() + 1), Line::default());
    let more = rows.len().saturating_sub(first + room);
    let below = if more > 0 {
        format!(" {more} more below")
    } else {
        String::new()
    };
    lines.push(Line::of(below, Tone::Dim));
    lines.extend(said.into_iter().map(|text| Line::plain(format!(" {text}"))));
    lines
}

fn nothing(top: &Top) -> String {
    match &top.book().look {
        None => " Waiting for the first snapshot".to_owned(),
        Some(_) if !top.filter.is_empty() => {
            " No mount matches the filter; Esc clears it".to_owned()
        }
        Some(look) => none_in_scope(look),
    }
}

fn none_in_scope(look: &Look) -> String {
    match look.superblocks_out_of_scope {
        0 => " No mount is in scope".to_owned(),
        out => format!(" No mount is in scope; {out} are not: see [scope] in the configuration"),
    }
}

fn heading(widths: &Widths) -> Line {
    let fstype = match widths.fstype {
        0 => String::new(),
        columns => format!("{} ", left("TYPE", columns)),
    };
    let text = format!(
        "  {}{} {fstype}{}{}{}{}{} {}",
        left("STATE", 9),
        left("MOUNT POINT", widths.place),
        right("OPS/S", 7),
        right("ERR/S", 7),
        right("P99", 8),
        right("WAIT", 6),
        right("OLDEST", 8),
        left("SERVER", widths.server),
    );
    Line::of(text, Tone::Strong)
}

fn line(row: &Row, widths: &Widths, is_selected: bool, is_old: bool) -> Line {
    let fstype = match widths.fstype {
        0 => String::new(),
        columns => format!("{} ", left(&row.fstype, columns)),
    };
    // An old state is no state of now.
    let mark = if is_old { "?" } else { "" };
    let place = format!("{} {fstype}", left(&row.place, widths.place));
    let place_tone = if is_selected {
        Tone::Strong
    } else {
        Tone::Plain
    };
    let figures = format!(
        "{}{}{}{}{} {}",
        right(&row.operations, 7),
        right(&row.errors, 7),
        right(&row.p99, 8),
        right(&row.waiting, 6),
        right(&row.oldest, 8),
        beginning(&row.server, widths.server),
    );
    Line::of(if is_selected { "> " } else { "  " }, Tone::Strong)
        .and(left(&format!("{}{mark}", row.state), 9), row.tone)
        .and(place, place_tone)
        .and(figures, Tone::Plain)
}

/// `5 mounts: 1 dead, 1 hung, 3 ok`, the worst first.
pub(super) fn verdict(look: &Look) -> Line {
    let total = look.superblocks.len();
    let plural = if total == 1 { "" } else { "s" };
    let mut line = Line::plain(format!(" {total} mount{plural}"));
    let mut before = ": ";
    let missing = look
        .expected
        .iter()
        .filter(|one| one.is_present == Some(false))
        .count();
    if missing > 0 {
        line = line
            .and(before, Tone::Plain)
            .and(format!("{missing} missing"), Tone::Critical);
        before = ", ";
    }
    for state in State::ALL.into_iter().rev() {
        let is_it = |superblock: &&Superblock| superblock.state == state;
        let count = look.superblocks.iter().filter(is_it).count();
        if count > 0 {
            let worst = look
                .superblocks
                .iter()
                .filter(is_it)
                .filter_map(|one| one.severity)
                .max();
            let said = format!("{count} {}", state.name());
            line = line.and(before, Tone::Plain).and(said, tone(state, worst));
            before = ", ";
        }
    }
    line
}

/// The line of keys.
pub(super) fn keys(top: &Top) -> Line {
    if top.is_typing {
        let typed = format!(" filter: {}_", safe(&top.filter));
        return Line::of(typed, Tone::Strong).and("  Enter keeps it, Esc clears it", Tone::Dim);
    }
    let text = match &top.page {
        Page::List => " Enter open  s sort  / filter  p pause  o observer  ? help  q quit",
        Page::Mount(..) => " 1-5 or Tab panel  j/k scroll  Esc back  p pause  ? help  q quit",
        Page::Help | Page::Observer => " j/k scroll  Esc back  q quit",
    };
    Line::of(text, Tone::Dim)
}
