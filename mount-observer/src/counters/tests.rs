use super::*;
use crate::superblock::Dev;

const WINDOWS: Windows = Windows {
    storm: Duration::from_secs(10),
    slow: Duration::from_mins(1),
};
const READ: Operation = Operation::fuse(15);
const SETLKW: Operation = Operation::fuse(33);

fn at(seconds: u64) -> Mono {
    Mono(seconds * 1_000_000_000)
}

fn delta(operation: Operation, errno: Option<Errno>, count: u32, slow: u64) -> Delta {
    let mut total = Total::ZERO;
    total.count = u64::from(count);
    total.buckets[20] = count;
    total.slow = slow;
    Delta {
        outcome: Outcome {
            dev: Some(Dev(52)),
            operation,
            errno,
        },
        total,
    }
}

#[test]
fn failures_leave_the_window_and_stay_in_the_totals() {
    let mut counters = Counters::default();
    let failed = delta(READ, Some(Errno::EIO), 3, 0);
    counters.add(at(0), &failed, WINDOWS);
    counters.add(at(6), &failed, WINDOWS);
    let seen = |counters: &Counters, second| {
        let failures = counters.failures(at(second), WINDOWS.storm);
        (failures.count(), failures.since)
    };
    assert_eq!(seen(&counters, 6), (6, Some(at(0))));
    assert_eq!(seen(&counters, 10), (3, Some(at(6))));
    assert_eq!(seen(&counters, 16), (0, None));
    assert_eq!(counters.operations()[0].count, 6);
}

#[test]
fn a_failure_seen_by_the_request_and_by_the_syscall_counts_once() {
    let mut counters = Counters::default();
    let syscall = Operation(mount_observer_common::Op::Syscall(4));
    counters.add(at(0), &delta(READ, Some(Errno::EIO), 3, 0), WINDOWS);
    counters.add(at(0), &delta(syscall, Some(Errno::EIO), 4, 0), WINDOWS);
    assert_eq!(counters.failures(at(0), WINDOWS.storm).count(), 4);
}

#[test]
fn failures_of_nfs_operations_count_like_those_of_requests_and_stale_files_do_not() {
    let mut counters = Counters::default();
    let write = Operation::nfs("WRITE", 7);
    counters.add(at(0), &delta(write, Some(Errno::EIO), 3, 0), WINDOWS);
    counters.add(at(0), &delta(write, Some(Errno::ESTALE), 9, 0), WINDOWS);
    let failures = counters.failures(at(0), WINDOWS.storm);
    assert_eq!((failures.requests, failures.count()), (3, 3));
    assert_eq!(counters.operations().len(), 2);
}

#[test]
fn benign_errors_are_no_failures() {
    let mut counters = Counters::default();
    counters.add(at(0), &delta(READ, Some(Errno(2)), 3, 0), WINDOWS);
    assert_eq!(counters.failures(at(0), WINDOWS.storm), Failures::default());
}

#[test]
fn what_waits_by_design_has_a_histogram_but_no_part_in_slowness() {
    let mut counters = Counters::default();
    counters.add(at(0), &delta(SETLKW, None, 5, 5), WINDOWS);
    assert_eq!(counters.latencies(at(0), WINDOWS.slow).samples(), 0);
    counters.add(at(1), &delta(READ, None, 5, 2), WINDOWS);
    let latencies = counters.latencies(at(1), WINDOWS.slow);
    assert_eq!((latencies.samples(), latencies.slow), (5, 2));
    assert_eq!(latencies.since, Some(at(1)));
    let classes: Vec<_> = counters.latency().iter().map(|c| c.class).collect();
    assert_eq!(classes, ["data", "blocking"]);
}

#[test]
fn the_percentile_lies_where_one_in_a_hundred_is_above() {
    let mut latencies = Latencies::default();
    latencies.buckets[3] = 99;
    latencies.buckets[10] = 1;
    let bound = |bucket| bucket_upper_bound_ns(bucket).map(Duration::from_nanos);
    assert_eq!(latencies.p99_below(), bound(3));
    latencies.buckets[10] = 2;
    assert_eq!(latencies.p99_below(), bound(10));
    latencies.buckets[27] = 50;
    assert_eq!(latencies.p99_below(), None, "the last bucket has no bound");
}

#[test]
fn a_window_keeps_no_more_slots_than_it_has() {
    let mut counters = Counters::default();
    for second in 0..1_000 {
        counters.add(at(second), &delta(READ, Some(Errno::EIO), 1, 1), WINDOWS);
    }
    assert!(counters.storm.len() <= 16, "{}", counters.storm.len());
    assert!(counters.slow.len() <= 16, "{}", counters.slow.len());
}
