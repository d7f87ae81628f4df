//! Which superblocks are observed.

use mount_observer_common::SCOPE_FILTER_WORDS;

use crate::maps::{SCOPE, SCOPE_FILTER};

/// Whether a superblock is observed. Most are not, and their bit says so.
#[inline(always)]
pub fn is_in_scope(dev: u32) -> bool {
    let word = SCOPE_FILTER
        .get(dev >> 6 & (SCOPE_FILTER_WORDS - 1))
        .copied()
        .unwrap_or(0);
    // SAFETY: the value is not used.
    word >> (dev & 63) & 1 != 0 && unsafe { SCOPE.get(dev) }.is_some()
}
