//! The maps: what the programs counted and track, read in batches, and the sets they match against.

mod created;
mod missed;
mod nfs_names;
mod sizes;
mod trace;
mod watched;

use std::{
    fmt, io,
    os::fd::{AsFd, OwnedFd},
};

use aya::maps::{Array, HashMap, Map, MapData, MapError, PerCpuArray};
use mount_observer_common::{
    Counter, InFlight, Settings, TextRange, TextRanges, TotalsKey, TotalsSlot, TotalsValue,
};
use zerocopy::FromBytes;

pub(super) use created::Created;
use missed::{Missed, missed_runs};
use nfs_names::NfsNames;
pub use sizes::Sizes;
pub use trace::KernelFilter;
pub(super) use trace::TraceFilterMap;
use watched::{WATCHED_MAX, WatchedSet, filter_words};

use super::{
    bpf::BatchReader,
    mount_points::{self, MountPoints},
    shadow::ShadowWrites,
};
use crate::{
    input::{MissingMount, MountPoint, WaitFunction},
    superblock::Dev,
};

/// Why a map could not be used.
#[derive(Debug, thiserror::Error)]
pub enum MapsError {
    /// The object has no such map: it does not belong to this program.
    #[error("the eBPF object has no map {0}")]
    Missing(&'static str),
    /// The kernel did not make it.
    #[error("cannot make map {0}")]
    Create(String, #[source] MapError),
    /// The kernel refused.
    #[error("map {0}")]
    Aya(&'static str, #[source] MapError),
    /// The kernel refused a batch read.
    #[error("cannot read map {0}")]
    Batch(&'static str, #[source] io::Error),
    /// The kernel refused a write.
    #[error("cannot write map {0}")]
    Write(&'static str, #[source] io::Error),
    /// The kernel does not say how often a program did not run.
    #[error("cannot read how often a program did not run")]
    Misses(#[source] io::Error),
    /// The number of possible CPUs is not known.
    #[error("cannot read {0}")]
    Cpus(&'static str, #[source] io::Error),
}

/// The maps of a loaded object, except the ring buffer and what the scanner needs.
pub struct Maps {
    sizes: Sizes,
    totals: OwnedFd,
    totals_reader: BatchReader,
    in_flight: HashMap<MapData, u64, InFlight>,
    in_flight_fd: OwnedFd,
    in_flight_reader: BatchReader,
    counters: PerCpuArray<MapData, u64>,
    settings: Settings,
    settings_map: Array<MapData, Settings>,
    servers: WatchedSet,
    scope: WatchedSet,
    scope_filter: Array<MapData, u64>,
    mount_points: MountPoints,
    /// The programs that run when something happens.
    attached: Vec<OwnedFd>,
    /// Those of them that look at FUSE where it is a module.
    attached_to_module: Vec<OwnedFd>,
    /// Those of them that look at NFS.
    attached_to_nfs: Vec<OwnedFd>,
    /// Those of them that look at writes where a mount is missing.
    attached_underneath: Vec<OwnedFd>,
    shadow: ShadowWrites,
    nfs_names: NfsNames,
    /// Runs that programs missed which are gone.
    missed_before: Missed,
    wait_functions: Array<MapData, TextRanges>,
    abort_causes: Array<MapData, TextRanges>,
    trace_filter: TraceFilterMap,
    /// Entries seen at the last read, for the fill level.
    filled: Fill,
}

#[derive(Clone, Copy, Debug, Default)]
struct Fill {
    totals: usize,
    in_flight: usize,
}

impl fmt::Debug for Maps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Maps")
            .field("sizes", &self.sizes)
            .finish_non_exhaustive()
    }
}

impl Maps {
    /// Takes the maps; `attached` are the programs whose missed runs count.
    pub(super) fn take(
        created: &mut Created,
        settings: Settings,
        sizes: Sizes,
        cpus: usize,
        attached: Vec<OwnedFd>,
        trace_filter: TraceFilterMap,
    ) -> Result<Self, MapsError> {
        let totals = created.take("TOTALS")?;
        let in_flight = created.take("IN_FLIGHT")?;
        let in_flight_fd = duplicate("IN_FLIGHT", &in_flight)?;
        // Per-CPU values are rounded up to 8 bytes each: TotalsSlot is a multiple of that.
        let totals_bytes = size_of::<TotalsSlot>() * cpus;
        Ok(Self {
            sizes,
            totals: duplicate("TOTALS", &totals)?,
            totals_reader: BatchReader::new(size_of::<TotalsKey>(), totals_bytes, sizes.totals),
            in_flight: typed("IN_FLIGHT", HashMap::try_from(in_flight))?,
            in_flight_fd,
            in_flight_reader: BatchReader::new(8, size_of::<InFlight>(), sizes.in_flight),
            counters: typed("COUNTERS", PerCpuArray::try_from(created.take("COUNTERS")?))?,
            settings,
            settings_map: typed("SETTINGS", Array::try_from(created.take("SETTINGS")?))?,
            servers: WatchedSet::new("SERVERS", created)?,
            scope: WatchedSet::new("SCOPE", created)?,
            scope_filter: typed(
                "SCOPE_FILTER",
                Array::try_from(created.take("SCOPE_FILTER")?),
            )?,
            mount_points: MountPoints::take(created)?,
            attached,
            attached_to_module: Vec::new(),
            attached_to_nfs: Vec::new(),
            attached_underneath: Vec::new(),
            shadow: ShadowWrites::take(created)?,
            nfs_names: NfsNames::new(typed(
                "NFS_NAMES",
                Array::try_from(created.take("NFS_NAMES")?),
            )?),
            missed_before: Missed::default(),
            wait_functions: typed(
                "WAIT_FUNCTIONS",
                Array::try_from(created.take("WAIT_FUNCTIONS")?),
            )?,
            abort_causes: typed(
                "ABORT_CAUSES",
                Array::try_from(created.take("ABORT_CAUSES")?),
            )?,
            trace_filter,
            filled: Fill::default(),
        })
    }

    /// Tells the task iterator in which functions tasks wait, in place of those it knew.
    pub fn set_wait_functions(&mut self, functions: &[WaitFunction]) -> Result<(), MapsError> {
        let ranges = functions.iter().map(|function| TextRange {
            start: function.start,
            end: function.end,
            tag: 1,
        });
        let ranges = text_ranges(ranges);
        typed("WAIT_FUNCTIONS", self.wait_functions.set(0, ranges, 0))
    }

    /// Tells the programs by which functions whoever aborts a connection comes.
    pub fn set_abort_causes(&mut self, causes: &[TextRange]) -> Result<(), MapsError> {
        let ranges = text_ranges(causes.iter().copied());
        typed("ABORT_CAUSES", self.abort_causes.set(0, ranges, 0))
    }

    /// Every counter and histogram, summed over CPUs.
    pub fn totals(&mut self) -> Result<Vec<(TotalsKey, TotalsValue)>, MapsError> {
        let mut totals = Vec::with_capacity(self.filled.totals);
        self.totals_reader
            .read(self.totals.as_fd(), |key, values| {
                if let Ok(key) = TotalsKey::read_from_bytes(key) {
                    totals.push((key, sum(values)));
                }
            })
            .map_err(|error| MapsError::Batch("TOTALS", error))?;
        self.filled.totals = totals.len();
        self.nfs_names.translate(&mut totals);
        Ok(totals)
    }

    /// Every request in flight, by the address of its `struct fuse_req`.
    pub fn in_flight(&mut self) -> Result<Vec<(u64, InFlight)>, MapsError> {
        let mut requests = Vec::new();
        let mut idle = Vec::new();
        self.in_flight_reader
            .read(self.in_flight_fd.as_fd(), |key, value| {
                let entry = (u64::read_from_bytes(key), InFlight::read_from_bytes(value));
                match entry {
                    (Ok(key), Ok(value)) if value.start_ns == 0 => idle.push(key),
                    (Ok(key), Ok(value)) => requests.push((key, value)),
                    _ => {}
                }
            })
            .map_err(|error| MapsError::Batch("IN_FLIGHT", error))?;
        self.filled.in_flight = requests.len();
        let limit = usize::try_from(self.sizes.in_flight / 2).unwrap_or(usize::MAX);
        if idle.len() > limit {
            self.delete_idle(&idle);
        }
        Ok(requests)
    }

    /// Makes room. An address that is handed out again between the look and the delete, a microsecond
    /// each, loses its entry; the walk over the connection's queues still finds such a request.
    fn delete_idle(&mut self, idle: &[u64]) {
        for address in idle {
            let is_idle = self
                .in_flight
                .get(address, 0)
                .is_ok_and(|entry| entry.start_ns == 0);
            if is_idle && self.in_flight.remove(address).is_err() {
                tracing::debug!("an idle entry of IN_FLIGHT was gone already");
            }
        }
    }

    /// Deletes entries that never end, by address and `start_ns`. An address that carries another
    /// request by now keeps it. Returns how many were deleted.
    pub fn forget_requests(&mut self, requests: &[(u64, u64)]) -> usize {
        let mut forgotten = 0;
        for &(address, start_ns) in requests {
            let is_same = self
                .in_flight
                .get(&address, 0)
                .is_ok_and(|entry| entry.start_ns == start_ns);
            if is_same && self.in_flight.remove(&address).is_ok() {
                forgotten += 1;
            }
        }
        forgotten
    }

    /// What the programs saw and dropped, and how often one did not run at all, since load.
    pub fn counters(&self) -> Result<Vec<(&'static str, u64)>, MapsError> {
        let mut counters = Vec::with_capacity(Counter::ALL.len() + 1);
        for counter in Counter::ALL {
            let values = self
                .counters
                .get(&counter.slot(), 0)
                .map_err(|error| MapsError::Aya("COUNTERS", error))?;
            counters.push((counter.name(), values.iter().sum()));
        }
        let programs = self.attached.iter().chain(&self.attached_to_module);
        let programs = programs.chain(&self.attached_to_nfs);
        let programs = programs.chain(&self.attached_underneath);
        let missed = missed_runs(programs).map_err(MapsError::Misses)?;
        counters.extend(self.missed_before.plus(missed).counters());
        Ok(counters)
    }

    /// Replaces the programs that look at FUSE where it is a module. What they missed still counts.
    pub(super) fn replace_module_programs(
        &mut self,
        programs: Vec<OwnedFd>,
    ) -> Result<(), MapsError> {
        let gone = std::mem::replace(&mut self.attached_to_module, programs);
        self.keep_missed(&gone)
    }

    /// Replaces the programs that look at NFS, in the same way.
    pub(super) fn replace_nfs_programs(&mut self, programs: Vec<OwnedFd>) -> Result<(), MapsError> {
        let gone = std::mem::replace(&mut self.attached_to_nfs, programs);
        self.keep_missed(&gone)
    }

    /// Replaces the programs that look at writes where a mount is missing, in the same way.
    pub(super) fn replace_underneath(&mut self, programs: Vec<OwnedFd>) -> Result<(), MapsError> {
        let gone = std::mem::replace(&mut self.attached_underneath, programs);
        self.keep_missed(&gone)
    }

    /// Replaces the mount points whose mount is missing.
    pub fn watch_missing(&mut self, missing: &[MissingMount]) -> Result<(), MapsError> {
        self.shadow.replace(missing)
    }

    /// How much was written below each of them.
    pub fn shadow_writes(&self) -> Result<Vec<(u32, u64)>, MapsError> {
        self.shadow.counts()
    }

    fn keep_missed(&mut self, gone: &[OwnedFd]) -> Result<(), MapsError> {
        let missed = missed_runs(gone.iter()).map_err(MapsError::Misses)?;
        self.missed_before = self.missed_before.plus(missed);
        Ok(())
    }

    /// Name, entries and limit of each map that can fill up; entries as of the last read.
    pub fn fill_levels(&self) -> Vec<(&'static str, u64, u64)> {
        let level = |name, entries: usize, max: u32| {
            (
                name,
                u64::try_from(entries).unwrap_or(u64::MAX),
                u64::from(max),
            )
        };
        vec![
            level("totals", self.filled.totals, self.sizes.totals),
            level("in_flight", self.filled.in_flight, self.sizes.in_flight),
            level("servers", self.servers.members.len(), WATCHED_MAX),
            level("scope", self.scope.members.len(), WATCHED_MAX),
            level(
                "mount_points",
                self.mount_points.len(),
                mount_points::ENTRIES_MAX,
            ),
        ]
    }

    /// Changes the threshold above which operations are counted as slow and leave a record.
    pub fn set_slow_ns(&mut self, slow_ns: u64) -> Result<(), MapsError> {
        self.settings.slow_ns = slow_ns;
        self.settings_map
            .set(0, self.settings, 0)
            .map_err(|error| MapsError::Aya("SETTINGS", error))
    }

    /// Replaces the processes whose exit is reported. Members that do not fit are left out, and the
    /// error says so.
    pub fn watch_servers(&mut self, tgids: &[u32]) -> Result<(), MapsError> {
        self.servers.replace(tgids.iter().copied().collect())
    }

    /// Replaces the superblocks in scope.
    pub fn watch_superblocks(&mut self, devs: &[Dev]) -> Result<(), MapsError> {
        for (index, word) in (0..).zip(filter_words(devs)) {
            self.scope_filter
                .set(index, word, 0)
                .map_err(|error| MapsError::Aya("SCOPE_FILTER", error))?;
        }
        self.scope.replace(devs.iter().map(|dev| dev.0).collect())
    }

    /// Replaces what a trace wants to see.
    pub fn set_trace(&mut self, filter: &KernelFilter) -> Result<(), MapsError> {
        self.trace_filter.set(filter)
    }

    /// Gives the operation of a trace's record, where it is NFS's, the number that means the same
    /// everywhere.
    pub fn translate_trace(&mut self, record: &mut [u8]) {
        self.nfs_names.translate_record(record);
    }

    /// Replaces the mount points that failed paths are matched against.
    pub fn watch_mount_points(&mut self, points: &[MountPoint]) -> Result<(), MapsError> {
        self.mount_points.replace(points)
    }
}

/// The ranges in one value; the rest of it is empty.
fn text_ranges(ranges: impl Iterator<Item = TextRange>) -> TextRanges {
    let mut value = TextRanges::default();
    value
        .0
        .iter_mut()
        .zip(ranges)
        .for_each(|(at, range)| *at = range);
    value
}

/// Adds up one key's values of all CPUs.
fn sum(values: &[u8]) -> TotalsValue {
    let mut sum = TotalsValue::ZERO;
    for bytes in values.chunks_exact(size_of::<TotalsSlot>()) {
        let Ok(TotalsSlot { value, .. }) = TotalsSlot::read_from_bytes(bytes) else {
            continue;
        };
        add(&mut sum, &value);
    }
    sum
}

fn add(sum: &mut TotalsValue, value: &TotalsValue) {
    sum.count += value.count;
    sum.sum_ns = sum.sum_ns.wrapping_add(value.sum_ns);
    sum.slow += value.slow;
    sum.last_ns = sum.last_ns.max(value.last_ns);
    for (total, bucket) in sum.buckets.iter_mut().zip(value.buckets) {
        *total = total.saturating_add(bucket);
    }
}

pub(super) fn typed<T>(name: &'static str, map: Result<T, MapError>) -> Result<T, MapsError> {
    map.map_err(|error| MapsError::Aya(name, error))
}

fn duplicate(name: &'static str, map: &Map) -> Result<OwnedFd, MapsError> {
    let (Map::HashMap(data) | Map::PerCpuHashMap(data)) = map else {
        return Err(MapsError::Missing(name));
    };
    data.fd()
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| MapsError::Batch(name, error))
}

#[cfg(test)]
mod tests;
