//! NFS operations are counted one by one, with their errno and how long they took: the client's own
//! statistics agree exactly. The programs that count them leave with the last mount.

use std::{collections::BTreeMap, ffi::OsStr, fs, path::Path, time::Duration};

use mount_observer_tests::{
    Observer, Sandbox, host_test,
    needs::say,
    nfs::{NfsMount, Version},
    scene::{SOON, call, outcome, wait_until_in},
};
use nix::{libc, mount::umount, sys::signal::Signal};
use serde_json::Value;

use crate::{counts::MISSED, guest, has_probes, skip, wait_until_watched};

/// Operations: how many ended, and how many of them failed.
type Counts = BTreeMap<String, (u64, u64)>;

/// What a client does for a server, whichever of its mounts needs it.
pub(crate) const SHARED: [&str; 7] = [
    "NULL",
    "EXCHANGE_ID",
    "CREATE_SESSION",
    "BIND_CONN_TO_SESSION",
    "RECLAIM_COMPLETE",
    "SEQUENCE",
    "DESTROY_SESSION",
];

/// How long the server is out of reach.
const OUTAGE: Duration = Duration::from_secs(2);

/// How often the observer reads what was counted.
const TICK: Duration = Duration::from_secs(1);

/// For the client to connect again.
const RECONNECT_DEADLINE: Duration = Duration::from_secs(30);

#[test]
fn nfs_operations_are_counted_as_the_client_counts_them() {
    compare(Version::V4);
}

#[test]
fn nfs_operations_of_version_3_are_counted_as_the_client_counts_them() {
    compare(Version::V3);
}

fn compare(version: Version) {
    with_nfs(version, |sandbox, nfs| {
        let observer = Observer::start(sandbox, "");
        wait_until_watched(&observer, &nfs.dev);
        if !has_probes(&observer, &["nfs_end", "nfs_mounts"]) {
            return expect_locked_down(&observer);
        }
        wait_until_told_apart(sandbox, &observer, nfs);
        let lacking = expect_agreement(&observer, nfs, || every_call(sandbox, nfs));
        let counted = observer.superblock(&nfs.dev).expect("there");
        let missing = counted.count(Some("LOOKUP"), Some("ENOENT"));
        assert!(missing <= 100 && missing + lacking >= 100, "{missing}");
        expect_agreement(&observer, nfs, || stale(sandbox, &observer, nfs));
        expect_agreement(&observer, nfs, || outage(sandbox, &observer, nfs));
        umount(&nfs.path).expect("nothing pins it");
    });
}

/// Everywhere else the programs can be attached, and where they cannot it is said.
#[track_caller]
fn expect_locked_down(observer: &Observer) {
    let guest = guest().unwrap_or_default();
    assert!(guest.ends_with("confidentiality"), "{guest}");
    let snapshot = observer.snapshot();
    let not_seen = snapshot["observer"]["not_seen"].as_array().expect("a list");
    assert!(not_seen.iter().any(|lack| lack["probe"] == "nfs_end"));
}

/// Calls that go well, and some that fail.
fn every_call(sandbox: &Sandbox, nfs: &NfsMount) {
    let threads = ["--threads=4", "--repeat=25"];
    for (call, file) in [
        ("stat", ""),
        ("stat", "file1"),
        ("read", "file2"),
        ("list", ""),
        ("access", "file3"),
        ("statfs", ""),
    ] {
        assert_eq!(
            outcome(sandbox, call, &nfs.path.join(file), &threads),
            "ok 100"
        );
    }
    let missing = outcome(sandbox, "stat", &nfs.path.join("missing"), &threads);
    assert_eq!(missing, format!("{} 100", libc::ENOENT));
}

/// A directory that the server removes while somebody is in it.
fn stale(sandbox: &Sandbox, observer: &Observer, nfs: &NfsMount) {
    let directory = nfs.at_server("directory");
    fs::create_dir(&directory).expect("make a directory");
    let inside = nfs.path.join("directory");
    let from = [OsStr::new("--from"), inside.as_os_str()];
    let victim = sandbox.prepared("stat", Path::new("."), &from);
    fs::remove_dir(&directory).expect("remove it");
    assert_eq!(victim.outcome(), format!("{} 1", libc::ESTALE));
    expect_failure(observer, nfs, "ESTALE");
}

