//! A server that answers, but with errors, or too late.

use std::time::Duration;

use mount_observer_tests::{Need, Observer, host_test, wait::within};
use nix::{
    libc,
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};

use crate::{
    FAST, HUNG_AFTER, SOON, call, kinds_reported, outcome, wait_until_blocked, wait_until_ok,
};

#[test]
fn reads_that_fail_with_eio_are_erroring_while_all_else_is_served() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.tell(&format!("READ fail {}", libc::EIO));
        let failed = outcome(sandbox, "read", &mount.join("file"), &["--repeat=20"]);
        assert_eq!(failed, format!("{} 20", libc::EIO));
        let erroring = observer.wait_for(&mount.dev, SOON, "erroring", |seen| {
            seen.state() == "erroring" && seen.count(Some("READ"), Some("EIO")) == 20
        });
        let text = format!("{} {}", erroring.text("reason"), erroring.0["evidence"]);
        assert!(
            text.contains("EIO") && text.contains("READ"),
            "{:#}",
            erroring.0
        );
        assert_eq!(erroring.server_status(), "running");
        assert_eq!(kinds_reported(&observer, &mount.dev), ["erroring"]);
    });
}

/// With `reconnect` sshfs keeps the mount and answers EIO while its backend is gone.
#[test]
fn a_storm_behind_a_killed_sftp_server_is_erroring_and_the_mount_ends_as_unmounted() {
    host_test(&[Need::Sshfs], |sandbox| {
        let mount = sandbox.sshfs("mount", &["-oreconnect"]);
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        // No second sftp-server: every call fails from here on.
        std::fs::remove_file(sandbox.path("mount.ssh")).expect("remove the script");
        mount.signal_backend(Signal::SIGKILL);
        let storm = call(
            sandbox,
            "stat",
            &mount.join("nothing"),
            &["--repeat=1000000", "--pause-ms=100"],
        );
        let erroring = observer.wait_for_state(&mount.dev, "erroring", SOON);
        assert!(erroring.count(None, Some("EIO")) >= 5, "{:#}", erroring.0);
        observer.wait_for_transition(&mount.dev, "erroring", "firing", SOON);
        umount2(&mount.path, MntFlags::MNT_DETACH).expect("umount -l");
        let ended = observer.wait_for_transition(&mount.dev, "erroring", "resolved", SOON);
        assert_eq!(ended.resolution(), "gone, unmounted", "{}", ended.fields);
        drop(storm);
    });
}

/// Without it sshfs fails what waits with EIO, and unmounts itself: both at the same moment.
#[test]
fn a_mount_that_vanishes_with_its_killed_sftp_server_is_gone_and_not_recovered() {
    host_test(&[Need::Sshfs], |sandbox| {
        let mount = sandbox.sshfs("mount", &[]);
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        mount.stop_backend();
        let victims = [(); 20].map(|()| call(sandbox, "list", &mount.path, &["--repeat=1"]));
        // One that comes later finds the empty directory below.
        victims.iter().for_each(wait_until_blocked);
        observer.wait_for_state(&mount.dev, "hung", HUNG_AFTER + SOON);
        mount.signal_backend(Signal::SIGKILL);
        for victim in &victims {
            let report = victim.output_within(SOON);
            assert!(
                report.starts_with(|first: char| first.is_ascii_digit()),
                "{report}"
            );
        }
        within(SOON, "sshfs unmounts itself", || {
            (mount_observer_tests::mounts::device_of(&mount.path).is_none()).then_some(())
        });
        let ended = observer.wait_for_transition(&mount.dev, "hung", "resolved", SOON);
        assert_ne!(ended.resolution(), "recovered", "{}", ended.fields);
        observer.wait_until_gone(&mount.dev, SOON);
        let recovered = observer
            .transitions()
            .into_iter()
            .find(|t| t.text("superblock") == mount.dev && t.resolution() == "recovered");
        assert!(recovered.is_none(), "{}", observer.log_text());
    });
}

#[test]
fn three_and_a_half_seconds_per_operation_are_slow_and_never_hung() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.tell("* delay 3500");
        let _callers = call(
            sandbox,
            "stat",
            &mount.path,
            &["--threads=4", "--repeat=1000"],
        );
        let slow = observer.wait_for_state(&mount.dev, "slow", Duration::from_secs(30));
        assert!(
            slow.text("reason").contains('2'),
            "names slow_p99: {:#}",
            slow.0
        );
        observer.stays(&mount.dev, Duration::from_secs(10), "slow", |seen| {
            seen.state() == "slow"
        });
        assert_eq!(
            kinds_reported(&observer, &mount.dev),
            ["slow"],
            "{}",
            observer.log_text()
        );
    });
}
