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

/// Nanoseconds in few letters, three digits at most: `850ns`, `4.1us`, `41ms`, `3.9s`, `1m05s`, `2h03m`.
#[derive(Clone, Copy, Debug)]
pub struct Latency(pub u64);

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(ns) = *self;
        let seconds = ns / NS_PER_S;
        let mut scaled = |unit_ns: u64, unit: &str| {
            let tenths = ns / (unit_ns / 10);
            if tenths < 100 {
                write!(f, "{}.{}{unit}", tenths / 10, tenths % 10)
            } else {
                write!(f, "{}{unit}", tenths / 10)
            }
        };
        if ns < 1_000 {
            write!(f, "{ns}ns")
        } else if ns < NS_PER_MS {
            scaled(1_000, "us")
        } else if ns < NS_PER_S {
            scaled(NS_PER_MS, "ms")
        } else if seconds < 60 {
            scaled(NS_PER_S, "s")
        } else if seconds < 3_600 {
            write!(f, "{}m{:02}s", seconds / 60, seconds % 60)
        } else {
            write!(f, "{}h{:02}m", seconds / 3_600, seconds / 60 % 60)
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

    #[test]
    fn latencies_are_short() {
        let said: Vec<String> = [
            0,
            999,
            1_000,
            4_199,
            41_999,
            410_000,
            NS_PER_MS,
            4_100_000,
            999_999_999,
            NS_PER_S,
            9_990_000_000,
            10 * NS_PER_S,
            59_999 * NS_PER_MS,
            65 * NS_PER_S,
            7_400 * NS_PER_S,
        ]
        .map(|ns| Latency(ns).to_string())
        .into();
        assert_eq!(
            said,
            [
                "0ns", "999ns", "1.0us", "4.1us", "41us", "410us", "1.0ms", "4.1ms", "999ms",
                "1.0s", "9.9s", "10s", "59s", "1m05s", "2h03m"
            ]
        );
    }
}
