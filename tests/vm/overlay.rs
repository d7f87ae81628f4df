//! An overlay whose lower file system died: both are named, the one that shows the error and the one
//! that causes it.

use mount_observer_tests::{
    Observer, Sandbox, host_test,
    mounts::device_of,
    scene::{SOON, outcome},
};
use nix::{
    libc,
    mount::{MsFlags, mount},
};

use crate::{has_probes, skip, wait_until_dead, wait_until_watched};

const CALLS: u64 = 7;

#[test]
fn an_overlay_over_a_dead_mount_names_both() {
    host_test(&[], |sandbox| {
        let mut lower = sandbox.faultfs("lower");
        let Some(overlay) = overlay_over(sandbox, &lower.path) else {
            return;
        };
        // Known to the overlay, so that it asks the lower one about it again.
        assert_eq!(outcome(sandbox, "stat", &overlay.join("file"), &[]), "ok 1");
        let observer = Observer::start(
            sandbox,
            "[scope]\ninclude_fstypes = [\"fuse*\", \"overlay\"]\n",
        );
        wait_until_watched(&observer, &lower.dev);
        let dev = device_of(&overlay).expect("mounted");
        if !has_probes(&observer, &["walk_end", "fuse_call", "path_exit"]) {
            return;
        }
        lower.crash();
        wait_until_dead(&observer, &lower.dev);
        let repeat = format!("--repeat={CALLS}");
        let report = outcome(sandbox, "stat", &overlay.join("file"), &[&repeat]);
        assert_eq!(report, format!("{} {CALLS}", libc::ESTALE));
        let seen = observer.wait_for(&dev, SOON, "the victim of another", |seen| {
            seen.failed_calls("ESTALE") >= CALLS
        });
        assert_eq!(seen.failed_calls("ESTALE"), CALLS, "{:#}", seen.0);
        let failure = seen.list("failures").first().expect("a failure");
        let cause = failure["caused_by"].as_str().unwrap_or_default();
        let expected = format!("{} at {}", lower.dev, lower.path.display());
        assert_eq!(cause, expected, "{:#}", seen.0);
        let culprit = observer.superblock(&lower.dev).expect("there");
        let names_victim = |failure: &serde_json::Value| {
            let above = failure["failed_on"].as_str();
            above.is_some_and(|above| above.starts_with(&dev))
        };
        assert!(
            culprit.list("failures").iter().any(names_victim),
            "{:#}",
            culprit.0
        );
    });
}

/// `None`, told, where the kernel has no overlay.
fn overlay_over(sandbox: &Sandbox, lower: &std::path::Path) -> Option<std::path::PathBuf> {
    let [upper, work, path] = ["upper", "work", "overlay"].map(|name| sandbox.directory(name));
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.display(),
        upper.display(),
        work.display()
    );
    let mounted = mount(
        Some("overlay"),
        &path,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    );
    if mounted == Err(nix::errno::Errno::ENODEV) {
        skip("the kernel has no overlay");
        return None;
    }
    mounted.expect("mount an overlay");
    Some(path)
}
