use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    render::fixture,
    time::Mono,
    top::{
        look::{Count, Superblock},
        tests::look_of,
    },
};

const MS: u64 = 1_000_000;

/// A look at one mount after so many ms: operations, failures, and what waits.
fn look(at_ms: u64, lookups: u64, failed: u64, oldest_ns: Option<u64>) -> Look {
    let mut snapshot = fixture::healthy_snapshot();
    snapshot.superblocks.truncate(1);
    snapshot.taken = Mono(1_000_000 * MS + at_ms * MS);
    snapshot.observer.events = vec![("record", at_ms)];
    let superblock = &mut snapshot.superblocks[0];
    superblock.oldest_request_age_ns = oldest_ns;
    let mut looked = look_of(&snapshot);
    let superblock = &mut looked.superblocks[0];
    let count = |operation: &str, errno: Option<&str>, count| Count {
        operation: operation.to_owned(),
        errno: errno.map(str::to_owned),
        count,
    };
    superblock.operations = vec![
        count("LOOKUP", None, lookups),
        count("LOOKUP", Some("ENOENT"), failed * 2),
        count("READ", Some("EIO"), failed),
        count("newfstatat", Some("EIO"), failed / 2),
    ];
    let mut buckets = vec![0; BUCKETS];
    buckets[3] = lookups;
    superblock.latency.as_mut().unwrap()[0].buckets = buckets;
    looked
}

#[test]
fn rates_are_of_the_last_seconds_and_percentiles_of_the_last_minute() {
    let mut history = History::default();
    assert!(history.take(&look(0, 1_000, 0, None)));
    assert_eq!(history.rates("0:54"), None);
    for second in 1..=4 {
        assert!(history.take(&look(
            second * 1_000,
            1_000 + second * 100,
            second * 2,
            None
        )));
    }
    // 100 LOOKUPs, 4 ENOENT, 2 EIO; the system call's EIO is one of them.
    let rates = history.rates("0:54").unwrap();
    assert_eq!((rates.operations, rates.errors), (1_060, 20));
    assert_eq!(history.p99("0:54"), Some(3));
    assert_eq!(history.p99("0:99"), None);
    let failures = history.failures("0:54");
    assert_eq!(failures[&("READ".to_owned(), "EIO".to_owned())], 8);
    assert_eq!(failures[&("LOOKUP".to_owned(), "ENOENT".to_owned())], 16);
}

#[test]
fn the_same_snapshot_again_is_no_news() {
    let mut history = History::default();
    assert!(history.take(&look(0, 1, 0, None)));
    assert!(!history.take(&look(0, 1, 0, None)));
}

#[test]
fn an_observer_that_was_started_anew_counts_from_nothing() {
    let mut history = History::default();
    history.take(&look(5_000, 1_000, 0, None));
    let mut anew = look(6_000, 1_200, 0, None);
    anew.observer.events[0].1 = 3;
    history.take(&anew);
    assert_eq!(history.rates("0:54"), None);
    let mut on = look(7_000, 1_210, 0, None);
    on.observer.events[0].1 = 4;
    history.take(&on);
    assert_eq!(history.rates("0:54").unwrap().operations, 100);
}

#[test]
fn what_nobody_looked_at_is_neither_idle_nor_slow() {
    let mut history = History::default();
    for second in (0..4).chain(20..24) {
        let waits = (second > 21).then(|| (second - 21) * 1_000 * MS);
        history.take(&look(second * 1_000, second * 10, 0, waits));
    }
    let slots = history.heat("0:54", 14, 2_000 * MS);
    let words: Vec<&str> = slots
        .iter()
        .map(|slot| match slot {
            Slot::Before => "before",
            Slot::Unseen => "unseen",
            Slot::Seen(_, Some(_)) => "waits",
            Slot::Seen(..) => "seen",
        })
        .collect();
    let mut counted: BTreeMap<&str, usize> = BTreeMap::new();
    for word in &words {
        *counted.entry(*word).or_default() += 1;
    }
    assert_eq!(words[..2], ["before", "before"]);
    assert_eq!(words[13], "waits");
    // 3 s to 20 s, less what slots at the edges share.
    assert!((7..=9).contains(&counted["unseen"]), "{words:?}");
}

#[test]
fn memory_is_bounded_by_time_and_by_cells() {
    let mut history = History::default();
    for second in 0..1_000 {
        history.take(&look(second * 1_000, second * 10, 0, None));
    }
    assert_eq!(history.columns.len(), 300);
    assert_eq!(history.cells, 300);
    let mut many = look(1_000_000, 0, 0, Some(1));
    let one = many.superblocks[0].clone();
    many.superblocks = (0..u32::try_from(CELLS_MAX / 2).unwrap())
        .map(|number| Superblock {
            id: format!("1:{number}"),
            ..one.clone()
        })
        .collect();
    for second in 0..4 {
        many.taken_monotonic_ns = many.taken_monotonic_ns.map(|ns| ns + second * 1_000 * MS);
        history.take(&many);
    }
    assert!(history.cells <= CELLS_MAX);
    assert!(!history.columns.is_empty());
}

proptest! {
    #[test]
    fn whatever_the_counters_do_nothing_is_counted_that_was_not(
        steps in prop::collection::vec((0_u64..4_000, 0_u64..1_000, 0_u64..100), 1..30),
    ) {
        let (mut history, mut at, mut highest) = (History::default(), 0, 0);
        for (step, lookups, failed) in steps {
            at += step;
            highest = highest.max(lookups + failed * 3);
            history.take(&look(at, lookups, failed, None));
        }
        let failures: u64 = history.failures("0:54").values().sum();
        prop_assert!(failures <= highest.saturating_mul(30));
        let shown = history.heat("0:54", 30, 2_000 * MS).len();
        prop_assert_eq!(shown, 30);
    }
}
