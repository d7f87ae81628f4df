//! Calls into a file system and reports how that ended. It may never end: that is what it is for.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "the report goes to stdout")]

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::ExitCode,
    thread,
    time::Duration,
};

use clap::{Parser, ValueEnum};

/// Repeat a call, in as many threads as asked for. Prints one line per outcome when all are done:
/// `ok COUNT`, or the errno and its count.
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
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Call {
    /// statx(2).
    Stat,
    /// open(2), then pread(2).
    Read,
    /// open(2) alone.
    Open,
    /// readdir(3).
    List,
    /// open(2), then an exclusive flock(2) that waits.
    Lock,
}

/// A thread that only waits needs little; a thousand of them are started.
const STACK_BYTES: usize = 64 << 10;

/// `None` for success.
type Outcomes = BTreeMap<Option<i32>, usize>;

fn main() -> ExitCode {
    let args = Args::parse();
    let workers: Vec<_> = (0..args.threads)
        .filter_map(|_| {
            let args = args.clone();
            thread::Builder::new()
                .stack_size(STACK_BYTES)
                .spawn(move || outcomes(&args))
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

fn outcomes(args: &Args) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for _ in 0..args.repeat {
        let errno = once(args.call, &args.path)
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
fn once(call: Call, path: &Path) -> io::Result<()> {
    match call {
        Call::Stat => fs::metadata(path).map(drop),
        Call::Read => File::open(path)?.read_at(&mut [0; 512], 0).map(drop),
        Call::Open => File::open(path).map(drop),
        Call::List => fs::read_dir(path)?.try_for_each(|entry| entry.map(drop)),
        Call::Lock => File::open(path)?.lock(),
    }
}