/// An operation that waits for the server, and one whose caller is killed meanwhile.
fn outage(sandbox: &Sandbox, observer: &Observer, nfs: &NfsMount) {
    let before = waited(observer, nfs);
    nfs.relay.stop();
    let waits = call(sandbox, "stat", &nfs.path.join("file1"), &[]);
    let killed = call(sandbox, "stat", &nfs.path.join("file2"), &[]);
    wait_until_in(&killed, "rpc_wait_bit_killable");
    let begun = taken(observer, nfs);
    let is_over = || (taken(observer, nfs) >= begun + OUTAGE).then_some(());
    observer.look(OUTAGE + SOON, is_over).expect("time passes");
    killed.signal(Signal::SIGKILL);
    expect_failure(observer, nfs, "ERESTARTSYS");
    nfs.relay.resume();
    assert_eq!(waits.output_within(RECONNECT_DEADLINE), "ok 1\n");
    // Both have waited all the time, but for the age of the snapshot that showed it begin.
    let least = before + 2 * OUTAGE.saturating_sub(TICK);
    let is_told = || (waited(observer, nfs) >= least).then_some(());
    let told = observer.look(SOON, is_told);
    assert!(
        told.is_some(),
        "{:?} after {before:?}",
        waited(observer, nfs)
    );
}

/// When the newest snapshot was taken, since the epoch.
fn taken(observer: &Observer, nfs: &NfsMount) -> Duration {
    observer.superblock(&nfs.dev).expect("there").1
}

/// A `GETATTR` that failed so is counted.
#[track_caller]
fn expect_failure(observer: &Observer, nfs: &NfsMount, errno: &str) {
    let before = missed(observer);
    observer.wait_for(&nfs.dev, SOON, errno, |seen| {
        seen.count(Some("GETATTR"), Some(errno)) > 0 || missed(observer) > before
    });
}

/// What the kernel left out: on 7.0 and later a program on a tracepoint is preempted now and then, and
/// misses what runs meanwhile.
fn missed(observer: &Observer) -> u64 {
    observer.counter(MISSED).unwrap_or(0)
}

/// How long all operations on names and attributes took together.
fn waited(observer: &Observer, nfs: &NfsMount) -> Duration {
    let series = "mount_observer_operation_duration_seconds_sum{";
    let ours = format!("superblock=\"{}\"", nfs.dev);
    let metrics = observer.metrics();
    let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(series));
    let sum = lines.find_map(|line| {
        let (labels, value) = line.rsplit_once("} ")?;
        let is_ours = labels.contains(&ours) && labels.contains("class=\"metadata\"");
        is_ours.then(|| value.parse().expect("seconds"))
    });
    Duration::from_secs_f64(sum.unwrap_or_default())
}

/// What happens meanwhile is counted by the observer as by the client; returns how many it has missed,
/// and knows it.
#[track_caller]
fn expect_agreement(observer: &Observer, nfs: &NfsMount, happens: impl FnOnce()) -> u64 {
    let missed_before = missed(observer);
    let (client_before, seen_before) = at_rest(observer, nfs);
    happens();
    let by_client = || difference(&nfs.statistics(), &client_before);
    let by_us = || difference(&seen(observer, nfs), &seen_before);
    let agreed = observer.look(SOON, || (by_us() == by_client()).then_some(()));
    if agreed.is_some() {
        assert!(!by_client().is_empty());
        return 0;
    }
    let (by_client, by_us) = (by_client(), by_us());
    let lacking = by_client.iter().map(|(operation, (ended, _))| {
        let (counted, _) = by_us.get(operation).copied().unwrap_or_default();
        ended.checked_sub(counted)
    });
    let lacking: Option<u64> = lacking.sum();
    let missed = missed(observer) - missed_before;
    assert!(
        lacking.is_some_and(|lacking| (1..=missed).contains(&lacking)),
        "client {by_client:?}\nobserver {by_us:?}, {missed} missed"
    );
    say(&format!(
        "NOT EXACT: {lacking:?} operations were missed, and counted as such"
    ));
    lacking.unwrap_or_default()
}

/// What both have counted once nothing more comes: a snapshot later than that shows all of it.
#[track_caller]
fn at_rest(observer: &Observer, nfs: &NfsMount) -> (Counts, Counts) {
    let mut last = (nfs.statistics(), Duration::ZERO);
    let rest = observer.look(SOON, || {
        let taken = taken(observer, nfs);
        let client = nfs.statistics();
        if last.0 != client || last.1.is_zero() {
            last = (client, taken);
            return None;
        }
        (taken > last.1 + TICK).then(|| seen(observer, nfs))
    });
    (last.0, rest.expect("it comes to rest"))
}

