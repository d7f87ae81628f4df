//! The latency heat map: time from left to right, latency from top to bottom in powers of two.
//!
//! What hangs ends nothing, and would leave the map empty: so the age of the oldest request that
//! waits is drawn in, as a line that grows downwards. Where nobody looked there are question marks.

use mount_observer_common::{BUCKETS, bucket_of};

use super::{
    history::{History, SPAN_NS, Slot},
    text::{Line, Tone, below, right, short},
};

/// Columns of the scale, with the space behind it.
const SCALE: usize = 8;
/// Lines below the map.
const BELOW: usize = 2;
/// Rows at least, so that one bucket is no map.
const ROWS_MIN: usize = 8;
/// Lengths that a slot may have, s.
const SLOT_S: [u64; 8] = [2, 3, 5, 10, 15, 20, 30, 60];
const NS_PER_S: u64 = 1_000_000_000;

/// What the letters stand for.
const LEGEND: &str = ". 1  : 10  + 100  * 1k  # 10k   W oldest request waiting   ? not seen";

/// The map in so many lines.
pub(super) fn map(history: &History, id: &str, columns: usize, height: usize) -> Vec<Line> {
    let room = columns.saturating_sub(SCALE).max(1);
    let (slots, slot_ns) = slots(room);
    let seen = history.heat(id, slots, slot_ns);
    let Some((first, last)) = range(&seen) else {
        let span = short(SPAN_NS);
        return vec![Line::plain(format!(
            "nothing ended and nothing waited in the last {span}"
        ))];
    };
    let rows = height.saturating_sub(BELOW).max(1);
    let merged = (last + 1 - first).div_ceil(rows).max(1);
    let mut lines: Vec<Line> = (first..=last)
        .step_by(merged)
        .map(|from| row(&seen, from, (from + merged - 1).min(BUCKETS - 1)))
        .collect();
    let span = slot_ns.saturating_mul(u64::try_from(slots).unwrap_or(u64::MAX));
    let begin = format!("{}-{}", " ".repeat(SCALE), short(span));
    let until = right("now", slots.saturating_sub(begin.len() - SCALE));
    lines.push(Line::of(format!("{begin}{until}"), Tone::Dim));
    lines.push(Line::of(LEGEND, Tone::Dim));
    lines
}

/// How many slots, and how long each is.
fn slots(room: usize) -> (usize, u64) {
    let room_64 = u64::try_from(room).unwrap_or(u64::MAX);
    let span_s = SPAN_NS / NS_PER_S;
    let longest = SLOT_S.last().copied().unwrap_or(60);
    let mut lengths = SLOT_S.into_iter();
    let length = lengths.find(|length| room_64.saturating_mul(*length) >= span_s);
    let length = length.unwrap_or(longest);
    let wanted = usize::try_from(span_s / length).unwrap_or(room);
    (wanted.min(room), length * NS_PER_S)
}

/// The buckets between the fastest and the slowest; `None` where there is nothing.
fn range(seen: &[Slot]) -> Option<(usize, usize)> {
    let used = |bucket: &usize| seen.iter().any(|slot| slot.count(*bucket, *bucket) > 0);
    let waits = |bucket: &usize| seen.iter().any(|slot| slot.waits(*bucket, *bucket));
    let mut buckets = (0..BUCKETS).filter(|bucket| used(bucket) || waits(bucket));
    let first = buckets.next()?;
    let last = buckets.next_back().unwrap_or(first);
    let last = last.max(first + ROWS_MIN - 1).min(BUCKETS - 1);
    Some((first.min(last + 1 - ROWS_MIN), last))
}

impl Slot {
    fn count(&self, first: usize, last: usize) -> u64 {
        match self {
            Self::Seen(buckets, _) => buckets.get(first..=last).unwrap_or_default().iter().sum(),
            Self::Before | Self::Unseen => 0,
        }
    }

    /// Whether the oldest request that waited was of such an age.
    fn waits(&self, first: usize, last: usize) -> bool {
        let Self::Seen(_, Some(age_ns)) = self else {
            return false;
        };
        usize::try_from(bucket_of(*age_ns)).is_ok_and(|bucket| (first..=last).contains(&bucket))
    }
}

fn row(seen: &[Slot], first: usize, last: usize) -> Line {
    let scale = below(u32::try_from(last).unwrap_or(u32::MAX));
    let mut line = Line::of(right(&scale, SCALE - 1) + " ", Tone::Dim);
    for slot in seen {
        let (letter, tone) = match (slot, slot.count(first, last)) {
            (Slot::Before, _) => (' ', Tone::Plain),
            (Slot::Unseen, _) => ('?', Tone::Unknown),
            (Slot::Seen(..), _) if slot.waits(first, last) => ('W', Tone::Critical),
            (Slot::Seen(..), count) => heat(count),
        };
        match line.pieces.last_mut() {
            Some((text, last)) if *last == tone => text.push(letter),
            _ => line.pieces.push((letter.to_string(), tone)),
        }
    }
    line
}

/// The letter and the tone of so many operations.
fn heat(count: u64) -> (char, Tone) {
    match count {
        0 => (' ', Tone::Plain),
        1..10 => ('.', Tone::Heat(1)),
        10..100 => (':', Tone::Heat(2)),
        100..1_000 => ('+', Tone::Heat(3)),
        1_000..10_000 => ('*', Tone::Heat(4)),
        _ => ('#', Tone::Heat(5)),
    }
}
