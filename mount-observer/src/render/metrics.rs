//! A snapshot as metric series. The exposition format itself is the prometheus crate's business.

mod counts;
mod histogram;
mod select;
mod table;
#[cfg(test)]
mod tests;

pub use histogram::Histogram;
pub use table::{Kind, METRICS, Metric, SUPERBLOCK_LABELS, markdown};

use self::{
    histogram::seconds,
    select::{Operations, Selection},
};
use crate::{
    alert::{AlertKind, State},
    snapshot::{ObserverHealth, ServerStatus, Snapshot, Superblock},
    time::Wall,
};

/// A label and its value.
pub type Label = (&'static str, String);

/// All series of one metric.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The metric.
    pub metric: Metric,
    /// Its series.
    pub series: Vec<Series>,
}

/// One series.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Labels.
    pub labels: Vec<Label>,
    /// Value.
    pub value: Value,
}

/// The value of a series.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a counter or a gauge.
    Number(f64),
    /// Of a histogram.
    Histogram(Histogram),
}

/// What the snapshot does not know about the process that serves it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SelfReport {
    /// Version of the program.
    pub version: &'static str,
    /// Loop, and when it last made progress.
    pub heartbeats: Vec<(&'static str, Wall)>,
    /// Losses the observer does not know of, by reason.
    pub dropped: Vec<(&'static str, u64)>,
    /// What became of what sinks were told.
    pub sinks: Vec<SinkReport>,
    /// Alerts that are kept from the sinks, by why.
    pub kept_back: Vec<(&'static str, u64)>,
    /// Silences that count.
    pub silences: u64,
    /// How the journal is doing; `None` where none is kept.
    pub storage: Option<StorageReport>,
    /// What the kernel says about the process; `None` when /proc could not be read.
    pub process: Option<Process>,
}

/// How the incident journal is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StorageReport {
    /// Whether it can be written.
    pub is_up: bool,
    /// Attempts that failed.
    pub errors: u64,
    /// What waits.
    pub waiting: u64,
}

/// What became of what one sink was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SinkReport {
    /// The sink.
    pub sink: String,
    /// How many, by outcome.
    pub outcomes: Vec<(&'static str, u64)>,
    /// What did not fit in its queue.
    pub dropped: u64,
}

/// The kernel's account of the observer's process.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Process {
    /// User and system time, seconds.
    pub cpu_seconds: f64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Their limit.
    pub max_fds: u64,
    /// Virtual memory, bytes.
    pub virtual_bytes: u64,
    /// Resident memory, bytes.
    pub resident_bytes: u64,
    /// Start, seconds since the epoch.
    pub start_seconds: f64,
    /// Threads.
    pub threads: u64,
}

/// Every series of a snapshot; at most `superblocks_max` superblocks have series of their own.
pub fn families(snapshot: &Snapshot, superblocks_max: usize, own: &SelfReport) -> Vec<Family> {
    let selection = select::select(&snapshot.superblocks, superblocks_max);
    let mut families = Families::default();
    for superblock in &selection.shown {
        per_superblock(&mut families, superblock);
    }
    overflow(&mut families, &selection);
    alerts(&mut families, snapshot);
    families.number(
        &table::SUPERBLOCKS,
        vec![],
        count(snapshot.superblocks.len()),
    );
    families.number(&table::FOLDED, vec![], count(selection.folded.len()));
    for outcome in &snapshot.unattributed {
        if let Some(errno) = outcome.errno {
            let labels = vec![
                ("op", outcome.operation.to_string()),
                ("errno", errno.to_string()),
            ];
            families.number(&table::UNATTRIBUTED, labels, float(outcome.count));
        }
    }
    sinks(&mut families, own);
    incidents(&mut families, &snapshot.observer, own);
    health(&mut families, &snapshot.observer, own);
    if let Some(process) = &own.process {
        of_process(&mut families, process);
    }
    families.finish()
}

/// Series collected by metric.
#[derive(Default)]
struct Families(Vec<Family>);

impl Families {
    fn push(&mut self, metric: &Metric, labels: Vec<Label>, value: Value) {
        let series = Series { labels, value };
        match self
            .0
            .iter_mut()
            .find(|family| family.metric.name == metric.name)
        {
            Some(family) => family.series.push(series),
            None => self.0.push(Family {
                metric: *metric,
                series: vec![series],
            }),
        }
    }

    fn number(&mut self, metric: &Metric, labels: Vec<Label>, value: f64) {
        self.push(metric, labels, Value::Number(value));
    }

    /// In the order of the table.
    fn finish(mut self) -> Vec<Family> {
        self.0.sort_by_key(|family| {
            METRICS
                .iter()
                .position(|metric| metric.name == family.metric.name)
        });
        self.0
    }
}

fn identity(superblock: &Superblock) -> Vec<Label> {
    let values = [
        superblock.id.to_string(),
        superblock.mountpoint.clone(),
        superblock.fstype.clone(),
        superblock.device.clone(),
    ];
    SUPERBLOCK_LABELS.into_iter().zip(values).collect()
}

