//! Requests that nobody answers: `hung` when nothing moves, `stuck` when only some wait.

use std::{path::Path, process::Command, time::Duration};

use mount_observer_tests::{
    FuseMount, Need, Observer, Process, Sandbox, host_test,
    needs::say,
    observer::{Superblock, binary},
    wait::{now, wall, within},
};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::{
    Began, CLEAR_AFTER, FAST, HUNG_AFTER, SOON, call, kinds_reported, request_of,
    wait_until_blocked, wait_until_in, wait_until_ok,
};

#[test]
fn a_stopped_server_is_seen_without_traffic_and_nobody_is_said_to_be_blocked() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mount = sandbox.bindfs("mount", &[]);
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        let stopped = now();
        mount.server.stop();
        let fired = observer.wait_for_transition(&mount.dev, "hung", "firing", SOON);
        assert_eq!(fired.text("severity"), "warning", "{}", fired.fields);
        let delay = fired.at.saturating_duration_since(stopped);
        say(&format!(
            "FIGURE: bindfs stopped, no traffic: told after {delay:?}"
        ));
        let seen = observer.wait_for(&mount.dev, SOON, "stopped", |seen| {
            seen.server_status() == "stopped"
        });
        assert_eq!(seen.text("severity"), "warning", "{:#}", seen.0);
        assert_eq!(
            (seen.number("blocked"), seen.number("in_flight")),
            (0, 0),
            "{:#}",
            seen.0
        );
        assert_eq!(seen.0["fuse"]["servers"][0]["pid"], mount.server.pid());
        assert!(seen.text("reason").contains("stopped"), "{:#}", seen.0);
        // However long that lasts: nobody waits, so that it does not become critical.
        observer.stays(&mount.dev, Duration::from_secs(7), "a warning", |seen| {
            seen.text("severity") == "warning" && seen.number("blocked") == 0
        });
        mount.server.resume();
        expect_recovery(&observer, &mount.dev);
    });
}

#[test]
fn one_blocked_stat_on_a_stopped_bindfs_is_hung_with_all_that_is_known_and_recovers() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mount = sandbox.bindfs("mount", &[]);
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        mount.server.stop();
        let (victim, began) = Began::with(|| call(sandbox, "stat", &mount.join("file"), &[]));
        let hung = wait_until_overdue(&observer, &mount, HUNG_AFTER + Duration::from_secs(1));
        expect_one_blocked_stat(&hung, &victim, &began);
        mount.server.resume();
        assert_eq!(victim.output_within(SOON), "ok 1\n");
        expect_recovery(&observer, &mount.dev);
    });
}

#[test]
fn a_hang_that_began_before_the_observer_is_seen_with_its_true_age() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mount = sandbox.bindfs("mount", &[]);
        mount.server.stop();
        let (victim, began) = Began::with(|| call(sandbox, "stat", &mount.join("file"), &[]));
        within(SOON, "the hang is older than hung_after", || {
            (wall().saturating_sub(began.latest) > HUNG_AFTER + Duration::from_secs(1))
                .then_some(())
        });
        let started = now();
        let observer = Observer::start(sandbox, FAST);
        let ready = started.elapsed();
        let hung = wait_until_overdue(&observer, &mount, SOON);
        say(&format!(
            "FIGURE: hang older than the observer: seen {:?} after its start (ready after {ready:?})",
            started.elapsed()
        ));
        // Linux keeps the time since 6.15 (fuse_req.create_time), in jiffies: 10 ms at worst. Before,
        // the age of the request is unknown, and that of the wait what the observer saw of it.
        if keeps_creation_times() {
            expect_one_blocked_stat(&hung, &victim, &began);
        } else {
            let request = request_of(hung.list("requests"), &victim).expect("the request");
            assert!(request["age_ns"].is_null(), "{request:#}");
            let age = hung.oldest_age().expect("an age");
            assert!(age <= started.elapsed(), "{age:?}");
        }
    });
}

/// Whether this kernel's FUSE requests carry the time they were made at.
fn keeps_creation_times() -> bool {
    let facts = Command::new(binary())
        .args(["check", "--facts"])
        .output()
        .expect("the facts");
    let facts: Value = serde_json::from_slice(&facts.stdout).expect("JSON");
    let offset = facts["offsets"]["OFF_REQ_CREATE_TIME"].as_u64();
    offset.is_some_and(|offset| offset != u64::from(u32::MAX))
}

/// Waits for a hang that is more than a stopped server.
#[track_caller]
fn wait_until_overdue(observer: &Observer, mount: &FuseMount, deadline: Duration) -> Superblock {
    observer.wait_for(
        &mount.dev,
        deadline,
        "hung with a request in flight",
        |seen| {
            seen.state() == "hung"
                && seen.number("blocked") > 0
                && seen.oldest_age().is_some_and(|age| age >= HUNG_AFTER)
        },
    )
}

/// The picture of one `stat` that waits for a stopped server since `began`.
#[track_caller]
fn expect_one_blocked_stat(hung: &Superblock, victim: &Process, began: &Began) {
    let request = request_of(hung.list("requests"), victim).expect("the victim's request");
    assert_eq!(request["comm"], "victim", "{request:#}");
    let operation = request["operation"].as_str().expect("an operation");
    assert!(["LOOKUP", "GETATTR"].contains(&operation), "{request:#}");
    let age = Duration::from_nanos(request["age_ns"].as_u64().expect("an age"));
    assert!(age >= HUNG_AFTER, "{age:?}");
    began.expect_age(hung, age);
    assert_eq!(hung.number("in_flight"), 1, "{:#}", hung.0);
    assert_eq!(
        hung.blocked_pids(),
        [u64::from(victim.pid())],
        "{:#}",
        hung.0
    );
    assert_eq!(hung.server_status(), "stopped", "{:#}", hung.0);
    assert!(hung.text("reason").contains("stopped"), "{:#}", hung.0);
}

