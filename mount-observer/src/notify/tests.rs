use std::time::Duration;

use super::*;
use crate::{
    alert::{AlertKind, Change, Resolution, Severity, Transition},
    config::ToldOf,
    render::fixture,
    time::{Mono, Now, Wall},
};

fn at(seconds: u64) -> Now {
    let nanoseconds = seconds * 1_000_000_000;
    Now {
        mono: Mono(nanoseconds),
        wall: Wall(1_700_000_000_000_000_000 + nanoseconds),
    }
}

/// A route that admits these kinds from this severity on, below these mount points.
fn route(handling: Handling, kinds: &[AlertKind], min: Severity, points: &[&str]) -> Route {
    let mount_points: Vec<String> = points.iter().map(|&point| point.to_owned()).collect();
    let told_of = ToldOf {
        kinds,
        min_severity: min,
        mount_points: &mount_points,
    };
    Route::new("sink", told_of, handling).unwrap()
}

fn everything() -> Route {
    route(Handling::Events, &[], Severity::Warning, &[])
}

fn notice(minor: u32, kind: AlertKind, severity: Severity, change: Change) -> Notice {
    let transition = Transition {
        change,
        kind,
        severity,
        superblock: Some(fixture::id(minor)),
        mountpoint: format!("/mnt/{minor}"),
        mount_points: vec![format!("/mnt/{minor}"), format!("/srv/{minor}")],
        ..fixture::transition()
    };
    Notice::new(&Origin::default(), Wall(0), "", &transition)
}

fn fires(minor: u32, kind: AlertKind, severity: Severity) -> Notice {
    notice(minor, kind, severity, Change::Firing)
}

fn dies(minor: u32) -> Notice {
    fires(minor, AlertKind::Dead, Severity::Critical)
}

fn ends(minor: u32, kind: AlertKind, why: Resolution) -> Notice {
    notice(minor, kind, Severity::Critical, Change::Resolved { why })
}

/// Each delivery as `0 firing dead`.
fn said(told: &Told) -> Vec<String> {
    let words = told.deliveries.iter().map(|delivery| {
        let notice = &delivery.notice;
        let (status, kind) = (notice.status.name(), notice.kind.name());
        format!("{} {status} {kind}", delivery.sink)
    });
    words.collect()
}

fn silenced(pattern: &str, ends_at: u64) -> Silences {
    Silences::new(vec![Silence {
        id: "s1".to_owned(),
        mount: pattern.to_owned(),
        created_unix_ns: at(0).wall,
        ends_unix_ns: at(ends_at).wall,
        reason: String::new(),
    }])
}

#[test]
fn each_sink_is_told_what_its_route_admits_and_its_end() {
    let mut router = Router::new(vec![
        everything(),
        route(Handling::Events, &[AlertKind::Dead], Severity::Warning, &[]),
        route(Handling::Events, &[], Severity::Critical, &[]),
        route(Handling::Events, &[], Severity::Warning, &["/srv/5?"]),
        route(Handling::Events, &[], Severity::Warning, &["/home/*"]),
    ]);
    let slow = fires(52, AlertKind::Slow, Severity::Warning);
    assert_eq!(
        said(&router.take(at(1), slow)),
        ["0 firing slow", "3 firing slow"]
    );
    let told = router.take(at(2), ends(52, AlertKind::Slow, Resolution::Recovered));
    assert_eq!(said(&told), ["0 resolved slow", "3 resolved slow"]);
    let told = router.take(at(3), dies(7));
    assert_eq!(
        said(&told),
        ["0 firing dead", "1 firing dead", "2 firing dead"]
    );
}

#[test]
fn a_rise_is_told_and_a_repetition_is_not() {
    let mut router = Router::new(vec![
        everything(),
        route(Handling::Events, &[], Severity::Critical, &[]),
    ]);
    let warning = fires(52, AlertKind::Hung, Severity::Warning);
    assert_eq!(
        said(&router.take(at(1), warning.clone())),
        ["0 firing hung"]
    );
    assert!(said(&router.take(at(2), warning)).is_empty());
    let critical = fires(52, AlertKind::Hung, Severity::Critical);
    let told = router.take(at(3), critical);
    assert_eq!(said(&told), ["0 firing hung", "1 firing hung"]);
    assert!(said(&router.tick(at(4))).is_empty());
}

#[test]
fn who_hears_what_took_over_is_spared_the_end_and_who_does_not_is_told() {
    let mut router = Router::new(vec![
        everything(),
        route(Handling::Events, &[AlertKind::Hung], Severity::Warning, &[]),
        route(Handling::Events, &[], Severity::Critical, &[]),
        route(Handling::State, &[], Severity::Warning, &[]),
    ]);
    router.take(at(1), fires(52, AlertKind::Hung, Severity::Critical));
    let superseded = Notice {
        successor: Some(AlertKind::Stuck),
        ..ends(52, AlertKind::Hung, Resolution::Superseded)
    };
    let told = router.take(at(2), superseded);
    assert_eq!(said(&told), ["1 resolved hung", "3 resolved hung"]);
    // It eased below what the third wants to know: that hears that it is over.
    let told = router.take(at(2), fires(52, AlertKind::Stuck, Severity::Warning));
    assert_eq!(
        said(&told),
        ["2 resolved hung", "0 firing stuck", "3 firing stuck"]
    );
}

