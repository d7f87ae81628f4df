use std::time::Duration;

use super::*;
use crate::{
    alert::AlertKind,
    render::fixture,
    snapshot::{ServerStatus, Superblock},
    time::Wall,
};

const POINT: &str = "/mnt/hung";
const SECOND: u64 = 1_000_000_000;
/// Some day, ns since the epoch.
const DAY: u64 = 1_767_323_045 * SECOND;

fn at(second: u64) -> Now {
    Now {
        mono: Mono((10_000 + second) * SECOND),
        wall: Wall(DAY + second * SECOND),
    }
}

fn policy() -> Recovery {
    Recovery {
        dry_run: false,
        ..Recovery::default()
    }
}

fn mount() -> Recover {
    Recover {
        mount_point: POINT.to_owned(),
        kinds: vec![AlertKind::Dead],
        steps: [
            "abort-connection",
            "lazy-unmount",
            "run /bin/true x",
            "verify",
        ]
        .map(str::to_owned)
        .to_vec(),
    }
}

/// A snapshot with the mount dead since second 0.
fn dead() -> Snapshot {
    with(|superblock| {
        superblock.state = State::Dead;
        superblock.since = at(0).mono;
        let fuse = superblock.fuse.as_mut().unwrap();
        fuse.is_connected = Some(false);
        fuse.server_status = ServerStatus::Gone;
    })
}

fn with(change: impl Fn(&mut Superblock)) -> Snapshot {
    let mut snapshot = fixture::snapshot();
    snapshot.superblocks.retain(|one| one.mountpoint == POINT);
    assert_eq!(snapshot.superblocks.len(), 1);
    snapshot.superblocks.iter_mut().for_each(change);
    snapshot
}

fn alive() -> Snapshot {
    with(|superblock| {
        superblock.state = State::Ok;
        superblock.id.epoch = 1;
        superblock.fuse.as_mut().unwrap().is_connected = Some(true);
    })
}

fn recoveries(policy: &Recovery) -> Recoveries {
    let mut recoveries = Recoveries::new(policy, &[mount()]);
    recoveries.set_enabled(true);
    recoveries.remember(at(0), Vec::new());
    recoveries
}

fn incident(superblock: SuperblockId) -> IncidentId {
    IncidentId::of_superblock(at(0).wall, superblock.dev)
}

fn look(recoveries: &mut Recoveries, second: u64, snapshot: &Snapshot) -> Vec<Event> {
    recoveries.look(at(second), snapshot, &|id| Some(incident(id)))
}

/// What is to be done now: the step, and the outcomes of runs that ended.
fn told(events: &[Event]) -> Vec<String> {
    let told = events.iter().filter_map(|event| match event {
        Event::Do(job) => Some(job.step.to_string()),
        Event::Ended(run, _) => run.outcome.map(|outcome| outcome.name().to_owned()),
        Event::Keep(_) => None,
    });
    told.collect()
}

fn job(events: &[Event]) -> Job {
    let mut jobs = events.iter().filter_map(|event| match event {
        Event::Do(job) => Some(job.clone()),
        Event::Ended(..) | Event::Keep(_) => None,
    });
    jobs.next().expect("nothing is to be done")
}

#[test]
fn it_waits_for_age_and_confirmation_then_does_each_step_and_verifies() {
    let mut recoveries = recoveries(&policy());
    for second in [0, 29, 60, 119] {
        assert_eq!(
            told(&look(&mut recoveries, second, &dead())),
            [""; 0],
            "{second}"
        );
    }
    let events = look(&mut recoveries, 120, &dead());
    assert_eq!(told(&events), ["abort-connection"]);
    let run = job(&events).run;
    // Each step is decided on a look at what the last has led to.
    let gone = with(|one| one.mounts = [].into());
    for (second, seen, next) in [
        (121, dead(), "lazy-unmount"),
        (122, gone.clone(), "run /bin/true x"),
    ] {
        let done = recoveries.done(at(second), &run, Outcome::Ok, String::new());
        assert_eq!(told(&done), [""; 0]);
        assert_eq!(told(&look(&mut recoveries, second, &seen)), [next]);
    }
    recoveries.done(at(123), &run, Outcome::Ok, String::new());
    assert_eq!(told(&look(&mut recoveries, 124, &gone)), [""; 0]);
    assert_eq!(told(&look(&mut recoveries, 125, &alive())), ["ok"]);
    let counts: Vec<_> = recoveries.counts().collect();
    assert_eq!(counts, [(POINT, Outcome::Ok, 1)]);
}

/// A run that is to take its second step, the one that detaches.
fn before_the_second_step() -> Recoveries {
    let mut recoveries = recoveries(&policy());
    look(&mut recoveries, 0, &dead());
    look(&mut recoveries, 30, &dead());
    let run = job(&look(&mut recoveries, 120, &dead())).run;
    recoveries.done(at(121), &run, Outcome::Ok, String::new());
    recoveries
}

#[test]
fn what_somebody_repaired_meanwhile_is_left_alone() {
    let mut recoveries = before_the_second_step();
    assert_eq!(told(&look(&mut recoveries, 122, &alive())), ["ok"]);
}

/// It has the numbers of the one that died, and is in trouble too: it is another all the same.
#[test]
fn a_successor_in_trouble_is_not_what_was_decided_upon() {
    let mut successor = dead();
    successor.superblocks[0].id.epoch = 1;
    let mut recoveries = before_the_second_step();
    assert_eq!(told(&look(&mut recoveries, 122, &successor)), ["failed"]);
}

