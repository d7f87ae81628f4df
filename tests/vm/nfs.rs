//! NFS has no requests we count: a task that waits for it is found where it waits.

use std::time::Duration;

use mount_observer_tests::{
    Observer, Process,
    nfs::{NfsMount, Version},
    observer::Superblock,
    scene::{Began, CLEAR_AFTER, FAST, HUNG_AFTER, SOON, call},
};
use nix::{mount::umount, sys::signal::Signal};

use crate::{has_probes, nfs_operations::with_nfs, wait_until_watched};

/// A wait for an answer (`net/sunrpc/sched.c`).
const WAIT: &str = "rpc_wait_bit_killable";

/// For the client to connect again: it waits longer after each attempt.
const RECONNECT_DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn a_stat_that_hangs_on_nfs_is_reported_and_recovers() {
    with_nfs(Version::V4, |sandbox, nfs| {
        let observer = Observer::start(sandbox, FAST);
        wait_until_watched(&observer, &nfs.dev);
        let stat =
            |file| Began::waiting_in(WAIT, || call(sandbox, "stat", &nfs.path.join(file), &[]));

        nfs.relay.stop();
        let (victim, began) = stat("file1");
        expect_hung(&observer, nfs, &victim, &began);
        nfs.relay.resume();
        expect_recovery(&observer, nfs, &victim);

        nfs.relay.signal(Signal::SIGKILL);
        assert!(nfs.relay.exited_within(SOON).is_some());
        let (victim, began) = stat("file2");
        expect_hung(&observer, nfs, &victim, &began);
        nfs.replace_relay(sandbox);
        expect_recovery(&observer, nfs, &victim);
        umount(&nfs.path).expect("nothing pins it");
    });
}

#[track_caller]
fn expect_hung(observer: &Observer, nfs: &NfsMount, victim: &Process, began: &Began) {
    let is_hung = |seen: &Superblock| seen.state() == "hung" && seen.number("blocked") == 1;
    let hung = observer.wait_for(&nfs.dev, HUNG_AFTER + SOON, "hung", is_hung);
    let task = hung.list("blocked_tasks").first().expect("listed");
    assert_eq!(task["pid"], victim.pid(), "{task:#}");
    assert_eq!(task["comm"], "victim", "{task:#}");
    assert_eq!(task["waits_in"], WAIT, "{task:#}");
    assert_eq!(task["task_state"], "D", "{task:#}");
    let age = Duration::from_nanos(task["age_ns"].as_u64().expect("an age"));
    if has_probes(observer, &["stat_enter"]) {
        began.expect_age(&hung, age);
    }
}

#[track_caller]
fn expect_recovery(observer: &Observer, nfs: &NfsMount, victim: &Process) {
    assert_eq!(victim.output_within(RECONNECT_DEADLINE), "ok 1\n");
    let deadline = CLEAR_AFTER + SOON;
    let ended = observer.wait_for_transition(&nfs.dev, "hung", "resolved", deadline);
    assert_eq!(ended.resolution(), "recovered", "{}", ended.fields);
    observer.wait_for_state(&nfs.dev, "ok", SOON);
}
