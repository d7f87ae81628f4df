//! Which file system is which: names of any bytes, mounts over mounts, numbers used again.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, process::Stdio, time::Duration};

use mount_observer_tests::{
    Observer, host_test,
    mounts::{device_in_namespace_of, device_of},
    needs::program,
    observer::Superblock,
    wait::within,
};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};

use crate::{SOON, call, outcome, wait_until_blocked, wait_until_ok};

/// Attempts to be given the number just freed: another test may take it first.
const REUSE_ATTEMPTS: usize = 20;

#[test]
fn a_number_used_again_at_once_belongs_to_a_new_superblock_that_is_ok() {
    host_test(&[], |sandbox| {
        let observer = Observer::start(sandbox, "");
        for attempt in 0..REUSE_ATTEMPTS {
            let mut old = sandbox.faultfs(format!("old{attempt}"));
            wait_until_ok(&observer, &old.dev);
            let old_id = observer
                .superblock(&old.dev)
                .expect("there")
                .text("id")
                .to_owned();
            old.crash();
            observer.wait_for_transition(&old_id, "dead", "firing", SOON);
            // Stopped, the observer misses the moment in between, as a busy one may.
            observer.process.stop();
            umount2(&old.path, MntFlags::MNT_DETACH).expect("umount -l");
            let new = sandbox.faultfs(format!("new{attempt}"));
            observer.process.resume();
            if new.dev != old.dev {
                continue;
            }
            let ended = observer.wait_for_transition(&old_id, "dead", "resolved", SOON);
            assert!(
                ended.resolution().starts_with("replaced"),
                "{}",
                ended.fields
            );
            let is_new = |seen: &Superblock| seen.state() == "ok" && seen.text("id") != old_id;
            // The connection may be known to be another before the mount table that names its place is
            // read: within a moment, both are.
            let place = new.path.display().to_string();
            observer.wait_for(&new.dev, SOON, "a new superblock that is ok", |seen| {
                is_new(seen) && seen.text("mountpoint") == place
            });
            assert_eq!(outcome(sandbox, "stat", &new.join("file"), &[]), "ok 1");
            observer.stays(&new.dev, Duration::from_secs(3), "ok", is_new);
            return;
        }
        panic!("the kernel gave no number twice in {REUSE_ATTEMPTS} attempts");
    });
}

/// A stopped server keeps the descriptor of a mount that is gone, and with it a connection under a
/// number that now belongs to another.
#[test]
fn what_is_left_of_an_earlier_mount_of_the_same_number_does_not_disturb() {
    host_test(&[], |sandbox| {
        for attempt in 0..REUSE_ATTEMPTS {
            let old = sandbox.faultfs(format!("old{attempt}"));
            old.server.stop();
            umount2(&old.path, MntFlags::MNT_DETACH).expect("umount -l");
            let new = sandbox.faultfs(format!("new{attempt}"));
            if new.dev != old.dev {
                continue;
            }
            let observer = Observer::start(sandbox, "");
            wait_until_ok(&observer, &new.dev);
            new.server.signal(Signal::SIGKILL);
            observer.wait_for_transition(&new.dev, "dead", "firing", SOON);
            let seen = observer.wait_for(&new.dev, SOON, "dead, its server known", |seen| {
                seen.state() == "dead" && seen.server_status() == "gone"
            });
            let server = &seen.0["fuse"]["servers"][0];
            assert_eq!(server["pid"], new.server.pid(), "{:#}", seen.0);
            assert_eq!(server["exit"], "SIGKILL", "{:#}", seen.0);
            // A mount that hangs makes the observer look at all holders again and again.
            let hung = sandbox.faultfs("hung");
            hung.server.stop();
            wait_until_blocked(&call(sandbox, "stat", &hung.path, &[]));
            observer.stays(
                &new.dev,
                Duration::from_secs(4),
                "the same and dead",
                |seen| seen.state() == "dead" && seen.text("id") == new.dev,
            );
            return;
        }
        panic!("the kernel gave no number twice in {REUSE_ATTEMPTS} attempts");
    });
}

#[test]
fn a_mount_point_of_any_bytes_is_shown_as_what_it_is() {
    host_test(&[], |sandbox| {
        let names: [&[u8]; 4] = [
            b"with space",
            b"with\nnewline",
            b"not\xffutf8",
            b"back\\slash",
        ];
        let mounts = names.map(|name| sandbox.faultfs(OsStr::from_bytes(name)));
        let observer = Observer::start(sandbox, "");
        for (mount, escaped_end) in mounts.iter().zip([
            "/with space",
            r"/with\x0anewline",
            r"/not\xffutf8",
            r"/back\\slash",
        ]) {
            let seen = observer.wait_for_state(&mount.dev, "ok", SOON);
            let shown = &seen.list("mounts")[0];
            assert_eq!(shown["mount_point"], mount.path.to_string_lossy().as_ref());
            let escaped = shown["mount_point_escaped"].as_str().expect("text");
            assert!(escaped.ends_with(escaped_end), "{escaped}");
        }
        for mount in &mounts {
            mount.server.signal(Signal::SIGKILL);
            observer.wait_for_state(&mount.dev, "dead", SOON);
        }
        // What a mount point is called must not break the text format, line by line.
        for line in observer.metrics().lines() {
            assert!(
                line.starts_with('#')
                    || line.starts_with("mount_observer_")
                    || line.starts_with("process_"),
                "{line:?}"
            );
        }
    });
}

