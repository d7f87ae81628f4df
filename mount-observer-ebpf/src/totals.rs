//! Exact counters per superblock, operation and errno, and the rate limit of the records.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_log_ebpf::warn;
use mount_observer_common::{BUCKETS, Counter, TotalsKey, TotalsSlot, bucket_of};

use crate::{counters::count, maps::TOTALS};

/// Records of one superblock, operation and errno per CPU in one window; the rest is counted.
pub const BURST_RECORDS: u32 = 4;

/// The same for requests that were to write something: each may be another part of another file.
pub const BURST_RISKS: u32 = 64;

/// Length of that window.
const WINDOW_NS: u64 = 1_000_000_000;

/// Where new entries start. In `.rodata`, not on the stack. Not mangled, as nothing that ends up in
/// the object may be: a mangled name depends on the directory of the build.
#[unsafe(no_mangle)]
static TOTALS_ZERO: TotalsSlot = TotalsSlot::ZERO;

/// This CPU's slot of a key, made if there is none; `None` when the map is full, which is counted.
#[inline(always)]
pub fn slot_of(key: &TotalsKey) -> Option<*mut TotalsSlot> {
    if let Some(slot) = TOTALS.get_ptr_mut(key) {
        return Some(slot);
    }
    // Another CPU may have made it in between: then the insert fails and the lookup finds it.
    let _ = TOTALS.insert(key, &TOTALS_ZERO, u64::from(BPF_NOEXIST));
    let slot = TOTALS.get_ptr_mut(key);
    if slot.is_none() {
        count(Counter::TotalsFull);
        warn!((), "no room in the totals");
    }
    slot
}

/// Counts an operation whose start was not seen.
///
/// # Safety
/// `slot` must come from [`slot_of`].
#[inline(always)]
pub unsafe fn add_end(slot: *mut TotalsSlot, now_ns: u64) {
    // SAFETY: a live map value of this CPU.
    let value = unsafe { &mut (*slot).value };
    value.count += 1;
    value.last_ns = now_ns;
}

/// Counts an operation and its latency.
///
/// # Safety
/// `slot` must come from [`slot_of`].
#[inline(always)]
pub unsafe fn add_latency(slot: *mut TotalsSlot, now_ns: u64, latency_ns: u64, is_slow: bool) {
    // SAFETY: as required of the caller.
    unsafe { add_end(slot, now_ns) };
    // SAFETY: a live map value of this CPU.
    let value = unsafe { &mut (*slot).value };
    value.sum_ns = value.sum_ns.wrapping_add(latency_ns);
    value.slow += u64::from(is_slow);
    // The mask shows the verifier the bound that bucket_of promises.
    let bucket = bucket_of(latency_ns) as usize & 31;
    if bucket < BUCKETS {
        // SAFETY: checked just above; indexing would leave a panic path the verifier refuses.
        unsafe { *value.buckets.as_mut_ptr().add(bucket) += 1 };
    }
}

/// Whether this operation may leave a record, one of `burst` in a window, and how many before it could
/// not.
///
/// # Safety
/// `slot` must come from [`slot_of`].
#[inline(always)]
pub unsafe fn admit(slot: *mut TotalsSlot, now_ns: u64, burst: u32) -> Option<u32> {
    // SAFETY: a live map value of this CPU.
    let slot = unsafe { &mut *slot };
    if now_ns.wrapping_sub(slot.window_ns) >= WINDOW_NS {
        slot.window_ns = now_ns;
        slot.window_records = 0;
    }
    if slot.window_records >= burst {
        slot.suppressed += 1;
        count(Counter::RecordsSuppressed);
        return None;
    }
    slot.window_records += 1;
    let suppressed = slot.suppressed;
    slot.suppressed = 0;
    Some(suppressed)
}
