//! The traits a wire type needs on the user side. The eBPF side needs none of them.

/// Checks a wire type's size at compile time and, on the user side, makes it parseable and
/// readable from a map.
macro_rules! wire {
    ($type:ty, $size:expr) => {
        const _: () = assert!(core::mem::size_of::<$type>() == $size);
        const _: () = assert!(core::mem::align_of::<$type>() <= 8);
        // SAFETY: `repr(C)`, made of integers and integer arrays only, and without hidden padding
        // (each type's size is asserted to be the sum of its fields): any bytes are a valid value.
        #[cfg(feature = "pod")]
        unsafe impl aya::Pod for $type {}
    };
}
pub(crate) use wire;
