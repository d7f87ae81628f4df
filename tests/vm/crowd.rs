//! A thousand tasks that wait on one mount hide nothing of another.

use std::time::Duration;

use mount_observer_tests::{
    Observer, host_test,
    observer::Superblock,
    scene::{FAST, HUNG_AFTER, SOON, call, outcome},
    wait::within,
};

use crate::{has_probes, wait_until_watched};

/// Tasks that wait.
const TASKS: u64 = 1000;

/// Calls on the healthy mount meanwhile.
const CALLS: u64 = 50;

/// What each of those takes at least.
const DELAY_MS: u64 = 20;

/// For a thousand threads to start on an emulated processor.
const CROWD_DEADLINE: Duration = Duration::from_mins(1);

#[test]
fn calls_on_a_healthy_mount_are_all_measured_while_a_thousand_tasks_hang_on_another() {
    host_test(&[], |sandbox| {
        let mut hung = sandbox.faultfs("hung");
        let mut healthy = sandbox.faultfs("healthy");
        let observer = Observer::start(sandbox, FAST);
        wait_until_watched(&observer, &hung.dev);
        wait_until_watched(&observer, &healthy.dev);
        if !has_probes(&observer, &["fuse_send", "fuse_end"]) {
            return;
        }
        hung.tell("GETATTR hold");
        let threads = format!("--threads={TASKS}");
        let crowd = call(sandbox, "stat", &hung.path, &[&threads]);
        within(CROWD_DEADLINE, "all of them wait", || {
            (u64::from(hung.waiting()) >= TASKS).then_some(())
        });
        observer.wait_for(
            &hung.dev,
            HUNG_AFTER + SOON,
            "hung with all of them",
            |seen| seen.state() == "hung" && seen.number("blocked") == TASKS,
        );

        let before = Measured::of(&observer, &healthy.dev);
        healthy.tell(&format!("GETATTR delay {DELAY_MS}"));
        let repeat = format!("--repeat={CALLS}");
        let report = outcome(sandbox, "stat", &healthy.path, &[&repeat]);
        assert_eq!(report, format!("ok {CALLS}"));
        observer.wait_for(&healthy.dev, SOON, "every call", |seen| {
            getattrs(seen) >= before.requests + CALLS
        });
        let after = Measured::of(&observer, &healthy.dev);
        assert_eq!(after.requests, before.requests + CALLS);
        assert_eq!(after.timed, before.timed + CALLS, "each with its latency");
        let least_ms = CALLS * DELAY_MS;
        let took_ms = after.took_ms.saturating_sub(before.took_ms);
        assert!(took_ms >= least_ms, "{took_ms} ms, at least {least_ms} ms");
        observer.wait_for(&healthy.dev, SOON, "empty", |seen| {
            seen.state() != "hung" && seen.number("blocked") == 0
        });

        hung.tell("GETATTR answer");
        assert_eq!(hung.tell("release"), TASKS.to_string());
        assert_eq!(crowd.output_within(CROWD_DEADLINE), format!("ok {TASKS}\n"));
        observer.wait_for(&hung.dev, SOON, "empty", |seen| {
            seen.number("in_flight") == 0 && seen.number("blocked") == 0
        });
    });
}

/// What is known about the requests of a superblock that ask for attributes.
struct Measured {
    requests: u64,
    timed: u64,
    took_ms: u64,
}

impl Measured {
    fn of(observer: &Observer, dev: &str) -> Self {
        let metrics = observer.metrics();
        let series = |suffix: &str| {
            let name = format!("mount_observer_operation_duration_seconds_{suffix}{{");
            let labels = [
                format!("superblock=\"{dev}\""),
                "class=\"metadata\"".to_owned(),
            ];
            let mut lines = metrics.lines();
            let line = lines.find(|line| {
                line.starts_with(&name) && labels.iter().all(|label| line.contains(label))
            });
            line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        Self {
            requests: getattrs(&observer.superblock(dev).expect("there")),
            timed: whole(series("count")),
            took_ms: whole(series("sum") * 1000.0),
        }
    }
}

fn getattrs(seen: &Superblock) -> u64 {
    seen.count(Some("GETATTR"), None)
}

#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "small counts and times"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}
