//! Which data may not have been written, and by whom.

use mount_observer_tests::{FuseMount, Need, Observer, host_test, observer::Superblock};
use nix::{libc, sys::signal::Signal};
use serde_json::Value;

use crate::{FAST, SOON, call, outcome, wait_until_blocked, wait_until_ok};

/// Entries of a superblock's list, of one kind.
fn at_risk<'a>(seen: &'a Superblock, why: &str) -> Vec<&'a Value> {
    let entries = seen.0["at_risk"]["entries"].as_array();
    let entries = entries.into_iter().flatten();
    entries.filter(|entry| entry["why"] == why).collect()
}

/// A number that is read from what a request points to, which no program may do under
/// lockdown=confidentiality: it is not known there, and not guessed.
fn read_from_request(number: u64) -> Value {
    let lockdown = std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default();
    if lockdown.contains("[confidentiality]") {
        Value::Null
    } else {
        number.into()
    }
}

fn path_of(mount: &FuseMount, name: &str) -> String {
    mount.join(name).display().to_string()
}

#[test]
fn a_file_open_for_writing_when_its_sshfs_is_killed_is_at_risk() {
    host_test(&[Need::Sshfs], |sandbox| {
        let mount = sandbox.sshfs("mount", &[]);
        let other = sandbox.sshfs("other", &[]);
        let hostile = "truncated\n\u{1b}[31m.warc.gz";
        let writer = sandbox.prepared("write", &mount.join(hostile), &[]);
        let elsewhere = sandbox.prepared("write", &other.join("fine"), &[]);
        let reader = sandbox.prepared("fstat", &mount.join(hostile), &[]);
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.server.signal(Signal::SIGKILL);
        let dead = observer.wait_for(&mount.dev, SOON, "dead with its open file", |seen| {
            seen.state() == "dead" && !at_risk(seen, "open_for_writing").is_empty()
        });
        let open = at_risk(&dead, "open_for_writing");
        assert_eq!(open.len(), 1, "{:#}", dead.0);
        let escaped = path_of(&mount, "truncated\\x0a\\x1b[31m.warc.gz");
        assert_eq!(open[0]["path"], escaped.as_str(), "{:#}", dead.0);
        assert_eq!(open[0]["pid"], writer.process.pid(), "{:#}", dead.0);
        assert_eq!(open[0]["comm"], "victim", "{:#}", dead.0);
        assert!(open[0]["nodeid"].as_u64() > Some(1), "{:#}", dead.0);
        assert!(dead.0["at_risk"]["looked_unix_ns"].is_u64());
        // Who has it open goes on, and closes it: it was open at the end all the same.
        writer.outcome();
        drop(reader);
        observer.wait_for(&mount.dev, SOON, "still told", |seen| {
            at_risk(seen, "open_for_writing").len() == 1
        });
        let fine = observer.wait_for_state(&other.dev, "ok", SOON);
        assert_eq!(fine.0["at_risk"]["entries"], Value::Array(Vec::new()));
        drop(elsewhere);
    });
}

#[test]
fn a_mount_that_dies_with_nothing_open_for_writing_has_nothing_at_risk_and_says_so() {
    host_test(&[Need::Bindfs], |sandbox| {
        let mount = sandbox.bindfs("mount", &[]);
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.server.signal(Signal::SIGKILL);
        let dead = observer.wait_for(&mount.dev, SOON, "dead and looked through", |seen| {
            seen.state() == "dead" && seen.0["at_risk"]["looked_unix_ns"].is_u64()
        });
        let risk = &dead.0["at_risk"];
        assert_eq!(risk["entries"], Value::Array(Vec::new()), "{:#}", dead.0);
        assert_eq!(risk["dropped"], 0, "{:#}", dead.0);
    });
}

#[test]
fn a_write_that_fails_is_at_risk_with_its_bytes_and_its_file() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        mount.tell(&format!("WRITE fail {}", libc::EIO));
        let failed = outcome(sandbox, "write", &mount.join("file"), &["--repeat=20"]);
        assert_eq!(failed, format!("{} 20", libc::EIO));
        let seen = observer.wait_for(&mount.dev, SOON, "a failed write", |seen| {
            !at_risk(seen, "failed").is_empty()
        });
        // Twenty times the same bytes of the same file.
        let failed = at_risk(&seen, "failed");
        assert_eq!(failed.len(), 1, "{:#}", seen.0);
        let entry = failed[0];
        assert_eq!(entry["operation"], "WRITE", "{:#}", seen.0);
        assert_eq!(entry["errno"], "EIO", "{:#}", seen.0);
        assert_eq!(entry["offset"], read_from_request(1024), "{:#}", seen.0);
        assert_eq!(entry["length"], read_from_request(512), "{:#}", seen.0);
        assert_eq!(entry["comm"], "victim", "{:#}", seen.0);
        let read = outcome(sandbox, "read", &mount.join("file"), &[]);
        assert_eq!(read, "ok 1");
    });
}

/// The writer waits: its file is still open when its node's name is looked for.
#[test]
fn a_write_that_hangs_until_its_server_is_gone_is_aborted_and_has_a_path() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        mount.tell("WRITE hold");
        let writer = call(sandbox, "write", &mount.join("file"), &[]);
        wait_until_blocked(&writer);
        observer.wait_for_state(&mount.dev, "hung", SOON);
        let hung = observer.wait_for(&mount.dev, SOON, "its file", |seen| {
            at_risk(seen, "open_for_writing").len() == 1
        });
        let path = path_of(&mount, "file");
        let open = at_risk(&hung, "open_for_writing");
        assert_eq!(open[0]["path"], path.as_str(), "{:#}", hung.0);
        let pid = writer.pid();
        mount.crash();
        let dead = observer.wait_for(&mount.dev, SOON, "an aborted write", |seen| {
            seen.state() == "dead" && !at_risk(seen, "aborted").is_empty()
        });
        let aborted = at_risk(&dead, "aborted");
        assert_eq!(aborted[0]["operation"], "WRITE", "{:#}", dead.0);
        assert_eq!(aborted[0]["errno"], "ECONNABORTED", "{:#}", dead.0);
        assert_eq!(
            aborted[0]["offset"],
            read_from_request(1024),
            "{:#}",
            dead.0
        );
        assert_eq!(aborted[0]["pid"], pid, "{:#}", dead.0);
    });
}
