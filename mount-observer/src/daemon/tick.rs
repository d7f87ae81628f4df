//! The length of a jiffy: the kernel keeps the creation time of a FUSE request in jiffies and tells
//! no one how long one is.

/// Values of `CONFIG_HZ` (`kernel/Kconfig.hz`).
const RATES: [u32; 4] = [100, 250, 300, 1_000];

/// How far jiffies may be from what the clock says, in seconds: a tick is late at times, and the
/// two are read one after the other.
const TOLERANCE_S: u64 = 2;

/// Nanoseconds of one jiffy, from `jiffies_64` and the uptime.
///
/// `jiffies_64` starts 300 s before 2^32 (`INITIAL_JIFFIES`, `include/linux/jiffies.h`), so it tells
/// the rate at once, except in the seconds around an uptime of 300 s, when it is 2^32 whatever the
/// rate: `None` then, and whenever not exactly one rate fits.
pub fn tick_ns(jiffies: u64, monotonic_ns: u64) -> Option<u32> {
    let uptime_s = monotonic_ns / 1_000_000_000;
    let mut fitting = RATES.into_iter().filter(|&rate| {
        let rate = u64::from(rate);
        let expected = (1_u64 << 32) - 300 * rate + uptime_s * rate;
        jiffies.abs_diff(expected) <= TOLERANCE_S * rate
    });
    let rate = fitting.next()?;
    fitting.next().is_none().then_some(1_000_000_000 / rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jiffies(rate: u64, uptime_s: u64) -> u64 {
        (1 << 32) - 300 * rate + uptime_s * rate
    }

    #[test]
    fn every_rate_is_told_from_the_others_at_any_uptime_but_one() {
        for (rate, expected) in [(100, 10_000_000), (250, 4_000_000), (1_000, 1_000_000)] {
            for uptime_s in [0, 20, 270, 330, 100_000, 100_000_000] {
                let told = tick_ns(jiffies(rate, uptime_s), uptime_s * 1_000_000_000);
                assert_eq!(told, Some(expected), "{rate} Hz after {uptime_s} s");
            }
        }
    }

    #[test]
    fn an_ambiguous_or_impossible_reading_tells_nothing() {
        assert_eq!(tick_ns(1 << 32, 300_000_000_000), None);
        assert_eq!(tick_ns(12_345, 900_000_000_000), None);
    }
}
