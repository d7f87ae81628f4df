//! Loads single programs and attaches them, to the functions of modules too.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use aya_obj::generated::bpf_insn;

use super::{GetInfo, address, bpf, command, number, own};

/// The `prog_load` member of `union bpf_attr`, to what 5.11 added.
#[repr(C)]
#[derive(Default)]
struct ProgramLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
    attach_btf_obj_fd: u32,
    pad: u32,
}

/// The same as kernels before 5.11 know it: they refuse what is longer only where it is not zero.
const _: () = assert!(size_of::<ProgramLoad>() == 120);

/// The `raw_tracepoint` member of `union bpf_attr`.
#[repr(C)]
#[derive(Default)]
struct RawTracepoint {
    name: u64,
    prog_fd: u32,
    pad: u32,
}

/// The member of `union bpf_attr` that walks over ids, and opens one.
#[repr(C)]
#[derive(Default)]
struct Ids {
    /// `start_id` or `btf_id`.
    id: u32,
    next: u32,
    open_flags: u32,
}

/// The members of `union bpf_attr` for an element, and for a map.
#[repr(C)]
#[derive(Default)]
struct Element {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `struct bpf_btf_info`.
#[repr(C)]
#[derive(Default)]
struct BtfInfo {
    btf: u64,
    btf_size: u32,
    id: u32,
    name: u64,
    name_len: u32,
    kernel_btf: u32,
}

/// What kind of program the kernel is to make of instructions: numbers of `enum bpf_prog_type` and
/// `enum bpf_attach_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    program_type: u32,
    attach_type: u32,
}

impl Verdict {
    /// `BPF_PROG_TYPE_KPROBE`.
    pub const KPROBE: Self = Self::new(2, 0);
    /// `BPF_PROG_TYPE_RAW_TRACEPOINT`.
    pub const RAW_TRACEPOINT: Self = Self::new(17, 0);
    /// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_RAW_TP`.
    pub const TRACEPOINT: Self = Self::new(26, 23);
    /// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_FENTRY`.
    pub const FENTRY: Self = Self::new(26, 24);
    /// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_FEXIT`.
    pub const FEXIT: Self = Self::new(26, 25);
    /// `BPF_PROG_TYPE_TRACING`, `BPF_TRACE_ITER`.
    pub const ITERATOR: Self = Self::new(26, super::TRACE_ITER);

    const fn new(program_type: u32, attach_type: u32) -> Self {
        Self {
            program_type,
            attach_type,
        }
    }
}

/// A module's type information in the kernel.
#[derive(Debug)]
pub struct ModuleBtf(OwnedFd);

/// More type information than any kernel has loaded: each module has one.
const BTF_OBJECTS_MAX: usize = 65_536;

impl ModuleBtf {
    /// Finds a module's by its name. Needs `CAP_SYS_ADMIN`.
    pub fn of(module: &str) -> io::Result<Self> {
        let mut id = 0;
        for _ in 0..BTF_OBJECTS_MAX {
            let mut next = Ids {
                id,
                ..Ids::default()
            };
            // SAFETY: this is the member for ids; it holds no pointer.
            unsafe { bpf(command::BTF_GET_NEXT_ID, &mut next) }?;
            id = next.next;
            let mut get = Ids {
                id,
                ..Ids::default()
            };
            // SAFETY: as above.
            let opened = unsafe { bpf(command::BTF_GET_FD_BY_ID, &mut get) };
            // It may be gone since.
            if let Ok(fd) = opened.and_then(own)
                && is_of(&fd, module)?
            {
                return Ok(Self(fd));
            }
        }
        Err(io::ErrorKind::NotFound.into())
    }
}

/// Whether type information is the kernel's own account of this module.
fn is_of(btf: &OwnedFd, module: &str) -> io::Result<bool> {
    // `MODULE_NAME_LEN` is 56.
    let mut name = [0_u8; 64];
    let mut info = [BtfInfo {
        name: address(&mut name),
        name_len: u32::try_from(name.len()).unwrap_or(0),
        ..BtfInfo::default()
    }];
    read_info(btf.as_fd(), &mut info)?;
    let is_kernels = info.first().is_some_and(|info| info.kernel_btf != 0);
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    Ok(is_kernels && name.to_bytes() == module.as_bytes())
}

/// Fills in what the kernel knows of an object.
fn read_info<T>(object: BorrowedFd<'_>, info: &mut [T]) -> io::Result<()> {
    let mut get = GetInfo {
        bpf_fd: number(object),
        info_len: u32::try_from(size_of_val(info)).unwrap_or(0),
        info: address(info),
    };
    // SAFETY: this is the info member; the structure is as long as it says, and the buffers it names
    // are as long as it says.
    unsafe { bpf(command::OBJ_GET_INFO_BY_FD, &mut get) }?;
    Ok(())
}

/// Bytes of the verifier's account of a refusal.
const LOG_BYTES: usize = 256 << 10;

