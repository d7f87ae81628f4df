use std::{collections::BTreeMap, sync::Arc};

use super::*;
use crate::{
    decode::Caller,
    errno::Errno,
    operation::Operation,
    render::fixture,
    superblock::Dev,
    trace::{
        Place, Summary,
        histogram::{Percentiles, Row},
        summary::{Blocked, MountSummary, OperationSummary},
    },
};

fn operation() -> OperationLine {
    OperationLine {
        state: State::Ok,
        at: Wall(3_723_004_000_000),
        caller: Some(Caller {
            pid: 12,
            tid: 13,
            comm: "stat".to_owned(),
        }),
        dev: Dev(52),
        place: Arc::new(Place {
            mount_point: "/srv/jobs/42".to_owned(),
            fstype: "fuse.sshfs".to_owned(),
        }),
        operation: Some(Operation::fuse(1)),
        waits_in: None,
        file: Some(File::Name {
            parent: Some(1),
            name: b"out.warc".to_vec(),
        }),
        unique: Some(7),
        errno: None,
        latency_ns: Some(41_000),
        is_at_least: false,
        was_blocked: false,
    }
}

/// Lines of every kind.
pub(in crate::render) fn lines() -> Vec<Line> {
    let line = operation();
    let operations = [
        line.clone(),
        OperationLine {
            state: State::Failed,
            errno: Some(Errno::EIO),
            file: Some(File::Path(b"/srv/jobs/42/x".to_vec())),
            operation: Operation::from_name("statx"),
            ..line.clone()
        },
        OperationLine {
            state: State::Blocked,
            file: Some(File::Node(9)),
            latency_ns: Some(1_000_000_000),
            ..line.clone()
        },
        OperationLine {
            state: State::Ok,
            was_blocked: true,
            latency_ns: Some(65_000_000_000),
            file: Some(File::Name {
                parent: Some(9),
                name: b"deep".to_vec(),
            }),
            ..line.clone()
        },
        OperationLine {
            state: State::Gone,
            was_blocked: true,
            is_at_least: true,
            operation: None,
            waits_in: Some("rpc_wait_bit_killable".to_owned()),
            file: None,
            unique: None,
            latency_ns: Some(2_500_000_000),
            ..line.clone()
        },
        OperationLine {
            caller: None,
            operation: Some(Operation::fuse(2)),
            file: None,
            latency_ns: None,
            ..line
        },
    ];
    let operations = operations.map(|line| Line::Operation(Box::new(line)));
    let alert = Line::Alert {
        at: Wall(3_723_004_000_000),
        transition: Box::new(fixture::transition()),
    };
    let lost = Line::Lost(Lost {
        at: Wall(3_723_004_000_000),
        what: "records_lost",
        count: 2,
        total: 9,
    });
    operations.into_iter().chain([alert, lost]).collect()
}

/// With everything in it.
pub(in crate::render) fn summary() -> Summary {
    let operation = OperationSummary {
        op: Operation::fuse(1),
        count: 9_999,
        failed: 101,
        per_second: 833.25,
        errors: BTreeMap::from([(Errno::EIO, 1), (Errno(2), 100)]),
        gone: 1,
        sum_ns: 99,
        latency: Some(Percentiles {
            p50_ns: 41_000,
            p90_ns: 80_000,
            p99_ns: 1_300_000,
            max_ns: 3_999_999_999,
        }),
        histogram: [9_000, 900, 0, 98, 0, 0, 0, 1]
            .into_iter()
            .zip(15..)
            .map(|(count, exponent)| Row {
                from_ns: 1 << exponent,
                below_ns: 2 << exponent,
                count,
            })
            .collect(),
    };
    Summary {
        begun_unix_ns: Wall(3_723_004_000_000),
        duration_ns: 12_000_000_000,
        count: 9_999,
        failed: 101,
        per_second: 833.25,
        mounts: vec![MountSummary {
            superblock: Dev(52),
            mount_point: "/srv/jobs/42".to_owned(),
            fstype: "fuse.sshfs".to_owned(),
            count: 9_999,
            failed: 101,
            per_second: 833.25,
            operations: vec![operation],
        }],
        blocked: vec![Blocked {
            superblock: Dev(52),
            mount_point: "/srv/jobs/42".to_owned(),
            op: Some(Operation::fuse(17)),
            waits_in: None,
            pid: Some(12),
            comm: Some("df".to_owned()),
            age_ns: 65_000_000_000,
        }],
        others: 3,
        unattributed: 4,
        sample: 10,
        lost: BTreeMap::from([("records_lost", 2), ("sampled_out", 89_991)]),
    }
}

fn all(paper: Paper) -> String {
    let lines = lines();
    let lines = lines.iter().map(|known| line(known, paper));
    [heading(paper)].into_iter().chain(lines).collect()
}

#[test]
fn lines_are_whole_in_a_pipe() {
    insta::assert_snapshot!(all(Paper::default()));
}

#[test]
fn lines_are_cut_to_a_screen() {
    for width in [20, 80, 132] {
        let paper = Paper {
            width: Some(width),
            is_coloured: false,
        };
        let text = all(paper);
        assert!(
            text.lines().all(|line| line.chars().count() <= width),
            "{text}"
        );
        if width == 80 {
            insta::assert_snapshot!(text);
        }
    }
}

#[test]
fn colours_are_taken_back_on_every_line() {
    let paper = Paper {
        width: None,
        is_coloured: true,
    };
    let text = all(paper);
    assert!(text.contains("\x1b[1;33m"), "what blocks stands out");
    for line in text.lines() {
        assert_eq!(line.contains("\x1b["), line.ends_with("\x1b[0m"), "{line}");
    }
    let plain = all(Paper::default());
    assert!(!plain.contains('\x1b'));
}

#[test]
fn hostile_names_forge_no_line_and_move_no_cursor() {
    let evil = "\u{1b}[2J\n22:00:00.000 \u{202e}\"\\";
    let mut bytes = evil.as_bytes().to_vec();
    bytes.extend(b"\xff".repeat(255));
    let line = OperationLine {
        caller: Some(Caller {
            pid: 1,
            tid: 1,
            comm: evil.to_owned(),
        }),
        place: Arc::new(Place {
            mount_point: evil.to_owned(),
            fstype: evil.to_owned(),
        }),
        file: Some(File::Path(bytes.clone())),
        ..operation()
    };
    let line = Line::Operation(Box::new(line));
    for width in [None, Some(80)] {
        let paper = Paper {
            width,
            is_coloured: false,
        };
        let text = super::line(&line, paper);
        assert_eq!(text.lines().count(), 1, "{text:?}");
        assert!(!text.trim_end().contains(char::is_control), "{text:?}");
        assert!(!text.contains('\u{202e}'), "{text:?}");
    }
    let object = serde_json::to_string(&json::object(&line)).unwrap();
    assert!(!object.contains(char::is_control), "{object}");
    let object: serde_json::Value = serde_json::from_str(&object).unwrap();
    let file = object["file"].as_str().unwrap();
    assert_eq!(text::unescaped(file), bytes);
}

#[test]
fn objects_say_the_same() {
    let lines = lines();
    let objects = lines
        .iter()
        .map(|line| serde_json::to_string(&json::object(line)).unwrap());
    insta::assert_snapshot!(objects.collect::<Vec<_>>().join("\n"));
}

#[test]
fn the_summary_says_everything() {
    insta::assert_snapshot!(summary::text(&summary(), Paper::default()));
}
