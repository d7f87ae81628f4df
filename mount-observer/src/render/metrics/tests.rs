//! The exposition of a fixed snapshot.

use super::*;
use crate::{render::fixture, text::append};

fn report() -> SelfReport {
    SelfReport {
        version: "1.2.3",
        heartbeats: vec![("observe", Wall(1_767_323_045_000_000_000))],
        dropped: vec![("log_full", 0)],
        sinks: vec![SinkReport {
            sink: "pager".to_owned(),
            outcomes: vec![("delivered", 3), ("failed", 1)],
            dropped: 0,
        }],
        kept_back: vec![("silence", 1), ("cause", 0)],
        silences: 2,
        storage: Some(StorageReport {
            is_up: true,
            errors: 2,
            waiting: 1,
        }),
        process: Some(Process::default()),
    }
}

/// Series in a notation close to the exposition's.
fn shown(families: &[Family]) -> String {
    let mut out = String::new();
    for family in families {
        for series in &family.series {
            let labels: Vec<String> = series
                .labels
                .iter()
                .map(|(name, value)| format!("{name}={value:?}"))
                .collect();
            let value = match &series.value {
                Value::Number(number) => number.to_string(),
                Value::Histogram(histogram) => format!("{histogram:?}"),
            };
            append(
                &mut out,
                format_args!("{}{{{}}} {value}\n", family.metric.name, labels.join(",")),
            );
        }
    }
    out
}

#[test]
fn what_is_pushed_counts_what_would_not_answer() {
    let text = totals(&fixture::snapshot());
    let mut numbers = text.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(numbers.next(), Some("total_mountpoints 5"), "{text}");
    assert_eq!(numbers.next(), Some("dead_mountpoints 2"), "{text}");
}

#[test]
fn every_series_of_a_snapshot() {
    insta::assert_snapshot!(shown(&families(&fixture::snapshot(), 64, &report())));
}

#[test]
fn above_the_limit_the_healthy_and_idle_are_folded_and_nothing_is_lost() {
    let snapshot = fixture::snapshot();
    let folded = families(&snapshot, 3, &report());
    let whole = families(&snapshot, 64, &report());
    let text = shown(&folded);
    assert!(
        text.contains("mount_observer_superblocks_folded{} 2\n"),
        "{text}"
    );
    for kept in ["0:52", "0:53", "0:55"] {
        assert!(
            text.contains(&format!("superblock_info{{superblock={kept:?}")),
            "{text}"
        );
    }
    assert!(
        !text.contains("superblock_state{superblock=\"overflow\""),
        "{text}"
    );
    for name in [
        "mount_observer_operations_total",
        "mount_observer_inflight_requests",
    ] {
        let difference = sum(&folded, name) - sum(&whole, name);
        assert!(difference.abs() < 0.5, "{name}: {difference}");
    }
}

fn sum(families: &[Family], name: &str) -> f64 {
    families
        .iter()
        .filter(|family| family.metric.name == name)
        .flat_map(|family| &family.series)
        .map(|series| match &series.value {
            Value::Number(number) => *number,
            Value::Histogram(histogram) => histogram.sum,
        })
        .sum()
}

#[test]
fn series_carry_the_labels_of_the_table_and_each_metric_of_it_appears() {
    let mut snapshot = fixture::snapshot();
    let shown = families(&snapshot, 64, &report());
    let names: Vec<&str> = shown.iter().map(|family| family.metric.name).collect();
    let documented: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(names, documented);
    for family in &shown {
        let own: &[&str] = if family.metric.is_per_superblock {
            &SUPERBLOCK_LABELS
        } else {
            &[]
        };
        let expected: Vec<&str> = own.iter().chain(family.metric.labels).copied().collect();
        for series in &family.series {
            let labels: Vec<&str> = series.labels.iter().map(|label| label.0).collect();
            assert_eq!(labels, expected, "{}", family.metric.name);
        }
    }

    snapshot.superblocks.clear();
    let gone = families(&snapshot, 64, &report());
    assert!(
        gone.iter().all(|family| !family.metric.is_per_superblock),
        "{gone:?}"
    );
}
