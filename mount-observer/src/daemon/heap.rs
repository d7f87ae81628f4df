//! Gives freed memory back to the system.
#![expect(unsafe_code, reason = "malloc_trim has no safe wrapper")]

/// Parsing the kernel's BTF takes 25 MB for a moment; without this they stay resident for good.
#[cfg(target_env = "gnu")]
pub(super) fn give_back() {
    // SAFETY: malloc_trim has no requirement; the result only says whether anything was freed.
    unsafe { libc::malloc_trim(0) };
}

/// Other C libraries give back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back() {}
