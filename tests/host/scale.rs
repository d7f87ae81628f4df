//! Many victims.

use mount_observer_tests::{
    Observer, host_test,
    needs::say,
    wait::{wall, within},
};

use crate::{Began, FAST, HUNG_AFTER, SOON, call, wait_until_ok};

/// Tasks that wait at the same time.
const TASKS: u64 = 1000;

/// What they may cost: the observer lists a bounded number of them and only counts the rest.
const GROWTH_MAX_KIB: u64 = 8 << 10;

#[test]
fn a_thousand_blocked_tasks_are_all_counted_in_bounded_memory() {
    host_test(&[], |sandbox| {
        let mut mount = sandbox.faultfs("mount");
        let observer = Observer::start(sandbox, FAST);
        wait_until_ok(&observer, &mount.dev);
        let before = resident_kib(observer.process.pid());
        mount.tell("GETATTR hold");
        let earliest = wall();
        let victim = call(
            sandbox,
            "stat",
            &mount.path,
            &[&format!("--threads={TASKS}")],
        );
        within(SOON, "all of them wait", || {
            (mount.waiting() >= 1000).then_some(())
        });
        let began = Began {
            earliest,
            latest: wall(),
        };
        let hung = observer.wait_for(
            &mount.dev,
            HUNG_AFTER + SOON,
            "hung with all of them",
            |seen| {
                seen.state() == "hung"
                    && seen.number("blocked") == TASKS
                    && seen.number("in_flight") == TASKS
            },
        );
        let age = hung.oldest_age().expect("an age");
        began.expect_age(&hung, age);
        assert!(
            hung.list("blocked_tasks").len() < 100,
            "the list is bounded"
        );
        assert!(hung.list("requests").len() < 100, "the list is bounded");
        let pid = u64::from(victim.pid());
        assert!(
            hung.blocked_pids().iter().all(|&blocked| blocked == pid),
            "{:#}",
            hung.0
        );

        let after = resident_kib(observer.process.pid());
        say(&format!(
            "FIGURE: 1,000 blocked tasks: {before} KiB resident before, {after} KiB with them"
        ));
        assert!(
            after <= before + GROWTH_MAX_KIB,
            "{before} KiB before, {after} KiB after"
        );

        mount.tell("GETATTR answer");
        assert_eq!(mount.tell("release"), "1000");
        assert_eq!(victim.output_within(SOON), "ok 1000\n");
        // A thousand calls that took seconds remain a fact for a minute.
        observer.wait_for(&mount.dev, SOON, "empty and slow", |seen| {
            seen.state() == "slow" && seen.number("in_flight") == 0 && seen.number("blocked") == 0
        });
    });
}

fn resident_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("status");
    status
        .lines()
        .find_map(|line| {
            line.strip_prefix("VmRSS:")?
                .trim()
                .strip_suffix(" kB")?
                .parse()
                .ok()
        })
        .expect("VmRSS")
}
