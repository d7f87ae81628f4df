//! How long operations took, to one part in a hundred.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Digits kept of each latency: what is told of a percentile is at most 1 % too much.
const DIGITS: u8 = 2;

/// Longest latency told apart, ns: 2^50, 13 days. What is longer counts as that.
const LATENCY_MAX_NS: u64 = 1 << 50;

/// Latencies that were seen. Some 20 KiB once there are seconds among them.
#[derive(Clone, Debug, Default)]
pub struct Latencies {
    /// Made when there is something to put in.
    counts: Option<Histogram<u64>>,
    max_ns: u64,
}

/// One row of a histogram: a power of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Latencies from here on, ns.
    pub from_ns: u64,
    /// And below this, ns.
    pub below_ns: u64,
    /// How many.
    pub count: u64,
}

/// What the latencies come to, ns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Percentiles {
    /// Half took no longer, to 1 %.
    pub p50_ns: u64,
    /// Nine of ten.
    pub p90_ns: u64,
    /// 99 of 100.
    pub p99_ns: u64,
    /// The longest, exactly.
    pub max_ns: u64,
}

impl Latencies {
    /// Takes one.
    pub fn add(&mut self, latency_ns: u64) {
        self.max_ns = self.max_ns.max(latency_ns);
        let bounded = latency_ns.clamp(1, LATENCY_MAX_NS);
        if self.counts.is_none() {
            self.counts = Histogram::new(DIGITS).ok();
        }
        if let Some(counts) = &mut self.counts {
            // It grows with what is put in: nothing is out of its range.
            let recorded = counts.record(bounded);
            debug_assert!(recorded.is_ok(), "{bounded} ns was refused");
        }
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.counts.as_ref().map_or(0, Histogram::len)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What they come to; `None` of none.
    pub fn percentiles(&self) -> Option<Percentiles> {
        let counts = self.counts.as_ref().filter(|counts| !counts.is_empty())?;
        let at = |quantile| counts.value_at_quantile(quantile).min(self.max_ns);
        Some(Percentiles {
            p50_ns: at(0.50),
            p90_ns: at(0.90),
            p99_ns: at(0.99),
            max_ns: self.max_ns,
        })
    }

    /// The powers of two from the shortest to the longest, those between that have none included.
    pub fn rows(&self) -> Vec<Row> {
        let Some(counts) = self.counts.as_ref().filter(|counts| !counts.is_empty()) else {
            return Vec::new();
        };
        let exponent = |value: u64| value.max(1).ilog2();
        let row = |exponent: u32| {
            let (from_ns, below_ns) = (1_u64 << exponent, 1_u64 << (exponent + 1));
            Row {
                from_ns,
                below_ns,
                // Its buckets divide powers of two: no bucket lies in two of them.
                count: counts.count_between(from_ns, below_ns - 1),
            }
        };
        (exponent(counts.min())..=exponent(counts.max()))
            .map(row)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_nothing_there_is_nothing_to_tell() {
        let none = Latencies::default();
        assert!(none.is_empty() && none.rows().is_empty());
        assert_eq!(none.percentiles(), None);
    }

    proptest! {
        #[test]
        fn rows_hold_everything_and_percentiles_are_right_to_one_part_in_a_hundred(
            mut all in prop::collection::vec(prop_oneof![0..5_000_u64, 0..1_u64 << 50, any::<u64>()], 1..200)
        ) {
            let mut latencies = Latencies::default();
            for latency in &all {
                latencies.add(*latency);
            }
            let rows = latencies.rows();
            prop_assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), latencies.len());
            prop_assert_eq!(latencies.len(), u64::try_from(all.len()).unwrap());
            prop_assert!(rows.iter().all(|row| row.below_ns == 2 * row.from_ns));
            all.sort_unstable();
            let percentiles = latencies.percentiles().unwrap();
            prop_assert_eq!(percentiles.max_ns, *all.last().unwrap());
            let half = all[(all.len() - 1) / 2].clamp(1, LATENCY_MAX_NS);
            let told = percentiles.p50_ns.max(1);
            prop_assert!(told >= half.min(percentiles.max_ns.max(1)), "{} {}", told, half);
            prop_assert!(told <= half + half / 100 + 1, "{} {}", told, half);
        }
    }
}
