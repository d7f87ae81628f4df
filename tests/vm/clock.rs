//! The wall clock is set back while an incident goes on: how long it lasts is told by another clock.

use std::time::Duration;

use mount_observer_tests::{Observer, host_test, scene::SOON, wait::within};
use nix::mount::{MntFlags, umount2};
use rustix::time::{ClockId, clock_gettime, clock_settime};
use serde_json::Value;

use crate::{guest, skip, wait_until_dead, wait_until_watched};

const HOUR_S: i64 = 3600;

/// Longer than the test takes, shorter than what the clock is set back by.
const LASTED_MAX: Duration = Duration::from_mins(30);

/// Sets the wall clock of the whole machine.
fn move_clock(seconds: i64) {
    let mut time = clock_gettime(ClockId::Realtime);
    time.tv_sec += seconds;
    clock_settime(ClockId::Realtime, time).expect("set the clock");
}

#[test]
fn an_incident_lasts_as_long_as_it_does_when_the_clock_is_set_back_an_hour() {
    host_test(&[], |sandbox| {
        if guest().is_none() {
            skip("the clock is everybody's");
            return;
        }
        let mut mount = sandbox.faultfs("mount");
        let storage = sandbox.directory("storage");
        let config = format!("[storage]\npath = '{}'\n", storage.display());
        let observer = Observer::start(sandbox, &config);
        wait_until_watched(&observer, &mount.dev);
        mount.crash();
        wait_until_dead(&observer, &mount.dev);
        move_clock(-HOUR_S);
        umount2(&mount.path, MntFlags::MNT_DETACH).expect("unmount");
        let ended = observer.wait_for_transition(&mount.dev, "dead", "resolved", SOON);
        let age = ended.fields["age_seconds"].as_f64().expect("an age");
        assert!((0.0..LASTED_MAX.as_secs_f64()).contains(&age), "{age}");
        let incident = within(SOON, "the incident has ended", || {
            let all = observer.api("/api/v1/incidents");
            let id = all["incidents"][0]["id"].as_str()?.to_owned();
            let incident = observer.api(&format!("/api/v1/incidents/{id}"));
            (!incident["ended"].is_null()).then_some(incident)
        });
        move_clock(HOUR_S);
        let lasted = incident["ended"]["duration_ns"]
            .as_u64()
            .map(Duration::from_nanos);
        assert!(
            lasted.is_some_and(|lasted| lasted < LASTED_MAX),
            "{incident:#}"
        );
        assert_eq!(incident["ended"]["why"], Value::from("unmounted"));
    });
}