fn with(mut labels: Vec<Label>, more: impl IntoIterator<Item = Label>) -> Vec<Label> {
    labels.extend(more);
    labels
}

fn per_superblock(families: &mut Families, superblock: &Superblock) {
    let own = identity(superblock);
    families.number(&table::INFO, own.clone(), 1.0);
    for state in State::ALL {
        let labels = with(own.clone(), [("state", state.name().to_owned())]);
        families.number(&table::STATE, labels, flag(superblock.state == state));
    }
    families.number(
        &table::STATE_SINCE,
        own.clone(),
        seconds(superblock.since_unix_ns.0),
    );
    operations(families, &own, &Operations::of(superblock));
    families.number(&table::IN_FLIGHT, own.clone(), float(superblock.in_flight));
    families.number(&table::BLOCKED, own.clone(), float(superblock.blocked));
    let oldest_ns = superblock.oldest_request_age_ns.unwrap_or(0);
    families.number(&table::OLDEST, own.clone(), seconds(oldest_ns));
    let Some(fuse) = &superblock.fuse else {
        return;
    };
    if let Some(waiting) = fuse.waiting {
        families.number(&table::WAITING, own.clone(), f64::from(waiting));
    }
    let is_up = match fuse.server_status {
        ServerStatus::Running => Some(true),
        ServerStatus::Stopped | ServerStatus::Gone => Some(false),
        ServerStatus::Unknown => None,
    };
    if let Some(is_up) = is_up {
        families.number(&table::SERVER_UP, own, flag(is_up));
    }
}

fn operations(families: &mut Families, own: &[Label], operations: &Operations) {
    for (operation, ended) in &operations.ended {
        let labels = with(own.to_vec(), [("op", operation.to_string())]);
        families.number(&table::OPERATIONS, labels, float(*ended));
    }
    for ((operation, errno), failed) in &operations.failed {
        let labels = with(
            own.to_vec(),
            [("op", operation.to_string()), ("errno", errno.to_string())],
        );
        families.number(&table::ERRORS, labels, float(*failed));
    }
    for latency in operations.latency.values() {
        let labels = with(own.to_vec(), [("class", latency.class.to_owned())]);
        families.push(
            &table::DURATION,
            labels,
            Value::Histogram(Histogram::of(latency)),
        );
    }
}

/// The sum of what has no series of its own.
fn overflow(families: &mut Families, selection: &Selection<'_>) {
    if selection.folded.is_empty() {
        return;
    }
    let values = ["overflow", "", "", ""].map(str::to_owned);
    let own: Vec<Label> = SUPERBLOCK_LABELS.into_iter().zip(values).collect();
    let mut sum = Operations::default();
    let (mut in_flight, mut blocked, mut oldest_ns) = (0_u64, 0_u64, 0_u64);
    for superblock in &selection.folded {
        sum.add(superblock);
        in_flight = in_flight.saturating_add(superblock.in_flight);
        blocked = blocked.saturating_add(superblock.blocked);
        oldest_ns = oldest_ns.max(superblock.oldest_request_age_ns.unwrap_or(0));
    }
    operations(families, &own, &sum);
    families.number(&table::IN_FLIGHT, own.clone(), float(in_flight));
    families.number(&table::BLOCKED, own.clone(), float(blocked));
    families.number(&table::OLDEST, own, seconds(oldest_ns));
}

/// States that are alerts.
const ALERT_KINDS: [State; 6] = [
    State::Unknown,
    State::Slow,
    State::Erroring,
    State::Stuck,
    State::Hung,
    State::Dead,
];

fn alerts(families: &mut Families, snapshot: &Snapshot) {
    for kind in ALERT_KINDS {
        let firing = snapshot
            .superblocks
            .iter()
            .filter(|superblock| superblock.state == kind)
            .count();
        let labels = vec![("kind", kind.name().to_owned())];
        families.number(&table::ALERTS, labels, count(firing));
    }
    for kind in [AlertKind::Missing, AlertKind::ShadowWrites] {
        let expected = snapshot.expected.iter();
        let firing = expected.filter(|mount| mount.alert == Some(kind.name()));
        let labels = vec![("kind", kind.name().to_owned())];
        families.number(&table::ALERTS, labels, count(firing.count()));
    }
    for &(kind, to, total) in &snapshot.observer.transitions {
        let labels = vec![("kind", kind.to_owned()), ("to", to.to_owned())];
        families.number(&table::TRANSITIONS, labels, float(total));
    }
    for mount in &snapshot.expected {
        let labels = || vec![("mountpoint", mount.mountpoint.clone())];
        if let Some(is_present) = mount.is_present {
            families.number(&table::EXPECTED_PRESENT, labels(), flag(is_present));
        }
        let writes = float(mount.shadow_writes);
        families.number(&table::SHADOW_WRITES, labels(), writes);
    }
    for (mount, outcome, total) in &snapshot.observer.recoveries {
        let labels = vec![("mount", mount.clone()), ("outcome", (*outcome).to_owned())];
        families.number(&table::RECOVERIES, labels, float(*total));
    }
}