#[test]
fn taking_the_enabling_file_away_stops_a_run_under_way() {
    let mut recoveries = before_the_second_step();
    recoveries.set_enabled(false);
    assert_eq!(told(&look(&mut recoveries, 122, &dead())), ["failed"]);
}

#[test]
fn nothing_is_done_before_what_earlier_observers_did_is_known() {
    let mut recoveries = Recoveries::new(&policy(), &[mount()]);
    recoveries.set_enabled(true);
    for second in [0, 30, 120, 600] {
        assert_eq!(told(&look(&mut recoveries, second, &dead())), [""; 0]);
    }
    recoveries.remember(at(601), Vec::new());
    assert_eq!(
        told(&look(&mut recoveries, 601, &dead())),
        ["abort-connection"]
    );
}

#[test]
fn a_step_that_fails_ends_it_and_a_cooldown_follows() {
    let mut recoveries = recoveries(&policy());
    look(&mut recoveries, 0, &dead());
    look(&mut recoveries, 30, &dead());
    let run = job(&look(&mut recoveries, 120, &dead())).run;
    let events = recoveries.done(at(121), &run, Outcome::Failed, "EPERM".to_owned());
    assert_eq!(told(&events), ["failed"]);
    assert_eq!(told(&look(&mut recoveries, 1_000, &dead())), [""; 0]);
    assert_eq!(
        told(&look(&mut recoveries, 120 + 900, &dead())),
        ["abort-connection"]
    );
}

#[test]
fn caps_hold_and_are_told_once_also_for_what_an_earlier_daemon_did() {
    let mut recoveries = recoveries(&Recovery {
        cooldown: Duration::ZERO,
        ..policy()
    });
    let past = |second| RecoveryRun {
        outcome: None,
        ..RecoveryRun::begin(at(second).wall, &mount(), incident(fixture::id(52)))
    };
    // One of them in the future: the clock was set back since.
    let cut_short = recoveries.remember(at(0), vec![past(0), past(9_000)]);
    assert_eq!(told(&cut_short), ["failed"]);
    look(&mut recoveries, 0, &dead());
    look(&mut recoveries, 30, &dead());
    assert_eq!(told(&look(&mut recoveries, 120, &dead())), ["capped"]);
    assert_eq!(told(&look(&mut recoveries, 121, &dead())), [""; 0]);
}

#[test]
fn without_the_enabling_file_or_in_a_dry_run_it_says_what_it_would_do_once() {
    for (dry_run, is_enabled) in [(true, true), (false, false)] {
        let mut recoveries = recoveries(&Recovery {
            dry_run,
            ..policy()
        });
        recoveries.set_enabled(is_enabled);
        look(&mut recoveries, 0, &dead());
        look(&mut recoveries, 30, &dead());
        let events = look(&mut recoveries, 120, &dead());
        assert_eq!(told(&events), ["dry_run"]);
        let Some(Event::Keep(run)) = events.first() else {
            panic!("{events:?}");
        };
        let steps: Vec<&str> = run.steps.iter().map(|step| step.step.as_str()).collect();
        assert_eq!(steps, mount().steps);
        assert_eq!(told(&look(&mut recoveries, 121, &dead())), [""; 0]);
    }
}

#[test]
fn a_living_server_that_answers_is_never_touched() {
    let answering = with(|superblock| {
        superblock.state = State::Dead;
        superblock.since = at(0).mono;
        let fuse = superblock.fuse.as_mut().unwrap();
        fuse.is_connected = Some(true);
        fuse.server_status = ServerStatus::Running;
    });
    let mut recoveries = recoveries(&policy());
    let told_of = told(&look(&mut recoveries, 0, &answering));
    assert_eq!(told_of, ["refused"]);
    for second in [30, 60, 120, 600] {
        assert_eq!(told(&look(&mut recoveries, second, &answering)), [""; 0]);
    }
}

#[test]
fn the_root_is_refused_whatever_the_configuration_says() {
    let mut root = mount();
    root.mount_point = "//".to_owned();
    let recoveries = recoveries(&policy());
    let snapshot = dead();
    let explanation = recoveries.explain(at(500), &root, &snapshot.superblocks[0]);
    assert!(
        matches!(explanation.verdict, Verdict::Refuse(_)),
        "{explanation:?}"
    );
}

#[test]
fn one_at_a_time_and_a_step_nobody_answers_times_out() {
    let mut recoveries = recoveries(&policy());
    look(&mut recoveries, 0, &dead());
    look(&mut recoveries, 30, &dead());
    look(&mut recoveries, 120, &dead());
    let snapshot = dead();
    let explanation = recoveries.explain(at(5_000), &mount(), &snapshot.superblocks[0]);
    assert!(
        matches!(explanation.verdict, Verdict::Wait(_)),
        "{explanation:?}"
    );
    assert_eq!(told(&look(&mut recoveries, 239, &dead())), [""; 0]);
    assert_eq!(told(&look(&mut recoveries, 240, &dead())), ["timeout"]);
}

#[test]
fn what_comes_back_dead_is_not_back() {
    let mut recoveries = recoveries(&Recovery {
        confirmations: 1,
        min_age: Duration::ZERO,
        ..policy()
    });
    recoveries.configure(
        &Recovery {
            confirmations: 1,
            min_age: Duration::ZERO,
            ..policy()
        },
        &[Recover {
            steps: vec!["verify".to_owned()],
            ..mount()
        }],
    );
    assert_eq!(told(&look(&mut recoveries, 0, &dead())), [""; 0]);
    assert_eq!(told(&look(&mut recoveries, 59, &dead())), [""; 0]);
    assert_eq!(told(&look(&mut recoveries, 60, &dead())), ["timeout"]);
}
