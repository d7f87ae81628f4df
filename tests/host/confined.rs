//! What the daemon takes from itself: a path on an observed mount cannot be opened by it, and its
//! threads hold the documented capabilities and no other.
//!
//! The call that should never be made is one that the daemon makes on request: it reads its
//! configuration again, and that has become a link to a file on the mount.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use mount_observer_tests::{Observer, host_test, needs::say, observer, process, wait::within};
use nix::sys::signal::Signal;

use crate::{SOON, wait_until_ok};

const BPF: u64 = 1 << 39;
const PERFMON: u64 = 1 << 38;
const SYSLOG: u64 = 1 << 34;
const SYS_ADMIN: u64 = 1 << 21;
const SYS_PTRACE: u64 = 1 << 19;
const DAC_READ_SEARCH: u64 = 1 << 2;

/// What the loop and the threads it starts keep, by docs/PRIVILEGES.md.
const KEPT: u64 = BPF | PERFMON | SYSLOG | SYS_PTRACE | DAC_READ_SEARCH;
/// What the threads keep that read the links of others.
const OF_LINKS: u64 = SYS_PTRACE | DAC_READ_SEARCH;

const NOT_FOUND: &str = "No such file or directory";
const REFUSED: &str = "Permission denied";

#[test]
fn no_path_leads_the_daemon_to_an_observed_mount_even_while_its_server_hangs() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "[confine]\nmounts = \"required\"");
        wait_until_ok(&observer, &mount.dev);
        // Whoever asks it anything waits.
        mount.server.stop();
        assert_eq!(reads(&observer, &mount.join("file")), NOT_FOUND);
        // One that came later is not there either.
        let late = sandbox.faultfs("late");
        wait_until_ok(&observer, &late.dev);
        assert_eq!(reads(&observer, &late.join("file")), NOT_FOUND);
        assert_eq!(touches(&observer), Some(0));
        // What is unmounted is gone: nobody holds it.
        mount.server.resume();
        nix::mount::umount(&mount.path).expect("nothing keeps it busy");
        observer.wait_until_gone(&mount.dev, SOON);
    });
}

#[test]
fn a_file_that_is_not_granted_is_refused_by_the_kernel_wherever_it_lies() {
    host_test(&[], |sandbox| {
        if !has_landlock() {
            return say("NOT HERE: confined: this kernel has no Landlock");
        }
        let mount = sandbox.faultfs("mount");
        let elsewhere = sandbox.directory("elsewhere").join("file");
        fs::write(&elsewhere, "").expect("a file");
        let config = "[confine]\nmounts = \"off\"\nlandlock = \"required\"";
        let observer = Observer::start(sandbox, config);
        wait_until_ok(&observer, &mount.dev);
        assert_eq!(reads(&observer, &mount.join("file")), REFUSED);
        assert_eq!(reads(&observer, &elsewhere), REFUSED);
        // The links of others are read on a thread of their own, and followed by nobody.
        let through = |process: u32| {
            let root = PathBuf::from(format!("/proc/{process}/root"));
            root.join(elsewhere.strip_prefix("/").expect("it is absolute"))
        };
        assert_eq!(reads(&observer, &through(mount.server.pid())), REFUSED);
        assert_eq!(reads(&observer, &through(observer.daemon_pid())), REFUSED);
        // Why the mount table comes first: the path was walked before the kernel refused it.
        let asked = observer.look(SOON, || touches(&observer).filter(|&touches| touches > 0));
        assert!(asked.is_some(), "a refused open sends no request any more");
    });
}

#[test]
fn each_thread_keeps_the_documented_privileges_and_no_other() {
    host_test(&[], |sandbox| {
        let mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, "");
        wait_until_ok(&observer, &mount.dev);
        // The types of a module are for those who hold it.
        let has_module_types = fs::read("/sys/kernel/btf/fuse").is_ok();
        let expected = if has_module_types {
            KEPT | SYS_ADMIN
        } else {
            KEPT
        };
        let landlocked = has_landlock();
        let mut seen = BTreeMap::new();
        for (name, status) in threads(observer.daemon_pid()) {
            let wanted = match &*name {
                "log" | "journal" | "recorder" | "silences" | "sink" | "hand" => 0,
                "links" | "namespaces" => OF_LINKS,
                _ => expected,
            };
            assert_eq!(number(&status, "CapEff", 16), wanted, "{name}: {status}");
            assert_eq!(number(&status, "CapPrm", 16), wanted, "{name}: {status}");
            assert_eq!(number(&status, "CapInh", 16), 0, "{name}: {status}");
            assert_eq!(number(&status, "CapAmb", 16), 0, "{name}: {status}");
            assert_eq!(number(&status, "NoNewPrivs", 10), 1, "{name}: {status}");
            *seen.entry(name).or_insert(0) += 1;
        }
        assert_eq!(seen.get("log"), Some(&1), "{seen:?}");
        assert_eq!(seen.contains_key("links"), landlocked, "{seen:?}");
    });
}

/// The file the observer was given becomes a link there; why it cannot be read, as the log says it.
fn reads(observer: &Observer, target: &Path) -> String {
    let lines = observer.log_lines().len();
    let link = observer.config.with_extension("link");
    symlink(target, &link).expect("a link");
    fs::rename(&link, &observer.config).expect("replace the configuration");
    within(SOON, "the configuration was read again", || {
        // Each time: one that comes while it is being read is not answered by another reading.
        observer.process.signal(Signal::SIGHUP);
        let lines = observer.log_lines().split_off(lines);
        let told = lines.iter().find(|line| line.contains("stays in force"))?;
        let said = [NOT_FOUND, REFUSED];
        Some(
            said.iter()
                .find(|said| told.contains(**said))
                .map_or_else(|| told.clone(), ToString::to_string),
        )
    })
}

fn touches(observer: &Observer) -> Option<u64> {
    observer.counter("mount_observer_self_touches_total")
}

fn has_landlock() -> bool {
    let observer = Command::new(observer::binary())
        .args(["check", "--json"])
        .output()
        .expect("check");
    let report: serde_json::Value = serde_json::from_slice(&observer.stdout).expect("JSON");
    let facts = report["facts"].to_string();
    facts.contains("\"Landlock\",\"V")
}

fn threads(pid: u32) -> Vec<(String, String)> {
    let status = |tid| fs::read_to_string(format!("/proc/{pid}/task/{tid}/status")).ok();
    process::threads(pid)
        .into_iter()
        .filter_map(status)
        .map(|status| (field(&status, "Name").to_owned(), status))
        .collect()
}

fn field<'a>(status: &'a str, name: &str) -> &'a str {
    let mut lines = status.lines();
    let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.unwrap_or_default().trim()
}

fn number(status: &str, name: &str, radix: u32) -> u64 {
    u64::from_str_radix(field(status, name), radix).expect("a number")
}
