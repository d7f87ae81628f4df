//! Alerts leave the machine: each sink before a real receiver, which is told what fires and what
//! ended as documented, and after an outage everything that was promised.

mod alertmanager;
mod exec;
mod metrics;
mod silence;
mod syslog;
mod webhook;

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use mount_observer_tests::{
    FaultFsMount, Observer, Sandbox,
    observer::Options,
    wait::{patience, poll},
};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};

use crate::{SOON, wait_until_ok};

/// For what waits for a pause between attempts.
const LATER: Duration = Duration::from_mins(1);

/// An observer of this sandbox's mounts alone: other tests have others meanwhile.
fn observe(sandbox: &Sandbox, config: &str) -> Observer {
    observe_with(sandbox, config, None)
}

/// The same with a journal that another may have kept before.
fn observe_with(sandbox: &Sandbox, config: &str, storage: Option<PathBuf>) -> Observer {
    let here = sandbox.path("*");
    let scope = format!(
        "[scope]\ninclude_fstypes = []\ninclude_mount_points = [{:?}]\n",
        here.display().to_string()
    );
    let options = Options {
        config: format!("{scope}{config}"),
        storage,
        ..Options::default()
    };
    Observer::start_with(sandbox, &options)
}

/// A mount that the observer thinks well of, soon to die.
fn healthy(sandbox: &Sandbox, observer: &Observer, name: &str) -> FaultFsMount {
    let mount = sandbox.faultfs(name);
    wait_until_ok(observer, &mount.dev);
    mount
}

/// Kills its server.
fn kill(mount: &FaultFsMount) {
    mount.server.signal(Signal::SIGKILL);
}

/// Takes the mount away, which ends its alert.
fn take_away(mount: &FaultFsMount) {
    umount2(&mount.path, MntFlags::MNT_DETACH).expect("unmount");
}

/// Waits for a text in a file.
#[track_caller]
fn wait_for_text(path: &Path, text: &str, deadline: Duration) -> String {
    let read = || std::fs::read_to_string(path).unwrap_or_default();
    let found = poll(patience(deadline), || {
        let found = read();
        found.contains(text).then_some(found)
    });
    assert!(
        found.is_some(),
        "no {text:?} in {}: {}",
        path.display(),
        read()
    );
    found.unwrap_or_default()
}

/// How many notifications of a sink had an outcome.
fn count(observer: &Observer, sink: &str, outcome: &str) -> u64 {
    let series =
        format!("mount_observer_notifications_total{{sink=\"{sink}\",outcome=\"{outcome}\"}}");
    let found = observer.counter(&series);
    found
        .or_else(|| {
            observer.counter(&format!(
                "mount_observer_notifications_total{{outcome=\"{outcome}\",sink=\"{sink}\"}}"
            ))
        })
        .unwrap_or(0)
}

/// A receiver has what it got before the sink knows that it has.
#[track_caller]
fn expect_count(observer: &Observer, sink: &str, outcome: &str, expected: u64) {
    let found = observer.look(SOON, || {
        (count(observer, sink, outcome) >= expected).then_some(())
    });
    assert!(found.is_some(), "{}", observer.log_text());
    assert_eq!(count(observer, sink, outcome), expected);
}
