//! FUSE as a module: loaded after the observer started, unloaded, and loaded again. A test program of
//! its own, because the module can be unloaded only while no other test uses it.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test panics where it fails")]
#![expect(
    clippy::indexing_slicing,
    reason = "a key that a JSON value lacks reads as null"
)]

use std::{
    fs::{self, File},
    time::Duration,
};

use mount_observer_tests::{
    Observer, Sandbox, host_test,
    needs::say,
    sandbox::FUSECTL,
    scene::{SOON, outcome},
    wait::{patience, poll, within},
};
use nix::{
    errno::Errno,
    kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module},
    mount::{MntFlags, umount2},
};
use serde_json::Value;

/// Where a guest has the modules of its kernel.
const MODULE: &str = "/guest/modules/fuse.ko";
/// Guests that have FUSE as one.
const MUST_HAVE: [&str; 2] = ["5.10", "6.1"];
/// The programs let go of an idle module after 10 s.
const LET_GO: Duration = Duration::from_secs(30);
/// Calls on each mount.
const CALLS: u64 = 5;
const SENT: &str = "mount_observer_events_total{source=\"requests_sent\"}";

#[test]
fn fuse_that_comes_late_and_comes_again_is_seen() {
    let Ok(module) = File::open(MODULE) else {
        return skip();
    };
    host_test(&[], move |sandbox| {
        // It is FUSE's own, and would hold it.
        umount2(FUSECTL, MntFlags::empty()).expect("unmount fusectl");
        unload();
        let observer = Observer::start(sandbox, "");
        assert_eq!(programs(&observer.snapshot()), None, "without FUSE");
        assert!(observer.probe_kind("stat_exit").is_some());
        load(&module);
        a_mount_is_seen(sandbox, &observer, "at once");
        if programs(&observer.snapshot()).as_deref() == Some("kprobe") {
            say("kprobes hold no module, and need not let go of one");
        } else {
            until_let_go(&observer);
            a_mount_is_seen(sandbox, &observer, "after a rest");
        }
        unload();
        until_let_go(&observer);
        load(&module);
        within(SOON, "FUSE is looked at again", || {
            programs(&observer.snapshot())
        });
        a_mount_is_seen(sandbox, &observer, "again");
    });
}

/// Says that there is nothing to test, which is a failure where there is.
fn skip() {
    let test = "fuse_that_comes_late_and_comes_again_is_seen";
    match std::env::var("MOUNT_OBSERVER_KERNEL") {
        Ok(guest) => {
            assert!(
                !MUST_HAVE.contains(&&*guest),
                "{guest} has FUSE as a module"
            );
            say(&format!("NOT HERE: {test}: FUSE is part of this kernel"));
        }
        Err(_) => say(&format!("SKIPPED: {test}: this is no guest of ours")),
    }
}

/// Its requests are counted on top of those before, and its death is told; it is never `ok` without
/// programs to tell otherwise.
fn a_mount_is_seen(sandbox: &Sandbox, observer: &Observer, name: &str) {
    let before = observer.counter(SENT).expect("a counter");
    let mut mount = sandbox.faultfs(name);
    let dev = mount.dev.clone();
    within(SOON, "it is ok", || {
        let snapshot = observer.snapshot();
        let mut all = snapshot["superblocks"].as_array().expect("a list").iter();
        let is_ok = all.any(|known| is_fuse(known) && known["state"] == "ok");
        assert!(!is_ok || programs(&snapshot).is_some(), "{snapshot:#}");
        is_ok.then_some(())
    });
    let repeat = format!("--repeat={CALLS}");
    let report = outcome(sandbox, "stat", &mount.path.join("file"), &[&repeat]);
    assert_eq!(report, format!("ok {CALLS}"));
    within(SOON, "its requests are counted", || {
        observer.counter(SENT).filter(|&sent| sent > before)
    });
    mount.crash();
    observer.wait_for_state(&dev, "dead", SOON);
    umount2(&mount.path, MntFlags::MNT_DETACH).expect("unmount");
    observer.wait_until_gone(&dev, SOON);
}

fn is_fuse(superblock: &Value) -> bool {
    let fstype = superblock["fstype"].as_str();
    fstype.is_some_and(|fstype| fstype.starts_with("fuse"))
}

/// How the ends of requests are seen; `None` when they are not.
fn programs(snapshot: &Value) -> Option<String> {
    let mut probes = snapshot["observer"]["probes"].as_array()?.iter();
    let end = probes.find(|probe| probe["probe"] == "fuse_end")?;
    end["kind"].as_str().map(str::to_owned)
}

/// Waits until the programs are off, and expects that what they counted stays.
fn until_let_go(observer: &Observer) {
    let before = observer.counter(SENT);
    within(LET_GO, "the programs let go", || {
        programs(&observer.snapshot()).is_none().then_some(())
    });
    assert_eq!(observer.counter(SENT), before, "counters stay");
}

fn load(module: &File) {
    finit_module(module, c"", ModuleInitFlags::empty()).expect("load FUSE");
}

/// Unloads FUSE, once nobody holds it any more.
fn unload() {
    let mut last = Errno::UnknownErrno;
    let gone = poll(patience(LET_GO), || {
        match delete_module(c"fuse", DeleteModuleFlags::O_NONBLOCK) {
            Ok(()) | Err(Errno::ENOENT) => Some(()),
            Err(error) => {
                last = error;
                None
            }
        }
    });
    let users = fs::read_to_string("/sys/module/fuse/refcnt");
    assert!(
        gone.is_some(),
        "FUSE is not unloaded: {last}, {users:?} hold it"
    );
}
