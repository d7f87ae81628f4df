//! System call numbers of this architecture.

/// Calls that can wait for a filesystem and whose first argument is a file descriptor.
const DESCRIPTOR_CALLS: &[libc::c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_fstat,
    libc::SYS_lseek,
    libc::SYS_ioctl,
    libc::SYS_pread64,
    libc::SYS_pwrite64,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv,
    libc::SYS_pwritev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_ftruncate,
    libc::SYS_fallocate,
    libc::SYS_getdents64,
    libc::SYS_fchdir,
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fstatfs,
    libc::SYS_flock,
    libc::SYS_fcntl,
    libc::SYS_fgetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_flistxattr,
    libc::SYS_fremovexattr,
    libc::SYS_sync_file_range,
    libc::SYS_syncfs,
    libc::SYS_readahead,
    libc::SYS_fadvise64,
];

/// One bit per system call number whose first argument is a file descriptor.
pub(super) fn descriptor_bits() -> [u64; 8] {
    let mut bits = [0; 8];
    for &number in DESCRIPTOR_CALLS {
        let word = usize::try_from(number >> 6)
            .ok()
            .and_then(|word| bits.get_mut(word));
        if let Some(word) = word {
            *word |= 1 << (number & 63);
        }
    }
    bits
}
