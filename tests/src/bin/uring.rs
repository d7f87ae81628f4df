//! Calls statx(2) through `io_uring` and reports how that ended, as `victim` does.

#![expect(clippy::print_stdout, reason = "the report goes to stdout")]

use std::{
    collections::BTreeMap, ffi::CString, io, mem::MaybeUninit, os::unix::ffi::OsStringExt,
    path::PathBuf, process::ExitCode,
};

use clap::Parser;
use io_uring::{IoUring, opcode, squeue, types};
use nix::libc;

/// Repeat a statx through `io_uring`: a thread of the kernel makes the call. Prints one line per
/// outcome when all are done: `ok COUNT`, or the errno and its count.
#[derive(Debug, Parser)]
struct Args {
    /// On what.
    path: PathBuf,
    /// Calls, one after the other.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
}

fn main() -> ExitCode {
    match run(Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("uring: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: Args) -> io::Result<()> {
    let path = CString::new(args.path.into_os_string().into_vec())?;
    let mut ring = IoUring::new(2)?;
    let mut outcomes = BTreeMap::<i32, usize>::new();
    for _ in 0..args.repeat {
        *outcomes.entry(statx(&mut ring, &path)?).or_default() += 1;
    }
    for (errno, count) in outcomes {
        match errno {
            0 => println!("ok {count}"),
            errno => println!("{errno} {count}"),
        }
    }
    Ok(())
}

/// The errno of one call, 0 when it succeeded.
fn statx(ring: &mut IoUring, path: &CString) -> io::Result<i32> {
    let mut result = MaybeUninit::<libc::statx>::uninit();
    let call = opcode::Statx::new(
        types::Fd(libc::AT_FDCWD),
        path.as_ptr(),
        result.as_mut_ptr().cast(),
    )
    .mask(libc::STATX_BASIC_STATS)
    .build()
    // On kernels that would try it here first: a worker makes the call.
    .flags(squeue::Flags::ASYNC);
    // SAFETY: the path and the result outlive the call: it has ended when its completion is taken
    // below, and this thread waits for that without giving up.
    unsafe { ring.submission().push(&call) }.map_err(io::Error::other)?;
    loop {
        match ring.submit_and_wait(1) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
            Ok(_) => break,
        }
    }
    let ended = ring.completion().next();
    let ended = ended.ok_or_else(|| io::Error::other("no completion"))?;
    Ok(-ended.result().min(0))
}
