//! Mounts a [`FaultFs`], takes commands on standard input, and ends with it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "answers to commands go to stdout")]

use std::{
    io::{self, BufRead, Write},
    os::fd::{AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Parser;
use fuser::{Session, SessionACL};
use mount_observer_tests::faultfs::{Command, FaultFs, Rules};
use nix::{
    fcntl::{OFlag, open},
    mount::{MsFlags, mount},
    sys::stat::Mode,
    unistd::{getegid, geteuid},
};

/// Mount a file system that misbehaves on command. Prints `ready` once it is mounted; then each line
/// on standard input is a command (`READ hold`, `* delay 3500`, `LOOKUP drop 1`, `READ fail 5`,
/// `* answer`, `release`, `count READ`, `counts`, `eat 64`, `exit`), answered by one line. The end of standard input
/// ends the server and leaves the mount dead.
#[derive(Debug, Parser)]
struct Args {
    /// Where to mount.
    mount_point: PathBuf,
    /// The source that mountinfo shows.
    #[arg(long, default_value = "faultfs")]
    source: String,
    /// The type that mountinfo shows, after `fuse.`.
    #[arg(long, default_value = "faultfs")]
    subtype: String,
    /// Let other users in.
    #[arg(long)]
    allow_other: bool,
    /// The user the mount belongs to, who alone may use it without --allow-other; ours by default.
    #[arg(long)]
    owner: Option<u32>,
    /// How long the kernel may believe names and attributes, in milliseconds.
    #[arg(long, default_value_t = 0)]
    ttl_ms: u64,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("faultfs: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let rules = Arc::new(Rules::default());
    let fs = FaultFs::new(Arc::clone(&rules), Duration::from_millis(args.ttl_ms));
    let device =
        mount_fuse(args).with_context(|| format!("mount {}", args.mount_point.display()))?;
    // Who may come in is the kernel's business (fuse_allow_current_process).
    let session = Session::from_fd(fs, device, SessionACL::All, fuser::Config::default())?;
    println!("ready");
    thread::spawn(move || {
        obey(&rules);
        // Nobody is left to command us: end as a crash would, with the connection's descriptor.
        leave();
    });
    session.run().context("serve")
}

/// mount(2) itself: no fusermount, so that nothing needs to be installed.
fn mount_fuse(args: &Args) -> Result<OwnedFd> {
    let device = open(
        Path::new("/dev/fuse"),
        OFlag::O_RDWR | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .context("open /dev/fuse")?;
    let options = format!(
        "fd={},rootmode=40000,user_id={},group_id={}{}",
        device.as_raw_fd(),
        args.owner.unwrap_or_else(|| geteuid().as_raw()),
        getegid(),
        if args.allow_other { ",allow_other" } else { "" }
    );
    mount(
        Some(args.source.as_str()),
        &args.mount_point,
        Some(format!("fuse.{}", args.subtype).as_str()),
        MsFlags::MS_NOSUID | MsFlags::MS_NODEV,
        Some(options.as_str()),
    )?;
    Ok(device)
}

/// Serves commands until standard input ends.
fn obey(rules: &Rules) {
    for line in io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match line.parse() {
            Ok(Command::Set { op, rule }) => {
                rules.set(op, rule);
                "ok".to_owned()
            }
            Ok(Command::Release) => rules.release().to_string(),
            Ok(Command::Count(op)) => rules.count(op).to_string(),
            Ok(Command::Counts) => rules.counts(),
            Ok(Command::Exit) => return,
            Ok(Command::Eat(mebibytes)) => {
                // Written to, or it is no memory.
                vec![1_u8; mebibytes << 20].leak();
                "ok".to_owned()
            }
            Err(error) => format!("error: {error:#}"),
        };
        let mut out = io::stdout().lock();
        if writeln!(out, "{answer}")
            .and_then(|()| out.flush())
            .is_err()
        {
            return;
        }
    }
}

#[expect(
    clippy::exit,
    clippy::disallowed_methods,
    reason = "a crash runs no drops"
)]
fn leave() -> ! {
    std::process::exit(0)
}
