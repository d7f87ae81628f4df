//! Addresses that become typed pointers: how kernel memory behind an untyped pointer is read where
//! `bpf_probe_read_kernel` does not exist.

use aya_ebpf::Global;
use mount_observer_common::CAST;

/// Injected: see `mount_observer_common::CAST_TYPES`.
#[unsafe(no_mangle)]
pub static TYPE_FUSE_DEV: Global<u32> = Global::new(0);

/// Injected as well.
#[unsafe(no_mangle)]
pub static TYPE_FUSE_INODE: Global<u32> = Global::new(0);

/// Injected as well: `struct fuse_conn`, or since 7.2 `struct fuse_chan`.
#[unsafe(no_mangle)]
pub static TYPE_CONNECTION: Global<u32> = Global::new(0);

/// A pointer that the verifier takes for one to this type. Whatever it points to, a load that fails reads
/// as 0.
#[inline(always)]
pub fn cast(address: u64, type_number: &Global<u32>) -> *const u8 {
    let (_, number) = CAST;
    // SAFETY: the loader makes it a call of the kernel's function of this signature, which takes any
    // address.
    let cast: extern "C" fn(u64, u32) -> *const u8 =
        unsafe { core::mem::transmute::<usize, _>(number as usize) };
    cast(address, type_number.load())
}
