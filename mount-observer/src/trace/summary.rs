//! What all operations of a trace come to.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde::Serialize;

use crate::{
    errno::Errno,
    operation::Operation,
    superblock::Dev,
    time::{Now, Wall, nanos},
};

use super::{
    Place,
    histogram::{Latencies, Percentiles, Row},
    places::{PlaceId, Places},
    waits::Wait,
};

/// Operations told apart, each on each mount; the rest is counted as one.
const KEYS_MAX: usize = 4_096;

/// Counts, while the trace goes on.
#[derive(Debug, Default)]
pub struct Counts {
    by_key: BTreeMap<(PlaceId, Operation), Tally>,
    /// Operations past [`KEYS_MAX`].
    pub others: u64,
    /// Those of them that failed.
    others_failed: u64,
    /// Lines about operations that ended.
    pub ended: u64,
}

#[derive(Debug, Default)]
struct Tally {
    count: u64,
    sum_ns: u64,
    errors: BTreeMap<Errno, u64>,
    latencies: Latencies,
    gone: u64,
}

/// The summary.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    /// When the trace began, ns since the epoch.
    pub begun_unix_ns: Wall,
    /// How long it was, ns.
    pub duration_ns: u64,
    /// Operations that ended.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many ended in a second.
    pub per_second: f64,
    /// By superblock, most operations first.
    pub mounts: Vec<MountSummary>,
    /// What blocks at the end, longest first.
    pub blocked: Vec<Blocked>,
    /// Operations on more mounts and of more kinds than are told apart.
    pub others: u64,
    /// Operations whose superblock is not known, or is in no mount table.
    pub unattributed: u64,
    /// One of so many operations was shown and counted.
    pub sample: u32,
    /// What was not seen, by reason; not in any count.
    pub lost: BTreeMap<&'static str, u64>,
}

/// One superblock under one name.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MountSummary {
    /// Its number.
    pub superblock: Dev,
    /// The mount point.
    pub mount_point: String,
    /// Filesystem type.
    pub fstype: String,
    /// Operations that ended.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many ended in a second.
    pub per_second: f64,
    /// By operation, most first.
    pub operations: Vec<OperationSummary>,
}

/// One kind of operation on one superblock.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OperationSummary {
    /// What.
    pub op: Operation,
    /// How many ended.
    pub count: u64,
    /// How many of them failed.
    pub failed: u64,
    /// How many ended in a second.
    pub per_second: f64,
    /// Failures by errno.
    pub errors: BTreeMap<Errno, u64>,
    /// How many were told to block, and were then not seen to end; not in `count`.
    pub gone: u64,
    /// Sum of the known latencies, ns.
    pub sum_ns: u64,
    /// Latencies; `None` where none is known.
    pub latency: Option<Percentiles>,
    /// Known latencies by powers of two.
    pub histogram: Vec<Row>,
}

/// What blocks at the end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// The superblock.
    pub superblock: Dev,
    /// The mount point.
    pub mount_point: String,
    /// What; `None` for a task whose call is not known.
    pub op: Option<Operation>,
    /// The kernel function such a task waits in.
    pub waits_in: Option<String>,
    /// Process.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// How long, ns.
    pub age_ns: u64,
}

/// What the parts of a trace know besides the counts.
#[derive(Debug)]
pub(super) struct Circumstances<'a> {
    pub(super) begun: Now,
    pub(super) ended: Now,
    pub(super) places: &'a Places,
    pub(super) blocked: Vec<&'a Wait>,
    pub(super) unattributed: u64,
    pub(super) sample: u32,
    pub(super) lost: BTreeMap<&'static str, u64>,
}

impl Counts {
    /// Counts an operation that ended.
    pub(super) fn add(
        &mut self,
        place: PlaceId,
        operation: Operation,
        errno: Option<Errno>,
        latency: Option<Duration>,
    ) {
        self.ended += 1;
        let Some(count) = self.of(place, operation) else {
            self.others += 1;
            self.others_failed += u64::from(errno.is_some());
            return;
        };
        count.count += 1;
        if let Some(errno) = errno {
            *count.errors.entry(errno).or_default() += 1;
        }
        if let Some(latency) = latency.map(nanos) {
            count.sum_ns = count.sum_ns.saturating_add(latency);
            count.latencies.add(latency);
        }
    }

