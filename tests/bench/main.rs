//! What the observer costs the observed: nanoseconds per operation with nothing attached, with empty
//! programs on the same hooks, and with the observer. Started by `cargo xtask bench`.
//!
//! Modes are interleaved: every round visits all of them, in an order that rotates, so that what else
//! happens on the machine meets all alike. A figure is the median over the rounds of the median of
//! batches.

mod attached;
mod daemon;
mod floor;
mod guest;
mod load;
mod measure;
mod server;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::Parser;

/// Measures what the observer costs; run as root on an idle machine.
#[derive(Debug, Parser)]
struct Args {
    /// Rounds per table; the median over them is printed.
    #[arg(long, default_value_t = 11)]
    rounds: usize,
    /// Print what docs/KERNELS.md says about this kernel, as JSON, and no table.
    #[arg(long)]
    guest: bool,
    /// Serve the file system of the benchmark on this directory, and nothing else.
    #[arg(long, hide = true)]
    serve: Option<String>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let done = match &args.serve {
        Some(mount_point) => server::serve(Path::new(mount_point)),
        None => run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    measure::keep_to_one_cpu()?;
    // Mounts stay in a namespace of their own and go with this process.
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).context("needs CAP_SYS_ADMIN")?;
    let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
    let directory = tempfile::tempdir()?;
    if args.guest {
        guest::tell(directory.path())
    } else {
        load::tables(directory.path(), args.rounds)
    }
}
