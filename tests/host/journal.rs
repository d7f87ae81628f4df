//! What happened is known afterwards: to whom, how long and why it ended; whatever becomes of the daemon
//! and of its disk meanwhile.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use mount_observer_tests::{
    FuseMount, Observer, Sandbox, host_test,
    needs::say,
    observer::{Options, binary},
    wait::{poll, wall, within},
};
use nix::{
    libc,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::signal::Signal,
};
use serde_json::Value;

use crate::{
    SOON, call,
    command_line::{Outcome, observer_words, run},
    outcome, wait_until_ok,
};

/// Instants at which the daemon is killed, unless the environment says how many
/// (`MOUNT_OBSERVER_KILLS=200`).
const KILLS: u32 = 6;

/// `mount-observer incidents` with these words.
fn incidents(sandbox: &Sandbox, storage: &Path, words: &[&str]) -> Outcome {
    let place = format!("--storage.path={}", storage.display());
    let mut all = vec!["incidents", "--config=/dev/null", &place];
    // An empty configuration, whatever this machine has.
    let config = sandbox.path("empty.toml");
    fs::write(&config, "").expect("a file");
    let config = format!("--config={}", config.display());
    all[1] = &config;
    all.extend(words);
    run(sandbox, &observer_words(&all))
}

fn listed(sandbox: &Sandbox, storage: &Path) -> Vec<Value> {
    let list = incidents(sandbox, storage, &["list", "--json", "--limit=0"]);
    assert_eq!(list.code, Some(0), "{list:?}");
    serde_json::from_str(&list.stdout).expect("a list")
}

/// All of one incident, with every phase and victim.
fn shown(sandbox: &Sandbox, storage: &Path, id: &str) -> Value {
    let shown = incidents(sandbox, storage, &["show", id, "--json"]);
    assert_eq!(shown.code, Some(0), "{shown:?}");
    serde_json::from_str(&shown.stdout).expect("an incident")
}

/// The only incident of a mount, once it is in the journal.
fn the_incident(sandbox: &Sandbox, storage: &Path, mount: &FuseMount) -> Value {
    within(SOON, "the incident is in the journal", || {
        let mut of_mount = listed(sandbox, storage);
        of_mount.retain(|incident| incident["device_number"] == mount.dev);
        assert!(of_mount.len() <= 1, "{of_mount:#?}");
        let id = of_mount.first()?["id"].as_str()?.to_owned();
        Some(shown(sandbox, storage, &id))
    })
}

#[test]
fn an_incident_names_its_victims_its_server_and_its_end_also_when_the_daemon_is_gone() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let healthy = sandbox.faultfs("healthy");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        wait_until_ok(&observer, &healthy.dev);
        outcome(sandbox, "stat", &mount.join("file"), &["--repeat=5"]);
        mount.crash();
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        let after = outcome(sandbox, "stat", &mount.join("file"), &["--repeat=40"]);
        assert_eq!(after, format!("{} 40", libc::ENOTCONN));

        // While it runs: the journal, and the API.
        let storage = observer.storage.clone();
        let incident = within(SOON, "the victim is in the journal", || {
            let incident = the_incident(sandbox, &storage, &mount);
            let victims = incident["victims"].as_array()?.iter();
            let mut comms = victims.filter_map(|victim| victim["comm"].as_str());
            comms.any(|comm| comm == "victim").then_some(incident)
        });
        assert_eq!(incident["kind"], "dead", "{incident:#}");
        assert_eq!(incident["ended"], Value::Null, "{incident:#}");
        assert_eq!(incident["servers"][0]["comm"], "faultfs", "{incident:#}");
        let id = incident["id"].as_str().expect("an id").to_owned();
        let served = observer.api("/api/v1/incidents?open=true");
        let served = served["incidents"].as_array().into_iter().flatten();
        let ids: Vec<&Value> = served.map(|incident| &incident["id"]).collect();
        assert!(ids.contains(&&incident["id"]), "{ids:?}");

        umount2(&mount.path, MntFlags::MNT_DETACH).expect("umount -l");
        observer.wait_for_transition(&mount.dev, "dead", "resolved", SOON);
        let ended = within(SOON, "its end is in the journal", || {
            let incident = shown(sandbox, &storage, &id);
            (incident["ended"] != Value::Null).then_some(incident)
        });
        assert_eq!(ended["ended"]["why"], "unmounted", "{ended:#}");
        assert!(
            ended["ended"]["duration_ns"].as_u64() > Some(0),
            "{ended:#}"
        );
        let failed: u64 = ended["failures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|failed| failed["errno"] == "ENOTCONN")
            .filter_map(|failed| failed["count"].as_u64())
            .sum();
        assert!(failed >= 40, "{ended:#}");
        let total = "mount_observer_incidents_total{kind=\"dead\"}";
        assert!(observer.counter(total) >= Some(1));

        // And when it is gone; nothing of the healthy one.
        observer.process.signal(Signal::SIGTERM);
        assert!(observer.process.exited_within(SOON).is_some());
        let all = listed(sandbox, &storage);
        let of = |dev: &str| all.iter().filter(|i| i["device_number"] == dev).count();
        assert_eq!((of(&mount.dev), of(&healthy.dev)), (1, 0), "{all:#?}");
        expect_documents(sandbox, &storage, &id);
    });
}

