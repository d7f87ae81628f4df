//! The place a test runs in: a mount namespace of its own, with nothing left behind.

use std::{
    cell::RefCell,
    ffi::OsStr,
    os::unix::process::CommandExt,
    panic::resume_unwind,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
};
use tempfile::TempDir;

use crate::{
    needs::{self, Need},
    process::{self, Process},
};

/// For processes that were killed to go away. A task that waits for a file system whose server was
/// killed too needs milliseconds.
const REAP_DEADLINE: Duration = Duration::from_secs(10);

/// Where fusectl shows connections.
pub const FUSECTL: &str = "/sys/fs/fuse/connections";

const NO_TEXT: Option<&str> = None;

/// A private mount namespace with a directory of its own, and the processes started in it.
#[derive(Debug)]
pub struct Sandbox {
    directory: TempDir,
    processes: RefCell<Vec<Process>>,
}

/// Runs a test's body in a sandbox, or says loudly why not.
///
/// # Panics
/// When the body does, or when something needed is missing where that counts as a failure.
pub fn host_test(needs: &[Need], body: impl FnOnce(&Sandbox) + Send + 'static) {
    let name = thread::current().name().unwrap_or("test").to_owned();
    if needs::are_met(&name, needs) {
        in_sandbox(name, body);
    }
}

/// Runs something in a sandbox.
///
/// Mount namespaces belong to threads: the body gets a thread of its own, and every process started
/// from it lives in its namespace.
///
/// # Panics
/// When the body does.
pub fn in_sandbox(name: String, body: impl FnOnce(&Sandbox) + Send + 'static) {
    let thread = thread::Builder::new()
        .name(name)
        .spawn(move || body(&Sandbox::enter()))
        .expect("spawn a thread");
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

impl Sandbox {
    /// Moves the calling thread into a new mount namespace from which nothing propagates.
    fn enter() -> Self {
        let directory = TempDir::with_prefix("mount-observer-").expect("a temporary directory");
        unshare(CloneFlags::CLONE_NEWNS).expect("unshare the mount namespace");
        mount(
            NO_TEXT,
            "/",
            NO_TEXT,
            MsFlags::MS_REC | MsFlags::MS_PRIVATE,
            NO_TEXT,
        )
        .expect("make all mounts private");
        mount(
            Some("tmpfs"),
            directory.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            NO_TEXT,
        )
        .expect("mount a tmpfs");
        match mount(
            Some("fusectl"),
            FUSECTL,
            Some("fusectl"),
            MsFlags::empty(),
            NO_TEXT,
        ) {
            Ok(()) | Err(Errno::EBUSY) => {}
            Err(error) => panic!("mount fusectl: {error}"),
        }
        Self {
            directory,
            processes: RefCell::default(),
        }
    }

    /// A path in the sandbox's directory.
    pub fn path(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.directory.path().join(name.as_ref())
    }

    /// Creates a directory and returns its path.
    ///
    /// # Panics
    /// When it cannot.
    pub fn directory(&self, name: impl AsRef<OsStr>) -> PathBuf {
        let path = self.path(name);
        std::fs::create_dir_all(&path).expect("create a directory");
        path
    }

    /// Starts a program; `set_up` adds its arguments and pipes.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn spawn(&self, program: impl AsRef<OsStr>, set_up: impl FnOnce(&mut Command)) -> Process {
        let program = program.as_ref();
        let mut command = process::mortal(program);
        set_up(&mut command);
        let child = command
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", program.display()));
        let name = Path::new(program).file_name().unwrap_or(program);
        let process = Process::new(child, name);
        self.processes.borrow_mut().push(process.clone());
        process
    }

    /// Starts `victim` (see `src/bin/victim.rs`) with these words, its output piped.
    pub fn victim(&self, args: &[&OsStr]) -> Process {
        self.spawn(victim_program(), |command| {
            command.args(args).stdout(std::process::Stdio::piped());
        })
    }
}

impl Drop for Sandbox {
    /// All at once first: a victim only dies when the server it waits for is gone.
    fn drop(&mut self) {
        let processes = self.processes.take();
        for process in &processes {
            process.kill_group();
        }
        for process in &processes {
            if process.exited_within(REAP_DEADLINE).is_none() {
                needs::say(&format!(
                    "LEFT BEHIND: {process:?}, state {:?}",
                    process.state()
                ));
            }
        }
        if let Err(error) = umount2(self.directory.path(), MntFlags::MNT_DETACH) {
            needs::say(&format!("cannot unmount the sandbox: {error}"));
        }
    }
}

/// The program that gets stuck for us, built by cargo beside this one.
pub(crate) fn victim_program() -> PathBuf {
    beside_us("victim")
}

/// A program built by cargo beside this one, which may be a test in the directory `deps` below.
///
/// # Panics
/// When our own path is unknown.
pub fn beside_us(name: &str) -> PathBuf {
    let us = std::env::current_exe().expect("our own path");
    let directory = us.parent().expect("a program is in a directory");
    if directory.ends_with("deps") {
        directory.with_file_name(name)
    } else {
        directory.join(name)
    }
}
