//! What happened between two looks, and the looks of the last minutes: rates, percentiles and the heat
//! map are differences, so that they tell of now and not of all the time since the observer attached.
//!
//! Bounded twice: by time, and by how much is kept of it; 100 000 cells at some 200 bytes are 20 MB.

use std::collections::{BTreeMap, VecDeque};

use mount_observer_common::BUCKETS;

use super::look::{Look, Superblock};
use crate::operation::Class;

/// How far back it reaches, ns.
pub(super) const SPAN_NS: u64 = 300_000_000_000;
/// What operations per second are an average of, ns.
pub(super) const RATE_NS: u64 = 5_000_000_000;
/// What percentiles are of, ns: a minute, as for the state `slow`.
pub(super) const PERCENTILE_NS: u64 = 60_000_000_000;
/// Cells kept of all columns together; beyond, the oldest columns go.
const CELLS_MAX: usize = 100_000;
/// A look that comes later than this after the one before leaves a gap.
const STEP_MAX_NS: u64 = 5_000_000_000;

/// Answers, not failures: "there is no such file", "it has no such attribute".
const ANSWERS: [&str; 2] = ["ENOENT", "ENODATA"];

/// The last minutes.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    columns: VecDeque<Column>,
    cells: usize,
    last: Option<Last>,
    first_ns: Option<u64>,
}

/// What happened between one look and the next.
#[derive(Clone, Debug)]
struct Column {
    /// When it ended, ns.
    end_ns: u64,
    /// How long it is, ns.
    length_ns: u64,
    /// By superblock; those where nothing happened are left out.
    cells: BTreeMap<String, Cell>,
}

/// What happened on one superblock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cell {
    requests: Tally,
    calls: Tally,
    /// Latencies by bucket, of what does not wait by design.
    buckets: Option<Box<[u64; BUCKETS]>>,
    /// Age of the oldest request in flight at the end, ns.
    oldest_ns: Option<u64>,
    /// Failures by operation and errno.
    failures: BTreeMap<(String, String), u64>,
}

/// Operations that ended, and those of them that failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    count: u64,
    failed: u64,
}

/// Operations per second and the like, in tenths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rates {
    /// Operations per second, in tenths.
    pub(super) operations: u64,
    /// Failures per second, in tenths.
    pub(super) errors: u64,
}

/// What was seen in one slot of the heat map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Slot {
    /// Before anybody looked.
    Before,
    /// Nobody looked.
    Unseen,
    /// Latencies by bucket, and the age of the oldest request that waited, ns.
    Seen(Box<[u64; BUCKETS]>, Option<u64>),
}

/// The counters as last read.
#[derive(Clone, Debug)]
struct Last {
    taken_ns: u64,
    events: BTreeMap<String, u64>,
    superblocks: BTreeMap<String, Totals>,
}

#[derive(Clone, Debug)]
struct Totals {
    operations: BTreeMap<(String, Option<String>), u64>,
    buckets: [u64; BUCKETS],
}

impl History {
    /// Takes a look; false when it is the same as before.
    pub(super) fn take(&mut self, look: &Look) -> bool {
        let now = Last::of(look);
        let before = self.last.as_ref();
        if before.is_some_and(|last| last.taken_ns == now.taken_ns) {
            return false;
        }
        let goes_on = before.filter(|last| last.is_before(&now));
        if let Some(last) = goes_on {
            let cells = look.superblocks.iter().filter_map(|superblock| {
                let totals = now.superblocks.get(&superblock.id)?;
                let cell = totals.since(last.superblocks.get(&superblock.id), superblock);
                (cell != Cell::default()).then(|| (superblock.id.clone(), cell))
            });
            let column = Column {
                end_ns: now.taken_ns,
                length_ns: now.taken_ns - last.taken_ns,
                cells: cells.collect(),
            };
            self.cells += column.cells.len();
            self.columns.push_back(column);
        } else if before.is_some_and(|last| last.taken_ns > now.taken_ns) {
            // Another machine's clock, or another boot.
            *self = Self::default();
        }
        self.first_ns.get_or_insert(now.taken_ns);
        self.forget(now.taken_ns);
        self.last = Some(now);
        true
    }

