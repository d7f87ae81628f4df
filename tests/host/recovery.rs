//! A recovery repairs what died, in the order of the configuration, within its policy; or says what it
//! would do.

use std::{fs, path::Path};

use mount_observer_tests::{
    FuseMount, Need, Observer, Sandbox, host_test, mounts::device_of, needs::program,
    observer::device_of_id, wait::poll,
};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};

use crate::{SOON, wait_until_all_ok};

/// Everything at once: the policy itself is tested where time can be chosen.
fn policy(sandbox: &Sandbox, dry_run: bool) -> String {
    format!(
        "[storage]\npath = '{}'\n[recovery]\ndry_run = {dry_run}\nenabled_by = '{}'\nconfirm_every = \"100ms\"\n\
         min_age = \"0s\"\nstep_timeout = \"20s\"\n",
        sandbox.directory("storage").display(),
        sandbox.path("enabled").display(),
    )
}

fn recover(mount: &FuseMount, run: &str) -> String {
    format!(
        "[[recover]]\nmount_point = '{}'\nkinds = [\"dead\"]\n\
         steps = [\"abort-connection\", \"lazy-unmount\", \"run {run}\", \"verify\"]\n",
        mount.path.display()
    )
}

/// The runs of recoveries so far, by outcome.
fn runs(observer: &Observer, path: &Path, outcome: &str) -> u64 {
    let path = path.display();
    let series =
        format!("mount_observer_recovery_runs_total{{mount=\"{path}\",outcome=\"{outcome}\"}}");
    observer.counter(&series).unwrap_or(0)
}

fn expect_runs(observer: &Observer, path: &Path, outcome: &str) {
    let found = poll(SOON, || (runs(observer, path, outcome) == 1).then_some(()));
    assert!(
        found.is_some(),
        "no recovery {outcome}\n{}",
        observer.log_text()
    );
}

#[test]
fn a_dead_mount_is_detached_mounted_again_and_verified() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mount = sandbox.bindfs("mount", &[]);
        let bindfs = program("bindfs").expect("bindfs was needed");
        let source = sandbox.path("mount.source");
        let run = format!(
            "{} {} {}",
            bindfs.display(),
            source.display(),
            mount.path.display()
        );
        let config = policy(sandbox, false) + &recover(&mount, &run);
        fs::write(sandbox.path("enabled"), "").expect("allow it");
        let observer = Observer::start(sandbox, &config);
        wait_until_all_ok(&observer, [&mount]);
        mount.server.signal(Signal::SIGKILL);
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        expect_runs(&observer, &mount.path, "ok");
        let dev = device_of(&mount.path).expect("it is mounted again");
        observer.wait_for_state(&dev, "ok", SOON);
        let ended = poll(SOON, || {
            let mut told = observer.transitions().into_iter();
            told.find(|told| {
                let dev = device_of_id(Some(told.text("superblock")));
                dev == Some(mount.dev.as_str()) && told.text("change") == "resolved"
            })
        });
        let ended = ended.expect("the alert ends").resolution().to_owned();
        assert!(
            ["gone, unmounted", "replaced by another mount"].contains(&ended.as_str()),
            "{ended}"
        );
        // The new server lives in this namespace and holds it.
        umount2(&mount.path, MntFlags::MNT_DETACH).expect("unmount");
    });
}

#[test]
fn a_recovery_that_fails_alerts_and_is_not_tried_again_at_once() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mount = sandbox.bindfs("mount", &[]);
        let config = policy(sandbox, false) + &recover(&mount, "/bin/false");
        fs::write(sandbox.path("enabled"), "").expect("allow it");
        let observer = Observer::start(sandbox, &config);
        wait_until_all_ok(&observer, [&mount]);
        mount.server.signal(Signal::SIGKILL);
        let alert = observer.wait_for_transition(&mount.dev, "recovery", "firing", SOON);
        assert!(alert.text("reason").contains("exit 1"), "{}", alert.fields);
        assert_eq!(alert.text("severity"), "critical");
        expect_runs(&observer, &mount.path, "failed");
    });
}

#[test]
fn a_dry_run_says_what_it_would_do_in_order_and_does_nothing() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mounts = ["b", "a"].map(|name| sandbox.bindfs(name, &[]));
        let steps: String = mounts
            .iter()
            .map(|mount| recover(mount, "/bin/false"))
            .collect();
        // Allowed, but a dry run; and no dry run, but not allowed.
        for (dry_run, is_allowed) in [(true, true), (false, false)] {
            fs::remove_file(sandbox.path("enabled")).ok();
            if is_allowed {
                fs::write(sandbox.path("enabled"), "").expect("allow it");
            }
            let observer = Observer::start(sandbox, &(policy(sandbox, dry_run) + &steps));
            for mount in &mounts {
                mount.server.signal(Signal::SIGKILL);
            }
            for mount in &mounts {
                expect_runs(&observer, &mount.path, "dry_run");
                assert_eq!(device_of(&mount.path).as_deref(), Some(mount.dev.as_str()));
            }
            let lines = observer.log_lines();
            let said: Vec<_> = lines
                .iter()
                .filter(|line| line.contains("dry_run"))
                .collect();
            let order: Vec<_> = mounts
                .iter()
                .map(|mount| {
                    let path = format!("{:?}", mount.path);
                    said.iter().position(|line| line.contains(&path))
                })
                .collect();
            assert!(order.is_sorted() && !order.contains(&None), "{said:#?}");
            drop(observer);
        }
    });
}
