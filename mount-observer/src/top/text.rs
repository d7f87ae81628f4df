//! Words, figures and lines that fit: everything that `top` shows is made of these.

use mount_observer_common::bucket_upper_bound_ns;
use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

use crate::{render::escape::Escaped, text::append};

/// How a piece of text is meant; the screen decides on colours, and does without where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tone {
    /// As is.
    #[default]
    Plain,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
    /// All is well.
    Good,
    /// To be looked at.
    Warning,
    /// To be acted on.
    Critical,
    /// Not seen.
    Unknown,
    /// Must not be overlooked.
    Loud,
    /// The heat of a cell, 1 (few) to 6 (many).
    Heat(u8),
}

/// One line of the screen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// Pieces from left to right.
    pub pieces: Vec<(String, Tone)>,
}

impl Line {
    /// Of one piece.
    pub(super) fn of(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            pieces: vec![(text.into(), tone)],
        }
    }

    /// A plain one.
    pub(super) fn plain(text: impl Into<String>) -> Self {
        Self::of(text, Tone::Plain)
    }

    /// With another piece at its end.
    #[must_use]
    pub(super) fn and(mut self, text: impl Into<String>, tone: Tone) -> Self {
        self.pieces.push((text.into(), tone));
        self
    }

    /// Exactly so wide: cut at the end, or filled up.
    #[must_use]
    pub(super) fn fitted(self, columns: usize) -> Self {
        let mut room = columns;
        let mut pieces = Vec::new();
        for (text, tone) in self.pieces {
            let text = head(&text, room);
            room = room.saturating_sub(text.width());
            pieces.push((text, tone));
        }
        pieces.push((" ".repeat(room), Tone::Plain));
        Self { pieces }
    }
}

/// Text from outside, safe for a screen that counts columns. Besides what [`Escaped`] spells out, so
/// is everything that terminals join with what stands beside it or disagree on the width of: of what
/// is no ASCII, letters and digits alone are shown as they are.
pub(super) fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let escaped = Escaped(text).to_string();
    for letter in escaped.chars() {
        let has_width = letter.width().is_some_and(|width| width > 0);
        if letter.is_ascii() || (letter.is_alphanumeric() && has_width) {
            out.push(letter);
        } else {
            append(&mut out, format_args!("\\u{{{:x}}}", u32::from(letter)));
        }
    }
    out
}

/// As much of it as fits, from the left.
fn head(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |letter: &char| {
        used += letter.width().unwrap_or(0);
        used <= columns
    };
    text.chars().take_while(fits).collect()
}

/// As much of it as fits, from the right.
fn tail(text: &str, columns: usize) -> String {
    let mut used = 0;
    let fits = |letter: &char| {
        used += letter.width().unwrap_or(0);
        used <= columns
    };
    let letters: Vec<char> = text.chars().rev().take_while(fits).collect();
    letters.into_iter().rev().collect()
}

/// Cut in the middle where it is too long: both ends of a path tell it apart.
pub(super) fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let Some(room) = columns.checked_sub(3) else {
        return head(text, columns);
    };
    format!("{}...{}", head(text, room / 2), tail(text, room - room / 2))
}

/// A cell of a table, its text at the left.
pub(super) fn left(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    let room = columns.saturating_sub(text.width());
    text + &" ".repeat(room)
}

/// A cell of a table whose text begins with what matters.
pub(super) fn beginning(text: &str, columns: usize) -> String {
    left(&head(text, columns), columns)
}

/// A cell of a table, its text at the right.
pub(super) fn right(text: &str, columns: usize) -> String {
    let text = cut(text, columns);
    " ".repeat(columns.saturating_sub(text.width())) + &text
}

