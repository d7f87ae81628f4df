//! Ten seconds that show what the observer is for: four ways to break a mount, and what it says.
//! Everything happens in a mount namespace of its own.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "it is a demonstration")]

use std::{
    ffi::OsStr,
    path::Path,
    process::{Command, ExitCode},
    time::Duration,
};

use mount_observer_tests::{
    Observer, Process, Sandbox,
    needs::say,
    observer::{Options, binary},
    sandbox::in_sandbox,
    wait::poll_every,
};
use nix::{libc, sys::signal::Signal, unistd::geteuid};

/// Shorter than the default, so that the demonstration is.
const CONFIG: &str = "[detect]\nhung_after = \"1s\"\n";

/// For the observer to notice; it needs a second or two.
const PATIENCE: Duration = Duration::from_secs(10);

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(50);

fn main() -> ExitCode {
    if !geteuid().is_root() {
        say("The demonstration mounts file systems and loads BPF programs: run it as root.");
        return ExitCode::FAILURE;
    }
    in_sandbox("demo".to_owned(), demonstrate);
    ExitCode::SUCCESS
}

/// Prints what the observer has said since the last time.
struct Narrator {
    observer: Observer,
    printed: usize,
}

impl Narrator {
    fn tell(&mut self, line: &str) {
        self.listen();
        println!("\n==> {line}");
    }

    fn listen(&mut self) {
        let lines = self.observer.log_lines();
        for line in lines.iter().skip(self.printed) {
            println!("    observer | {line}");
        }
        self.printed = lines.len();
    }

    /// Waits until the mount is in this state, printing what is said meanwhile.
    fn wait_for(&mut self, dev: &str, state: &str) {
        let reached = poll_every(INTERVAL, PATIENCE, || {
            self.listen();
            let seen = self.observer.superblock(dev)?;
            (seen.state() == state).then_some(())
        });
        self.listen();
        if reached.is_none() {
            println!("    (expected {state}, which did not come)");
        }
    }
}

fn demonstrate(sandbox: &Sandbox) {
    println!("==> Four healthy FUSE mounts, and the observer over them (hung_after = 1 s)");
    let stopped = sandbox.faultfs("stopped");
    let mut lossy = sandbox.faultfs("lossy");
    let mut failing = sandbox.faultfs("failing");
    let killed = sandbox.faultfs("killed");
    let options = Options {
        config: CONFIG.to_owned(),
        log_format: "text",
        ..Options::default()
    };
    println!("    starting the observer ...");
    let mut narrator = Narrator {
        observer: Observer::start_with(sandbox, &options),
        printed: 0,
    };
    for mount in [&stopped, &lossy, &failing, &killed] {
        narrator.wait_for(&mount.dev, "ok");
    }

    narrator.tell("1. A server is killed. Nobody uses the mount, and nobody has to.");
    killed.server.signal(Signal::SIGKILL);
    narrator.wait_for(&killed.dev, "dead");

    narrator.tell("2. A server is stopped, and one process calls stat.");
    stopped.server.stop();
    call(sandbox, "stat", &stopped.join("file"), &[]);

    narrator.tell("3. One reply is lost; everything else on that mount is answered.");
    lossy.tell("LOOKUP drop 1");
    call(
        sandbox,
        "stat",
        &lossy.path,
        &["--repeat=1000", "--pause-ms=20"],
    );
    call(sandbox, "stat", &lossy.join("file"), &[]);
    narrator.wait_for(&stopped.dev, "hung");
    narrator.wait_for(&lossy.dev, "stuck");

    narrator.tell("4. Reads fail with EIO; stat, which a probe would try, still works.");
    failing.tell(&format!("READ fail {}", libc::EIO));
    call(sandbox, "read", &failing.join("file"), &["--repeat=20"]);
    narrator.wait_for(&failing.dev, "erroring");

    narrator.tell("One look at all mounts, from another process, without the daemon:");
    let looked = Command::new(binary())
        .arg("status")
        .arg(format!("--config={}", narrator.observer.config.display()))
        .status();
    narrator.listen();
    match looked {
        Ok(_) => println!("\n==> Not one of these mounts was touched to learn that."),
        Err(error) => say(&format!("status: {error}")),
    }
}

/// A process that calls into a mount; it may never come back.
fn call(sandbox: &Sandbox, call: &str, path: &Path, options: &[&str]) -> Process {
    let mut words = vec![OsStr::new(call), path.as_os_str()];
    words.extend(options.iter().map(OsStr::new));
    sandbox.victim(&words)
}
