//! The observer touches nothing, hangs on nothing, and leaves nothing behind.

use std::{collections::BTreeSet, fs, path::Path, process::Command, time::Duration};

use mount_observer_tests::{
    FuseMount, Need, Observer, Sandbox, host_test,
    needs::program,
    observer::Options,
    process::signal,
    trace::judge,
    wait::{now, within},
};
use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};
use serde_json::Value;

use crate::{FAST, SOON, call, outcome, wait_until_all_ok, wait_until_blocked, wait_until_ok};

#[test]
fn the_observer_never_names_a_path_on_an_observed_mount_whatever_happens_to_it() {
    host_test(&[Need::Bindfs, Need::Sshfs, Need::Strace], |sandbox| {
        let killed = sandbox.bindfs("killed", &[]);
        let stopped = sandbox.bindfs("stopped", &[]);
        let backend = sandbox.sshfs("backend", &[]);
        let mut failing = sandbox.faultfs("failing");
        let aborted = sandbox.faultfs("aborted");
        let mounts = [
            &killed,
            &stopped,
            &backend.mount,
            &failing.mount,
            &aborted.mount,
        ]
        .map(FuseMount::clone);

        let trace = sandbox.path("trace");
        let strace = program("strace").expect("strace was needed");
        let observer = Observer::start_with(
            sandbox,
            &Options {
                config: FAST.to_owned(),
                wrapper: [&strace.display().to_string(), "-f", "-qq", "-y", "-s4096"]
                    .into_iter()
                    .chain(["-e", "trace=%file", "-o", &trace.display().to_string()])
                    .map(str::to_owned)
                    .collect(),
                ..Options::default()
            },
        );
        wait_until_all_ok(&observer, &mounts);

        killed.server.signal(Signal::SIGKILL);
        outcome(sandbox, "stat", &killed.join("file"), &["--repeat=100"]);
        stopped.server.stop();
        let waiting = call(sandbox, "stat", &stopped.join("file"), &[]);
        backend.stop_backend();
        let waiting_too = call(sandbox, "stat", &backend.join("nothing"), &["--threads=3"]);
        failing.tell(&format!("READ fail {}", libc::EIO));
        outcome(sandbox, "read", &failing.join("file"), &["--repeat=100"]);
        aborted.abort();
        wait_until_blocked(&waiting);
        wait_until_blocked(&waiting_too);
        for (mount, state) in mounts
            .iter()
            .zip(["dead", "hung", "hung", "erroring", "dead"])
        {
            observer.wait_for_state(&mount.dev, state, SOON * 2);
        }
        umount2(&killed.path, MntFlags::MNT_DETACH).expect("umount -l");
        umount2(&stopped.path, MntFlags::MNT_DETACH).expect("umount -l");
        observer.wait_for_transition(&stopped.dev, "hung", "resolved", SOON);
        assert_eq!(
            observer.counter("mount_observer_self_touches_total"),
            Some(0)
        );
        let missed = "mount_observer_events_dropped_total{reason=\"lost_probe_runs\"}";
        let missed = observer.counter(missed).expect("it counts them");
        println!("FIGURE: runs missed that could have counted a touch: {missed}");
        // Not the tracer: that would let go of it.
        let daemon = observer.daemon_pid();
        signal(daemon, Signal::SIGTERM);
        assert!(
            observer.process.exited_within(SOON).is_some(),
            "{}",
            observer.log_text()
        );

        let paths: Vec<_> = mounts.iter().map(|mount| mount.path.as_path()).collect();
        let trace = fs::read(&trace).expect("strace wrote it");
        let report = judge(&String::from_utf8_lossy(&trace), daemon, &paths);
        assert_eq!(report.violations, Vec::<String>::new());
        // It opened mountinfo, its configuration, /proc/PID/ns/mnt, ...
        assert!(report.calls > 20, "strace saw hardly anything: {report:?}");
        expect_the_judge_to_see(sandbox, &strace, &backend.mount);
    });
}

/// The count of self touches can rise, even where no request is ever made: the configuration it is told
/// to read again lies on a dead mount.
#[test]
fn a_touch_of_a_dead_mount_by_the_observer_itself_is_counted() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        // What keeps it from the mount is not what this is about.
        let config = format!("{FAST}\n[confine]\nmounts = \"off\"\nlandlock = \"off\"");
        let observer = Observer::start(sandbox, &config);
        wait_until_ok(&observer, &mount.dev);
        bind(&mount.join("file"), &observer.config);
        mount.crash();
        observer.wait_for_state(&mount.dev, "dead", SOON);
        let touches = || observer.counter("mount_observer_self_touches_total");
        assert_eq!(touches(), Some(0));
        within(SOON, "the touch is counted", || {
            observer.process.signal(Signal::SIGHUP);
            touches().filter(|&touches| touches > 0)
        });
        umount2(&observer.config, MntFlags::MNT_DETACH).expect("umount -l");
    });
}

