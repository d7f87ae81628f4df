//! Calls into a file system and reports how that ended. It may never end: that is what it is for.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the report goes to stdout")]

use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::FileExt,
    },
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    thread,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use rustix::fs::{Access, AtFlags, CWD, Mode, OFlags, StatxFlags};

/// Repeat a call, in as many threads as asked for. Prints one line per outcome when all are done:
/// `ok COUNT`, or the errno and its count.
///
/// What leads to the path is set up in this order: `--chroot`, `--from`, `--dirfd`, and the file that
/// a call on a descriptor needs.
#[derive(Clone, Debug, Parser)]
struct Args {
    /// What to call.
    #[arg(value_enum)]
    call: Call,
    /// On what.
    path: PathBuf,
    /// Threads that call at the same time.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// Calls per thread.
    #[arg(long, default_value_t = 1)]
    repeat: usize,
    /// Pause after each call, in milliseconds.
    #[arg(long, default_value_t = 0)]
    pause_ms: u64,
    /// Make this directory the root first.
    #[arg(long)]
    chroot: Option<PathBuf>,
    /// Change to this directory first; `path` may then be relative.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Open this directory first, for the calls that can start from one.
    #[arg(long)]
    dirfd: Option<PathBuf>,
    /// Print `ready` once all that is set up, and call when a line arrives on standard input.
    #[arg(long)]
    prepared: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Call {
    /// statx(2).
    Stat,
    /// newfstatat(2).
    Newfstatat,
    /// fstat(2) of a file opened before.
    Fstat,
    /// statx(2) of a file opened before, by an empty path.
    Empty,
    /// access(2).
    Access,
    /// statfs(2).
    Statfs,
    /// open(2), then pread(2).
    Read,
    /// open(2) alone.
    Open,
    /// readdir(3).
    List,
    /// open(2), then an exclusive flock(2) that waits.
    Lock,
    /// pwrite(2) of 512 bytes at 1024, to a file opened for writing before.
    Write,
}

impl Call {
    /// Whether it is about a file opened before.
    fn is_on_descriptor(self) -> bool {
        matches!(self, Self::Fstat | Self::Empty | Self::Write)
    }

    /// How that file is opened.
    fn flags(self) -> OFlags {
        if matches!(self, Self::Write) {
            OFlags::WRONLY | OFlags::CREATE
        } else {
            OFlags::RDONLY
        }
    }
}

/// Where a call starts from.
struct Start {
    call: Call,
    path: PathBuf,
    directory: Option<OwnedFd>,
    file: Option<OwnedFd>,
}

impl Start {
    fn file(&self) -> io::Result<&OwnedFd> {
        self.file.as_ref().ok_or(io::ErrorKind::InvalidInput.into())
    }
}

/// A thread that only waits needs little; a thousand of them are started.
const STACK_BYTES: usize = 64 << 10;

/// `None` for success.
type Outcomes = BTreeMap<Option<i32>, usize>;

fn main() -> ExitCode {
    let args = Args::parse();
    let start = match prepare(&args) {
        Ok(start) => Arc::new(start),
        Err(error) => {
            eprintln!("victim: {error}");
            return ExitCode::FAILURE;
        }
    };
    let workers: Vec<_> = (0..args.threads)
        .filter_map(|_| {
            let (args, start) = (args.clone(), Arc::clone(&start));
            thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(move || outcomes(&args, &start))
                .ok()
        })
        .collect();
    if workers.len() < args.threads {
        eprintln!("victim: only {} threads", workers.len());
        return ExitCode::FAILURE;
    }
    let mut total = Outcomes::new();
    for worker in workers {
        for (errno, count) in worker.join().unwrap_or_default() {
            *total.entry(errno).or_default() += count;
        }
    }
    for (errno, count) in total {
        match errno {
            None => println!("ok {count}"),
            Some(errno) => println!("{errno} {count}"),
        }
    }
    ExitCode::SUCCESS
}

/// Everything before the calls themselves.
fn prepare(args: &Args) -> io::Result<Start> {
    if let Some(root) = &args.chroot {
        std::os::unix::fs::chroot(root)?;
        env::set_current_dir("/")?;
    }
    if let Some(from) = &args.from {
        env::set_current_dir(from)?;
    }
    let open = |path: &Path, flags: OFlags| {
        rustix::fs::open(path, flags | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
    };
    let start = Start {
        call: args.call,
        path: args.path.clone(),
        directory: (args.dirfd.as_deref())
            .map(|path| open(path, OFlags::RDONLY))
            .transpose()?,
        file: args
            .call
            .is_on_descriptor()
            .then(|| open(&args.path, args.call.flags()))
            .transpose()?,
    };
    if args.prepared {
        println!("ready");
        io::stdout().flush()?;
        io::stdin().read_line(&mut String::new())?;
    }
    Ok(start)
}

fn outcomes(args: &Args, start: &Start) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for _ in 0..args.repeat {
        let errno = once(start)
            .err()
            .map(|error| error.raw_os_error().unwrap_or(0));
        *outcomes.entry(errno).or_default() += 1;
        if args.pause_ms > 0 {
            pause(Duration::from_millis(args.pause_ms));
        }
    }
    outcomes
}

#[expect(clippy::disallowed_methods, reason = "a paced load")]
fn pause(time: Duration) {
    thread::sleep(time);
}

#[expect(clippy::disallowed_methods, reason = "touching the mount is the point")]
fn once(start: &Start) -> io::Result<()> {
    let path = &*start.path;
    let base = start.directory.as_ref().map_or(CWD, AsFd::as_fd);
    let (no_flags, mask) = (AtFlags::empty(), StatxFlags::BASIC_STATS);
    match start.call {
        Call::Stat => Ok(rustix::fs::statx(base, path, no_flags, mask).map(drop)?),
        Call::Newfstatat => Ok(rustix::fs::statat(base, path, no_flags).map(drop)?),
        Call::Fstat => Ok(rustix::fs::fstat(start.file()?).map(drop)?),
        Call::Empty => {
            let file = start.file()?;
            Ok(rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, mask).map(drop)?)
        }
        Call::Access => Ok(rustix::fs::accessat(base, path, Access::READ_OK, no_flags)?),
        Call::Statfs => Ok(rustix::fs::statfs(path).map(drop)?),
        Call::Read => File::open(path)?.read_at(&mut [0; 512], 0).map(drop),
        Call::Open => File::open(path).map(drop),
        Call::List => fs::read_dir(path)?.try_for_each(|entry| entry.map(drop)),
        Call::Lock => File::open(path)?.lock(),
        Call::Write => Ok(rustix::io::pwrite(start.file()?, &[b'x'; 512], 1024).map(drop)?),
    }
}
