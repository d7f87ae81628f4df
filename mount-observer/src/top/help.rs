//! What keys and columns mean, and what the observer knows about itself.

use super::{
    look::Look,
    text::{Line, Tone, safe, wrapped},
};

const HELP: &str = "\
KEYS
 Up Down, k j        a row or a line up, down; PageUp, PageDown, Home, End too
 Enter               opens the mount; Esc leads back
 1 2 3 4 5, Tab      requests, blocked, errors, latency, alerts of an opened mount
 s                   order: badness, operations, errors, p99, oldest request, mount point
 /                   filter by mount point, type, server or state; Esc on the list clears it
 p                   holds the screen, and lets it go on; what happens meanwhile is not lost
 o                   what the observer knows about itself: what is degraded, not seen, lost
 ? q                 this page; quits (Ctrl-C too)
COLUMNS
 STATE    dead (the connection is gone), hung, stuck (a lost reply), erroring, slow, unknown
          (nobody can see), ok; missing: should be mounted and is not. `hung?`: as of then,
          what is shown is old
 OPS/S    operations that ended, by second, over 5 s; what programs ask and what the
          filesystem asks its server overlap: the busier of the two
 ERR/S    those of them that failed; ENOENT and ENODATA are answers and do not count
 P99      99 of 100 operations of the last minute took less; powers of two
 WAIT     requests in flight now; OLDEST: the age of the oldest
LATENCY
 Time from left to right, latency downwards, a letter for how many: . 1 : 10 + 100 * 1000
 # 10000. W is the oldest request that waits: a hang is a line that grows downwards.
 ? where nobody looked. POLL, locks and ioctls wait by design and are left out.";

/// What keys and columns mean.
pub(super) fn help() -> Vec<Line> {
    let lines = HELP.lines().map(|text| {
        let is_heading = !text.starts_with(' ');
        let tone = if is_heading {
            Tone::Strong
        } else {
            Tone::Plain
        };
        Line::of(format!(" {text}"), tone)
    });
    lines.collect()
}

/// What the observer knows about itself.
pub(super) fn observer(look: Option<&Look>, columns: usize) -> Vec<Line> {
    let Some(look) = look else {
        return vec![Line::plain(" Waiting for the first snapshot")];
    };
    let health = &look.observer;
    let mut lines = Vec::new();
    let mut section = |name: &str, texts: Vec<String>, none: &str| {
        lines.push(Line::of(format!(" {name}"), Tone::Strong));
        if texts.is_empty() {
            lines.push(Line::plain(format!("   {none}")));
        }
        for text in texts {
            let said = wrapped(&text, columns.saturating_sub(5));
            lines.extend(
                said.into_iter()
                    .map(|text| Line::plain(format!("   {text}"))),
            );
        }
    };
    let degraded = health.degraded.iter().map(|what| safe(what)).collect();
    section("DEGRADED", degraded, "nothing: it sees what it should");
    let not_seen = health.not_seen.iter().map(|one| safe(&one.what)).collect();
    section("NOT SEEN ON THIS KERNEL", not_seen, "nothing is left out");
    let lost = health.dropped.iter().filter(|(_, count)| *count > 0);
    let lost = lost
        .map(|(reason, count)| format!("{}: {count}", safe(reason)))
        .collect();
    section("LOST SINCE IT ATTACHED", lost, "nothing");
    let taken = health.events.iter();
    let taken = taken
        .map(|(source, count)| format!("{}: {count}", safe(source)))
        .collect();
    section("TAKEN SINCE IT ATTACHED", taken, "nothing");
    lines
}
