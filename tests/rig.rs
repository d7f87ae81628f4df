//! The faults are what they say: without this, a test that sees nothing would prove nothing.

#![forbid(unsafe_code)]

use std::{ffi::OsStr, path::Path, time::Duration};

use mount_observer_tests::{
    Need, Process, Sandbox, host_test,
    mounts::device_of,
    process::{threads, waits_in},
    wait::{now, patience, within},
};
use nix::{libc, sys::signal::Signal};

/// Far more than any of this needs.
const SOON: Duration = Duration::from_secs(10);

fn call(sandbox: &Sandbox, call: &str, path: &Path) -> Process {
    sandbox.victim(&[OsStr::new(call), path.as_os_str()])
}

fn outcome(sandbox: &Sandbox, name: &str, path: &Path) -> String {
    let output = call(sandbox, name, path).output_within(SOON);
    output.trim_end().to_owned()
}

/// Waits until one of the victim's threads waits for an answer.
#[track_caller]
fn wait_until_blocked(victim: &Process) {
    wait_until_in(victim, "request_wait_answer");
}

#[track_caller]
fn wait_until_in(victim: &Process, function: &str) {
    within(SOON, &format!("{victim:?} waits in {function}"), || {
        threads(victim.pid())
            .into_iter()
            .find(|&tid| waits_in(tid).as_deref() == Some(function))
    });
}

#[test]
fn a_healthy_faultfs_serves_every_call() {
    host_test(&[], |sandbox| {
        let fs = sandbox.faultfs("mount");
        for (name, file) in [
            ("stat", "file"),
            ("stat", "directory/file1"),
            ("read", "file"),
            ("lock", "file"),
            ("list", "directory"),
        ] {
            assert_eq!(
                outcome(sandbox, name, &fs.join(file)),
                "ok 1",
                "{name} {file}"
            );
        }
        let missing = outcome(sandbox, "stat", &fs.join("missing"));
        assert_eq!(missing, format!("{} 1", libc::ENOENT));
    });
}

#[test]
fn a_held_read_waits_while_all_else_is_served_and_ends_when_released() {
    host_test(&[], |sandbox| {
        let mut fs = sandbox.faultfs("mount");
        assert_eq!(fs.tell("READ hold"), "ok");
        let reader = call(sandbox, "read", &fs.join("file"));
        wait_until_blocked(&reader);
        assert_eq!(outcome(sandbox, "stat", &fs.join("file")), "ok 1");
        assert_eq!(fs.tell("count READ"), "1");
        assert_eq!(fs.tell("release"), "1");
        assert_eq!(reader.output_within(SOON), "ok 1\n");
    });
}

#[test]
fn one_dropped_lookup_reply_is_lost_for_good_and_only_that_one() {
    host_test(&[], |sandbox| {
        let mut fs = sandbox.faultfs("mount");
        fs.tell("LOOKUP drop 1");
        let unlucky = call(sandbox, "stat", &fs.join("file1"));
        wait_until_blocked(&unlucky);
        assert_eq!(outcome(sandbox, "stat", &fs.join("file2")), "ok 1");
        assert_eq!(fs.tell("release"), "0");
        assert_eq!(unlucky.exited_within(Duration::ZERO), None);
        assert_eq!(fs.waiting(), 1);
    });
}

#[test]
fn a_refused_operation_gets_its_errno_and_the_others_do_not() {
    host_test(&[], |sandbox| {
        let mut fs = sandbox.faultfs("mount");
        fs.tell(&format!("READ fail {}", libc::EIO));
        assert_eq!(
            outcome(sandbox, "read", &fs.join("file")),
            format!("{} 1", libc::EIO)
        );
        assert_eq!(outcome(sandbox, "stat", &fs.join("file")), "ok 1");
        fs.tell("READ answer");
        assert_eq!(outcome(sandbox, "read", &fs.join("file")), "ok 1");
    });
}

#[test]
fn a_delayed_operation_takes_at_least_its_delay_and_does_not_delay_its_neighbour() {
    host_test(&[], |sandbox| {
        let mut fs = sandbox.faultfs("mount");
        fs.tell("READ delay 700");
        let started = now();
        let readers = [(); 3].map(|()| call(sandbox, "read", &fs.join("file")));
        for reader in &readers {
            assert_eq!(reader.output_within(SOON), "ok 1\n");
        }
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(700), "{took:?}");
        assert!(
            took < patience(Duration::from_millis(2100)),
            "one after the other: {took:?}"
        );
    });
}

