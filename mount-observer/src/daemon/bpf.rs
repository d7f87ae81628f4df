//! The bpf(2) calls that aya lacks or ties to its own objects: batch reads of a map, an iterator
//! run and a test run from nothing but a descriptor, programs on the functions of a module. With
//! `perf`, the one place of the daemon with `unsafe` calls into the kernel.
#![expect(unsafe_code, reason = "bpf(2) takes a pointer to its arguments")]

mod perf;
mod program;

use std::{
    fs::File,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

pub use perf::attach_kprobe;
pub use program::{
    ModuleBtf, ProgramInfo, Verdict, attach_traced, delete, freeze, info_of, load,
    open_raw_tracepoint, update,
};

/// `enum bpf_cmd`, `include/uapi/linux/bpf.h`.
mod command {
    pub(super) const MAP_UPDATE_ELEM: i64 = 2;
    pub(super) const MAP_DELETE_ELEM: i64 = 3;
    pub(super) const PROG_LOAD: i64 = 5;
    pub(super) const PROG_TEST_RUN: i64 = 10;
    pub(super) const BTF_GET_FD_BY_ID: i64 = 19;
    pub(super) const RAW_TRACEPOINT_OPEN: i64 = 17;
    pub(super) const MAP_FREEZE: i64 = 22;
    pub(super) const BTF_GET_NEXT_ID: i64 = 23;
    pub(super) const OBJ_GET_INFO_BY_FD: i64 = 15;
    pub(super) const MAP_LOOKUP_BATCH: i64 = 24;
    pub(super) const LINK_CREATE: i64 = 28;
    pub(super) const ITER_CREATE: i64 = 33;
}

/// `BPF_TRACE_ITER` of `enum bpf_attach_type`.
const TRACE_ITER: u32 = 28;

/// The `batch` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct Batch {
    cursor_in: u64,
    cursor_out: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// The `test` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct TestRun {
    prog_fd: u32,
    retval: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration: u32,
    ctx_size_in: u32,
    ctx_size_out: u32,
    ctx_in: u64,
    ctx_out: u64,
    flags: u32,
    cpu: u32,
}

/// The `link_create` member of `union bpf_attr`, as far as an iterator needs it.
#[repr(C)]
#[derive(Default)]
struct LinkCreate {
    prog_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

/// The `iter_create` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct IterCreate {
    link_fd: u32,
    flags: u32,
}

/// The `info` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// Makes the call.
///
/// # Safety
/// `Attributes` must be the member of `union bpf_attr` that `command` takes, and every pointer in
/// it must be valid for what the command does with it.
unsafe fn bpf<Attributes>(command: i64, attributes: &mut Attributes) -> io::Result<i64> {
    let size = size_of::<Attributes>();
    // SAFETY: the attributes outlive the call and have this size; the rest is the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size) };
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}

fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().unsigned_abs()
}

#[expect(clippy::as_conversions, reason = "the kernel takes addresses as u64")]
fn address<T>(of: &mut [T]) -> u64 {
    of.as_mut_ptr() as u64
}

/// Takes over a descriptor that the kernel just made.
fn own(fd: i64) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel returned it as a new descriptor, which nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Reads a hash map in batches: 1,000 keys per CPU pair cost 0.26 ms, against 1.9 ms one by one.
#[derive(Debug)]
pub struct BatchReader {
    key_bytes: usize,
    value_bytes: usize,
    /// Entries asked for at once; grows when one bucket holds more.
    at_once: u32,
    /// Never grows beyond the map itself.
    entries_max: u32,
    keys: Vec<u8>,
    values: Vec<u8>,
}

impl BatchReader {
    /// `value_bytes` is what one key's value takes in all: for a per-CPU map the size rounded up to
    /// 8 bytes times the possible CPUs.
    pub fn new(key_bytes: usize, value_bytes: usize, entries_max: u32) -> Self {
        /// Bytes of values asked for at once.
        const CHUNK: usize = 256 << 10;
        let at_once = u32::try_from((CHUNK / value_bytes.max(1)).max(64)).unwrap_or(64);
        let at_once = at_once.min(entries_max.max(1));
        Self {
            key_bytes,
            value_bytes,
            at_once,
            entries_max,
            keys: Vec::new(),
            values: Vec::new(),
        }
    }

