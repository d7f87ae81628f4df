use super::*;

const CLEAR: Duration = Duration::from_secs(10);

fn condition(kind: AlertKind, severity: Severity, since_s: u64) -> Condition {
    Condition {
        kind,
        severity,
        stage: Stage::Harm,
        since: at(since_s),
        reason: String::new(),
        evidence: Vec::new(),
        victims: Vec::new(),
        victims_total: 0,
    }
}

fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000_000)
}

fn hung(since_s: u64) -> Condition {
    condition(AlertKind::Hung, Severity::Warning, since_s)
}

fn changes(steps: &[Step]) -> Vec<(AlertKind, Change)> {
    steps.iter().map(|s| (s.condition.kind, s.change)).collect()
}

fn ended(why: Resolution) -> Change {
    Change::Resolved { why }
}

#[test]
fn it_fires_once_and_resolves_after_the_hold() {
    let mut life = AlertLife::default();
    let steps = life.tick(at(5), Some(hung(0)), false, CLEAR);
    assert_eq!(changes(&steps), [(AlertKind::Hung, Change::Firing)]);
    assert_eq!(life.tick(at(6), Some(hung(0)), false, CLEAR), []);
    assert_eq!(life.tick(at(15), None, false, CLEAR), []);
    let steps = life.tick(at(16), None, false, CLEAR);
    assert_eq!(
        changes(&steps),
        [(AlertKind::Hung, ended(Resolution::Recovered))]
    );
    assert!(life.firing().is_none());
}

#[test]
fn a_return_within_the_hold_changes_nothing() {
    let mut life = AlertLife::default();
    life.tick(at(5), Some(hung(0)), false, CLEAR);
    for second in 6..100 {
        let found = (second % 9 == 0).then(|| hung(second));
        assert_eq!(life.tick(at(second), found, false, CLEAR), [], "{second}");
    }
    assert_eq!(life.firing().unwrap().since, at(0));
}

#[test]
fn a_rise_in_severity_is_told_and_a_fall_is_not() {
    let mut life = AlertLife::default();
    life.tick(at(5), Some(hung(0)), false, CLEAR);
    let worse = Some(condition(AlertKind::Hung, Severity::Critical, 0));
    let steps = life.tick(at(30), worse, false, CLEAR);
    assert_eq!(changes(&steps), [(AlertKind::Hung, Change::Firing)]);
    assert_eq!(life.tick(at(31), Some(hung(0)), false, CLEAR), []);
    assert_eq!(life.firing().unwrap().severity, Severity::Critical);
}

#[test]
fn a_worse_kind_takes_over_at_once_and_a_milder_waits() {
    let mut life = AlertLife::default();
    let slow = || Some(condition(AlertKind::Slow, Severity::Warning, 0));
    life.tick(at(1), slow(), false, CLEAR);
    let steps = life.tick(at(2), Some(hung(0)), false, CLEAR);
    assert_eq!(
        changes(&steps),
        [
            (AlertKind::Slow, ended(Resolution::Superseded)),
            (AlertKind::Hung, Change::Firing)
        ]
    );
    assert_eq!(life.tick(at(3), slow(), false, CLEAR), []);
    let steps = life.tick(at(12), slow(), false, CLEAR);
    assert_eq!(
        changes(&steps),
        [
            (AlertKind::Hung, ended(Resolution::Superseded)),
            (AlertKind::Slow, Change::Firing)
        ]
    );
}

#[test]
fn what_we_cannot_see_never_counts_as_recovered() {
    let mut life = AlertLife::default();
    life.tick(at(5), Some(hung(0)), false, CLEAR);
    assert_eq!(life.tick(at(40), None, true, CLEAR), []);
    assert_eq!(life.tick(at(45), None, false, CLEAR), []);
    assert_eq!(life.tick(at(49), None, true, CLEAR), []);
    assert_eq!(life.tick(at(100_000), None, true, CLEAR), []);
    assert_eq!(life.tick(at(100_009), None, false, CLEAR), []);
    let steps = life.tick(at(100_010), None, false, CLEAR);
    assert_eq!(
        changes(&steps),
        [(AlertKind::Hung, ended(Resolution::Recovered))]
    );
}

#[test]
fn what_keeps_coming_back_is_held_longer() {
    let mut life = AlertLife::default();
    let mut second = 0;
    let mut cycle = |life: &mut AlertLife| {
        life.tick(at(second), Some(hung(second)), false, CLEAR);
        let start = second;
        while life.firing().is_some() {
            second += 1;
            life.tick(at(second), None, false, CLEAR);
        }
        second - start
    };
    let holds: Vec<_> = (0..8).map(|_| cycle(&mut life)).collect();
    assert_eq!(holds, [10, 10, 10, 10, 20, 40, 80, 80]);
}

#[test]
fn the_end_of_the_superblock_ends_its_alert() {
    let mut life = AlertLife::default();
    assert_eq!(life.end(Resolution::Unmounted), None);
    life.tick(at(5), Some(hung(0)), false, CLEAR);
    let step = life.end(Resolution::Replaced).unwrap();
    assert_eq!(step.change, ended(Resolution::Replaced));
}

#[test]
fn what_gets_worse_or_eases_does_not_come_back() {
    let mut life = AlertLife::default();
    life.tick(at(0), Some(hung(0)), false, CLEAR);
    life.tick(at(10), None, false, CLEAR);
    assert!(life.firing().is_none());
    let slow = || Some(condition(AlertKind::Slow, Severity::Warning, 20));
    for round in 0..20 {
        let second = 20 + 20 * round;
        life.tick(at(second), slow(), false, CLEAR);
        life.tick(at(second + 1), Some(hung(second)), false, CLEAR);
        life.tick(at(second + 12), slow(), false, CLEAR);
        assert_eq!(
            life.firing().map(|c| c.kind),
            Some(AlertKind::Slow),
            "{round}"
        );
    }
    life.tick(at(500), slow(), false, CLEAR);
    let steps = life.tick(at(510), None, false, CLEAR);
    assert_eq!(
        changes(&steps),
        [(AlertKind::Slow, ended(Resolution::Recovered))]
    );
}
