//! A connection that is gone is `dead`, at once, whether anybody uses it or not.

use std::time::Duration;

use mount_observer_tests::{
    FaultFsMount, FuseMount, Need, Observer, host_test, mounts::device_of, needs::say,
    observer::Superblock, scene::keep_busy, wait::now,
};
use nix::{
    libc,
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};

use crate::{SOON, call, figures, outcome, wait_until_all_ok, wait_until_blocked, wait_until_ok};

/// Trials of which the median is reported.
const TRIALS: usize = 20;

/// The median that must hold even where other tests keep the machine busy. The promise is 100 ms on
/// an idle one; the figure is printed.
const MEDIAN_MAX: Duration = Duration::from_secs(1);

/// Kills healthy, idle mounts one after the other and times each until the log says so.
fn time_deaths<'a>(
    what: &str,
    observer: &Observer,
    mounts: impl IntoIterator<Item = &'a FuseMount>,
    kill: impl Fn(&FuseMount),
) {
    let mut delays: Vec<_> = mounts
        .into_iter()
        .map(|mount| {
            let started = now();
            kill(mount);
            let fired = observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
            fired.at.saturating_duration_since(started)
        })
        .collect();
    let trials = delays.len();
    let (median, worst) = figures(&mut delays);
    say(&format!(
        "FIGURE: {what}: dead after {median:?} (median of {trials}, worst {worst:?})"
    ));
    assert!(median <= MEDIAN_MAX, "{what}: median {median:?}");
}

fn expect_server_gone(observer: &Observer, mount: &FuseMount, comm: &str) {
    let dead = observer.wait_for(&mount.dev, SOON, "dead with its server", |seen| {
        seen.state() == "dead" && seen.server_status() == "gone"
    });
    let server = &dead.0["fuse"]["servers"][0];
    assert_eq!(server["comm"], comm, "{:#}", dead.0);
    assert_eq!(server["pid"], mount.server.pid(), "{:#}", dead.0);
    assert_eq!(server["status"], "gone", "{:#}", dead.0);
    assert_eq!(dead.text("severity"), "critical");
    assert_eq!(dead.number("blocked"), 0);
}

#[test]
fn a_killed_bindfs_is_dead_at_once_without_any_traffic() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mounts: Vec<_> = (0..TRIALS)
            .map(|i| sandbox.bindfs(&format!("mount{i}"), &[]))
            .collect();
        let observer = Observer::start(sandbox, "");
        wait_until_all_ok(&observer, mounts.iter().map(AsRef::as_ref));
        time_deaths("bindfs killed, no traffic", &observer, &mounts, |mount| {
            mount.server.signal(Signal::SIGKILL);
        });
        for mount in &mounts {
            expect_server_gone(&observer, mount, "bindfs");
        }
    });
}

#[test]
fn a_killed_sshfs_is_dead_at_once_without_any_traffic() {
    host_test(&[Need::Sshfs], |sandbox| {
        let mounts: Vec<_> = (0..TRIALS)
            .map(|i| sandbox.sshfs(&format!("mount{i}"), &[]))
            .collect();
        let observer = Observer::start(sandbox, "");
        wait_until_all_ok(&observer, mounts.iter().map(AsRef::as_ref));
        let fuse = mounts.iter().map(AsRef::as_ref);
        time_deaths("sshfs killed, no traffic", &observer, fuse, |mount| {
            mount.server.signal(Signal::SIGKILL);
        });
        for mount in &mounts {
            expect_server_gone(&observer, mount, "sshfs");
        }
    });
}

#[test]
fn an_aborted_connection_is_dead_at_once_without_any_traffic() {
    host_test(&[], |sandbox| {
        let mounts: Vec<_> = (0..TRIALS)
            .map(|i| sandbox.faultfs(format!("mount{i}")))
            .collect();
        let observer = Observer::start(sandbox, "");
        wait_until_all_ok(&observer, mounts.iter().map(AsRef::as_ref));
        let fuse = mounts.iter().map(AsRef::as_ref);
        time_deaths(
            "connection aborted, no traffic",
            &observer,
            fuse,
            FuseMount::abort,
        );
        for mount in &mounts {
            expect_server_gone(&observer, mount, "faultfs");
        }
    });
}

