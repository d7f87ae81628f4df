//! Which errno matter, and how a kernel function returns one.

use aya_ebpf::Global;

/// `MAX_ERRNO`, `include/linux/err.h`.
const MAX_ERRNO: u64 = 4_095;

/// One bit per errno whose failures leave a record: those a broken connection or server answers.
#[unsafe(no_mangle)]
static RECORDED_ERRNO: [Global<u64>; 3] = [const { Global::new(0) }; 3];

/// Whether failures with this errno leave a record.
#[inline(always)]
pub fn is_recorded(errno: u32) -> bool {
    let bits = match errno >> 6 {
        0 => RECORDED_ERRNO[0].load(),
        1 => RECORDED_ERRNO[1].load(),
        2 => RECORDED_ERRNO[2].load(),
        _ => 0,
    };
    bits >> (errno & 63) & 1 != 0
}

/// The errno of a return value; `None` for a success.
#[inline(always)]
pub fn errno_of(result: i64) -> Option<u32> {
    let errno = result.wrapping_neg() as u64;
    (errno.wrapping_sub(1) < MAX_ERRNO).then_some(errno as u32)
}
