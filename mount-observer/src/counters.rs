//! What was counted on one superblock: since attach, and over the sliding windows of the detectors.

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use mount_observer_common::{BUCKETS, bucket_upper_bound_ns};

use crate::{
    decode::{Outcome, Total},
    errno::Errno,
    operation::{Class, Operation},
    snapshot::{ClassLatency, OperationCount},
    time::Mono,
};

/// Slots a window is cut into: it forgets in steps of a sixteenth.
const SLOTS: u32 = 16;

/// Kinds of failure told apart within one slot; the rest is only counted.
const FAILURE_KINDS_MAX: usize = 16;

/// Counters of one superblock.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    operations: BTreeMap<(Operation, Option<Errno>), u64>,
    /// By class; most filesystems see two or three of them.
    latency: [Option<Box<Histogram>>; Class::ALL.len()],
    /// When a FUSE request last ended, in whatever way.
    pub last_completion: Option<Mono>,
    /// When an operation last succeeded.
    pub last_success: Option<Mono>,
    storm: VecDeque<Slot<Failures>>,
    slow: VecDeque<Slot<LatencySlot>>,
}

#[derive(Clone, Debug)]
struct Histogram {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
}

#[derive(Clone, Debug)]
struct Slot<T> {
    start: Mono,
    content: T,
}

/// The latencies of one slot: 16 slots x 128 B = 2 KiB per superblock.
#[derive(Clone, Debug, Default)]
struct LatencySlot {
    buckets: [u32; BUCKETS],
    slow: u32,
}

/// Connection-class failures in a window.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// Of requests to servers: FUSE's and NFS's.
    pub requests: u64,
    /// Of path syscalls: mostly the same failures seen from the other side.
    pub syscalls: u64,
    /// By kind.
    pub kinds: BTreeMap<(Operation, Errno), u64>,
    /// When the window's first slot that has some began.
    pub since: Option<Mono>,
}

/// Latencies in a window, operations that wait by design left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// By bucket.
    pub buckets: [u64; BUCKETS],
    /// Those above the threshold.
    pub slow: u64,
    /// When the window's first slot that has one above it began.
    pub since: Option<Mono>,
}

impl Failures {
    /// The failures: as many as the busier of the two views shows, because they overlap.
    pub fn count(&self) -> u64 {
        self.requests.max(self.syscalls)
    }

    fn add(&mut self, operation: Operation, errno: Errno, count: u64) {
        let total = if operation.is_request() {
            &mut self.requests
        } else {
            &mut self.syscalls
        };
        *total += count;
        let is_room = self.kinds.len() < FAILURE_KINDS_MAX;
        if is_room || self.kinds.contains_key(&(operation, errno)) {
            *self.kinds.entry((operation, errno)).or_default() += count;
        }
    }
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            slow: 0,
            since: None,
        }
    }
}

impl Latencies {
    /// Operations.
    pub fn samples(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Upper bound of the bucket the 99th percentile falls into; `None` in the last, which has none.
    pub fn p99_below(&self) -> Option<Duration> {
        let beyond = self.samples() / 100;
        let mut above = 0;
        let bucket = (0..BUCKETS).rev().find(|&bucket| {
            above += self.buckets.get(bucket).copied().unwrap_or(0);
            above > beyond
        })?;
        let bound = bucket_upper_bound_ns(u32::try_from(bucket).ok()?)?;
        Some(Duration::from_nanos(bound))
    }
}

/// What was counted between two readings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// What about.
    pub outcome: Outcome,
    /// How much.
    pub total: Total,
}

impl Counters {
    /// Takes what came in since the last reading.
    pub fn add(&mut self, now: Mono, delta: &Delta, windows: Windows) {
        let Outcome {
            operation, errno, ..
        } = delta.outcome;
        let total = &delta.total;
        if errno.is_none() && total.count > 0 {
            self.last_success = self.last_success.max(Some(total.last));
        }
        *self.operations.entry((operation, errno)).or_default() += total.count;
        self.add_latency(now, operation, total, windows.slow);
        if let Some(errno) = errno.filter(|errno| operation.is_trouble(*errno)) {
            self.add_failures(now, operation, errno, total.count, windows.storm);
        }
    }

    /// A FUSE request ended, in whatever way, then.
    pub fn completed(&mut self, at: Mono) {
        self.last_completion = self.last_completion.max(Some(at));
    }

    /// Counts failures found by other means than the totals.
    pub fn add_failures(
        &mut self,
        now: Mono,
        operation: Operation,
        errno: Errno,
        count: u64,
        window: Duration,
    ) {
        let failures = current(&mut self.storm, now, window);
        failures.add(operation, errno, count);
    }