/// What people get: a table, a page, a file, and clear words where there is nothing.
fn expect_documents(sandbox: &Sandbox, storage: &Path, id: &str) {
    let table = incidents(sandbox, storage, &[]);
    assert!(table.stdout.contains(id), "{table:?}");
    let page = incidents(sandbox, storage, &["show", id]);
    assert!(page.stdout.contains("Victims:\n"), "{page:?}");
    let at_risk = incidents(sandbox, storage, &["show", id, "--at-risk"]);
    assert!(at_risk.stdout.starts_with(id), "{at_risk:?}");
    let file = sandbox.path("export.json");
    let output = format!("--output={}", file.display());
    let export = incidents(sandbox, storage, &["export", id, &output]);
    assert_eq!(export.code, Some(0), "{export:?}");
    let text = fs::read_to_string(&file).expect("it was written");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(document["incident"]["id"], id);
    let again = incidents(sandbox, storage, &["export", id, &output]);
    assert_eq!(again.code, Some(1), "it overwrites nothing: {again:?}");
    let none = incidents(sandbox, storage, &["show", "1999"]);
    assert_eq!(none.code, Some(1), "{none:?}");
    assert!(
        none.stderr.contains("no incident's id begins with"),
        "{none:?}"
    );
    let nowhere = incidents(sandbox, &sandbox.path("nowhere"), &[]);
    assert_eq!(nowhere.code, Some(1), "{nowhere:?}");
    assert!(
        nowhere.stderr.contains("there is no incident journal at"),
        "{nowhere:?}"
    );
}

/// Killed while it starts, while it tells and while it writes: the journal opens, whatever is in it is
/// whole, and in the end the same alerts fire again as the same incidents.
#[test]
fn a_daemon_killed_at_any_moment_leaves_whole_incidents_and_goes_on_with_them() {
    host_test(&[], |sandbox| {
        let kills = std::env::var("MOUNT_OBSERVER_KILLS").ok();
        let kills: u32 = kills.and_then(|n| n.parse().ok()).unwrap_or(KILLS);
        let storage = sandbox.path("journal");
        let mut mount = sandbox.faultfs("mount");
        let options = Options {
            storage: Some(storage.clone()),
            ..Options::default()
        };
        let first = Observer::start_with(sandbox, &options);
        wait_until_ok(&first, &mount.dev);
        mount.crash();
        let told = first.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        let before = the_incident(sandbox, &storage, &mount);
        first.process.signal(Signal::SIGKILL);
        assert!(first.process.exited_within(SOON).is_some());

        let storm = call(
            sandbox,
            "stat",
            &mount.join("file"),
            &["--repeat=100000000"],
        );
        for kill in 0..kills {
            kill_after(sandbox, &storage, delay(kill));
            let now = the_incident(sandbox, &storage, &mount);
            for name in ["id", "started_unix_ns", "detected_unix_ns"] {
                assert_eq!(now[name], before[name], "{now:#}");
            }
            assert_eq!(now["ended"], Value::Null, "{now:#}");
        }
        say(&format!(
            "FIGURE: killed at {kills} instants (MOUNT_OBSERVER_KILLS)"
        ));

        let last = Observer::start_with(sandbox, &options);
        let again = last.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        assert_eq!(
            again.text("incident"),
            told.text("incident"),
            "{}",
            again.fields
        );
        storm.signal(Signal::SIGKILL);
        umount2(&mount.path, MntFlags::MNT_DETACH).expect("umount -l");
        last.wait_for_transition(&mount.dev, "dead", "resolved", SOON);
        let ended = within(SOON, "its end is in the journal", || {
            let incident = the_incident(sandbox, &storage, &mount);
            (incident["ended"] != Value::Null).then_some(incident)
        });
        assert_eq!(ended["id"], before["id"], "{ended:#}");
        assert_eq!(ended["ended"]["why"], "unmounted", "{ended:#}");
    });
}

/// Anywhere from before it listens to well after its first decisions, which no two of them share.
fn delay(kill: u32) -> Duration {
    let clock = u64::from(wall().subsec_nanos()) / 1000;
    let step = u64::from(kill).wrapping_mul(0x9e37_79b9);
    Duration::from_millis((clock ^ step) % 4000)
}

