//! The incident this project exists for, played again: jobs on sshfs mounts of their own, some of whose
//! servers die while the base mount is fine; a worker that tries the same job many times a second, a
//! metrics script that meets the same error, and a file that was being written.

use std::{collections::BTreeSet, path::Path, process::Stdio, time::Duration};

use mount_observer_tests::{
    FuseMount, Need, Observer, Process, Sandbox, host_test,
    mounts::device_of,
    needs::say,
    observer::Transition,
    wait::{now, poll},
};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal::Signal,
};
use serde_json::Value;

use crate::{SOON, wait_until_all_ok};

/// Tries a path over and over, as a worker does that takes a storage failure for one of the job.
fn retry(sandbox: &Sandbox, path: &Path) -> Process {
    let script = format!(
        "while :; do stat {0} >/dev/null 2>&1; sleep 0.02; done",
        path.display()
    );
    sandbox.spawn("/bin/sh", |command| {
        command.args(["-c", &script]).stdout(Stdio::null());
    })
}

fn transitions(observer: &Observer, mount: &FuseMount) -> Vec<Transition> {
    let mut told = observer.transitions();
    told.retain(|told| told.text("superblock").split('#').next() == Some(&mount.dev));
    told
}

/// The incidents the journal has of a mount.
fn incidents(observer: &Observer, mount: &FuseMount) -> Vec<Value> {
    let all = observer.api("/api/v1/incidents");
    let of_mount = |incident: &&Value| incident["mount_point"] == mount.path.display().to_string();
    let listed = all["incidents"].as_array().expect("a list").iter();
    let ids = listed
        .filter(of_mount)
        .map(|incident| incident["id"].as_str().expect("an id"));
    ids.map(|id| observer.api(&format!("/api/v1/incidents/{id}")))
        .collect()
}

/// The stale mounts may be repaired, in this order; but it is a dry run.
fn config<'a>(sandbox: &Sandbox, stale: impl Iterator<Item = &'a FuseMount>) -> String {
    let mut config = format!(
        "[storage]\npath = '{}'\n[recovery]\nconfirm_every = '100ms'\nmin_age = '0s'\n",
        sandbox.directory("storage").display()
    );
    let recover = |mount: &FuseMount| {
        let lines = [
            "[[recover]]",
            &format!("mount_point = '{}'", mount.path.display()),
            "kinds = ['dead']",
            "steps = ['lazy-unmount', 'run /usr/bin/systemctl restart tiering.service', 'verify']",
        ];
        lines.join("\n") + "\n"
    };
    config.extend(stale.map(recover));
    config
}

/// Kills the servers one after the other; each is told at once.
fn kill<'a>(observer: &Observer, stale: impl Iterator<Item = &'a FuseMount>) {
    let mut worst = Duration::ZERO;
    for mount in stale {
        let killed = now();
        mount.server.signal(Signal::SIGKILL);
        let fired = observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        worst = worst.max(fired.at.saturating_duration_since(killed));
    }
    say(&format!(
        "FIGURE: sshfs killed under load: told after {worst:?} at worst"
    ));
}

/// They go on trying for a while: a storm is no second alert.
fn expect_one_alert_each(observer: &Observer, stale: &[&FuseMount]) {
    let has_stormed = |mount: &&FuseMount| {
        let seen = observer.superblock(&mount.dev);
        seen.is_some_and(|seen| seen.failed_calls("ENOTCONN") > 50)
    };
    let stormed = poll(SOON, || stale.iter().all(has_stormed).then_some(()));
    assert!(
        stormed.is_some(),
        "no storm of ENOTCONN\n{}",
        observer.log_text()
    );
    for mount in stale {
        let told = transitions(observer, mount);
        let told = told
            .iter()
            .map(|told| (told.text("state"), told.text("change")));
        let told: Vec<_> = told.collect();
        assert_eq!(told, [("dead", "firing")], "{}", observer.log_text());
    }
}

/// What would be done, in the order of the configuration; nothing is.
fn expect_dry_runs(observer: &Observer, stale: &[&FuseMount]) {
    let said = poll(SOON, || {
        let mut said = observer.log_lines();
        said.retain(|line| line.contains("dry_run"));
        (said.len() == stale.len()).then_some(said)
    });
    assert!(said.is_some(), "no dry runs\n{}", observer.log_text());
    let said = said.expect("looked at just now");
    for (mount, line) in stale.iter().zip(&said) {
        assert!(
            line.contains(&mount.path.display().to_string()),
            "{said:#?}"
        );
        assert_eq!(device_of(&mount.path).as_ref(), Some(&mount.dev));
    }
}