    /// Counts one operation that the totals counted without knowing its superblock.
    pub fn add_attributed(&mut self, operation: Operation, errno: Option<Errno>) {
        *self.operations.entry((operation, errno)).or_default() += 1;
    }

    fn add_latency(&mut self, now: Mono, operation: Operation, total: &Total, window: Duration) {
        if total.buckets.iter().all(|count| *count == 0) {
            return;
        }
        let class = operation.class();
        for (known, histogram) in Class::ALL.iter().zip(&mut self.latency) {
            if *known == class {
                histogram.get_or_insert_default().add(total);
            }
        }
        if class == Class::Blocking {
            return;
        }
        let latencies = current(&mut self.slow, now, window);
        let slow = u32::try_from(total.slow).unwrap_or(u32::MAX);
        latencies.slow = latencies.slow.saturating_add(slow);
        for (bucket, count) in latencies.buckets.iter_mut().zip(total.buckets) {
            *bucket = bucket.saturating_add(count);
        }
    }

    /// Connection-class failures within the window.
    pub fn failures(&self, now: Mono, window: Duration) -> Failures {
        let mut sum = Failures::default();
        for slot in recent(&self.storm, now, window) {
            let failures = &slot.content;
            sum.since.get_or_insert(slot.start);
            for (&(operation, errno), &count) in &failures.kinds {
                let is_room = sum.kinds.len() < FAILURE_KINDS_MAX;
                if is_room || sum.kinds.contains_key(&(operation, errno)) {
                    *sum.kinds.entry((operation, errno)).or_default() += count;
                }
            }
            sum.requests += failures.requests;
            sum.syscalls += failures.syscalls;
        }
        sum
    }

    /// Latencies within the window.
    pub fn latencies(&self, now: Mono, window: Duration) -> Latencies {
        let mut sum = Latencies::default();
        for slot in recent(&self.slow, now, window) {
            let latencies = &slot.content;
            sum.slow += u64::from(latencies.slow);
            if latencies.slow > 0 {
                sum.since.get_or_insert(slot.start);
            }
            for (bucket, count) in sum.buckets.iter_mut().zip(latencies.buckets) {
                *bucket += u64::from(count);
            }
        }
        sum
    }

    /// Drops what left the windows.
    pub fn expire(&mut self, now: Mono, windows: Windows) {
        expire(&mut self.storm, now, windows.storm);
        expire(&mut self.slow, now, windows.slow);
    }

    /// Operations since attach.
    pub fn operations(&self) -> Vec<OperationCount> {
        operation_counts(&self.operations)
    }

    /// Latencies since attach.
    pub fn latency(&self) -> Vec<ClassLatency> {
        let all = Class::ALL.iter().zip(&self.latency);
        all.filter_map(|(class, histogram)| {
            let histogram = histogram.as_ref()?;
            Some(ClassLatency {
                class: class.name(),
                buckets: histogram.buckets,
                sum_ns: histogram.sum_ns,
            })
        })
        .collect()
    }
}

impl Histogram {
    fn add(&mut self, total: &Total) {
        self.sum_ns = self.sum_ns.saturating_add(total.sum_ns);
        for (bucket, count) in self.buckets.iter_mut().zip(total.buckets) {
            *bucket += u64::from(count);
        }
    }
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: [0; BUCKETS],
            sum_ns: 0,
        }
    }
}

/// Lengths of the sliding windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Of failures.
    pub storm: Duration,
    /// Of latencies.
    pub slow: Duration,
}

/// For the snapshot.
pub fn operation_counts(counts: &BTreeMap<(Operation, Option<Errno>), u64>) -> Vec<OperationCount> {
    let view =
        |(&(operation, errno), &count): (&(Operation, Option<Errno>), &u64)| OperationCount {
            operation,
            errno,
            count,
        };
    counts.iter().map(view).collect()
}

/// The content of the newest slot, a new one when that is full.
fn current<T: Default>(slots: &mut VecDeque<Slot<T>>, now: Mono, window: Duration) -> &mut T {
    expire(slots, now, window);
    let has_room = |slot: &Slot<T>| now.since(slot.start) < window / SLOTS;
    let slot = slots.pop_back_if(|slot| has_room(slot)).unwrap_or(Slot {
        start: now,
        content: T::default(),
    });
    &mut slots.push_back_mut(slot).content
}

fn recent<T>(
    slots: &VecDeque<Slot<T>>,
    now: Mono,
    window: Duration,
) -> impl Iterator<Item = &Slot<T>> {
    slots
        .iter()
        .filter(move |slot| now.since(slot.start) < window)
}

fn expire<T>(slots: &mut VecDeque<Slot<T>>, now: Mono, window: Duration) {
    while slots
        .front()
        .is_some_and(|slot| now.since(slot.start) >= window)
    {
        slots.pop_front();
    }
}

#[cfg(test)]
mod tests;
