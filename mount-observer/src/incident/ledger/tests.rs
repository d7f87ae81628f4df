use super::*;
use crate::{
    alert::Severity,
    alerts::{Condition, Stage},
    config::Detect,
    incident::{EndReason, Sighting},
    superblock::Dev,
    time::Wall,
};

const SECOND: u64 = 1_000_000_000;

fn at(seconds: u64) -> Now {
    Now {
        mono: Mono(seconds * SECOND),
        wall: Wall((1_000_000 + seconds) * SECOND),
    }
}

fn key(epoch: u32) -> Key {
    Key::Superblock(SuperblockId {
        dev: Dev(45),
        epoch,
    })
}

fn subject(boot_id: &str) -> Subject {
    Subject {
        boot_id: boot_id.to_owned(),
        device_number: Some("0:45".to_owned()),
        fstype: "fuse.sshfs".to_owned(),
        source: "host:".to_owned(),
        mount_point: "/mnt/a".to_owned(),
        mounts: Vec::new(),
    }
}

fn step(kind: AlertKind, change: Change, since: u64) -> Step {
    Step {
        change,
        condition: Condition {
            kind,
            severity: Severity::Critical,
            stage: Stage::Harm,
            since: Mono(since * SECOND),
            reason: format!("it is {}", kind.name()),
            evidence: Vec::new(),
            victims: Vec::new(),
            victims_total: 0,
        },
    }
}

fn fires(ledger: &mut Ledger, now: Now, key: &Key, kind: AlertKind, since: u64) -> Place {
    let step = step(kind, Change::Firing, since);
    ledger.step(now, key, &step, "", || subject("boot"))
}

fn ends(ledger: &mut Ledger, now: Now, key: &Key, kind: AlertKind, why: Resolution) -> Place {
    let step = step(kind, Change::Resolved { why }, 0);
    ledger.step(now, key, &step, "", || subject("boot"))
}

fn ledger() -> Ledger {
    Ledger::new("boot".to_owned())
}

/// A clock that is set back changes what is shown, never how long it lasted.
#[test]
fn durations_come_from_the_clock_that_nobody_sets() {
    let mut ledger = ledger();
    fires(&mut ledger, at(10), &key(0), AlertKind::Dead, 9);
    let set_back = Now {
        mono: Mono(20 * SECOND),
        wall: Wall(20 * SECOND),
    };
    ends(
        &mut ledger,
        set_back,
        &key(0),
        AlertKind::Dead,
        Resolution::Unmounted,
    );
    let kept = ledger.take_due(set_back.mono);
    let [incident] = kept.as_slice() else {
        panic!("{kept:?}");
    };
    let end = incident.ended.as_ref().unwrap();
    assert_eq!(incident.detection_delay_ns, SECOND);
    assert_eq!(end.duration_ns, Some(11 * SECOND));
    assert!(end.at_unix_ns < incident.started_unix_ns);
}

#[test]
fn what_goes_on_is_kept_ever_more_rarely_and_every_change_at_once() {
    let mut ledger = ledger();
    fires(&mut ledger, at(0), &key(0), AlertKind::Slow, 0);
    let mut writes = 0;
    for second in 0..3_600 {
        writes += ledger.take_due(at(second).mono).len();
    }
    assert!((200..300).contains(&writes), "{writes}");
    assert!(ledger.take_due(at(3_600).mono).is_empty());
    fires(&mut ledger, at(3_600), &key(0), AlertKind::Dead, 3_600);
    assert_eq!(ledger.take_due(at(3_600).mono).len(), 1);
}

#[test]
fn another_superblock_of_the_same_number_is_another_incident() {
    let mut ledger = ledger();
    let first = fires(&mut ledger, at(10), &key(0), AlertKind::Dead, 10);
    ends(
        &mut ledger,
        at(20),
        &key(0),
        AlertKind::Dead,
        Resolution::Replaced,
    );
    let second = fires(&mut ledger, at(30), &key(1), AlertKind::Dead, 30);
    assert_ne!(first.incident, second.incident);
    assert_eq!(second.returns, 0);
    assert_eq!(ledger.counts().by_kind.get(&AlertKind::Dead), Some(&2));
}

#[test]
fn phases_are_bounded_and_keep_the_first_and_the_latest() {
    let mut ledger = ledger();
    fires(&mut ledger, at(0), &key(0), AlertKind::Dead, 0);
    for round in 1..100 {
        let (kind, next) = match round % 2 {
            1 => (AlertKind::Dead, AlertKind::Hung),
            _ => (AlertKind::Hung, AlertKind::Dead),
        };
        ends(
            &mut ledger,
            at(round),
            &key(0),
            kind,
            Resolution::Superseded,
        );
        fires(&mut ledger, at(round), &key(0), next, round);
    }
    let kept = ledger.take_due(at(100).mono);
    let phases = &kept[0].phases;
    assert_eq!(phases.len(), 32);
    assert_eq!(phases[0].started_unix_ns, at(0).wall);
    assert_eq!(phases[31].started_unix_ns, at(99).wall);
}

/// They alert all the same.
#[test]
fn too_many_at_once_are_counted_and_not_remembered() {
    let mut ledger = ledger();
    for minor in 0..=u32::try_from(OPEN_MAX).unwrap() {
        let id = SuperblockId {
            dev: Dev(minor),
            epoch: 0,
        };
        fires(&mut ledger, at(1), &Key::Superblock(id), AlertKind::Dead, 1);
    }
    assert_eq!(ledger.active(), OPEN_MAX);
    assert_eq!(ledger.counts().refused, 1);
    assert_eq!(ledger.take_due(at(1).mono).len(), OPEN_MAX);
}

/// Read too late: what was found meanwhile is told under its own name already.
#[test]
fn what_is_remembered_too_late_ends_beside_what_goes_on() {
    let mut ledger = ledger();
    let before = {
        let mut ledger = self::ledger();
        fires(&mut ledger, at(1), &key(0), AlertKind::Dead, 1);
        ledger.take_due(at(1).mono)
    };
    fires(&mut ledger, at(50), &key(0), AlertKind::Dead, 50);
    ledger.take_due(at(50).mono);
    ledger.remember(at(60), before);
    let kept = ledger.take_due(at(60).mono);
    let ended: Vec<_> = kept
        .iter()
        .filter_map(|incident| incident.ended.as_ref())
        .collect();
    assert_eq!(ended.len(), 1);
    assert_eq!(ended[0].why, EndReason::EndedUnobserved);
    assert_eq!(ended[0].duration_ns, None);
    assert_eq!(ledger.active(), 1);
}

#[test]
fn one_of_another_boot_is_over_at_once() {
    let mut ledger = ledger();
    let mut other = Ledger::new("other boot".to_owned());
    let step = step(AlertKind::Hung, Change::Firing, 1);
    other.step(at(1), &key(0), &step, "", || subject("other boot"));
    ledger.remember(at(2), other.take_due(at(1).mono));
    let over = ledger.settle_remembered(at(2), &Detect::default(), |_| Sighting::Unseen);
    assert_eq!(over.len(), 1);
    assert!(
        fires(&mut ledger, at(3), &key(0), AlertKind::Hung, 3)
            .since
            .is_none()
    );
}