#[test]
fn the_stale_job_directories() {
    host_test(&[Need::Sshfs], |sandbox| {
        let base = sandbox.sshfs("base", &[]);
        let jobs = ["job-6", "job-7", "job-8"].map(|name| sandbox.sshfs(name, &[]));
        let [fine, stale @ ..] = &jobs;
        let config = config(sandbox, stale.iter().map(AsRef::as_ref));
        let observer = Observer::start(sandbox, &config);
        wait_until_all_ok(
            &observer,
            [&base.mount]
                .into_iter()
                .chain(jobs.iter().map(AsRef::as_ref)),
        );

        for job in stale {
            observer.wait_for(&job.mount.dev, SOON, "known to be served", |seen| {
                seen.server_status() == "running"
            });
        }

        // Everybody is at work: a crawler writes, a worker and a script look.
        let warc = stale[0].mount.join("crawl.warc.gz");
        let crawler = sandbox.prepared("write", &warc, &[]);
        let worker = retry(sandbox, &stale[0].mount.join("file"));
        let script = retry(sandbox, &stale[1].mount.join("file"));

        let stale = stale.each_ref().map(AsRef::as_ref);
        kill(&observer, stale.into_iter());
        expect_one_alert_each(&observer, &stale);
        for healthy in [&base.mount, &fine.mount] {
            let told = transitions(&observer, healthy);
            assert!(told.is_empty(), "{}", observer.log_text());
        }
        expect_dry_runs(&observer, &stale);

        // A person repairs it.
        for (mount, user) in stale.iter().zip([&worker, &script]) {
            user.signal(Signal::SIGKILL);
            umount2(&mount.path, MntFlags::MNT_DETACH).expect("unmount");
            let ended = observer.wait_for_transition(&mount.dev, "dead", "resolved", SOON);
            assert_eq!(ended.resolution(), "gone, unmounted");
            assert!(
                ended.fields["age_seconds"].as_f64() > Some(0.0),
                "{}",
                ended.fields
            );
            assert!(
                ended.text("message").contains(" after "),
                "{}",
                ended.fields
            );
        }
        expect_incidents(&observer, &stale, crawler.process.pid());
        assert!(incidents(&observer, &base.mount).is_empty());
        drop(crawler);
    });
}

/// One of each, with who met it, what is at risk and how it ended.
fn expect_incidents(observer: &Observer, stale: &[&FuseMount], writer: u32) {
    for (index, mount) in stale.iter().enumerate() {
        let ended = poll(SOON, || {
            let found = incidents(observer, mount);
            let [incident] = found.as_slice() else {
                return None;
            };
            (!incident["ended"].is_null()).then(|| incident.clone())
        });
        let incident = ended.expect("one incident, which ends");
        assert_eq!(incident["kind"], "dead", "{incident:#}");
        assert_eq!(incident["ended"]["why"], "unmounted", "{incident:#}");
        assert!(incident["detection_delay_ns"].is_u64(), "{incident:#}");
        assert_eq!(
            incident["recovery"][0]["outcome"], "dry_run",
            "{incident:#}"
        );
        let victims = incident["victims"].as_array().expect("a list");
        let names: BTreeSet<_> = victims
            .iter()
            .filter_map(|victim| victim["comm"].as_str())
            .collect();
        assert!(names.contains("stat"), "{incident:#}");
        let server = &incident["servers"][0];
        assert_eq!(
            (&server["comm"], &server["exit"]),
            (&Value::from("sshfs"), &Value::from("SIGKILL"))
        );
        let at_risk = incident["at_risk"]["entries"].as_array().expect("a list");
        let is_warc = |entry: &&Value| {
            let path = entry["path"].as_str().unwrap_or_default();
            path.ends_with("/crawl.warc.gz") && entry["why"] == "open_for_writing"
        };
        let warc: Vec<_> = at_risk.iter().filter(is_warc).collect();
        let expected: &[u32] = if index == 0 { &[writer] } else { &[] };
        let pids: Vec<_> = warc.iter().map(|entry| entry["pid"].clone()).collect();
        assert_eq!(Value::from(pids), Value::from(expected), "{incident:#}");
    }
}
