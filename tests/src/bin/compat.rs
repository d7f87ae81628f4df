//! Calls `stat64` as a 32-bit program does, and reports how that ended, as `victim` does.

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

/// The path is in the first half, the result in the second: `struct stat64` has 96 bytes.
const AREA_BYTES: NonZeroUsize = NonZeroUsize::new(8192).expect("not zero");

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
    let (name, result) = low_memory()?;
    let Some(start) = name.get_mut(..path.len()) else {
        return Err(io::Error::other("the path is too long"));
    };
    start.copy_from_slice(&path);
    let mut outcomes = BTreeMap::<i32, usize>::new();
    for _ in 0..args.repeat {
        *outcomes.entry(stat64(name, result)?).or_default() += 1;
    }
    for (errno, count) in outcomes {
        match errno {
            0 => println!("ok {count}"),
            errno => println!("{errno} {count}"),
        }
    }
    Ok(())
}

/// Room for a path and for a result, at addresses that fit in 32 bits.
fn low_memory() -> io::Result<(&'static mut [u8], &'static mut [u8])> {
    let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
    let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_32BIT;
    // SAFETY: a new mapping at an address of the kernel's choice overlaps nothing.
    let area = unsafe { mmap_anonymous(None, AREA_BYTES, protection, flags) }?;
    // SAFETY: it is that long, readable, writable, zeroed, nobody else's, and never unmapped.
    let bytes = unsafe { slice::from_raw_parts_mut(area.as_ptr().cast(), AREA_BYTES.get()) };
    Ok(bytes.split_at_mut(AREA_BYTES.get() / 2))
}

/// The errno of one call, 0 when it succeeded. `path` ends with a NUL.
fn stat64(path: &[u8], result: &mut [u8]) -> io::Result<i32> {
    let low = |address: usize| u32::try_from(address).map_err(io::Error::other);
    let path_address = low(path.as_ptr().addr())?;
    let result_address = low(result.as_mut_ptr().addr())?;
    let returned: i32;
    // SAFETY: `int 0x80` takes number and arguments as a 32-bit program would; the kernel reads the
    // path up to its NUL and writes less than the result's length. It changes eax, and r8 to r11 on
    // some kernels; rbx, which the compiler keeps for itself, is put back.
    unsafe {
        asm!(
            "xchg rbx, {path}",
            "int 0x80",
            "xchg rbx, {path}",
            path = inout(reg) u64::from(path_address) => _,
            inout("eax") STAT64 => returned,
            in("ecx") result_address,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    Ok(-returned.min(0))
}
