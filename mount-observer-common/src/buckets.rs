//! Latency buckets: powers of two of a nanosecond.

/// Buckets in one histogram. The first ends below 2.048 us, the last starts at 137 s.
pub const BUCKETS: usize = 28;

/// The exponent of the first bucket's lower bound: everything below 2^11 ns shares it.
const FIRST_EXPONENT: u32 = 10;

/// The bucket of a latency in nanoseconds; always below [`BUCKETS`].
///
/// Branch-light and without `ilog2`, whose panic path the verifier refuses.
#[inline(always)]
#[expect(
    clippy::inline_always,
    reason = "a call would cost an eBPF stack frame per request"
)]
#[expect(
    clippy::manual_ilog2,
    reason = "ilog2 has a panic path, which the verifier refuses"
)]
pub const fn bucket_of(latency_ns: u64) -> u32 {
    let exponent = 63 - (latency_ns | 1).leading_zeros();
    let bucket = exponent.saturating_sub(FIRST_EXPONENT);
    if bucket >= 27 { 27 } else { bucket }
}

/// The exclusive upper bound of a bucket in nanoseconds; `None` for the last, which has none.
pub const fn bucket_upper_bound_ns(bucket: u32) -> Option<u64> {
    if bucket >= 27 {
        None
    } else {
        Some(1 << (bucket + FIRST_EXPONENT + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_below_its_buckets_bound_and_not_below_the_previous() {
        for shift in 0..64 {
            for latency in [1_u64 << shift, (1_u64 << shift) - 1, (1_u64 << shift) + 1] {
                let bucket = bucket_of(latency);
                if let Some(bound) = bucket_upper_bound_ns(bucket) {
                    assert!(latency < bound, "{latency} in bucket {bucket}");
                }
                if bucket > 0 {
                    assert!(
                        Some(latency) >= bucket_upper_bound_ns(bucket - 1),
                        "{latency}"
                    );
                }
            }
        }
    }
}