/// A server that survives the abort of its connection still holds `/dev/fuse`.
#[test]
fn an_aborted_connection_is_dead_while_its_stopped_server_lives() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.server.stop();
        mount.abort();
        let dead = observer.wait_for_state(&mount.dev, "dead", SOON);
        assert_ne!(dead.server_status(), "gone", "{:#}", dead.0);
    });
}

#[test]
fn twenty_hung_mounts_of_two_hundred_do_not_delay_the_news_of_a_death() {
    host_test(&[], |sandbox| {
        let mut mounts: Vec<_> = (0..200)
            .map(|i| sandbox.faultfs(format!("mount{i}")))
            .collect();
        let observer = Observer::start(sandbox, "");
        let (hung, healthy) = mounts.split_at_mut(20);
        for mount in &mut *hung {
            mount.tell("* hold");
            let victim = call(sandbox, "stat", &mount.path, &[]);
            wait_until_blocked(&victim);
        }
        for mount in &*hung {
            observer.wait_for_state(&mount.dev, "hung", SOON);
        }
        let killed = healthy.iter().take(TRIALS).map(|faultfs| &faultfs.mount);
        time_deaths(
            "killed while 20 of 200 mounts hang",
            &observer,
            killed,
            |mount| {
                mount.server.signal(Signal::SIGKILL);
            },
        );
        for mount in &*hung {
            assert_eq!(
                observer
                    .superblock(&mount.dev)
                    .expect("still there")
                    .state(),
                "hung"
            );
        }
    });
}

#[test]
fn three_killed_of_two_hundred_are_exactly_those_three() {
    host_test(&[], |sandbox| {
        let mounts: Vec<_> = (0..200)
            .map(|i| sandbox.faultfs(format!("mount{i}")))
            .collect();
        let observer = Observer::start(sandbox, "");
        wait_for_states(&observer, &mounts, &vec!["ok"; mounts.len()]);
        let killed = [7, 99, 198];
        for index in killed {
            mounts[index].server.signal(Signal::SIGKILL);
        }
        let expected: Vec<_> = (0..mounts.len())
            .map(|index| {
                if killed.contains(&index) {
                    "dead"
                } else {
                    "ok"
                }
            })
            .collect();
        wait_for_states(&observer, &mounts, &expected);
        for (mount, state) in mounts.iter().zip(expected) {
            let has_fired = observer
                .transitions()
                .iter()
                .any(|t| t.text("superblock") == mount.dev);
            assert_eq!(
                has_fired,
                state == "dead",
                "{}: {}",
                mount.dev,
                observer.log_text()
            );
        }
    });
}

#[track_caller]
fn wait_for_states(observer: &Observer, mounts: &[FaultFsMount], expected: &[&str]) {
    let reached = observer.look(SOON * 2, || {
        (states(observer, mounts) == expected).then_some(())
    });
    if reached.is_none() {
        assert_eq!(
            states(observer, mounts),
            expected,
            "{}",
            observer.log_text()
        );
    }
}

