//! The kernel-side totals: what came in since the last reading, and whose it is.

use std::collections::BTreeMap;

use mount_observer_common::BUCKETS;

use crate::{
    counters::{Delta, operation_counts},
    decode::{Outcome, Total},
    errno::Errno,
    operation::Operation,
    snapshot::OperationCount,
    time::Mono,
};

/// Counters since attach, and what could not be given to a superblock.
///
/// Conservation: everything counted is on a superblock in scope, or in `unattributed` (the kernel
/// side could not tell), or in `elsewhere` (out of scope, or of a superblock that is gone).
#[derive(Clone, Debug, Default)]
pub struct Totals {
    last: BTreeMap<Outcome, Total>,
    unattributed: BTreeMap<(Operation, Option<Errno>), u64>,
    /// Operations on superblocks that are not, or no longer, observed.
    pub elsewhere: u64,
    /// All operations.
    pub counted: u64,
}

impl Totals {
    /// Takes a whole reading; returns what is new in it.
    ///
    /// Nothing deletes an entry while its superblock is there, so a count below the last one is a lost
    /// update: programs that interrupt each other on one CPU add without atomics. Nothing is new then;
    /// counted again in full it would be a storm.
    pub fn update(&mut self, reading: impl Iterator<Item = (Outcome, Total)>) -> Vec<Delta> {
        let before = std::mem::take(&mut self.last);
        let mut deltas = Vec::new();
        for (outcome, total) in reading {
            let fresh = match before.get(&outcome) {
                Some(known) if known.count > total.count => Total::ZERO,
                Some(known) => total.minus(known),
                None => total,
            };
            if fresh.count > 0 {
                self.counted += fresh.count;
                deltas.push(Delta {
                    outcome,
                    total: fresh,
                });
            }
            self.last.insert(outcome, total);
        }
        deltas
    }

    /// Counts what the kernel side could not attribute.
    pub fn add_unattributed(&mut self, delta: &Delta) {
        let key = (delta.outcome.operation, delta.outcome.errno);
        *self.unattributed.entry(key).or_default() += delta.total.count;
    }

    /// Takes one back that its path led to a superblock after all; false when there is none yet.
    pub fn take_unattributed(&mut self, operation: Operation, errno: Option<Errno>) -> bool {
        let key = (operation, errno);
        let Some(count) = self.unattributed.get_mut(&key) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.unattributed.remove(&key);
        }
        true
    }

    /// What nobody could be given.
    pub fn unattributed(&self) -> Vec<OperationCount> {
        operation_counts(&self.unattributed)
    }
}

impl Total {
    /// Nothing counted.
    pub const ZERO: Self = Self {
        count: 0,
        sum_ns: 0,
        last: Mono(0),
        slow: 0,
        buckets: [0; BUCKETS],
    };

    /// What came in since `before`. The kernel's counters wrap.
    fn minus(self, before: &Self) -> Self {
        let mut buckets = self.buckets;
        for (bucket, known) in buckets.iter_mut().zip(before.buckets) {
            *bucket = bucket.wrapping_sub(known);
        }
        Self {
            count: self.count - before.count,
            sum_ns: self.sum_ns.wrapping_sub(before.sum_ns),
            last: self.last,
            slow: self.slow.saturating_sub(before.slow),
            buckets,
        }
    }
}

#[cfg(test)]
mod tests;
