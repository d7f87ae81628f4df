use super::*;
use crate::superblock::Dev;

const KEY: Outcome = Outcome {
    dev: Some(Dev(52)),
    operation: Operation::fuse(15),
    errno: None,
};

fn reading(count: u64) -> impl Iterator<Item = (Outcome, Total)> {
    let total = Total {
        count,
        sum_ns: count * 10,
        ..Total::ZERO
    };
    std::iter::once((KEY, total))
}

fn fresh(totals: &mut Totals, count: u64) -> Vec<(u64, u64)> {
    let deltas = totals.update(reading(count));
    deltas
        .iter()
        .map(|d| (d.total.count, d.total.sum_ns))
        .collect()
}

#[test]
fn only_what_is_new_is_counted() {
    let mut totals = Totals::default();
    assert_eq!(fresh(&mut totals, 5), [(5, 50)]);
    assert_eq!(fresh(&mut totals, 5), []);
    assert_eq!(fresh(&mut totals, 8), [(3, 30)]);
    assert_eq!(totals.counted, 8);
}

#[test]
fn a_lost_update_is_nothing_new_and_an_entry_made_again_is_all_new() {
    let mut totals = Totals::default();
    fresh(&mut totals, 5);
    assert_eq!(fresh(&mut totals, 4), []);
    assert_eq!(fresh(&mut totals, 6), [(2, 20)]);
    assert_eq!(totals.update(std::iter::empty()), []);
    assert_eq!(fresh(&mut totals, 2), [(2, 20)], "gone in between");
}

#[test]
fn what_nobody_was_given_can_be_taken_once() {
    let mut totals = Totals::default();
    let total = Total {
        count: 1,
        ..Total::ZERO
    };
    totals.add_unattributed(&Delta {
        outcome: Outcome { dev: None, ..KEY },
        total,
    });
    assert!(totals.take_unattributed(KEY.operation, None));
    assert!(!totals.take_unattributed(KEY.operation, None));
    assert_eq!(totals.unattributed(), []);
}
