//! What looks like a fault and is none: no alert.

use std::time::Duration;

use mount_observer_tests::{Need, Observer, host_test, needs::program, wait::within};
use nix::{libc, sys::signal::Signal};

use crate::{
    CLEAR_AFTER, FAST, HUNG_AFTER, SOON, call, kinds_reported, outcome, wait_until_blocked,
    wait_until_ok,
};

#[test]
fn a_mount_that_root_may_not_enter_is_ok() {
    host_test(&[], |sandbox| {
        // It belongs to nobody (65534) and is not shared: even root is refused.
        let mount = sandbox.faultfs_with("mount", &["--owner=65534"]);
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        let refused = outcome(sandbox, "stat", &mount.join("file"), &["--repeat=50"]);
        assert_eq!(refused, format!("{} 50", libc::EACCES));
        observer.stays(&mount.dev, Duration::from_secs(5), "ok", |seen| {
            seen.state() == "ok"
        });
        assert!(
            kinds_reported(&observer, &mount.dev).is_empty(),
            "{}",
            observer.log_text()
        );
    });
}

#[test]
fn a_process_refused_by_a_mount_without_allow_other_harms_nobody() {
    host_test(&[Need::Bindfs], |sandbox| {
        // Run by root, bindfs lets others in unless told otherwise.
        let mount = sandbox.bindfs("mount", &["--no-allow-other"]);
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        let stat = program("stat").expect("coreutils");
        for _ in 0..20 {
            let refused = sandbox.spawn(program("setpriv").expect("util-linux"), |command| {
                command
                    .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
                    .arg(&stat)
                    .arg(mount.join("file"))
                    .stderr(std::process::Stdio::null())
                    .stdout(std::process::Stdio::null());
            });
            let status = refused.exited_within(SOON).expect("it ends");
            assert_eq!(status.code(), Some(1), "stat is refused");
        }
        assert_eq!(outcome(sandbox, "stat", &mount.join("file"), &[]), "ok 1");
        observer.stays(&mount.dev, Duration::from_secs(5), "ok", |seen| {
            seen.state() == "ok"
        });
        assert!(
            kinds_reported(&observer, &mount.dev).is_empty(),
            "{}",
            observer.log_text()
        );
    });
}

#[test]
fn a_process_that_waits_a_minute_for_a_lock_raises_no_alert() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.tell("SETLKW hold");
        let locker = call(sandbox, "lock", &mount.join("file"), &[]);
        wait_until_blocked(&locker);
        observer.wait_for(&mount.dev, SOON, "aware of the request", |seen| {
            seen.list("requests")
                .iter()
                .any(|request| request["operation"] == "SETLKW")
        });
        observer.stays(&mount.dev, Duration::from_mins(1), "ok", |seen| {
            seen.state() == "ok"
        });
        assert_eq!(locker.exited_within(Duration::ZERO), None, "it still waits");
        assert!(
            kinds_reported(&observer, &mount.dev).is_empty(),
            "{}",
            observer.log_text()
        );
    });
}

/// The kernel takes back a request that its server has not read, without a word to tracepoints.
#[test]
fn a_caller_killed_while_its_request_is_queued_leaves_nothing_behind() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        // On a busy machine the twenty wait longer than what counts as slow.
        let config = format!("{FAST}\nslow_p99 = \"1h\"");
        let observer = Observer::start(sandbox, &config);
        wait_until_ok(&observer, &mount.dev);
        mount.server.stop();
        let victims = [(); 20].map(|()| call(sandbox, "stat", &mount.path, &[]));
        victims.iter().for_each(wait_until_blocked);
        observer.wait_for(&mount.dev, SOON, "aware of the requests", |seen| {
            seen.number("in_flight") == 20
        });
        for victim in &victims {
            victim.signal(Signal::SIGKILL);
            assert!(
                victim.exited_within(SOON).is_some(),
                "{victim:?} dies at once"
            );
        }
        mount.server.resume();
        observer.wait_for(&mount.dev, SOON, "empty", |seen| {
            seen.number("in_flight") == 0
        });
        observer.wait_for_state(&mount.dev, "ok", CLEAR_AFTER + SOON);
        let fired_before = firing(&observer, &mount.dev);
        observer.stays(&mount.dev, HUNG_AFTER * 3, "ok", |seen| {
            seen.state() == "ok" && seen.number("in_flight") == 0
        });
        assert_eq!(
            firing(&observer, &mount.dev),
            fired_before,
            "{}",
            observer.log_text()
        );
    });
}

fn firing(observer: &Observer, dev: &str) -> usize {
    observer
        .transitions()
        .iter()
        .filter(|transition| transition.text("superblock") == dev)
        .filter(|transition| transition.text("change") == "firing")
        .count()
}

#[test]
fn an_observed_mount_can_be_unmounted_at_once() {
    host_test(&[Need::Bindfs], |sandbox| {
        let (bindfs, faultfs) = (sandbox.bindfs("bindfs", &[]), sandbox.faultfs("faultfs"));
        let observer = Observer::start(sandbox, "");
        for mount in [&bindfs, &faultfs.mount] {
            wait_until_ok(&observer, &mount.dev);
            assert_eq!(outcome(sandbox, "read", &mount.join("file"), &[]), "ok 1");
            nix::mount::umount(&mount.path).expect("nothing pins it");
            within(SOON, "its server ends", || {
                mount.server.exited_within(Duration::ZERO)
            });
            observer.wait_until_gone(&mount.dev, SOON);
            assert!(
                kinds_reported(&observer, &mount.dev).is_empty(),
                "{}",
                observer.log_text()
            );
        }
    });
}
