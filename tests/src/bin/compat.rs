//! Calls `stat64` as a 32-bit program does, in 32-bit mode, and reports how that ended, as `victim`
//! does.

#![expect(clippy::print_stdout, reason = "the report goes to stdout")]

use std::{
    arch::asm, collections::BTreeMap, ffi::CString, io, num::NonZeroUsize,
    os::unix::ffi::OsStringExt, path::PathBuf, process::ExitCode, slice,
};

use clap::Parser;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

/// Repeat a 32-bit `stat64`. Prints one line per outcome when all are done: `ok COUNT`, or the errno
/// and its count. A kernel without 32-bit calls kills the program.
#[derive(Debug, Parser)]
struct Args {
    /// On what.
    path: PathBuf,
    /// Calls, one after the other.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
}

/// `stat64` in `arch/x86/entry/syscalls/syscall_32.tbl`.
const STAT64: u32 = 195;

/// Code, path and result: `struct stat64` has 96 bytes.
const AREA_BYTES: NonZeroUsize = NonZeroUsize::new(3 * PART_BYTES).expect("not zero");
const PART_BYTES: usize = 4096;

/// Selectors of 32-bit and 64-bit code (`__USER32_CS` and `__USER_CS`,
/// `arch/x86/include/asm/segment.h`).
const CODE_32: u16 = 0x23;
const CODE_64: u16 = 0x33;

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compat: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> io::Result<()> {
    let path = CString::new(args.path.into_os_string().into_vec())?.into_bytes_with_nul();
    let mut area = Area::new()?;
    let Some(start) = area.path.get_mut(..path.len()) else {
        return Err(io::Error::other("the path is too long"));
    };
    start.copy_from_slice(&path);
    let mut outcomes = BTreeMap::<i32, usize>::new();
    for _ in 0..args.repeat {
        *outcomes.entry(area.stat64()?).or_default() += 1;
    }
    for (errno, count) in outcomes {
        match errno {
            0 => println!("ok {count}"),
            errno => println!("{errno} {count}"),
        }
    }
    Ok(())
}

/// Memory at addresses that fit in 32 bits.
struct Area {
    code: &'static mut [u8],
    path: &'static mut [u8],
    result: &'static mut [u8],
}

impl Area {
    fn new() -> io::Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE | ProtFlags::PROT_EXEC;
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_32BIT;
        // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
        let area = unsafe { mmap_anonymous(None, AREA_BYTES, protection, flags) }?;
        // SAFETY: it is that long, readable, writable, zeroed, nobody else's, and never unmapped.
        let bytes = unsafe { slice::from_raw_parts_mut(area.as_ptr().cast(), AREA_BYTES.get()) };
        let (code, data) = bytes.split_at_mut(PART_BYTES);
        let (path, result) = data.split_at_mut(PART_BYTES);
        let back = low(code)? + 16;
        let [a, b, c, d] = back.to_le_bytes();
        let [selector, _] = CODE_64.to_le_bytes();
        // int 0x80; ljmp CODE_64:back; padding; back: jmp *%r13
        let program = [
            0xcd, 0x80, 0xea, a, b, c, d, selector, 0, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90,
            0x41, 0xff, 0xe5,
        ];
        for (byte, wanted) in code.iter_mut().zip(program) {
            *byte = wanted;
        }
        Ok(Self { code, path, result })
    }

    /// The errno of one call, 0 when it succeeded.
    fn stat64(&mut self) -> io::Result<i32> {
        let (path, result) = (low(self.path)?, low(self.result)?);
        // The operand of a far jump: offset, then selector.
        let mut target = [0; 6];
        let (offset, selector) = target.split_at_mut(4);
        offset.copy_from_slice(&low(self.code)?.to_le_bytes());
        selector.copy_from_slice(&CODE_32.to_le_bytes());
        let returned: i32;
        // SAFETY: the code makes one system call and comes back to the label. In between no memory
        // is used but by the kernel: it reads the path up to its NUL, which the zeroed rest of the
        // part is, and writes less than a part to the result. rsp is put back, of which 32-bit mode
        // may keep only a half; rbx, which the compiler keeps for itself, too.
        unsafe {
            asm!(
                "xchgq %rbx, {path}",
                "movq %rsp, %r12",
                "leaq 2f(%rip), %r13",
                "ljmpl *({target})",
                "2:",
                "movq %r12, %rsp",
                "xchgq %rbx, {path}",
                path = inout(reg) u64::from(path) => _,
                target = in(reg) target.as_ptr(),
                inout("eax") STAT64 => returned,
                in("ecx") result,
                out("r8") _, out("r9") _, out("r10") _, out("r11") _, out("r12") _, out("r13") _,
                options(att_syntax)
            );
        }
        Ok(-returned.min(0))
    }
}

/// The address of memory that is known to be low.
fn low(memory: &[u8]) -> io::Result<u32> {
    u32::try_from(memory.as_ptr().addr()).map_err(io::Error::other)
}
