//! Which superblocks get series of their own, and the counters in the shape of the series.

use std::{cmp::Reverse, collections::BTreeMap};

use super::histogram;
use crate::{
    alert::State,
    errno::Errno,
    operation::Operation,
    snapshot::{ClassLatency, Superblock},
};

/// Superblocks by how they are exported.
pub(super) struct Selection<'a> {
    /// With series of their own, in the snapshot's order.
    pub(super) shown: Vec<&'a Superblock>,
    /// Summed into one.
    pub(super) folded: Vec<&'a Superblock>,
}

/// Unhealthy ones first, then the busiest; ties by device, so that the choice is stable.
pub(super) fn select(superblocks: &[Superblock], limit: usize) -> Selection<'_> {
    if superblocks.len() <= limit {
        return Selection {
            shown: superblocks.iter().collect(),
            folded: Vec::new(),
        };
    }
    let mut order: Vec<&Superblock> = superblocks.iter().collect();
    order.sort_by_cached_key(|superblock| {
        let ended: u64 = superblock
            .operations
            .iter()
            .map(|outcome| outcome.count)
            .sum();
        (
            superblock.state == State::Ok,
            Reverse(superblock.state),
            Reverse(ended),
            superblock.id,
        )
    });
    let folded = order.split_off(limit);
    Selection {
        shown: order,
        folded,
    }
}

/// Counters of one superblock, or the sum of several.
#[derive(Default)]
pub(super) struct Operations {
    /// Ended, whatever the outcome.
    pub(super) ended: BTreeMap<Operation, u64>,
    /// Ended with an error.
    pub(super) failed: BTreeMap<(Operation, Errno), u64>,
    /// Latencies by class.
    pub(super) latency: BTreeMap<&'static str, ClassLatency>,
}

impl Operations {
    pub(super) fn of(superblock: &Superblock) -> Self {
        let mut operations = Self::default();
        operations.add(superblock);
        operations
    }

    pub(super) fn add(&mut self, superblock: &Superblock) {
        for outcome in &superblock.operations {
            *self.ended.entry(outcome.operation).or_default() += outcome.count;
            if let Some(errno) = outcome.errno {
                *self.failed.entry((outcome.operation, errno)).or_default() += outcome.count;
            }
        }
        for latency in &superblock.latency {
            let sum = self
                .latency
                .entry(latency.class)
                .or_insert_with(|| histogram::empty(latency.class));
            histogram::add(sum, latency);
        }
    }
}