    /// Counts one that blocked and was not seen to end.
    pub(super) fn add_gone(&mut self, place: PlaceId, operation: Option<Operation>) {
        if let Some(count) = operation.and_then(|operation| self.of(place, operation)) {
            count.gone += 1;
        }
    }

    fn of(&mut self, place: PlaceId, operation: Operation) -> Option<&mut Tally> {
        let key = (place, operation);
        if self.by_key.len() >= KEYS_MAX && !self.by_key.contains_key(&key) {
            return None;
        }
        Some(self.by_key.entry(key).or_default())
    }

    /// What it all comes to.
    pub(super) fn summary(&self, about: Circumstances<'_>) -> Summary {
        let duration = about.ended.mono.since(about.begun.mono);
        let rate = |count: u64| per_second(count, duration);
        let mut mounts: BTreeMap<PlaceId, MountSummary> = BTreeMap::new();
        for (&(id, operation), count) in &self.by_key {
            let Some((dev, place)) = about.places.get(id) else {
                continue;
            };
            let mount = mounts.entry(id).or_insert_with(|| empty(dev, place));
            let operation = count.summary(operation, duration);
            mount.count += operation.count;
            mount.failed += operation.failed;
            mount.operations.push(operation);
        }
        let mut mounts: Vec<MountSummary> = mounts.into_values().collect();
        for mount in &mut mounts {
            mount.per_second = rate(mount.count);
            mount
                .operations
                .sort_by_key(|operation| std::cmp::Reverse(operation.count));
        }
        mounts.sort_by_key(|mount| std::cmp::Reverse(mount.count));
        let count = mounts.iter().map(|mount| mount.count).sum::<u64>() + self.others;
        Summary {
            begun_unix_ns: about.begun.wall,
            duration_ns: nanos(duration),
            count,
            failed: mounts.iter().map(|mount| mount.failed).sum::<u64>() + self.others_failed,
            per_second: rate(count),
            mounts,
            blocked: blocked(&about),
            others: self.others,
            unattributed: about.unattributed,
            sample: about.sample,
            lost: about.lost,
        }
    }
}

impl Tally {
    fn summary(&self, operation: Operation, duration: Duration) -> OperationSummary {
        OperationSummary {
            op: operation,
            count: self.count,
            failed: self.errors.values().sum(),
            per_second: per_second(self.count, duration),
            errors: self.errors.clone(),
            gone: self.gone,
            sum_ns: self.sum_ns,
            latency: self.latencies.percentiles(),
            histogram: self.latencies.rows(),
        }
    }
}

fn empty(dev: Dev, place: &Arc<Place>) -> MountSummary {
    MountSummary {
        superblock: dev,
        mount_point: place.mount_point.clone(),
        fstype: place.fstype.clone(),
        count: 0,
        failed: 0,
        per_second: 0.0,
        operations: Vec::new(),
    }
}

fn blocked(about: &Circumstances<'_>) -> Vec<Blocked> {
    let mut waits = about.blocked.clone();
    waits.sort_by_key(|wait| (std::cmp::Reverse(wait.age()), wait.since));
    let one = |wait: &&Wait| {
        let (dev, place) = about.places.get(wait.place)?;
        Some(Blocked {
            superblock: dev,
            mount_point: place.mount_point.clone(),
            op: wait.operation,
            waits_in: wait.waits_in.clone(),
            pid: wait.caller.as_ref().map(|caller| caller.pid),
            comm: wait.caller.as_ref().map(|caller| caller.comm.clone()),
            age_ns: nanos(wait.age()),
        })
    };
    waits.iter().filter_map(one).collect()
}

/// To three digits behind the point; 0 where no time has passed.
fn per_second(count: u64, duration: Duration) -> f64 {
    let milliseconds = duration.as_millis();
    if milliseconds == 0 {
        return 0.0;
    }
    let thousandths = u128::from(count) * 1_000_000 / milliseconds;
    let thousandths = u32::try_from(thousandths).unwrap_or(u32::MAX);
    f64::from(thousandths) / 1_000.0
}
