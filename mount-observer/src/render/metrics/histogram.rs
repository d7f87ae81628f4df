//! Latency buckets as exported: fewer than are kept.

use mount_observer_common::{BUCKETS, bucket_upper_bound_ns};

use crate::{
    incident::{Counts, DELAY_BOUNDS_MS},
    snapshot::ClassLatency,
};

/// Kept buckets whose upper bound is exported as `le`: 33 us, 262 us, 1 ms, 4.2 ms, 17 ms, 67 ms,
/// 268 ms, 1.1 s, 4.3 s, 8.6 s, 34 s. Dense where thresholds lie, and 12 series with `+Inf`.
const EXPORTED: [u32; 11] = [4, 7, 9, 11, 13, 15, 17, 19, 21, 22, 24];

/// A histogram as Prometheus wants it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Histogram {
    /// Upper bound in seconds, and observations at or below it.
    pub buckets: Vec<(f64, u64)>,
    /// All observations.
    pub count: u64,
    /// Their sum in seconds.
    pub sum: f64,
}

impl Histogram {
    /// The exported form of a class's latencies.
    pub fn of(latency: &ClassLatency) -> Self {
        let mut cumulative = 0_u64;
        let mut buckets = Vec::with_capacity(EXPORTED.len());
        for (index, &count) in (0_u32..).zip(&latency.buckets) {
            cumulative = cumulative.saturating_add(count);
            if let Some(bound_ns) = bucket_upper_bound_ns(index)
                && EXPORTED.contains(&index)
            {
                buckets.push((seconds(bound_ns), cumulative));
            }
        }
        Self {
            buckets,
            count: cumulative,
            sum: seconds(latency.sum_ns),
        }
    }
}

impl Histogram {
    /// The exported form of the incidents' detection delays.
    pub fn of_delays(counts: &Counts) -> Self {
        let mut cumulative = 0_u64;
        let mut buckets = Vec::with_capacity(DELAY_BOUNDS_MS.len());
        for (bound_ms, count) in DELAY_BOUNDS_MS.iter().zip(&counts.delays) {
            cumulative = cumulative.saturating_add(*count);
            buckets.push((seconds(bound_ms * 1_000_000), cumulative));
        }
        Self {
            buckets,
            count: counts.delays.iter().sum(),
            sum: seconds(counts.delays_sum_ns),
        }
    }
}

/// Adds one class's latencies to another's.
pub(super) fn add(to: &mut ClassLatency, latency: &ClassLatency) {
    for (sum, count) in to.buckets.iter_mut().zip(latency.buckets) {
        *sum = sum.saturating_add(count);
    }
    to.sum_ns = to.sum_ns.saturating_add(latency.sum_ns);
}

/// An empty class.
pub(super) fn empty(class: &'static str) -> ClassLatency {
    ClassLatency {
        class,
        buckets: [0; BUCKETS],
        sum_ns: 0,
    }
}

/// Nanoseconds as seconds; exact to the microsecond for 285 years.
pub(super) fn seconds(ns: u64) -> f64 {
    std::time::Duration::from_nanos(ns).as_secs_f64()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_latency_is_counted_at_every_bound_above_it() {
        let mut latency = empty("data");
        latency.buckets[9] = 3;
        latency.buckets[27] = 1;
        let histogram = Histogram::of(&latency);
        let at = |bound: f64| {
            histogram
                .buckets
                .iter()
                .find(|bucket| bucket.0 >= bound)
                .map(|bucket| bucket.1)
        };
        assert_eq!(at(0.0002), Some(0));
        assert_eq!(at(0.0010), Some(3));
        assert_eq!(at(30.0), Some(3));
        assert_eq!(histogram.count, 4);
        assert_eq!(histogram.buckets.len(), EXPORTED.len());
    }

    proptest! {
        #[test]
        fn bounds_and_counts_never_fall(counts in prop::collection::vec(0_u64..1 << 40, BUCKETS)) {
            let mut latency = empty("data");
            latency.buckets.copy_from_slice(&counts);
            let histogram = Histogram::of(&latency);
            for pair in histogram.buckets.windows(2) {
                prop_assert!(pair[0].0 < pair[1].0);
                prop_assert!(pair[0].1 <= pair[1].1);
            }
            prop_assert!(histogram.buckets.last().unwrap().1 <= histogram.count);
            prop_assert_eq!(histogram.count, counts.iter().sum::<u64>());
        }
    }
}