#[test]
fn a_silence_keeps_what_fires_from_the_sinks_until_it_ends() {
    let mut router = Router::new(vec![everything()]);
    router.take(at(1), dies(7));
    router.set_silences(silenced("/srv/*", 100));
    let told = router.take(at(2), dies(52));
    assert!(said(&told).is_empty());
    let whys: Vec<_> = told
        .hidden
        .iter()
        .map(|hidden| hidden.why.as_str())
        .collect();
    assert_eq!(
        whys,
        ["silence s1 of /srv/* until 2023-11-14T22:15:00.000Z"]
    );
    // What was told before ends before everybody.
    let told = router.take(at(3), ends(7, AlertKind::Dead, Resolution::Recovered));
    assert_eq!(said(&told), ["0 resolved dead"]);
    assert_eq!(said(&router.tick(at(99))), Vec::<String>::new());
    assert_eq!(router.kept_back(), (1, 0));
    assert_eq!(said(&router.tick(at(100))), ["0 firing dead"]);
    assert_eq!(router.kept_back(), (0, 0));
}

#[test]
fn what_begins_and_ends_in_silence_is_never_told() {
    let mut router = Router::new(vec![everything()]);
    router.set_silences(silenced("/mnt/52", 100));
    assert!(said(&router.take(at(1), dies(52))).is_empty());
    let told = router.take(at(2), ends(52, AlertKind::Dead, Resolution::Unmounted));
    assert!(said(&told).is_empty());
    assert!(said(&router.tick(at(200))).is_empty());
}

#[test]
fn the_end_of_what_an_earlier_observer_told_is_told_to_whoever_it_told() {
    let mut router = Router::new(vec![everything()]);
    let told = router.take(at(1), ends(52, AlertKind::Dead, Resolution::Unobserved));
    assert_eq!(said(&told), ["0 resolved dead"]);
    router.set_silences(silenced("/mnt/52", 100));
    let told = router.take(at(2), ends(52, AlertKind::Dead, Resolution::Unobserved));
    assert!(said(&told).is_empty());
}

#[test]
fn a_dead_lower_hides_what_lies_on_it_while_it_is_dead() {
    let mut router = Router::new(vec![everything()]);
    router.take(at(1), dies(45));
    let above = Notice {
        caused_by: vec![fixture::id(45)],
        ..fires(60, AlertKind::Erroring, Severity::Warning)
    };
    let told = router.take(at(2), above);
    assert!(said(&told).is_empty());
    assert_eq!(told.hidden[0].why, "caused by 0:45, whose alert fires");
    let told = router.take(at(3), ends(45, AlertKind::Dead, Resolution::Recovered));
    assert_eq!(said(&told), ["0 resolved dead"]);
    assert_eq!(said(&router.tick(at(4))), ["0 firing erroring"]);
}

#[test]
fn what_keeps_coming_back_is_one_alert_until_it_stays_away() {
    let mut router = Router::new(vec![everything()]);
    let flapping = |mut notice: Notice| {
        notice.returns = 2;
        notice
    };
    let end = || flapping(ends(52, AlertKind::Dead, Resolution::Recovered));
    assert_eq!(
        said(&router.take(at(1), flapping(dies(52)))),
        ["0 firing dead"]
    );
    for second in [10, 70, 130] {
        assert!(said(&router.take(at(second), end())).is_empty());
        assert!(said(&router.tick(at(second + 1))).is_empty());
        assert!(said(&router.take(at(second + 30), flapping(dies(52)))).is_empty());
    }
    assert!(said(&router.take(at(200), end())).is_empty());
    assert!(said(&router.tick(at(499))).is_empty());
    assert_eq!(said(&router.tick(at(500))), ["0 resolved dead"]);
    assert!(said(&router.tick(at(501))).is_empty());
}

#[test]
fn a_silence_that_is_no_pattern_silences_nothing() {
    let mut router = Router::new(vec![everything()]);
    router.set_silences(silenced("[", 100));
    assert_eq!(said(&router.take(at(1), dies(52))), ["0 firing dead"]);
    let ended = silenced("*", 5);
    assert_eq!(ended.active(at(4).wall).count(), 1);
    assert_eq!(ended.active(at(5).wall).count(), 0);
}

#[test]
fn a_notice_is_what_the_page_says_it_is() {
    let transition = Transition {
        change: Change::Resolved {
            why: Resolution::Recovered,
        },
        victims: Vec::new(),
        victims_total: 0,
        ..fixture::transition()
    };
    let origin = Origin {
        host: "web1".to_owned(),
        is_drill: true,
    };
    let at = Wall(transition.since_unix_ns.0 + Duration::from_secs(31).as_secs());
    let notice = Notice::new(&origin, at, "Checked 5 mounts; 1 is dead", &transition);
    insta::assert_snapshot!(serde_json::to_string_pretty(&notice).unwrap());
}
