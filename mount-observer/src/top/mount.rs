//! One mount, opened: what is in flight, who waits where, what failed, how long things took, and what
//! there was before. A wide and high screen shows all of it, a small one a panel at a time.

mod panels;

use super::{
    Book, Panel, Top, heat,
    list::{reason, tone},
    look::{Look, Superblock},
    text::{Line, Tone, below, cut, rate, safe, short, wrapped},
};
use crate::time::Wall;

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