fn sinks(families: &mut Families, own: &SelfReport) {
    for &(why, count) in &own.kept_back {
        let labels = vec![("why", why.to_owned())];
        families.number(&table::KEPT_BACK, labels, float(count));
    }
    families.number(&table::SILENCES, vec![], float(own.silences));
    for report in &own.sinks {
        let sink = || ("sink", report.sink.clone());
        for &(outcome, count) in &report.outcomes {
            let labels = vec![sink(), ("outcome", outcome.to_owned())];
            families.number(&table::NOTIFICATIONS, labels, float(count));
        }
        families.number(
            &table::NOTIFICATIONS_DROPPED,
            vec![sink()],
            float(report.dropped),
        );
    }
}

/// What monitors of mounts have always pushed: how many there are, and how many would not answer
/// them, which those that are dead and those that are hung do not.
pub fn totals(snapshot: &Snapshot) -> String {
    let would_fail =
        |superblock: &&Superblock| matches!(superblock.state, State::Dead | State::Hung);
    let (total, dead) = (
        snapshot.superblocks.len(),
        snapshot.superblocks.iter().filter(would_fail).count(),
    );
    format!(
        "# HELP total_mountpoints Mounts observed.\n\
         # TYPE total_mountpoints gauge\n\
         total_mountpoints {total}\n\
         # HELP dead_mountpoints Mounts that do not answer: dead or hung.\n\
         # TYPE dead_mountpoints gauge\n\
         dead_mountpoints {dead}\n"
    )
}

fn incidents(families: &mut Families, health: &ObserverHealth, own: &SelfReport) {
    for kind in AlertKind::ALL {
        let labels = vec![("kind", kind.name().to_owned())];
        let count = health.incidents.by_kind.get(&kind).copied();
        families.number(&table::INCIDENTS, labels, float(count.unwrap_or(0)));
    }
    families.number(
        &table::INCIDENTS_ACTIVE,
        vec![],
        count(health.incidents_active),
    );
    let delays = Histogram::of_delays(&health.incidents);
    families.push(&table::DETECTION_DELAY, vec![], Value::Histogram(delays));
    if let Some(storage) = &own.storage {
        families.number(&table::STORAGE_UP, vec![], flag(storage.is_up));
        families.number(&table::STORAGE_ERRORS, vec![], float(storage.errors));
        families.number(&table::STORAGE_WAITING, vec![], float(storage.waiting));
    }
}

fn health(families: &mut Families, health: &ObserverHealth, own: &SelfReport) {
    let label = |name, value: &str| vec![(name, value.to_owned())];
    families.number(&table::BUILD_INFO, label("version", own.version), 1.0);
    for probe in &health.probes {
        if probe.kind.is_some() || probe.is_wanted {
            let labels = with(
                label("probe", probe.probe),
                label("kind", probe.kind.unwrap_or("none")),
            );
            families.number(&table::PROBE_ATTACHED, labels, flag(probe.kind.is_some()));
        }
    }
    for &(source, total) in &health.events {
        families.number(&table::EVENTS, label("source", source), float(total));
    }
    for &(reason, total) in health.dropped.iter().chain(&own.dropped) {
        families.number(&table::DROPPED, label("reason", reason), float(total));
    }
    for &(map, entries, limit) in &health.maps {
        families.number(&table::MAP_ENTRIES, label("map", map), float(entries));
        families.number(&table::MAP_ENTRIES_MAX, label("map", map), float(limit));
    }
    for &(name, at) in &own.heartbeats {
        families.number(&table::HEARTBEAT, label("loop", name), seconds(at.0));
    }
    families.number(&table::SELF_TOUCHES, vec![], float(health.self_touches));
}

fn of_process(families: &mut Families, process: &Process) {
    for (metric, value) in [
        (table::PROCESS_CPU, process.cpu_seconds),
        (table::PROCESS_OPEN_FDS, float(process.open_fds)),
        (table::PROCESS_MAX_FDS, float(process.max_fds)),
        (table::PROCESS_VIRTUAL, float(process.virtual_bytes)),
        (table::PROCESS_RESIDENT, float(process.resident_bytes)),
        (table::PROCESS_START, process.start_seconds),
        (table::PROCESS_THREADS, float(process.threads)),
    ] {
        families.number(&metric, vec![], value);
    }
}

fn flag(is_set: bool) -> f64 {
    f64::from(u8::from(is_set))
}

fn count(count: usize) -> f64 {
    float(u64::try_from(count).unwrap_or(u64::MAX))
}

/// Prometheus knows only floats: exact below 2^53, which no counter of ours reaches.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "there is no other conversion; the loss above 2^53 is that of the format"
)]
fn float(count: u64) -> f64 {
    count as f64
}