/// `mount --bind`.
fn bind(from: &Path, to: &Path) {
    let nothing = None::<&str>;
    mount(Some(from), to, nothing, MsFlags::MS_BIND, nothing).expect("mount --bind");
}

/// The same tracer and the same judge find a process that does touch a mount: the check can fail.
fn expect_the_judge_to_see(sandbox: &Sandbox, strace: &Path, mount: &FuseMount) {
    let trace = sandbox.path("control");
    let status = Command::new(strace)
        .args(["-f", "-qq", "-y", "-e", "trace=%file", "-o"])
        .arg(&trace)
        // The root of a mount whose server is asked for nothing: `readlink` fails without a request.
        .args(["readlink", &mount.path.display().to_string()])
        .status()
        .expect("strace runs");
    assert_eq!(status.code(), Some(1), "a directory is no link");
    let trace = fs::read_to_string(&trace).expect("strace wrote it");
    assert!(
        !judge(&trace, 0, &[&mount.path]).violations.is_empty(),
        "{trace}"
    );
}

#[test]
fn the_observer_ends_within_a_second_while_twenty_mounts_hang() {
    host_test(&[], |sandbox| {
        let mut mounts: Vec<_> = (0..20)
            .map(|i| sandbox.faultfs(format!("mount{i}")))
            .collect();
        let observer = Observer::start(sandbox, FAST);
        for mount in &mut mounts {
            mount.tell("* hold");
            wait_until_blocked(&call(sandbox, "stat", &mount.path, &[]));
        }
        for mount in &mounts {
            observer.wait_for_state(&mount.dev, "hung", SOON);
        }
        let told = now();
        observer.process.signal(Signal::SIGTERM);
        let status = observer.process.exited_within(Duration::from_secs(1));
        let status = status.unwrap_or_else(|| panic!("still there: {}", observer.log_text()));
        assert!(status.success(), "{status}: {}", observer.log_text());
        mount_observer_tests::needs::say(&format!(
            "FIGURE: SIGTERM while 20 mounts hang: gone after {:?}",
            told.elapsed()
        ));
    });
}

#[test]
fn a_killed_observer_leaves_no_program_map_or_link_in_the_kernel() {
    host_test(&[Need::Bpftool], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        let ours: Vec<_> = ["prog", "map", "link"]
            .map(|kind| (kind, ids_held_by(observer.process.pid(), kind)))
            .into_iter()
            .collect();
        for (kind, ids) in &ours {
            assert!(!ids.is_empty(), "the observer holds no {kind}");
            let listed = ids_in_kernel(kind);
            assert!(
                ids.is_subset(&listed),
                "{kind}: {ids:?} not all in {listed:?}"
            );
        }
        observer.process.signal(Signal::SIGKILL);
        assert!(observer.process.exited_within(SOON).is_some());
        for (kind, ids) in &ours {
            // Programs and maps are freed after a grace period.
            within(SOON, &format!("every {kind} is gone"), || {
                ids.is_disjoint(&ids_in_kernel(kind)).then_some(())
            });
        }
    });
}

/// Ids of the BPF objects of one kind a process holds descriptors of (`/proc/PID/fdinfo`).
#[expect(clippy::disallowed_methods, reason = "the directory is in /proc")]
pub(crate) fn ids_held_by(pid: u32, kind: &str) -> BTreeSet<u64> {
    let key = format!("{kind}_id:");
    fs::read_dir(format!("/proc/{pid}/fdinfo"))
        .expect("fdinfo")
        .filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok())
        // A link's entry names its program too, which it keeps alive.
        .flat_map(|text| {
            text.lines()
                .filter_map(|line| line.strip_prefix(&key)?.trim().parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

/// Ids of every BPF object of one kind there is.
pub(crate) fn ids_in_kernel(kind: &str) -> BTreeSet<u64> {
    let bpftool = program("bpftool").expect("bpftool was needed");
    let output = Command::new(bpftool)
        .args(["--json", kind, "list"])
        .output()
        .expect("bpftool");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let list: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter()
        .filter_map(|object| object["id"].as_u64())
        .collect()
}