#[test]
fn stacked_mounts_are_both_shown_and_the_lower_one_can_die_alone() {
    host_test(&[], |sandbox| {
        let lower = sandbox.faultfs("stacked");
        let upper = sandbox.faultfs("stacked");
        assert_ne!(lower.dev, upper.dev);
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &upper.dev);
        let seen = observer.wait_for_state(&lower.dev, "ok", SOON);
        assert_eq!(seen.list("mounts")[0]["is_covered"], true, "{:#}", seen.0);
        lower.server.signal(Signal::SIGKILL);
        observer.wait_for_state(&lower.dev, "dead", SOON);
        // What is said about that path is about the upper one.
        assert_eq!(
            outcome(sandbox, "stat", &upper.join("file"), &["--repeat=10"]),
            "ok 10"
        );
        let upper_seen = observer.superblock(&upper.dev).expect("there");
        assert_eq!(upper_seen.state(), "ok", "{:#}", upper_seen.0);
        assert_eq!(
            upper_seen.list("mounts")[0]["is_covered"],
            false,
            "{:#}",
            upper_seen.0
        );
    });
}

#[test]
fn a_bind_mount_is_another_label_of_the_same_superblock() {
    host_test(&[], |sandbox| {
        let original = sandbox.faultfs("original");
        let bind = sandbox.directory("bind");
        let nothing: Option<&str> = None;
        mount(
            Some(&original.join("directory")),
            &bind,
            nothing,
            MsFlags::MS_BIND,
            nothing,
        )
        .expect("mount --bind");
        assert_eq!(device_of(&bind).as_ref(), Some(&original.dev));
        let observer = Observer::start(sandbox, "");
        let seen = observer.wait_for_state(&original.dev, "ok", SOON);
        let mut shown: Vec<_> = seen
            .list("mounts")
            .iter()
            .map(|mount| {
                (
                    mount["mount_point"].as_str().unwrap_or(""),
                    mount["root"].as_str().unwrap_or(""),
                )
            })
            .collect();
        shown.sort_unstable();
        let (bind_text, original_text) = (
            bind.display().to_string(),
            original.path.display().to_string(),
        );
        assert_eq!(
            shown,
            [
                (bind_text.as_str(), "/directory"),
                (original_text.as_str(), "/")
            ]
        );
        original.server.signal(Signal::SIGKILL);
        observer.wait_for_state(&original.dev, "dead", SOON);
        // The superblock lives while one of its mounts does.
        umount2(&original.path, MntFlags::MNT_DETACH).expect("umount -l");
        observer.wait_for(&original.dev, SOON, "dead under its other name", |seen| {
            seen.state() == "dead" && seen.text("mountpoint") == bind_text
        });
        umount2(&bind, MntFlags::MNT_DETACH).expect("umount -l");
        let ended = observer.wait_for_transition(&original.dev, "dead", "resolved", SOON);
        assert_eq!(ended.resolution(), "gone, unmounted");
    });
}

#[test]
fn a_mount_in_another_namespace_is_seen_and_named_by_its_path_there() {
    host_test(&[], |sandbox| {
        let ours = sandbox.faultfs("shared-path");
        let holder = sandbox.spawn(program("unshare").expect("util-linux"), |command| {
            command.args(["--mount", "--propagation=private", "sleep", "600"]);
        });
        let namespace = format!("/proc/{}/ns/mnt", holder.pid());
        let own_namespace = std::fs::read_link("/proc/thread-self/ns/mnt").expect("a link");
        within(SOON, "the other namespace", || {
            std::fs::read_link(&namespace)
                .ok()
                .filter(|link| *link != own_namespace)
        });
        // Mounted over the copy of our own mount: the same path, another superblock.
        let theirs = sandbox.spawn(program("nsenter").expect("util-linux"), |command| {
            command
                .arg(format!("--mount={namespace}"))
                .arg(mount_observer_tests::sandbox::beside_us("faultfs"))
                .arg(&ours.path)
                .stdin(Stdio::piped());
        });
        let their_dev = within(SOON, "the mount in the other namespace", || {
            device_in_namespace_of(holder.pid(), &ours.path).filter(|dev| *dev != ours.dev)
        });
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &ours.dev);
        let seen = observer.wait_for_state(&their_dev, "ok", SOON);
        let shown = &seen.list("mounts")[0];
        assert_eq!(shown["is_own_namespace"], false, "{:#}", seen.0);
        assert_eq!(shown["mount_point"], ours.path.display().to_string());
        theirs.signal(Signal::SIGKILL);
        observer.wait_for_state(&their_dev, "dead", SOON);
        assert_eq!(observer.superblock(&ours.dev).expect("there").state(), "ok");
    });
}