/// A text over several lines, broken between words where that is possible.
pub(super) fn wrapped(text: &str, columns: usize) -> Vec<String> {
    let columns = columns.max(1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split_whitespace() {
        if !line.is_empty() && line.width() + 1 + word.width() > columns {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
        while line.width() > columns {
            let first = head(&line, columns);
            // A letter wider than the whole line must not hold us here.
            let taken = first
                .len()
                .max(line.chars().next().map_or(1, char::len_utf8));
            let rest = line.split_off(taken.min(line.len()));
            lines.push(std::mem::replace(&mut line, rest));
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const S: u64 = 1_000_000_000;

/// A time in six columns at most: `2us`, `4.1ms`, `31.2s`, `2m05s`, `3h05m`, `4d06h`, `120d`.
pub(super) fn short(ns: u64) -> String {
    let seconds = ns / S;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    let tenths = |unit: u64, name| format!("{}.{}{name}", ns / unit, ns % unit / (unit / 10));
    if ns < US {
        format!("{ns}ns")
    } else if ns < 10 * US {
        tenths(US, "us")
    } else if ns < MS {
        format!("{}us", ns / US)
    } else if ns < 10 * MS {
        tenths(MS, "ms")
    } else if ns < S {
        format!("{}ms", ns / MS)
    } else if seconds < 60 {
        tenths(S, "s")
    } else if minutes < 60 {
        format!("{minutes}m{:02}s", seconds % 60)
    } else if hours < 24 {
        format!("{hours}h{:02}m", minutes % 60)
    } else if days < 100 {
        format!("{days}d{:02}h", hours % 24)
    } else {
        format!("{days}d")
    }
}

/// A latency that is below the end of its bucket: `<4.1ms`, `>137s` for the last.
pub(super) fn below(bucket: u32) -> String {
    match bucket_upper_bound_ns(bucket) {
        Some(bound) => format!("<{}", short(bound)),
        None => ">2m17s".to_owned(),
    }
}

/// Tenths of something per second: `0.2`, `340`, `12.3k`, `4.5M`.
pub(super) fn rate(tenths: u64) -> String {
    let whole = tenths / 10;
    match whole {
        0 if tenths == 0 => "0".to_owned(),
        0..100 => format!("{whole}.{}", tenths % 10),
        100..10_000 => whole.to_string(),
        10_000..1_000_000 => format!("{}.{}k", whole / 1_000, whole % 1_000 / 100),
        _ => format!("{}.{}M", whole / 1_000_000, whole % 1_000_000 / 100_000),
    }
}

/// A number: `9999`, `12.3k`, `4.5M`.
pub(super) fn number(count: u64) -> String {
    if count < 100 {
        count.to_string()
    } else {
        rate(count.saturating_mul(10))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn figures_are_short() {
        let said = [
            5,
            2_048,
            99_000,
            4_194_304,
            67_108_864,
            31_250_000_000,
            125 * S,
            11_100 * S,
            540_000 * S,
            20_000_000 * S,
        ];
        assert_eq!(
            said.map(short),
            [
                "5ns", "2.0us", "99us", "4.1ms", "67ms", "31.2s", "2m05s", "3h05m", "6d06h", "231d"
            ]
        );
        assert_eq!(
            [0, 2, 999, 3_405, 123_456, 45_600_000].map(rate),
            ["0", "0.2", "99.9", "340", "12.3k", "4.5M"]
        );
        assert_eq!(
            [0, 7, 9_999, 12_345].map(number),
            ["0", "7", "9999", "12.3k"]
        );
        assert_eq!([below(11), below(27)], ["<4.1ms", ">2m17s"]);
    }

    #[test]
    fn what_terminals_join_or_hide_is_spelled_out() {
        assert_eq!(
            safe("\u{e4}\u{6f22}e\u{301}\u{1f600}\u{200d}\n\u{1b}[2J"),
            "\u{e4}\u{6f22}e\\u{301}\\u{1f600}\\u{200d}\\n\\x1b[2J"
        );
    }

    #[test]
    fn a_long_sentence_goes_on_in_the_next_line() {
        assert_eq!(wrapped("one two  three", 7), ["one two", "three"]);
        assert_eq!(wrapped("abcdefghij k", 4), ["abcd", "efgh", "ij k"]);
        assert_eq!(wrapped("", 4), [""; 0]);
    }

    proptest! {
        #[test]
        fn whatever_is_shown_keeps_to_its_columns(text in any::<String>(), columns in 0_usize..40) {
            let text = safe(&text);
            prop_assert_eq!(left(&text, columns).width(), columns);
            prop_assert_eq!(right(&text, columns).width(), columns);
            let fitted = Line::plain(text.clone()).fitted(columns);
            let fitted: usize = fitted.pieces.iter().map(|(text, _)| text.width()).sum();
            prop_assert_eq!(fitted, columns);
            for line in wrapped(&text, columns.max(2)) {
                prop_assert!(line.width() <= columns.max(2));
            }
        }

        #[test]
        fn every_letter_has_its_own_cells(text in any::<String>()) {
            let sum: usize = safe(&text).chars().map(|letter| letter.width().unwrap()).sum();
            prop_assert_eq!(safe(&text).width(), sum);
        }
    }
}