/// State of each mount in one snapshot.
fn states(observer: &Observer, mounts: &[FaultFsMount]) -> Vec<String> {
    let snapshot = observer.snapshot();
    let superblocks = snapshot["superblocks"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    mounts
        .iter()
        .map(|mount| {
            let found = superblocks
                .iter()
                .find(|superblock| superblock["id"] == mount.dev);
            let state = found.and_then(|superblock| superblock["state"].as_str());
            state.unwrap_or("missing").to_owned()
        })
        .collect()
}

#[test]
fn failures_on_a_killed_sshfs_are_counted_there_and_nowhere_else() {
    host_test(&[Need::Sshfs], |sandbox| {
        let (killed, bystander) = (
            sandbox.sshfs("killed", &[]),
            sandbox.sshfs("bystander", &[]),
        );
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &killed.dev);
        wait_until_ok(&observer, &bystander.dev);
        let elsewhere_before = enotconn_elsewhere(&observer, &killed.dev);

        killed.stop_backend();
        let victim = call(sandbox, "stat", &killed.join("file"), &[]);
        wait_until_blocked(&victim);
        killed.server.signal(Signal::SIGKILL);
        assert_eq!(
            victim.output_within(SOON),
            format!("{} 1\n", libc::ECONNABORTED)
        );
        let after = outcome(sandbox, "stat", &killed.join("file"), &["--repeat=1000"]);
        assert_eq!(after, format!("{} 1000", libc::ENOTCONN));

        let dead = observer.wait_for(&killed.dev, SOON, "dead with every failure", |seen| {
            seen.state() == "dead" && seen.count(None, Some("ENOTCONN")) >= 1000
        });
        let aborted: u64 = dead
            .list("operations")
            .iter()
            .filter(|count| count["errno"] == "ECONNABORTED")
            // FUSE operations are written in capitals; the syscall they failed counts apart.
            .filter(|count| count["operation"].as_str().is_some_and(is_fuse))
            .filter_map(|count| count["count"].as_u64())
            .sum();
        assert_eq!(aborted, 1, "{:#}", dead.0);
        assert_eq!(enotconn_elsewhere(&observer, &killed.dev), elsewhere_before);
        assert_eq!(
            observer.superblock(&bystander.dev).expect("there").state(),
            "ok"
        );
        let failed_there = dead
            .list("failures")
            .iter()
            .any(|failure| failure["comm"] == "victim");
        assert!(failed_there, "{:#}", dead.0);
    });
}

fn is_fuse(operation: &str) -> bool {
    operation.starts_with(|first: char| first.is_ascii_uppercase())
}

/// ENOTCONN counted on every superblock of ours but one, and on none at all.
fn enotconn_elsewhere(observer: &Observer, dev: &str) -> u64 {
    let snapshot = observer.snapshot();
    let superblocks = snapshot["superblocks"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let ours = superblocks
        .into_iter()
        .filter(|superblock| superblock["id"] != dev)
        // Tests that run beside this one kill mounts of their own, in their own namespaces.
        .filter(|superblock| superblock["mounts"][0]["is_own_namespace"] == true);
    let counted: u64 = ours
        .map(|superblock| Superblock(superblock, Duration::ZERO).count(None, Some("ENOTCONN")))
        .sum();
    let unattributed: u64 = snapshot["unattributed"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|count| count["errno"] == "ENOTCONN")
        .filter_map(|count| count["count"].as_u64())
        .sum();
    counted + unattributed
}

#[test]
fn an_aborted_mount_is_dead_until_it_is_unmounted() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.abort();
        expect_unmounting_to_end_the_alert(&observer, &mount);
    });
}

#[test]
fn a_mount_that_umount_f_could_not_remove_is_dead_until_it_is_unmounted() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        let keeper = keep_busy(sandbox, &mount);
        let refused = umount2(&mount.path, MntFlags::MNT_FORCE);
        assert_eq!(
            refused,
            Err(nix::errno::Errno::EBUSY),
            "{keeper:?} keeps it"
        );
        assert_eq!(device_of(&mount.path).as_ref(), Some(&mount.dev));
        expect_unmounting_to_end_the_alert(&observer, &mount);
    });
}

fn expect_unmounting_to_end_the_alert(observer: &Observer, mount: &FuseMount) {
    observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
    observer.wait_for_state(&mount.dev, "dead", SOON);
    umount2(&mount.path, MntFlags::MNT_DETACH).expect("umount -l");
    let ended = observer.wait_for_transition(&mount.dev, "dead", "resolved", SOON);
    assert_eq!(ended.resolution(), "gone, unmounted", "{}", ended.fields);
    observer.wait_until_gone(&mount.dev, SOON);
}
