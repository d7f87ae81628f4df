//! Ages as people say them.

use std::fmt;

const NS_PER_MS: u64 = 1_000_000;
const NS_PER_S: u64 = 1_000_000_000;

/// Nanoseconds with the two digits that matter: `3 ms`, `6.2 s`, `1 min 05 s`, `2 h 03 min`,
/// `4 d 06 h`.
#[derive(Clone, Copy, Debug)]
pub struct Age(pub u64);

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ns) = *self;
        let seconds = ns / NS_PER_S;
        let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
        if ns < NS_PER_S {
            write!(f, "{} ms", ns / NS_PER_MS)
        } else if seconds < 60 {
            write!(f, "{seconds}.{} s", ns % NS_PER_S / (NS_PER_S / 10))
        } else if minutes < 60 {
            write!(f, "{minutes} min {:02} s", seconds % 60)
        } else if hours < 24 {
            write!(f, "{hours} h {:02} min", minutes % 60)
        } else {
            write!(f, "{days} d {:02} h", hours % 24)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_keep_two_units_at_most() {
        let said: Vec<String> = [
            0,
            3 * NS_PER_MS,
            999 * NS_PER_MS,
            NS_PER_S,
            6_299 * NS_PER_MS,
            59_999 * NS_PER_MS,
            65 * NS_PER_S,
            3_600 * NS_PER_S,
            7_400 * NS_PER_S,
            (4 * 86_400 + 6 * 3_600 + 59) * NS_PER_S,
        ]
        .map(|ns| Age(ns).to_string())
        .into();
        assert_eq!(
            said,
            [
                "0 ms",
                "3 ms",
                "999 ms",
                "1.0 s",
                "6.2 s",
                "59.9 s",
                "1 min 05 s",
                "1 h 00 min",
                "2 h 03 min",
                "4 d 06 h"
            ]
        );
    }
}
