//! Guests: Debian's kernels, unmodified, in an emulator, with this workspace's programs in them.
//!
//! Everything lies below `target/vm`: what the mirror gave, and per guest its first root and what it
//! wrote. Nothing is installed, and no privilege is needed.

mod command;
mod cpio;
mod describe;
mod facts;
mod image;
mod index;
mod job;
mod kernels;
mod matrix;
mod mirror;
mod modules;
mod page;
mod qemu;
mod recordings;
mod report;
mod system;
mod table;
mod test;

use std::{
    fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};

pub(crate) use self::{
    command::{Command, run as command},
    describe::{Describe, run as describe},
    facts::{Facts, run as facts},
    recordings::{Recordings, run as recordings},
    system::run as package,
    test::{Request, run as test},
};
use self::{
    job::Job,
    kernels::{Archive, Kernel},
    matrix::Guest,
    qemu::{Ended, Start},
};
use crate::steps;

/// Guests at the same time: one for each core of a small machine.
const AT_ONCE: usize = 2;

/// Enough for the first root, a test program and a dozen observers.
const MEMORY_MIB: u32 = 1024;

/// Variables every program in a guest gets; the guest's name is added.
const ENVIRONMENT: [(&str, &str); 4] = [
    ("MOUNT_OBSERVER_BIN", "/opt/mount-observer/mount-observer"),
    ("MOUNT_OBSERVER_PATIENCE", "4"),
    ("MOUNT_OBSERVER_REQUIRE_HOST", "1"),
    ("RUST_BACKTRACE", "1"),
];

/// The variable that tells a test in which guest it runs.
const NAME: &str = "MOUNT_OBSERVER_KERNEL";

/// Guests ready to be started.
#[derive(Debug)]
struct Machines {
    /// A directory per guest in it.
    directory: PathBuf,
    base: Vec<u8>,
    guests: Vec<(Guest, Kernel)>,
}

/// One that ran.
#[derive(Clone, Debug)]
struct Ran {
    guest: Guest,
    release: String,
    ended: Ended,
}

/// How to start them.
#[derive(Clone, Copy, Debug)]
struct Manner {
    timeout: Duration,
    is_kvm_wanted: bool,
}

impl Machines {
    /// Gets the kernels and builds the image. What guests write is kept under the purpose's name.
    /// `None` where the mirror cannot be reached, outside CI.
    fn prepare(purpose: &'static str, guests: Vec<Guest>) -> Result<Option<Self>> {
        let directory = steps::workspace_root()?.join("target/vm");
        let archive = match Archive::open(&directory) {
            Ok(archive) => archive,
            Err(error) if is_ci() => return Err(error),
            Err(error) => {
                println!("SKIPPED: NO TEST RUNS IN ANY GUEST: {error:#}");
                return Ok(None);
            }
        };
        let mut ready = Vec::new();
        for guest in guests {
            match archive.kernel(guest.series)? {
                Some(kernel) => ready.push((guest, kernel)),
                None if guest.is_required => bail!("the mirror has no kernel {}", guest.series),
                None => println!("SKIPPED: {}: the mirror has no such kernel", guest.name),
            }
        }
        Ok(Some(Self {
            directory: directory.join(purpose),
            base: image::base(&image::build()?)?,
            guests: ready,
        }))
    }

    /// Runs all of them, some at a time, each with the job made for it; `seen` is called with each as
    /// it ends. Returned in the order they were asked for.
    fn run(
        &self,
        manner: Manner,
        job: impl Fn(&Guest) -> Job + Sync,
        seen: impl Fn(&Ran) + Sync,
    ) -> Result<Vec<Ran>> {
        let next = Mutex::new(self.guests.iter().enumerate());
        let done = Mutex::new(Vec::new());
        let work = || {
            loop {
                let Some((order, (guest, kernel))) = lock(&next).next() else {
                    break;
                };
                let ran = self.run_one(manner, guest, kernel, &job(guest));
                if let Ok(ran) = &ran {
                    seen(ran);
                }
                lock(&done).push((order, ran));
            }
        };
        thread::scope(|scope| {
            for _ in 0..AT_ONCE {
                scope.spawn(work);
            }
        });
        let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
        done.sort_by_key(|(order, _)| *order);
        done.into_iter().map(|(_, ran)| ran).collect()
    }

    fn run_one(&self, manner: Manner, guest: &Guest, kernel: &Kernel, job: &Job) -> Result<Ran> {
        let directory = self.directory.join(guest.name);
        fs::create_dir_all(&directory).context("the guest's directory")?;
        let mut whole = Job::default();
        for (name, value) in ENVIRONMENT {
            whole.env(name, value);
        }
        whole.env(NAME, guest.name);
        whole.module("fuse");
        whole.append(job);
        let initrd = directory.join("initrd");
        let root = [&*self.base, &*image::own(kernel, &whole)?].concat();
        fs::write(&initrd, root).context("the guest's first root")?;
        let ended = qemu::run(&Start {
            guest,
            kernel: &kernel.image,
            initrd: Some(&initrd),
            drives: &[],
            directory: &directory,
            memory_mib: MEMORY_MIB,
            timeout: manner.timeout,
            is_kvm_wanted: manner.is_kvm_wanted,
        })
        .with_context(|| format!("the guest {}", guest.name))?;
        // Some hundred megabytes for all of them, made anew each time.
        fs::remove_file(&initrd)?;
        Ok(Ran {
            guest: guest.clone(),
            release: kernel.release.clone(),
            ended,
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty())
}