    /// Calls `each` with the key and value bytes of every entry. Entries that come and go meanwhile
    /// may be seen or not; one that stays is seen at least once.
    pub fn read(
        &mut self,
        map: BorrowedFd<'_>,
        mut each: impl FnMut(&[u8], &[u8]),
    ) -> io::Result<()> {
        // An opaque cursor: a hash map's is a bucket number.
        let mut cursor = [0_u32; 2];
        let mut next = [0_u32; 2];
        let mut is_first = true;
        loop {
            self.fit();
            let mut batch = Batch {
                cursor_in: if is_first { 0 } else { address(&mut cursor) },
                cursor_out: address(&mut next),
                keys: address(&mut self.keys),
                values: address(&mut self.values),
                count: self.at_once,
                map_fd: number(map),
                ..Batch::default()
            };
            // SAFETY: this is the batch member; the buffers hold `count` keys and values, the
            // cursors at least the 4 bytes a hash map uses.
            let result = unsafe { bpf(command::MAP_LOOKUP_BATCH, &mut batch) };
            let is_last = match result {
                Ok(_) => false,
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => true,
                Err(error)
                    if error.raw_os_error() == Some(libc::ENOSPC)
                        && self.at_once < self.entries_max =>
                {
                    self.at_once = self.at_once.saturating_mul(2).min(self.entries_max);
                    continue;
                }
                Err(error) => return Err(error),
            };
            let entries = usize::try_from(batch.count).unwrap_or(0);
            let keys = self.keys.chunks_exact(self.key_bytes);
            let values = self.values.chunks_exact(self.value_bytes);
            keys.zip(values)
                .take(entries)
                .for_each(|(key, value)| each(key, value));
            if is_last {
                return Ok(());
            }
            cursor = next;
            is_first = false;
        }
    }

    fn fit(&mut self) {
        let at_once = usize::try_from(self.at_once).unwrap_or(0);
        self.keys.resize(at_once * self.key_bytes, 0);
        self.values.resize(at_once * self.value_bytes, 0);
    }
}

/// Makes the link from which iterator runs are started.
pub fn link_iterator(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut create = LinkCreate {
        prog_fd: number(program),
        attach_type: TRACE_ITER,
        ..LinkCreate::default()
    };
    // SAFETY: this is the link_create member; it holds no pointer.
    own(unsafe { bpf(command::LINK_CREATE, &mut create) }?)
}

/// Starts one run of an iterator; it runs while the file is read.
pub fn run_iterator(link: BorrowedFd<'_>) -> io::Result<File> {
    let mut create = IterCreate {
        link_fd: number(link),
        flags: 0,
    };
    // SAFETY: this is the iter_create member; it holds no pointer.
    own(unsafe { bpf(command::ITER_CREATE, &mut create) }?).map(File::from)
}

/// Runs a raw tracepoint program once with these arguments and returns its answer.
pub fn ask(program: impl AsFd, mut arguments: [u64; 2]) -> io::Result<u32> {
    let mut run = TestRun {
        prog_fd: number(program.as_fd()),
        ctx_size_in: u32::try_from(size_of_val(&arguments)).unwrap_or(0),
        ctx_in: address(&mut arguments),
        ..TestRun::default()
    };
    // SAFETY: this is the test member; the context is as long as it says.
    unsafe { bpf(command::PROG_TEST_RUN, &mut run) }?;
    Ok(run.retval)
}

/// The verifier's last word on a program it refused: the line before its statistics.
pub fn last_word(log: &str) -> &str {
    let lines = log.lines().rev();
    let mut words = lines.filter(|line| !line.is_empty() && !line.starts_with("processed "));
    words.next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_verifiers_last_word_stands_before_its_statistics() {
        let log =
            "0: R1=ctx()\n; int x\nunknown func bpf_x#158\nprocessed 3 insns (limit 1000000)\n\n";
        assert_eq!(last_word(log), "unknown func bpf_x#158");
        assert_eq!(last_word(""), "");
    }
}
