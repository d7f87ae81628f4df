//! The whole screen: who says so and as of when, what is wrong with that, the page, and the keys.

use super::{
    Page, Top, help, list,
    mount::{self, clock, scrolled},
    text::{Line, Tone, cut, safe, short},
};
use crate::time::{Now, nanos};

/// The smallest screen that everything is made for.
const COLUMNS_MIN: usize = 80;
const ROWS_MIN: usize = 24;

/// The screen in exactly so many lines of exactly so many columns.
pub fn lines(top: &Top, now: Now, columns: usize, rows: usize) -> Vec<Line> {
    let mut lines = if columns < COLUMNS_MIN || rows < ROWS_MIN {
        too_small(top, now, columns, rows)
    } else {
        let mut lines = header(top, now, columns);
        let room = rows.saturating_sub(lines.len() + 1);
        lines.extend(body(top, now, columns, room));
        lines.resize(rows.saturating_sub(1), Line::default());
        lines.push(list::keys(top));
        lines
    };
    lines.resize(rows, Line::default());
    lines.into_iter().map(|line| line.fitted(columns)).collect()
}

fn body(top: &Top, now: Now, columns: usize, room: usize) -> Vec<Line> {
    let page = match &top.page {
        Page::List => return list::body(top, is_old(top, now), columns, room),
        Page::Mount(id, panel) => return mount::body(top, id, *panel, columns, room),
        Page::Help => help::help(),
        Page::Observer => help::observer(top.book().look.as_deref(), columns),
    };
    scrolled(page, top.scroll, room)
}

/// Whether what is shown is not of now.
fn is_old(top: &Top, now: Now) -> bool {
    top.silent_ns(now).is_some() || top.held.is_some()
}

/// A screen that is too small for a table still says what is worst.
fn too_small(top: &Top, now: Now, columns: usize, rows: usize) -> Vec<Line> {
    let mut lines = vec![Line::of(
        format!("{columns}x{rows} is too small: {COLUMNS_MIN}x{ROWS_MIN} is needed"),
        Tone::Loud,
    )];
    lines.extend(warnings(top, now, columns));
    lines.extend(top.book().look.as_deref().map(list::verdict));
    lines.push(Line::plain(" q quits"));
    lines
}

fn header(top: &Top, now: Now, columns: usize) -> Vec<Line> {
    let look = top.book().look.as_deref();
    let taken = look.map(|look| format!("  {} UTC", clock(look.taken_unix_ns)));
    let source = cut(&safe(&top.source), columns.saturating_sub(36));
    let mut lines = vec![Line::of(" mount-observer top", Tone::Strong).and(
        format!("  {source}{}", taken.unwrap_or_default()),
        Tone::Plain,
    )];
    if let Some(look) = look {
        let mut verdict = list::verdict(look);
        let order = top.order.name();
        let mut how = format!("   by {order}");
        if !top.filter.is_empty() {
            how = format!("{how}, only `{}`", safe(&top.filter));
        }
        verdict.pieces.push((how, Tone::Dim));
        lines.push(verdict);
        lines.push(health(&look.observer, columns));
    }
    lines.extend(warnings(top, now, columns));
    lines
}

/// What is degraded or lost, the first of it.
fn health(health: &super::look::Health, columns: usize) -> Line {
    let Some(first) = health.degraded.first() else {
        let lost: u64 = health.dropped.iter().map(|(_, count)| count).sum();
        return match lost {
            0 => Line::of(" sees what it should; nothing was lost", Tone::Dim),
            lost => Line::of(
                format!(" sees what it should; lost before: {lost} (o)"),
                Tone::Dim,
            ),
        };
    };
    let more = match health.degraded.len() - 1 {
        0 => String::new(),
        more => format!(" and {more} more (o)"),
    };
    let room = columns.saturating_sub(more.len() + 12);
    Line::of(" degraded: ", Tone::Warning)
        .and(cut(&safe(first), room), Tone::Warning)
        .and(more, Tone::Warning)
}

/// That what is shown is not of now.
fn warnings(top: &Top, now: Now, columns: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let loud = |text: String| Line::of(cut(&text, columns), Tone::Loud);
    let shown = top.book().look.as_deref();
    let of = shown.map(|look| clock(look.taken_unix_ns));
    if let Some((_, since)) = &top.held {
        let held = short(nanos(now.mono.since(*since)));
        let of = of.as_deref().unwrap_or("nothing");
        lines.push(loud(format!(
            " PAUSED {held} ago: this is {of}, not now; p goes on "
        )));
    }
    if let Some(silent) = top.silent_ns(now) {
        let why = top.trouble.as_deref().map(|why| format!(": {}", safe(why)));
        let why = why.unwrap_or_default();
        let silent = short(silent);
        lines.push(loud(match of {
            Some(of) => format!(" OLD: this is {of}; nothing new for {silent}{why} "),
            None => format!(" NOTHING YET after {silent}{why} "),
        }));
    }
    lines
}