/// Loads a program whose maps are in place. `btf_id` is the type it attaches to, in `module`'s type
/// information or else the kernel's. The error ends with the verifier's last word.
pub fn load(
    name: &str,
    instructions: &mut [bpf_insn],
    license: &CStr,
    verdict: Verdict,
    (module, btf_id): (Option<&ModuleBtf>, u32),
) -> io::Result<OwnedFd> {
    let mut attributes = ProgramLoad {
        prog_type: verdict.program_type,
        expected_attach_type: verdict.attach_type,
        insn_cnt: u32::try_from(instructions.len()).unwrap_or(0),
        insns: address(instructions),
        #[expect(clippy::as_conversions, reason = "the kernel takes addresses as u64")]
        license: license.as_ptr() as u64,
        attach_btf_id: btf_id,
        attach_btf_obj_fd: module.map_or(0, |module| number(module.0.as_fd())),
        ..ProgramLoad::default()
    };
    let room = attributes.prog_name.len() - 1;
    let letters = attributes.prog_name.iter_mut().take(room);
    letters.zip(name.bytes()).for_each(|(at, byte)| *at = byte);
    // SAFETY: this is the prog_load member; instructions and license outlive the call.
    let refused = match unsafe { bpf(command::PROG_LOAD, &mut attributes) } {
        Ok(fd) => return own(fd),
        Err(error) => error,
    };
    let mut log = vec![0_u8; LOG_BYTES];
    attributes.log_level = 1;
    attributes.log_size = u32::try_from(log.len()).unwrap_or(0);
    attributes.log_buf = address(&mut log);
    // SAFETY: as above; the log outlives the call too.
    if let Ok(fd) = unsafe { bpf(command::PROG_LOAD, &mut attributes) } {
        return own(fd);
    }
    let log = CStr::from_bytes_until_nul(&log).unwrap_or_default();
    let log = log.to_string_lossy();
    let word = super::last_word(&log);
    let text = format!("{refused}: {word}");
    Err(io::Error::new(refused.kind(), text.trim_end_matches(": ")))
}

/// Attaches a program to the function or tracepoint it was loaded for.
pub fn attach_traced(program: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    open_tracepoint(program, 0)
}

/// Attaches a program to a tracepoint, of the kernel or a module.
pub fn open_raw_tracepoint(program: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    #[expect(clippy::as_conversions, reason = "the kernel takes addresses as u64")]
    open_tracepoint(program, name.as_ptr() as u64)
}

fn open_tracepoint(program: BorrowedFd<'_>, name: u64) -> io::Result<OwnedFd> {
    let mut open = RawTracepoint {
        name,
        prog_fd: number(program),
        ..RawTracepoint::default()
    };
    // SAFETY: this is the raw_tracepoint member; the name is none, or outlives the call.
    own(unsafe { bpf(command::RAW_TRACEPOINT_OPEN, &mut open) }?)
}

/// Writes one element of an array whose values take `value.len()` bytes.
pub fn update(map: BorrowedFd<'_>, index: u32, value: &mut [u8]) -> io::Result<()> {
    let mut key = [index];
    let mut element = Element {
        map_fd: number(map),
        key: address(&mut key),
        value: address(value),
        ..Element::default()
    };
    // SAFETY: this is the element member; key and value outlive the call and are as long as the
    // map's, which the caller vouches for.
    unsafe { bpf(command::MAP_UPDATE_ELEM, &mut element) }?;
    Ok(())
}

/// Deletes one element of a hash map whose keys take 8 bytes.
pub fn delete(map: BorrowedFd<'_>, key: u64) -> io::Result<()> {
    let mut key = [key];
    let mut element = Element {
        map_fd: number(map),
        key: address(&mut key),
        ..Element::default()
    };
    // SAFETY: this is the element member; the key outlives the call and is as long as the map's,
    // which the caller vouches for.
    unsafe { bpf(command::MAP_DELETE_ELEM, &mut element) }?;
    Ok(())
}

/// Makes a map unwritable from user space, so that the verifier takes its values for constants.
pub fn freeze(map: BorrowedFd<'_>) -> io::Result<()> {
    let mut element = Element {
        map_fd: number(map),
        ..Element::default()
    };
    // SAFETY: the member of this command is the descriptor alone.
    unsafe { bpf(command::MAP_FREEZE, &mut element) }?;
    Ok(())
}

/// What the kernel says about a loaded program.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ProgramInfo {
    /// Its number in the kernel.
    pub id: u32,
    /// Its name, cut to 15 bytes.
    pub name: [u8; 16],
    /// How often it did not run when it should have: it was running on that CPU already
    /// (`bpf_prog_inc_misses_counter`, `kernel/bpf/syscall.c`; 5.12).
    pub missed_runs: u64,
    /// Instructions the verifier went through; `None` before 5.16.
    pub verified_instructions: Option<u32>,
}

/// Words of 8 bytes of `struct bpf_prog_info` up to `verified_insns`.
const INFO_WORDS: usize = 28;
/// Where `name` lies in it, in words: two of them.
const NAME: usize = 8;
/// Where `recursion_misses` does.
const RECURSION_MISSES: usize = 26;
/// Where `verified_insns` does, as the low half of a word.
const VERIFIED: usize = 27;

/// Asks about a program.
pub fn info_of(program: BorrowedFd<'_>) -> io::Result<ProgramInfo> {
    // The kernel writes as much as it is given room for; an older one leaves the end zero. All zero,
    // it names no buffer of its own.
    let mut info = [0_u64; INFO_WORDS];
    read_info(program, &mut info)?;
    let word = |at: usize| info.get(at).copied().unwrap_or(0);
    let verified = u32::try_from(word(VERIFIED) & u64::from(u32::MAX)).unwrap_or(0);
    let name = u128::from(word(NAME)) | u128::from(word(NAME + 1)) << 64;
    Ok(ProgramInfo {
        id: u32::try_from(word(0) >> 32).unwrap_or(0),
        name: name.to_le_bytes(),
        missed_runs: word(RECURSION_MISSES),
        verified_instructions: (verified != 0).then_some(verified),
    })
}