/// What the observer has counted so far: for the mount, and for no single one. The client's statistics
/// of a mount include what it does for all mounts of the server (`rpc_clnt_show_stats`,
/// `net/sunrpc/stats.c`), and this is the only one.
#[track_caller]
fn seen(observer: &Observer, nfs: &NfsMount) -> Counts {
    let superblock = observer.superblock(&nfs.dev).expect("there");
    let mut counts = counts(superblock.list("operations"));
    let snapshot = observer.snapshot();
    let shared = snapshot["unattributed"].as_array().expect("a list");
    for (operation, (ended, failed)) in self::counts(shared) {
        assert!(
            SHARED.contains(&operation.as_str()),
            "{operation} is of a mount"
        );
        let sum = counts.entry(operation).or_default();
        *sum = (sum.0 + ended, sum.1 + failed);
    }
    counts
}

/// The operations by name, those of NFS.
fn counts(operations: &[Value]) -> Counts {
    let mut counts = Counts::new();
    for count in operations {
        let operation = count["operation"].as_str().expect("an operation");
        if operation.starts_with(|first: char| first.is_ascii_uppercase()) {
            let number = count["count"].as_u64().expect("a count");
            let (ended, failed) = counts.entry(operation.to_owned()).or_default();
            *ended += number;
            if !count["errno"].is_null() {
                *failed += number;
            }
        }
    }
    counts
}

fn difference(after: &Counts, before: &Counts) -> Counts {
    let added = after.iter().map(|(operation, (ended, failed))| {
        let (ended_before, failed_before) = before.get(operation).copied().unwrap_or_default();
        let added = (ended - ended_before, failed - failed_before);
        (operation.clone(), added)
    });
    added.filter(|(_, (ended, _))| *ended > 0).collect()
}

/// Waits until the mount's operations are known to be its own.
#[track_caller]
fn wait_until_told_apart(sandbox: &Sandbox, observer: &Observer, nfs: &NfsMount) {
    let is_counted = || {
        outcome(sandbox, "stat", &nfs.path.join("file1"), &[]);
        let superblock = observer.superblock(&nfs.dev)?;
        (!counts(superblock.list("operations")).is_empty()).then_some(())
    };
    let told = observer.look(SOON, is_counted);
    assert!(told.is_some(), "{}", observer.log_text());
}

#[test]
fn the_programs_on_nfs_come_with_a_mount_and_leave_with_the_last() {
    with_nfs(Version::V4, |sandbox, nfs| {
        umount(&nfs.path).expect("nothing uses it");
        let holders = sunrpc_users();
        let observer = Observer::start(sandbox, "");
        expect_gone(&observer);
        for _ in 0..2 {
            nfs.mount_again();
            wait_until_watched(&observer, &nfs.dev);
            let attached = observer.look(SOON, || observer.probe_kind("nfs_end"));
            if attached.is_none() {
                skip("nfs_end is not attached");
                return expect_locked_down(&observer);
            }
            wait_until_told_apart(sandbox, &observer, nfs);
            umount(&nfs.path).expect("nothing pins it");
            expect_gone(&observer);
            let is_free = || (sunrpc_users() <= holders).then_some(());
            let freed = observer.look(RECONNECT_DEADLINE, is_free);
            assert!(freed.is_some(), "{:?}, before {holders:?}", sunrpc_users());
        }
    });
}

#[track_caller]
fn expect_gone(observer: &Observer) {
    let is_gone = || observer.probe_kind("nfs_end").is_none().then_some(());
    assert!(observer.look(SOON, is_gone).is_some(), "it stays");
}

/// Who holds the module; none where it is part of the kernel.
fn sunrpc_users() -> Option<u32> {
    let users = fs::read_to_string("/sys/module/sunrpc/refcnt").ok()?;
    users.trim().parse().ok()
}

pub(crate) fn with_nfs(
    version: Version,
    body: impl FnOnce(&Sandbox, &mut NfsMount) + Send + 'static,
) {
    if guest().is_none() {
        return skip("it would start an NFS server on this machine");
    }
    host_test(&[], move |sandbox| match NfsMount::new(sandbox, version) {
        Ok(mut nfs) => body(sandbox, &mut nfs),
        Err(lack) => skip(&lack),
    });
}
