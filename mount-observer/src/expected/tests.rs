use crate::{
    alert::{Change, Resolution},
    decode::Caller,
    operation::Operation,
    time::Wall,
};

use super::*;

const SECOND: u64 = 1_000_000_000;
const CLEAR: Duration = Duration::from_secs(2);

fn at(seconds: u64) -> Mono {
    Mono(seconds * SECOND)
}

fn now(seconds: u64) -> Now {
    Now {
        mono: at(seconds),
        wall: Wall(seconds * SECOND),
    }
}

fn expected(path: &str) -> Expected {
    let mut expected = Expected::default();
    expected.configure(&[path.to_owned()], Duration::from_secs(10));
    expected
}

/// The alerts that begin and end.
fn told(expected: &mut Expected, seconds: u64) -> Vec<(AlertKind, Change)> {
    let steps = expected.tick(at(seconds), false, CLEAR).into_iter();
    steps
        .map(|(_, step)| (step.condition.kind, step.change))
        .collect()
}

fn write(path: &[u8]) -> ShadowWrite {
    ShadowWrite {
        at: at(3),
        place: 0,
        caller: Caller {
            pid: 7,
            tid: 7,
            comm: "worker".to_owned(),
        },
        operation: Operation::from_name("openat").unwrap(),
        path: path.to_vec(),
        suppressed: 2,
    }
}

#[test]
fn what_is_there_or_was_away_for_a_moment_is_not_missed() {
    let mut expected = expected("/srv/jobs/");
    assert!(!expected.look(at(0), |path| path == b"/srv/jobs"));
    assert_eq!(told(&mut expected, 20), []);
    assert!(expected.look(at(20), |_| false));
    assert_eq!(told(&mut expected, 29), []);
    assert!(expected.look(at(29), |_| true));
    assert_eq!(told(&mut expected, 40), []);
}

#[test]
fn what_stays_away_is_missing_until_it_is_back() {
    let mut expected = expected("/srv/jobs");
    expected.look(at(0), |_| false);
    assert_eq!(
        told(&mut expected, 10),
        [(AlertKind::Missing, Change::Firing)]
    );
    expected.look(at(11), |_| true);
    assert_eq!(told(&mut expected, 11), []);
    let why = Resolution::Recovered;
    assert_eq!(
        told(&mut expected, 13),
        [(AlertKind::Missing, Change::Resolved { why })]
    );
}

#[test]
fn a_write_underneath_alerts_at_once_and_takes_over_from_what_was_missing() {
    let mut expected = expected("/srv/jobs");
    expected.look(at(0), |_| false);
    expected.on_write(&now(3), &write(b"/srv/jobs/42/x"));
    expected.count(at(4), &[(0, 3)]);
    assert_eq!(
        told(&mut expected, 4),
        [(AlertKind::ShadowWrites, Change::Firing)]
    );
    let mount = expected.at(0).unwrap();
    assert_eq!((mount.writes, mount.underneath.dropped), (3, 2));
    let line = "/srv/jobs/42/x: openat underneath, where the mount is missing, by worker[7]";
    assert_eq!(mount.underneath.entries[0].to_string(), line);
    expected.look(at(5), |_| true);
    expected.count(at(5), &[(0, 9)]);
    assert_eq!(expected.at(0).unwrap().writes, 3, "on the mount itself");
    assert_eq!(told(&mut expected, 7).len(), 1);
    // It goes again: what was written then is of the past.
    expected.look(at(8), |_| false);
    assert!(expected.at(0).unwrap().underneath.is_empty());
}

#[test]
fn only_files_below_the_mount_point_are_underneath() {
    let mut expected = expected("/srv/jobs");
    expected.look(at(0), |_| false);
    let who = Victim {
        pid: 9,
        tid: 9,
        comm: "tar".to_owned(),
        operation: None,
        age_ns: None,
        errno: None,
        path: None,
        caused_by: None,
        failed_on: None,
        attribution: None,
    };
    let files: Vec<_> = ["/srv/jobs", "/srv/jobs2/x", "/srv/jobs/", "/srv/x"]
        .map(|path| (who.clone(), path.as_bytes().to_vec()))
        .into();
    expected.on_open(&now(1), &files);
    assert_eq!(told(&mut expected, 1), []);
    expected.on_open(&now(1), &[(who, b"/srv/jobs/a".to_vec())]);
    assert_eq!(
        told(&mut expected, 1),
        [(AlertKind::ShadowWrites, Change::Firing)]
    );
}

#[test]
fn a_new_configuration_keeps_what_is_known_of_a_mount_that_stays() {
    let mut expected = expected("/srv/jobs");
    expected.look(at(0), |_| false);
    assert_eq!(told(&mut expected, 10).len(), 1);
    let paths = ["/srv/other".to_owned(), "/srv/jobs".to_owned()];
    expected.configure(&paths, Duration::from_secs(10));
    let kinds: Vec<_> = expected.iter().map(ExpectedMount::firing).collect();
    assert_eq!(kinds, [None, Some(AlertKind::Missing)]);
}

/// The programs' counts go on; what was counted before is not counted again.
#[test]
fn a_new_configuration_counts_nothing_twice() {
    let mut expected = expected("/srv/jobs");
    expected.look(at(0), |_| false);
    expected.count(at(1), &[(0, 5)]);
    expected.configure(&["/srv/jobs".to_owned()], Duration::from_secs(10));
    expected.count(at(2), &[(0, 6)]);
    assert_eq!(expected.at(0).unwrap().writes, 6);
    // Counted from zero.
    expected.begin_counting(0);
    expected.count(at(3), &[(0, 6)]);
    assert_eq!(expected.at(0).unwrap().writes, 12);
}
