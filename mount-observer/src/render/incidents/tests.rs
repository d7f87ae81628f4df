use super::*;
use crate::{
    incident::{AtRisk, AtRiskWhy, End, EndReason, FailureCount, IncidentMount, ServerFate, Stack},
    render::fixture,
    superblock::Dev,
};

/// 2026-01-02 03:04:05 UTC.
const BEGAN: Wall = Wall(1_767_323_045_000_000_000);
const MINUTE: u64 = 60_000_000_000;

/// With everything that can be known, some of it hostile.
fn full() -> Incident {
    let mut incident = fixture::incident(BEGAN, Dev(45));
    incident.subject.mount_point = "/mnt/a\nb\u{1b}[2J".to_owned();
    incident.subject.mounts = vec![IncidentMount {
        mount_id: 31,
        mount_namespace: 4_026_531_841,
        mount_point: "/mnt/a\\x0ab".to_owned(),
        root: "/".to_owned(),
        options: "rw,relatime".to_owned(),
    }];
    incident.failures = vec![FailureCount {
        operation: "OPEN".to_owned(),
        errno: "ENOTCONN".to_owned(),
        count: 160,
        peak: 80,
    }];
    incident.victims = (1..=25)
        .map(|n| IncidentVictim {
            pid: n,
            tid: n + u32::from(n == 1),
            comm: "work\ter".to_owned(),
            unit: Some("crawl.service".to_owned()),
            first_seen_unix_ns: BEGAN,
            last_seen_unix_ns: Wall(BEGAN.0 + MINUTE),
            operation: Some("OPEN".to_owned()),
            longest_wait_ns: Some(3_100_000_000),
            errno: Some("ENOTCONN".to_owned()),
            path: Some("/mnt/a/x\u{202e}y".to_owned()),
        })
        .collect();
    incident.victims_total = 30;
    incident.servers = vec![ServerFate {
        pid: 99,
        comm: "sshfs".to_owned(),
        unit: None,
        status: "gone".to_owned(),
        exit: Some("SIGKILL".to_owned()),
    }];
    incident.abort = Some("sshfs[99] closed its last /dev/fuse".to_owned());
    incident.stacks = vec![Stack {
        pid: 1,
        tid: 2,
        comm: "worker".to_owned(),
        functions: vec!["request_wait_answer".to_owned(), "?".to_owned()],
    }];
    incident.sysctls = vec![("fs.fuse.max_request_timeout".to_owned(), "0".to_owned())];
    incident.last_success_unix_ns = Some(Wall(BEGAN.0 - MINUTE));
    incident.cut = vec!["stacks".to_owned()];
    incident.at_risk.add(AtRisk {
        operation: "WRITE".to_owned(),
        why: AtRiskWhy::Failed,
        errno: Some("EIO".to_owned()),
        path: Some("/srv/a.gz".to_owned()),
        nodeid: Some(7),
        pid: Some(12),
        comm: Some("wri\nter".to_owned()),
        offset: Some(4096),
        length: Some(4096),
        at_unix_ns: BEGAN,
    });
    incident.returns = 2;
    incident.ended = Some(End {
        at_unix_ns: Wall(BEGAN.0 + 4 * MINUTE),
        duration_ns: Some(4 * MINUTE),
        why: EndReason::Recovered,
    });
    incident
}

#[test]
fn a_page_says_all_there_is() {
    insta::assert_snapshot!(page(&full(), Wall(BEGAN.0 + 9 * MINUTE)));
}

#[test]
fn a_page_of_one_that_has_just_begun_is_short() {
    let incident = fixture::incident(BEGAN, Dev(45));
    insta::assert_snapshot!(page(&incident, Wall(BEGAN.0 + MINUTE)));
}

#[test]
fn a_list_has_one_line_for_each_whatever_it_is_called() {
    let mut drill = fixture::incident(Wall(BEGAN.0 + MINUTE), Dev(46));
    drill.is_drill = true;
    let mut unobserved = full();
    let end = End {
        at_unix_ns: BEGAN,
        duration_ns: None,
        why: EndReason::EndedUnobserved,
    };
    unobserved.ended = Some(end);
    let all: Vec<_> = [&drill, &full(), &unobserved].map(Summary::of).into();
    // A clock that was set back an hour since.
    insta::assert_snapshot!(table(&all, Wall(BEGAN.0 - 60 * MINUTE)));
    assert_eq!(
        table(&[], BEGAN),
        "No incident is remembered that matches\n"
    );
}

#[test]
fn what_is_at_risk_is_told_and_so_is_that_nothing_is() {
    assert_eq!(
        at_risk(&full()),
        "20260102T030405.000-0.45: data at risk. Something last succeeded at 2026-01-02 03:03:05; \
         it ended at 2026-01-02 03:08:05.\n\
         /srv/a.gz: WRITE failed with EIO, bytes 4096 to 8191, by wri\\x0ater[12]\n"
    );
    assert_eq!(
        at_risk(&fixture::incident(BEGAN, Dev(45))),
        "20260102T030405.000-0.45: nothing is known to be at risk. When something last succeeded is \
         not known; it goes on.\n"
    );
}