/// The alert ends as recovered within `clear_after` and 2 s, and all is well again.
#[track_caller]
fn expect_recovery(observer: &Observer, dev: &str) {
    let deadline = CLEAR_AFTER + Duration::from_secs(2);
    let ended = observer.wait_for_transition(dev, "hung", "resolved", deadline);
    assert_eq!(ended.resolution(), "recovered", "{}", ended.fields);
    let healthy = observer.wait_for_state(dev, "ok", SOON);
    assert_eq!(
        (healthy.number("in_flight"), healthy.number("blocked")),
        (0, 0)
    );
}

#[test]
fn a_hung_backend_is_hung_with_a_running_server_and_victims_behind_a_directory_lock() {
    host_test(&[Need::Sshfs], |sandbox| {
        let mount = sandbox.sshfs("mount", &[]);
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        mount.stop_backend();
        // sshfs does not take lookups of one directory in parallel: the second waits for the first
        // in the kernel, where no request shows it.
        let first = call(sandbox, "stat", &mount.join("nothing1"), &[]);
        wait_until_blocked(&first);
        let second = call(sandbox, "stat", &mount.join("nothing2"), &[]);
        wait_until_in(&second, "fuse_lock_inode");
        let hung = observer.wait_for(
            &mount.dev,
            HUNG_AFTER + SOON,
            "hung with both victims and what they wait in",
            |seen| {
                let tasks = seen.list("blocked_tasks");
                let are_named = tasks.iter().all(|task| task["waits_in"].is_string());
                seen.state() == "hung" && tasks.len() == 2 && are_named
            },
        );
        assert_eq!(hung.server_status(), "running", "{:#}", hung.0);
        assert_eq!(hung.number("in_flight"), 1, "{:#}", hung.0);
        let mut pids = hung.blocked_pids();
        pids.sort_unstable();
        let mut expected = [u64::from(first.pid()), u64::from(second.pid())];
        expected.sort_unstable();
        assert_eq!(pids, expected, "{:#}", hung.0);
        let behind_the_lock = hung
            .list("blocked_tasks")
            .iter()
            .find(|task| task["pid"] == second.pid())
            .expect("listed");
        assert_eq!(
            behind_the_lock["waits_in"], "fuse_lock_inode",
            "{:#}",
            hung.0
        );
        assert_eq!(behind_the_lock["task_state"], "D", "{:#}", hung.0);
        mount.signal_backend(Signal::SIGCONT);
        expect_recovery(&observer, &mount.dev);
    });
}

#[test]
fn reads_that_hang_while_all_else_is_served_are_stuck_and_never_hung() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        let _traffic = traffic(sandbox, &mount.path);
        mount.tell("READ hold");
        let (victim, began) = Began::with(|| call(sandbox, "read", &mount.join("file"), &[]));
        expect_stuck(&observer, &mount, &victim, "READ", &began);
        mount.tell("READ answer");
        mount.tell("release");
        let deadline = CLEAR_AFTER + Duration::from_secs(2);
        let ended = observer.wait_for_transition(&mount.dev, "stuck", "resolved", deadline);
        assert_eq!(ended.resolution(), "recovered", "{}", ended.fields);
    });
}

#[test]
fn one_lost_lookup_reply_is_stuck_and_never_hung() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        let _traffic = traffic(sandbox, &mount.path);
        mount.tell("LOOKUP drop 1");
        let (victim, began) = Began::with(|| call(sandbox, "stat", &mount.join("file"), &[]));
        expect_stuck(&observer, &mount, &victim, "LOOKUP", &began);
        // The traffic's own requests come and go.
        observer.wait_for(&mount.dev, SOON, "left with that request", |seen| {
            seen.number("in_flight") == 1
        });
    });
}

/// GETATTR after GETATTR on the root, all answered.
fn traffic(sandbox: &Sandbox, path: &Path) -> Process {
    call(
        sandbox,
        "stat",
        path,
        &["--repeat=1000000", "--pause-ms=50"],
    )
}

/// The picture of one request that waits while others are served, until it is critical.
#[track_caller]
fn expect_stuck(
    observer: &Observer,
    mount: &FuseMount,
    victim: &Process,
    operation: &str,
    began: &Began,
) {
    let stuck = observer.wait_for_state(&mount.dev, "stuck", HUNG_AFTER + Duration::from_secs(2));
    let request = request_of(stuck.list("requests"), victim).expect("the victim's request");
    assert_eq!(request["operation"], operation, "{request:#}");
    assert_eq!(request["comm"], "victim", "{request:#}");
    let age = Duration::from_nanos(request["age_ns"].as_u64().expect("an age"));
    assert!(age >= HUNG_AFTER, "{age:?}");
    began.expect_age(&stuck, age);
    assert_eq!(stuck.text("severity"), "warning");
    assert_eq!(stuck.server_status(), "running");
    observer.wait_for(&mount.dev, Duration::from_secs(6), "critical", |seen| {
        seen.state() == "stuck" && seen.text("severity") == "critical"
    });
    assert_eq!(
        kinds_reported(observer, &mount.dev),
        ["stuck"],
        "{}",
        observer.log_text()
    );
}
