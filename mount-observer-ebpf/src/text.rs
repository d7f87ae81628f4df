//! Which of the functions we know a kernel stack leads through.

use mount_observer_common::{TEXT_RANGES_MAX, TextRanges};

use crate::branchless::is_below;

/// The tag of the function that an address lies in; 0 for none. Without a branch, which the verifier
/// would follow both ways, for every address and every function: five times its work.
#[inline(always)]
pub fn tag(ranges: &TextRanges, address: u64) -> u64 {
    let mut tag = 0;
    let mut index = 0;
    while index < TEXT_RANGES_MAX {
        // SAFETY: below the length; indexing would leave a panic path.
        let range = unsafe { &*ranges.0.as_ptr().add(index) };
        let distance = address.wrapping_sub(range.start);
        let is_inside = is_below(distance, range.end.wrapping_sub(range.start));
        tag |= range.tag & is_inside.wrapping_neg();
        index += 1;
    }
    tag
}
