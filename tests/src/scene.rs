//! What most tests do: calls that may never return, waiting until they wait, and what the observer
//! is expected to say about them.

use std::{ffi::OsStr, path::Path, time::Duration};

use serde_json::Value;

use crate::{
    FuseMount, Observer, Process, Sandbox,
    observer::Superblock,
    process::{threads, waits_in},
    wait::{wall, within},
};

/// Short thresholds for promises that are relative to them.
pub const FAST: &str = r#"
[detect]
hung_after = "2s"
hung_critical_after = "6s"
clear_after = "2s"
"#;

/// `hung_after` of [`FAST`].
pub const HUNG_AFTER: Duration = Duration::from_secs(2);

/// `clear_after` of [`FAST`].
pub const CLEAR_AFTER: Duration = Duration::from_secs(2);

/// For what should take milliseconds, on a machine that builds and tests other things meanwhile.
pub const SOON: Duration = Duration::from_secs(10);

/// A call into a mount that may never return.
pub fn call(sandbox: &Sandbox, call: &str, path: &Path, options: &[&str]) -> Process {
    let mut words = vec![OsStr::new(call), path.as_os_str()];
    words.extend(options.iter().map(OsStr::new));
    sandbox.victim(&words)
}

/// A call that returns: its report.
pub fn outcome(sandbox: &Sandbox, name: &str, path: &Path, options: &[&str]) -> String {
    let output = call(sandbox, name, path, options).output_within(SOON);
    output.trim_end().to_owned()
}

/// A process whose working directory is on the mount.
pub fn keep_busy(sandbox: &Sandbox, mount: &FuseMount) -> Process {
    let keeper = sandbox.spawn("/bin/sleep", |command| {
        command.arg("600").current_dir(&mount.path);
    });
    within(SOON, "the keeper sleeps on the mount", || {
        let directory = std::fs::read_link(format!("/proc/{}/cwd", keeper.pid())).ok()?;
        (directory == mount.path).then_some(())
    });
    keeper
}

/// Waits until one of the victim's threads waits in this kernel function.
#[track_caller]
pub fn wait_until_in(victim: &Process, function: &str) {
    within(SOON, &format!("{victim:?} waits in {function}"), || {
        threads(victim.pid())
            .into_iter()
            .find(|&tid| waits_in(tid).as_deref() == Some(function))
    });
}

/// Waits until the victim waits for an answer of its server.
#[track_caller]
pub fn wait_until_blocked(victim: &Process) {
    wait_until_in(victim, "request_wait_answer");
}

/// When a call began to wait, as narrowly as can be told from outside.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    /// Not before.
    pub earliest: Duration,
    /// Not after.
    pub latest: Duration,
}

impl Began {
    /// Makes a call and waits until it waits for an answer of its FUSE server.
    #[track_caller]
    pub fn with(call: impl FnOnce() -> Process) -> (Process, Self) {
        Self::waiting_in("request_wait_answer", call)
    }

    /// Makes a call and waits until it waits in this kernel function.
    #[track_caller]
    pub fn waiting_in(function: &str, call: impl FnOnce() -> Process) -> (Process, Self) {
        let earliest = wall();
        let victim = call();
        wait_until_in(&victim, function);
        let latest = wall();
        (victim, Self { earliest, latest })
    }

    /// The age the observer reports is the time from then until it knew.
    ///
    /// # Panics
    /// When it is not.
    #[track_caller]
    pub fn expect_age(&self, seen: &Superblock, age: Duration) {
        // The kernel's own time of a request (fuse_req.create_time) is in ticks of up to 10 ms, and
        // an age read by a scan counts from when the scan is taken in: on a busy machine, later.
        let slack = Duration::from_millis(250);
        let known = seen.1;
        let (youngest, oldest) = (
            known.saturating_sub(self.latest),
            known.saturating_sub(self.earliest),
        );
        assert!(
            age + slack >= youngest && age <= oldest + slack,
            "{age:?}, not between {youngest:?} and {oldest:?}"
        );
    }
}

/// Waits until the observer has found a mount and thinks well of it.
#[track_caller]
pub fn wait_until_ok(observer: &Observer, dev: &str) {
    observer.wait_for_state(dev, "ok", SOON);
}

/// The same for many.
#[track_caller]
pub fn wait_until_all_ok<'a>(observer: &Observer, mounts: impl IntoIterator<Item = &'a FuseMount>) {
    for mount in mounts {
        wait_until_ok(observer, &mount.dev);
    }
}

/// The request in flight that this process waits for.
pub fn request_of(requests: &[Value], process: &Process) -> Option<Value> {
    requests
        .iter()
        .find(|request| request["pid"] == process.pid())
        .cloned()
}

/// States the log reported for a superblock, whether they fired or were resolved.
pub fn kinds_reported(observer: &Observer, dev: &str) -> Vec<String> {
    let mut kinds: Vec<_> = observer
        .transitions()
        .iter()
        .filter(|transition| transition.text("superblock") == dev)
        .map(|transition| transition.text("state").to_owned())
        .collect();
    kinds.dedup();
    kinds
}

/// Median and worst of some durations, as a line for the log.
///
/// # Panics
/// When there are none.
pub fn figures(durations: &mut [Duration]) -> (Duration, Duration) {
    durations.sort_unstable();
    let median = durations
        .get(durations.len() / 2)
        .copied()
        .expect("at least one");
    (median, durations.last().copied().expect("at least one"))
}