#[test]
fn a_lock_that_is_not_granted_waits_in_setlkw() {
    host_test(&[], |sandbox| {
        let mut fs = sandbox.faultfs("mount");
        fs.tell("SETLKW hold");
        let locker = call(sandbox, "lock", &fs.join("file"));
        within(SOON, "the request arrives", || {
            (fs.tell("count SETLKW") == "1").then_some(())
        });
        wait_until_blocked(&locker);
        assert_eq!(outcome(sandbox, "stat", &fs.join("file")), "ok 1");
        fs.tell("release");
        assert_eq!(locker.output_within(SOON), "ok 1\n");
    });
}

#[test]
fn a_server_told_to_exit_leaves_a_dead_mount_behind() {
    host_test(&[], |sandbox| {
        let mut fs = sandbox.faultfs("mount");
        fs.tell("READ hold");
        let reader = call(sandbox, "read", &fs.join("file"));
        wait_until_blocked(&reader);
        fs.crash();
        assert_eq!(
            reader.output_within(SOON),
            format!("{} 1\n", libc::ECONNABORTED)
        );
        let after = outcome(sandbox, "stat", &fs.join("file"));
        assert_eq!(after, format!("{} 1", libc::ENOTCONN));
        assert_eq!(device_of(&fs.path).as_ref(), Some(&fs.dev));
    });
}

#[test]
fn a_stopped_server_leaves_its_callers_waiting_until_it_is_aborted() {
    host_test(&[], |sandbox| {
        let fs = sandbox.faultfs("mount");
        fs.server.stop();
        let victim = sandbox.victim(&[
            OsStr::new("stat"),
            fs.path.as_os_str(),
            OsStr::new("--threads=20"),
        ]);
        // The kernel counts a request before it is queued, and refuses one that comes later.
        within(SOON, "twenty requests are waited for", || {
            let threads = threads(victim.pid()).into_iter();
            let waiting =
                threads.filter(|&tid| waits_in(tid).as_deref() == Some("request_wait_answer"));
            (waiting.count() == 20).then_some(())
        });
        assert_eq!(fs.waiting(), 20);
        fs.abort();
        assert_eq!(
            victim.output_within(SOON),
            format!("{} 20\n", libc::ECONNABORTED)
        );
    });
}

#[test]
fn root_is_refused_by_a_mount_that_belongs_to_somebody_else() {
    host_test(&[], |sandbox| {
        let fs = sandbox.faultfs_with("mount", &["--owner=65534"]);
        let refused = outcome(sandbox, "stat", &fs.join("file"));
        assert_eq!(refused, format!("{} 1", libc::EACCES));
    });
}

#[test]
fn a_second_lookup_in_sshfs_waits_behind_the_first_one_s_directory_lock() {
    host_test(&[Need::Sshfs], |sandbox| {
        let fs = sandbox.sshfs("mount", &[]);
        fs.stop_backend();
        let first = call(sandbox, "stat", &fs.join("nothing1"));
        wait_until_blocked(&first);
        let second = call(sandbox, "stat", &fs.join("nothing2"));
        wait_until_in(&second, "fuse_lock_inode");
        assert_eq!(fs.waiting(), 1);
        fs.signal_backend(Signal::SIGCONT);
        for victim in [first, second] {
            assert_eq!(victim.output_within(SOON), format!("{} 1\n", libc::ENOENT));
        }
    });
}

#[test]
fn sshfs_unmounts_itself_when_its_sftp_server_is_killed() {
    host_test(&[Need::Sshfs], |sandbox| {
        let fs = sandbox.sshfs("mount", &[]);
        fs.stop_backend();
        let victim = call(sandbox, "list", &fs.path);
        wait_until_blocked(&victim);
        fs.signal_backend(Signal::SIGKILL);
        // It may end before it answers.
        let outcome = victim.output_within(SOON);
        assert!(
            [libc::EIO, libc::ECONNABORTED, libc::ENOTCONN]
                .map(|errno| format!("{errno} 1\n"))
                .contains(&outcome),
            "{outcome}"
        );
        within(SOON, "the mount is gone", || {
            device_of(&fs.path).is_none().then_some(())
        });
    });
}

#[test]
fn sshfs_told_to_reconnect_answers_eio_while_it_cannot() {
    host_test(&[Need::Sshfs], |sandbox| {
        let fs = sandbox.sshfs("mount", &["-oreconnect"]);
        std::fs::remove_file(sandbox.path("mount.ssh")).expect("remove the script");
        fs.signal_backend(Signal::SIGKILL);
        within(SOON, "calls fail", || {
            (outcome(sandbox, "stat", &fs.join("nothing")) == format!("{} 1", libc::EIO))
                .then_some(())
        });
        assert_eq!(
            outcome(sandbox, "stat", &fs.join("nothing")),
            format!("{} 1", libc::EIO)
        );
        assert_eq!(device_of(&fs.path).as_ref(), Some(&fs.dev));
    });
}
