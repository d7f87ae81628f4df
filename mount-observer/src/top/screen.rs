//! Lines onto a screen: which colours and attributes the tones have.

use ratatui_core::{
    buffer::Buffer,
    layout::Rect,
    style::{Color, Modifier, Style},
};

use super::{
    Top,
    page::lines,
    text::{Line, Tone},
};
use crate::time::Now;

/// Draws the state over the whole area.
pub fn draw(top: &Top, now: Now, is_coloured: bool, buffer: &mut Buffer) {
    let area = *buffer.area();
    let (columns, rows) = (usize::from(area.width), usize::from(area.height));
    let page = lines(top, now, columns, rows);
    for (y, line) in (area.top()..area.bottom()).zip(&page) {
        put(buffer, area, y, line, is_coloured);
    }
}

fn put(buffer: &mut Buffer, area: Rect, y: u16, line: &Line, is_coloured: bool) {
    let mut x = area.left();
    for (text, tone) in &line.pieces {
        let room = usize::from(area.right().saturating_sub(x));
        if room == 0 {
            return;
        }
        (x, _) = buffer.set_stringn(x, y, text, room, style(*tone, is_coloured));
    }
}

/// Words tell everything apart; colours and attributes only make it quicker to find.
fn style(tone: Tone, is_coloured: bool) -> Style {
    let plain = Style::new();
    let (colour, modifier) = match tone {
        Tone::Plain => return plain,
        Tone::Dim => (None, Modifier::DIM),
        Tone::Strong => (None, Modifier::BOLD),
        Tone::Good | Tone::Heat(3) => (Some(Color::Green), Modifier::empty()),
        Tone::Warning | Tone::Heat(4) => (Some(Color::Yellow), Modifier::empty()),
        Tone::Critical => (Some(Color::Red), Modifier::BOLD),
        Tone::Unknown => (Some(Color::Magenta), Modifier::empty()),
        Tone::Loud => (None, Modifier::REVERSED.union(Modifier::BOLD)),
        Tone::Heat(1) => (Some(Color::Blue), Modifier::empty()),
        Tone::Heat(2) => (Some(Color::Cyan), Modifier::empty()),
        Tone::Heat(_) => (Some(Color::Red), Modifier::empty()),
    };
    let style = plain.add_modifier(modifier);
    match colour.filter(|_| is_coloured) {
        Some(colour) => style.fg(colour),
        None => style,
    }
}
