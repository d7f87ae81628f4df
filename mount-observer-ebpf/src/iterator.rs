//! What every BPF iterator's context begins with.

use aya_ebpf::bindings::seq_file;

/// `struct bpf_iter_meta` (`include/linux/bpf.h`), of which only the output is used.
#[repr(C)]
pub struct Meta {
    /// Where rows go.
    pub seq: *mut seq_file,
}
