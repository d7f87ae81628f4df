//! What hung before the observer came.

use std::time::Duration;

use mount_observer_tests::{
    Observer, host_test,
    scene::{FAST, HUNG_AFTER, SOON, call, wait_until_blocked},
};

/// Where the requests queued on a connection can be listed, it is hung; elsewhere nobody can tell since
/// when it waits, and it is unknown. It is never healthy.
#[test]
fn a_hang_older_than_the_observer_is_never_ok() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        mount.tell("LOOKUP hold");
        let victim = call(sandbox, "stat", &mount.join("missing"), &[]);
        wait_until_blocked(&victim);
        let observer = Observer::start(sandbox, FAST);
        let is_seen = |state: &str| ["hung", "stuck", "unknown"].contains(&state);
        let deadline = HUNG_AFTER + SOON;
        observer.wait_for(&mount.dev, deadline, "hung or unknown", |seen| {
            is_seen(seen.state()) && !seen.text("reason").contains("looked")
        });
        observer.stays(&mount.dev, Duration::from_secs(6), "not healthy", |seen| {
            is_seen(seen.state())
        });
    });
}
