//! Who or what ended a connection is told with its death.

use std::{fs, time::Duration};

use mount_observer_tests::{
    FaultFsMount, FuseMount, Observer, Process, Sandbox, host_test,
    needs::say,
    observer::Superblock,
    scene::{FAST, SOON, call, keep_busy, outcome, wait_until_blocked},
};
use nix::{
    errno::Errno,
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};

use crate::{has_probes, skip, wait_until_watched};

/// From 7.0 on, what one preempted program leaves out.
const MISSED: &str = "mount_observer_events_dropped_total{reason=\"lost_probe_runs\"}";

/// The timeout that a new connection gets, in seconds; 0 for none (`fs/fuse/sysctl.c`, 6.15).
const TIMEOUT_FILE: &str = "/proc/sys/fs/fuse/default_request_timeout";

/// The kernel looks every 15 s, whatever it was told (`FUSE_TIMEOUT_TIMER_FREQ`, `fs/fuse/fuse_i.h`).
const TIMEOUT_DEADLINE: Duration = Duration::from_secs(50);

/// Runs a test with a mount that is watched, where the ends of connections are.
fn with_mount(test: impl FnOnce(&Sandbox, &Observer, FaultFsMount) + Send + 'static) {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, FAST);
        wait_until_watched(&observer, &mount.dev);
        if has_probes(&observer, &["connection_abort", "holders"]) {
            test(sandbox, &observer, mount);
        }
    });
}

/// Waits until a mount is dead of this cause, and expects who did it and the words for it.
#[track_caller]
fn expect(observer: &Observer, mount: &FuseMount, cause: &str, by: Option<u32>, words: &str) {
    let dead = observer.wait_for(&mount.dev, TIMEOUT_DEADLINE, "dead", |seen| {
        seen.state() == "dead"
    });
    let Superblock(json, _) = &dead;
    let abort = &json["fuse"]["abort"];
    let missed = observer.counter(MISSED).unwrap_or(0);
    if abort.is_null() && missed > 0 {
        say(&format!(
            "NOT EXACT: {cause} is not told; runs missed, and counted as such: {missed}"
        ));
        return;
    }
    assert_eq!(abort["cause"], cause, "{json:#}");
    let pid = abort["pid"].as_u64();
    assert_eq!(pid, by.map(u64::from), "{json:#}");
    let fired = observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
    let told = format!("{} {}", fired.text("reason"), fired.text("evidence"));
    assert!(told.contains(words), "{words:?} in {told:?}");
}

#[test]
fn a_killed_server_is_named_as_what_ended_its_connection() {
    with_mount(|_, observer, mount| {
        mount.server.signal(Signal::SIGKILL);
        let pid = mount.server.pid();
        expect(observer, &mount, "server_exit", Some(pid), "faultfs");
    });
}

#[test]
fn a_server_killed_before_it_was_looked_for_needs_no_second_look() {
    with_mount(|sandbox, observer, _| {
        // The look for the first mount's server was just made: the next has to wait its turn.
        let mount = sandbox.faultfs("another");
        let report = outcome(sandbox, "stat", &mount.path, &[]);
        assert_eq!(report, "ok 1");
        observer.wait_for(&mount.dev, SOON, "in sight", |_| true);
        mount.server.signal(Signal::SIGKILL);
        let fired = observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        let evidence = fired.text("evidence");
        assert!(!evidence.contains("no process holds"), "{evidence}");
    });
}

#[test]
fn an_abort_through_fusectl_is_told_with_who_wrote_it() {
    with_mount(|_, observer, mount| {
        mount.abort();
        let us = std::process::id();
        expect(observer, &mount, "fusectl", Some(us), "fusectl");
    });
}

#[test]
fn a_forced_unmount_that_failed_is_told_with_who_tried() {
    with_mount(|sandbox, observer, mount| {
        let keeper: Process = keep_busy(sandbox, &mount);
        let refused = umount2(&mount.path, MntFlags::MNT_FORCE);
        assert_eq!(refused, Err(Errno::EBUSY), "{keeper:?} keeps it");
        let us = std::process::id();
        expect(
            observer,
            &mount,
            "forced_unmount",
            Some(us),
            "forced unmount",
        );
    });
}

#[test]
fn a_request_that_outlived_the_kernel_s_timeout_is_told_as_such() {
    host_test(&[], |sandbox| {
        if fs::write(TIMEOUT_FILE, "1").is_err() {
            return skip("the kernel has no timeout for requests");
        }
        let mut mount = sandbox.faultfs("mount");
        // Nobody else's mounts: a connection is told its timeout once.
        fs::write(TIMEOUT_FILE, "0").expect("no timeout again");
        let observer = Observer::start(sandbox, FAST);
        wait_until_watched(&observer, &mount.dev);
        if !has_probes(&observer, &["connection_abort", "holders"]) {
            return;
        }
        mount.tell("GETATTR hold");
        wait_until_blocked(&call(sandbox, "stat", &mount.path, &[]));
        expect(&observer, &mount, "timeout", None, "timeout");
    });
}

#[test]
fn an_unmount_ends_a_connection_and_nothing_is_said() {
    with_mount(|_, observer, mount| {
        nix::mount::umount(&mount.path).expect("nothing pins it");
        observer.wait_until_gone(&mount.dev, SOON);
        let told = observer.transitions();
        assert!(
            !told.iter().any(|line| line.text("superblock") == mount.dev),
            "{}",
            observer.log_text()
        );
    });
}
