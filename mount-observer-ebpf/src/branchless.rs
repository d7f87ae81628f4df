//! Comparisons without a branch: the turns of a loop are verified one after the other, and what follows
//! a branch twice.

/// 1 where two values differ, else 0. Opaque, or it is made a branch again.
#[inline(always)]
pub fn differs(one: u64, other: u64) -> u64 {
    let difference = one ^ other;
    let negative = core::hint::black_box(difference.wrapping_neg());
    (difference | negative) >> 63
}

/// 1 where the value is below a limit, which is below 2^63, else 0.
#[inline(always)]
pub fn is_below(value: u64, limit: u64) -> u64 {
    let difference = core::hint::black_box(value.wrapping_sub(limit));
    (difference & !value) >> 63
}

/// The first value where `bit` is 1, the second where it is 0.
#[inline(always)]
pub fn select(bit: u64, one: u64, other: u64) -> u64 {
    let mask = core::hint::black_box(bit.wrapping_neg());
    other ^ ((one ^ other) & mask)
}