fn kill_after(sandbox: &Sandbox, storage: &Path, delay: Duration) {
    let daemon = sandbox.spawn(binary(), |command| {
        command
            .args(["run", "--web.listen-address=127.0.0.1:0"])
            .arg(format!("--config={}", sandbox.path("empty.toml").display()))
            .arg(format!("--storage.path={}", storage.display()))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
    });
    let ended = daemon.exited_within(delay);
    assert!(ended.is_none(), "it ended by itself: {ended:?}");
    daemon.signal(Signal::SIGKILL);
    assert!(daemon.exited_within(SOON).is_some());
}

/// A file system of half a MiB of its own.
fn small_disk(sandbox: &Sandbox) -> PathBuf {
    let disk = sandbox.directory("disk");
    let (kind, size) = (Some("tmpfs"), Some("size=512k"));
    mount(kind, &disk, kind, MsFlags::empty(), size).expect("mount a tmpfs");
    disk
}

fn degraded(observer: &Observer, words: &str) -> bool {
    let snapshot = observer.snapshot();
    let degraded = snapshot["observer"]["degraded"].as_array();
    let mut degraded = degraded.into_iter().flatten().filter_map(Value::as_str);
    degraded.any(|lack| lack.starts_with("storage: ") && lack.contains(words))
}

fn expect_degraded(observer: &Observer, words: &str) {
    let is_told = poll(SOON, || degraded(observer, words).then_some(()));
    assert!(is_told.is_some(), "{words}\n{}", observer.log_text());
    assert_eq!(observer.counter("mount_observer_storage_up"), Some(0));
    let errors = observer.counter("mount_observer_storage_errors_total");
    assert!(errors > Some(0), "{errors:?}");
}

/// Observation goes on, and what could not be written is written as soon as there is room.
#[test]
fn a_full_disk_is_told_and_what_waits_is_written_once_there_is_room() {
    host_test(&[], |sandbox| {
        let disk = small_disk(sandbox);
        let ballast = disk.join("ballast");
        let filled = fs::write(&ballast, vec![0; 1 << 20]);
        assert!(filled.is_err(), "the disk is full");
        let mut mount = sandbox.faultfs("mount");
        let options = Options {
            storage: Some(disk.join("journal")),
            ..Options::default()
        };
        let observer = Observer::start_with(sandbox, &options);
        expect_degraded(&observer, "");
        wait_until_ok(&observer, &mount.dev);
        mount.crash();
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        fs::remove_file(&ballast).expect("make room");
        let incident = within(SOON * 3, "it is written", || {
            let list = incidents(sandbox, &observer.storage, &["--json"]);
            let list: Vec<Value> = serde_json::from_str(&list.stdout).ok()?;
            list.into_iter().find(|i| i["device_number"] == mount.dev)
        });
        assert_eq!(incident["kind"], "dead");
        within(SOON, "it is well again", || {
            let is_up = observer.counter("mount_observer_storage_up") == Some(1);
            (is_up && !degraded(&observer, "")).then_some(())
        });
    });
}

#[test]
fn a_journal_on_an_observed_mount_is_refused_without_touching_it() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        mount.server.stop();
        let options = Options {
            storage: Some(mount.join("journal")),
            ..Options::default()
        };
        let observer = Observer::start_with(sandbox, &options);
        expect_degraded(&observer, "which is observed and may hang");
        assert_eq!(
            observer.counter("mount_observer_self_touches_total"),
            Some(0)
        );
        let list = incidents(sandbox, &observer.storage, &[]);
        assert_eq!(list.code, Some(1), "{list:?}");
        assert!(list.stderr.contains("which is observed"), "{list:?}");
        mount.server.resume();
        mount.crash();
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
    });
}

/// What was there before is still read, and nothing is written to it.
#[test]
fn a_read_only_disk_is_told_and_observation_goes_on() {
    host_test(&[], |sandbox| {
        let disk = small_disk(sandbox);
        let nothing = None::<&str>;
        let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(nothing, &disk, nothing, read_only, nothing).expect("remount it");
        let mut mount = sandbox.faultfs("mount");
        let options = Options {
            storage: Some(disk.join("journal")),
            ..Options::default()
        };
        let observer = Observer::start_with(sandbox, &options);
        expect_degraded(&observer, "");
        wait_until_ok(&observer, &mount.dev);
        mount.crash();
        observer.wait_for_transition(&mount.dev, "dead", "firing", SOON);
        // Not written, and told all the same to whoever asks the daemon.
        let served = observer.api("/api/v1/incidents?open=true");
        let served = served["incidents"].as_array().into_iter().flatten();
        let of_mount = served.filter(|incident| incident["device_number"] == mount.dev);
        assert_eq!(of_mount.count(), 1);
    });
}