    fn forget(&mut self, now_ns: u64) {
        let is_old = |column: &Column| now_ns.saturating_sub(column.end_ns) >= SPAN_NS;
        while self.columns.front().is_some_and(is_old) || self.cells > CELLS_MAX {
            let Some(column) = self.columns.pop_front() else {
                return;
            };
            self.cells -= column.cells.len();
        }
    }

    fn now_ns(&self) -> u64 {
        self.last.as_ref().map_or(0, |last| last.taken_ns)
    }

    /// The columns that ended within the last so many nanoseconds.
    fn recent(&self, span_ns: u64) -> impl Iterator<Item = &Column> {
        let from = self.now_ns().saturating_sub(span_ns);
        self.columns
            .iter()
            .filter(move |column| column.end_ns > from)
    }

    /// Operations and failures per second; `None` before there are two looks. As many as the busier of
    /// the two sides shows: what programs ask the filesystem and what it asks its server overlap.
    pub(super) fn rates(&self, id: &str) -> Option<Rates> {
        let (mut requests, mut calls, mut length_ns) = (Tally::default(), Tally::default(), 0);
        for column in self.recent(RATE_NS) {
            length_ns += column.length_ns;
            if let Some(cell) = column.cells.get(id) {
                requests.add(cell.requests);
                calls.add(cell.calls);
            }
        }
        let per_second = |count: u64| {
            let tenths = u128::from(count) * 10_000_000_000 / u128::from(length_ns);
            u64::try_from(tenths).unwrap_or(u64::MAX)
        };
        (length_ns > 0).then(|| Rates {
            operations: per_second(requests.count.max(calls.count)),
            errors: per_second(requests.failed.max(calls.failed)),
        })
    }

    /// The bucket that the 99th percentile of the last minute lies in; `None` when nothing ended.
    pub(super) fn p99(&self, id: &str) -> Option<u32> {
        let mut sum = [0; BUCKETS];
        for column in self.recent(PERCENTILE_NS) {
            let cell = column.cells.get(id);
            if let Some(buckets) = cell.and_then(|cell| cell.buckets.as_deref()) {
                add(&mut sum, buckets);
            }
        }
        percentile_99(&sum)
    }

    /// Failures of the last minute by operation and errno.
    pub(super) fn failures(&self, id: &str) -> BTreeMap<(String, String), u64> {
        let mut sum = BTreeMap::new();
        let cells = self.recent(PERCENTILE_NS);
        for cell in cells.filter_map(|column| column.cells.get(id)) {
            for (kind, count) in &cell.failures {
                *sum.entry(kind.clone()).or_default() += count;
            }
        }
        sum
    }

    /// The heat map: so many slots of so many nanoseconds, the oldest first.
    pub(super) fn heat(&self, id: &str, slots: usize, slot_ns: u64) -> Vec<Slot> {
        let now = self.now_ns();
        let first = self.first_ns.unwrap_or(now);
        let slot = |back: usize| {
            let back = u64::try_from(back)
                .unwrap_or(u64::MAX)
                .saturating_mul(slot_ns);
            let until = now.saturating_sub(back);
            let from = until.saturating_sub(slot_ns);
            let begin = |column: &Column| column.end_ns - column.length_ns;
            let mut columns = self.columns.iter();
            if !columns.any(|column| column.end_ns > from && begin(column) < until) {
                let is_before = until <= first;
                return if is_before {
                    Slot::Before
                } else {
                    Slot::Unseen
                };
            }
            let within = |column: &&Column| column.end_ns > from && column.end_ns <= until;
            let columns = self.columns.iter().filter(within);
            let (mut sum, mut oldest) = (Box::new([0; BUCKETS]), None);
            for cell in columns.filter_map(|column| column.cells.get(id)) {
                if let Some(buckets) = &cell.buckets {
                    add(&mut sum, buckets);
                }
                oldest = oldest.max(cell.oldest_ns);
            }
            Slot::Seen(sum, oldest)
        };
        (0..slots).rev().map(slot).collect()
    }
}

