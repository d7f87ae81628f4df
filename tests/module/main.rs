//! FUSE as a module: loaded after the observer started, unloaded, and loaded again. A test program of
//! its own, because the module can be unloaded only while no other test uses it.

#![forbid(unsafe_code)]
#![expect(clippy::expect_used, reason = "a test panics where it fails")]

use std::{fs::File, time::Duration};

use mount_observer_tests::{
    Observer, Sandbox, host_test,
    needs::say,
    scene::{SOON, outcome, wait_until_ok},
    wait::within,
};
use nix::{
    errno::Errno,
    kmod::{DeleteModuleFlags, ModuleInitFlags, delete_module, finit_module},
    mount::{MntFlags, umount2},
};

/// Where a guest has the modules of its kernel.
const MODULE: &str = "/guest/modules/fuse.ko";
/// The programs let go of an idle module after 10 s.
const LET_GO: Duration = Duration::from_mins(1);
/// Calls on each mount.
const CALLS: u64 = 5;
const SENT: &str = "mount_observer_events_total{source=\"requests_sent\"}";

#[test]
fn fuse_that_comes_late_and_comes_again_is_seen() {
    let is_guest = std::env::var("MOUNT_OBSERVER_KERNEL").is_ok();
    let Ok(module) = File::open(MODULE) else {
        let word = if is_guest { "NOT HERE" } else { "SKIPPED" };
        return say(&format!(
            "{word}: FUSE is no module of this kernel, or this is no guest"
        ));
    };
    host_test(&[], move |sandbox| {
        unload();
        let observer = Observer::start(sandbox, "");
        assert_eq!(observer.probe_kind("fuse_send"), None, "without FUSE");
        assert!(observer.probe_kind("stat_exit").is_some());
        let mut sent = 0;
        for round in ["first", "second"] {
            finit_module(&module, c"", ModuleInitFlags::empty()).expect("load FUSE");
            within(SOON, "FUSE is looked at", || {
                observer.probe_kind("fuse_end")
            });
            sent = a_mount_is_seen(sandbox, &observer, round, sent);
            unload();
            within(SOON, "FUSE is gone", || {
                observer.probe_kind("fuse_end").is_none().then_some(())
            });
            assert_eq!(observer.counter(SENT), Some(sent), "counters stay");
        }
    });
}

/// Its requests are counted on top of those before, and its death is told.
fn a_mount_is_seen(sandbox: &Sandbox, observer: &Observer, round: &str, before: u64) -> u64 {
    let mut mount = sandbox.faultfs(round);
    wait_until_ok(observer, &mount.dev);
    let repeat = format!("--repeat={CALLS}");
    let report = outcome(sandbox, "stat", &mount.path.join("file"), &[&repeat]);
    assert_eq!(report, format!("ok {CALLS}"));
    within(SOON, "its requests are counted", || {
        observer.counter(SENT).filter(|&sent| sent > before)
    });
    mount.crash();
    observer.wait_for_state(&mount.dev, "dead", SOON);
    umount2(&mount.path, MntFlags::MNT_DETACH).expect("unmount");
    observer.wait_until_gone(&mount.dev, SOON);
    observer.counter(SENT).expect("a counter")
}

/// Unloads FUSE, once nobody holds it any more.
fn unload() {
    within(LET_GO, "FUSE is unloaded", || {
        match delete_module(c"fuse", DeleteModuleFlags::O_NONBLOCK) {
            Ok(()) | Err(Errno::ENOENT) => Some(()),
            Err(_) => None,
        }
    });
}
