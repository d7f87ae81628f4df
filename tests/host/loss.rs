//! What the observer could not take in is counted, and never mistaken for health.

use std::time::Duration;

use mount_observer_tests::{Observer, host_test};
use nix::libc;

use crate::{SOON, outcome, wait_until_all_ok, wait_until_ok};

/// The smallest ring there is: one page, some fifty records.
const TINY_RING: &str = "[probes]\nring_bytes = 4096\n";

/// Failing reads on each of the mounts. The rate limit lets some eight of them leave a record.
const READS: u64 = 20;

#[test]
fn a_full_ring_loses_records_but_no_count_and_nothing_is_called_ok_meanwhile() {
    host_test(&[], |sandbox| {
        let mut failing: Vec<_> = (0..20)
            .map(|i| sandbox.faultfs(format!("failing{i}")))
            .collect();
        let bystander = sandbox.faultfs("bystander");
        let observer = Observer::start(sandbox, TINY_RING);
        wait_until_all_ok(&observer, failing.iter().map(AsRef::as_ref));
        wait_until_ok(&observer, &bystander.dev);
        assert_eq!(lost(&observer), 0, "nothing is lost before the flood");

        // Stopped, it cannot empty the ring.
        observer.process.stop();
        for mount in &mut failing {
            mount.tell(&format!("READ fail {}", libc::EIO));
            let repeat = format!("--repeat={READS}");
            let failed = outcome(sandbox, "read", &mount.join("file"), &[&repeat]);
            assert_eq!(failed, format!("{} {READS}", libc::EIO));
        }
        observer.process.resume();

        for mount in &failing {
            observer.wait_for(&mount.dev, SOON, "counted exactly", |seen| {
                seen.count(Some("READ"), Some("EIO")) == READS && seen.state() != "ok"
            });
        }
        assert!(lost(&observer) > 0, "{}", observer.metrics());
        // Nothing is known to be wrong with it, but something about it may have been lost.
        observer.wait_for_state(&bystander.dev, "unknown", SOON);
        for mount in &failing {
            observer.stays(&mount.dev, Duration::from_millis(200), "not ok", |seen| {
                ["erroring", "unknown"].contains(&seen.state())
            });
        }
    });
}

/// Records that found no room in the ring.
fn lost(observer: &Observer) -> u64 {
    let series = "mount_observer_events_dropped_total{reason=\"ring_full\"}";
    observer.counter(series).expect(series)
}