impl Last {
    fn of(look: &Look) -> Self {
        let superblocks = look.superblocks.iter();
        Self {
            taken_ns: look.taken_monotonic_ns.unwrap_or(look.taken_unix_ns.0),
            events: look.observer.events.iter().cloned().collect(),
            superblocks: superblocks
                .map(|superblock| (superblock.id.clone(), Totals::of(superblock)))
                .collect(),
        }
    }

    /// Whether a look goes on where this one was: soon after, and by an observer that went on
    /// counting. One that was started anew counts from nothing.
    fn is_before(&self, next: &Self) -> bool {
        let step = next.taken_ns.saturating_sub(self.taken_ns);
        let is_counted_on = |(name, count): (&String, &u64)| next.events.get(name) >= Some(count);
        (1..=STEP_MAX_NS).contains(&step) && self.events.iter().all(is_counted_on)
    }
}

impl Totals {
    fn of(superblock: &Superblock) -> Self {
        let operations = superblock.operations.iter();
        let mut buckets = [0; BUCKETS];
        let latencies = superblock.latency.iter().flatten();
        for latency in latencies.filter(|latency| latency.class != Class::Blocking.name()) {
            for (sum, count) in buckets.iter_mut().zip(&latency.buckets) {
                *sum += count;
            }
        }
        Self {
            operations: operations
                .map(|count| ((count.operation.clone(), count.errno.clone()), count.count))
                .collect(),
            buckets,
        }
    }

    /// What is new. A superblock that was not there before began with nothing.
    fn since(&self, before: Option<&Self>, superblock: &Superblock) -> Cell {
        let mut cell = Cell {
            oldest_ns: superblock.oldest_request_age_ns,
            ..Cell::default()
        };
        for (kind, count) in &self.operations {
            let known = before.and_then(|before| before.operations.get(kind));
            let fresh = count.saturating_sub(known.copied().unwrap_or_default());
            let (operation, errno) = kind;
            // System calls go by their names, requests by those of opcodes and procedures.
            let is_call = operation.starts_with(|first: char| first.is_ascii_lowercase());
            let tally = if is_call {
                &mut cell.calls
            } else {
                &mut cell.requests
            };
            tally.count += fresh;
            if let Some(errno) = errno.as_deref().filter(|_| fresh > 0) {
                if !ANSWERS.contains(&errno) {
                    tally.failed += fresh;
                }
                let kind = (operation.clone(), errno.to_owned());
                cell.failures.insert(kind, fresh);
            }
        }
        let mut buckets = self.buckets;
        for (bucket, known) in buckets
            .iter_mut()
            .zip(before.map_or([0; BUCKETS], |b| b.buckets))
        {
            *bucket = bucket.saturating_sub(known);
        }
        cell.buckets = (buckets != [0; BUCKETS]).then(|| Box::new(buckets));
        cell
    }
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.failed += other.failed;
    }
}

fn add(sum: &mut [u64; BUCKETS], buckets: &[u64; BUCKETS]) {
    for (sum, count) in sum.iter_mut().zip(buckets) {
        *sum += count;
    }
}

/// The bucket that at least 99 of 100 are not above.
fn percentile_99(buckets: &[u64; BUCKETS]) -> Option<u32> {
    let total: u64 = buckets.iter().sum();
    let wanted = total - total / 100;
    let mut sum = 0;
    let bucket = buckets.iter().position(|count| {
        sum += count;
        total > 0 && sum >= wanted
    });
    bucket.and_then(|bucket| u32::try_from(bucket).ok())
}

#[cfg(feature = "daemon")]
#[cfg(test)]
mod tests;
