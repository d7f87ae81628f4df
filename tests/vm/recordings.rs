//! Every fault, recorded on this kernel and decided again: the same to the byte. `cargo xtask recordings`
//! keeps what is recorded here as data of the tests.

use std::path::Path;

use mount_observer_tests::{
    Need, Observer, Sandbox, host_test,
    nfs::Version,
    recording::{end, expect_same, hand_out, recorded},
    scene::{Began, CLEAR_AFTER, FAST, HUNG_AFTER, SOON, call, outcome, wait_until_ok},
};
use nix::{libc, sys::signal::Signal};

use crate::nfs_operations::with_nfs;

/// A fault on a mount that is healthy when it begins: says which alert it must lead to.
fn fault(name: &str, sandbox: &Sandbox, dev: &str, config: &str, act: impl FnOnce(&Observer)) {
    let (observer, file) = recorded(sandbox, config);
    wait_until_ok(&observer, dev);
    act(&observer);
    conclude(name, &observer, &file);
}

fn conclude(name: &str, observer: &Observer, file: &Path) {
    end(observer);
    expect_same(observer, file);
    hand_out(name, file);
}

#[track_caller]
fn fires(observer: &Observer, dev: &str, kind: &str) {
    observer.wait_for_transition(dev, kind, "firing", HUNG_AFTER + SOON);
}

#[track_caller]
fn ends(observer: &Observer, dev: &str, kind: &str) {
    observer.wait_for_transition(dev, kind, "resolved", CLEAR_AFTER + SOON);
}

#[test]
fn server_killed() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        fault("server_killed", sandbox, &mount.dev, FAST, |observer| {
            mount.server.signal(Signal::SIGKILL);
            fires(observer, &mount.dev, "dead");
            let failed = outcome(sandbox, "stat", &mount.join("file"), &[]);
            assert!(failed.starts_with(&libc::ENOTCONN.to_string()), "{failed}");
        });
    });
}

#[test]
fn server_stopped() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        fault("server_stopped", sandbox, &mount.dev, FAST, |observer| {
            mount.server.stop();
            let victim = call(sandbox, "stat", &mount.join("file"), &[]);
            fires(observer, &mount.dev, "hung");
            mount.server.resume();
            assert_eq!(victim.output_within(SOON), "ok 1\n");
            ends(observer, &mount.dev, "hung");
        });
    });
}

#[test]
fn backend_stopped() {
    host_test(&[Need::Sshfs], |sandbox| {
        let mount = sandbox.sshfs("mount", &[]);
        fault("backend_stopped", sandbox, &mount.dev, FAST, |observer| {
            mount.stop_backend();
            let _victim = call(sandbox, "stat", &mount.join("nothing"), &[]);
            fires(observer, &mount.dev, "hung");
        });
    });
}

#[test]
fn hung_operation() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let dev = mount.dev.clone();
        fault("hung_operation", sandbox, &dev, FAST, |observer| {
            mount.tell("* hold");
            let _victim = call(sandbox, "stat", &mount.join("file"), &[]);
            fires(observer, &dev, "hung");
            mount.tell("* answer");
            mount.tell("release");
            ends(observer, &dev, "hung");
        });
    });
}

#[test]
fn lost_reply() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let dev = mount.dev.clone();
        fault("lost_reply", sandbox, &dev, FAST, |observer| {
            let options = ["--repeat=1000000", "--pause-ms=100"];
            let _traffic = call(sandbox, "stat", &mount.path, &options);
            mount.tell("LOOKUP drop 1");
            let _victim = call(sandbox, "stat", &mount.join("file"), &[]);
            fires(observer, &dev, "stuck");
        });
    });
}

#[test]
fn failing_operations() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let dev = mount.dev.clone();
        fault("failing_operations", sandbox, &dev, FAST, |observer| {
            mount.tell(&format!("READ fail {}", libc::EIO));
            let failed = outcome(sandbox, "read", &mount.join("file"), &["--repeat=20"]);
            assert_eq!(failed, format!("{} 20", libc::EIO));
            fires(observer, &dev, "erroring");
        });
    });
}

#[test]
fn slow_operations() {
    const SLOW: &str = "[detect]\nslow_p99 = \"200ms\"\nslow_min_samples = 4\n";
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let dev = mount.dev.clone();
        fault("slow_operations", sandbox, &dev, SLOW, |observer| {
            mount.tell("* delay 600");
            let options = ["--threads=4", "--repeat=1000"];
            let _callers = call(sandbox, "stat", &mount.path, &options);
            fires(observer, &dev, "slow");
        });
    });
}

#[test]
fn connection_aborted() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        fault(
            "connection_aborted",
            sandbox,
            &mount.dev,
            FAST,
            |observer| {
                mount.abort();
                fires(observer, &mount.dev, "dead");
            },
        );
    });
}

#[test]
fn nfs_server_gone() {
    with_nfs(Version::V4, |sandbox, nfs| {
        fault("nfs_server_gone", sandbox, &nfs.dev, FAST, |observer| {
            nfs.relay.stop();
            let stat = || call(sandbox, "stat", &nfs.path.join("file1"), &[]);
            let (victim, _) = Began::waiting_in("rpc_wait_bit_killable", stat);
            fires(observer, &nfs.dev, "hung");
            nfs.relay.resume();
            assert_eq!(victim.output_within(SOON * 3), "ok 1\n");
        });
    });
}
