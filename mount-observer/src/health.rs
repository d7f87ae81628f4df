//! What the observer knows about itself: what it lost, what is not attached, what it counted.

mod losses;

use std::collections::{BTreeMap, BTreeSet};

use mount_observer_common::Counter;

pub use losses::RUNS_LOST;

use losses::{Losses, SHELL_LOSS};

use crate::{
    detect::{Layout, Scans, Sight},
    input::{KernelHealth, ProbeHealth, Scan},
    sight::{self, Attached, Blinds, NotSeen},
    snapshot::Probe,
    time::Mono,
};

/// Incomplete scans in a row from which on they count as failing.
const SCAN_FAILURES_MAX: u32 = 3;

/// Kernel-side counters that count what was not kept.
const DROPS: [Counter; 9] = [
    Counter::InFlightFull,
    Counter::TotalsFull,
    Counter::RingFull,
    Counter::RecordsSuppressed,
    Counter::EndsUnmatched,
    Counter::UserReadsFailed,
    Counter::KernelReadsFailed,
    Counter::SlotCollisions,
    Counter::TraceLost,
];

/// Counter of the shell's: runs left out of the programs that see every call of the machine. Each
/// hides one call at most, and hardly ever one that concerns an observed filesystem.
pub const CALLS_MISSED: &str = "calls_missed";

/// Counter of the recorder: inputs that are missing in a recording. Nothing was decided without them.
pub const NOT_RECORDED: &str = "not_recorded";

/// What the pure part itself refuses, besides what its collections count.
const REFUSALS: [&str; 3] = ["paths_refused", "records_undecodable", "rows_undecodable"];

/// The observer's health.
#[derive(Clone, Debug, Default)]
pub struct Health {
    kernel: KernelHealth,
    losses: Losses,
    /// Inputs taken, by source.
    pub events: BTreeMap<&'static str, u64>,
    /// Inputs refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// What is out of sight now, and how much of it.
    unseen: BTreeMap<&'static str, u64>,
    /// What parts of the shell cannot do.
    troubles: BTreeMap<&'static str, String>,
    layout: Layout,
    has_scanned_holders: bool,
    failed_holder_scans: u32,
    failed_task_scans: u32,
}

/// The counters that are dropped or refused, for the snapshot.
pub type Named = Vec<(&'static str, u64)>;

impl Health {
    /// Takes what the kernel side says about itself.
    pub fn update(&mut self, now: Mono, health: KernelHealth) {
        for &(name, count) in &health.counters {
            let before = self.counter(name);
            if count > before {
                self.losses.note(now, name, count - before);
            }
        }
        self.kernel = health;
    }

    /// Counts an input.
    pub fn took(&mut self, source: &'static str) {
        *self.events.entry(source).or_default() += 1;
    }

    /// Counts what could not be read or kept.
    pub fn refuse(&mut self, reason: &'static str, count: u64) {
        *self.refused.entry(reason).or_default() += count;
    }

    /// Notes how much of something is out of sight; 0 for nothing.
    pub fn unseen(&mut self, what: &'static str, count: u64) {
        if count == 0 {
            self.unseen.remove(what);
        } else {
            self.unseen.insert(what, count);
        }
    }

    /// Notes what a part of the shell cannot do.
    pub fn trouble(&mut self, part: &'static str, what: Option<String>) {
        match what {
            Some(what) => self.troubles.insert(part, what),
            None => self.troubles.remove(part),
        };
    }

    /// Says where the layout of FUSE's structures comes from.
    pub fn set_layout(&mut self, is_described: bool) {
        self.layout = if is_described {
            Layout::Described
        } else {
            Layout::Doubtful
        };
    }

    /// Where it comes from, and whether it fits.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// A living connection was read to have the number of a FUSE mount.
    pub fn layout_fits(&mut self) {
        if self.layout == Layout::Doubtful {
            self.layout = Layout::Fitting;
        }
    }

    /// A scan over the holders ended; `lists_all` says whether it listed the requests of every
    /// connection that has some.
    pub fn scanned_holders(&mut self, scan: &Scan, lists_all: bool) {
        self.has_scanned_holders = self.has_scanned_holders || scan.is_complete;
        self.failed_holder_scans = failures(self.failed_holder_scans, scan.is_complete);
        if scan.is_complete && lists_all {
            self.losses.looked_at_holders(scan.begun);
        }
    }

    /// A scan over the tasks ended.
    pub fn scanned_tasks(&mut self, scan: &Scan, is_full: bool) {
        self.failed_task_scans = failures(self.failed_task_scans, scan.is_complete);
        if scan.is_complete && is_full {
            // Where nothing is there to look for holders with, FUSE is absent, or unknown anyway.
            let has_holders = self.is_attached("holders");
            self.losses.looked_at_tasks(scan.begun, has_holders);
        }
    }

    /// Whether a look at everything has to make up for what was missed.
    pub fn wants_looks(&self, now: Mono) -> bool {
        self.losses.wants_looks(now)
    }

    /// A counter of the kernel side.
    pub fn counter(&self, name: &str) -> u64 {
        let found = self
            .kernel
            .counters
            .iter()
            .find(|(known, _)| *known == name);
        found.map_or(0, |(_, count)| *count)
    }

    /// How well we see now.
    pub fn sight(&self, now: Mono, sees_every_process: bool) -> Sight {
        let missing = |is_of: fn(Blinds) -> bool| {
            let lacking = self.kernel.probes.iter();
            let lacking = lacking.filter(|probe| probe.is_wanted && probe.kind.is_none());
            let blinding = lacking.filter(|probe| is_of(sight::blinds(probe.probe)));
            blinding.map(missing_text).collect()
        };
        let resting = self.kernel.probes.iter().filter(|probe| probe.is_resting);
        let resting = resting.map(|probe| probe.probe);
        Sight {
            sees_requests: self.is_attached("fuse_end"),
            sees_connections: self.is_attached("connection_check"),
            fuse_probes_missing: missing(|blinds| blinds.fuse),
            fuse_probes_resting: resting.filter(|probe| sight::blinds(probe).fuse).collect(),
            kernel_probes_missing: missing(|blinds| blinds.kernel),
            losses: self.losses.words(now),
            scans: self.scans(),
            sees_every_process,
            layout: self.layout,
        }
    }

    fn scans(&self) -> Scans {
        if self.failed_holder_scans.max(self.failed_task_scans) >= SCAN_FAILURES_MAX {
            Scans::Failing
        } else if self.has_scanned_holders {
            Scans::Complete
        } else {
            Scans::None
        }
    }

    /// Whether a probe is attached.
    pub fn is_attached(&self, name: &str) -> bool {
        let mut probes = self.kernel.probes.iter();
        probes.any(|probe| probe.probe == name && probe.kind.is_some())
    }

    /// What is not seen although it should be, in words.
    pub fn degraded(&self, sight: &Sight) -> Vec<String> {
        let missing = sight
            .fuse_probes_missing
            .iter()
            .chain(&sight.kernel_probes_missing);
        let missing: BTreeSet<_> = missing.collect();
        let mut words: Vec<_> = missing
            .into_iter()
            .map(|probe| format!("not attached: {probe}"))
            .collect();
        words.extend(
            sight
                .losses
                .iter()
                .map(|loss| format!("lost lately: {loss}")),
        );
        words.extend(
            self.unseen
                .iter()
                .map(|(what, count)| format!("out of sight: {count} {what}")),
        );
        let troubles = self.troubles.iter();
        words.extend(troubles.map(|(part, what)| format!("{part}: {what}")));
        if sight.scans == Scans::Failing {
            words.push("scans end early".to_owned());
        }
        if !sight.sees_every_process {
            words
                .push("not in the initial pid namespace: some servers are out of sight".to_owned());
        }
        words
    }

    /// What came in, by source.
    pub fn events(&self) -> Named {
        let own = self.events.iter().map(|(name, count)| (*name, *count));
        let kernel = self.kernel.counters.iter().copied();
        own.chain(kernel.filter(|(name, _)| !is_drop(name)))
            .collect()
    }

    /// What was lost, by reason; every reason is listed from the start.
    pub fn dropped(&self) -> Named {
        let always = DROPS.iter().map(|counter| counter.name());
        let mut all: BTreeMap<_, _> = always.map(|name| (name, self.counter(name))).collect();
        all.extend(REFUSALS.map(|name| (name, 0)));
        all.insert(CALLS_MISSED, 0);
        all.insert(NOT_RECORDED, 0);
        let kernel = self.kernel.counters.iter().copied();
        all.extend(kernel.filter(|(name, _)| is_drop(name)));
        all.extend(self.refused.iter().map(|(name, count)| (*name, *count)));
        all.into_iter().collect()
    }

    /// Fill of the maps.
    pub fn maps(&self) -> Vec<(&'static str, u64, u64)> {
        self.kernel.maps.clone()
    }

    /// The probes as they ended up.
    pub fn probes(&self) -> Vec<Probe> {
        let view = |probe: &ProbeHealth| Probe {
            probe: probe.probe,
            kind: probe.kind,
            is_wanted: probe.is_wanted,
            reason: probe.reason.clone(),
        };
        self.kernel.probes.iter().map(view).collect()
    }

    /// What the probes that are not attached would show.
    pub fn not_seen(&self) -> Vec<NotSeen> {
        let view = |probe: &ProbeHealth| Attached {
            probe: probe.probe,
            is_wanted: probe.is_wanted,
            is_attached: probe.kind.is_some(),
            lacks: probe.lacks,
        };
        let probes: Vec<_> = self.kernel.probes.iter().map(view).collect();
        sight::not_seen(&probes)
    }
}

/// Failures in a row.
fn failures(before: u32, is_complete: bool) -> u32 {
    if is_complete {
        0
    } else {
        before.saturating_add(1)
    }
}

fn missing_text(probe: &ProbeHealth) -> String {
    format!("{} ({})", probe.probe, probe.reason)
}

fn is_drop(name: &str) -> bool {
    DROPS.iter().any(|counter| counter.name() == name)
        || name == CALLS_MISSED
        || name == NOT_RECORDED
        || name.starts_with(SHELL_LOSS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_was_missed_is_told_and_hides_nothing() {
        let mut health = Health::default();
        let lost = |name| KernelHealth {
            counters: vec![(name, 3)],
            ..KernelHealth::default()
        };
        health.update(Mono(1), lost(CALLS_MISSED));
        assert_eq!(health.sight(Mono(2), true).losses, [""; 0]);
        assert!(health.dropped().contains(&(CALLS_MISSED, 3)));
        assert!(!health.wants_looks(Mono(2)));
        health.update(Mono(3), lost(RUNS_LOST));
        assert!(health.wants_looks(Mono(3)));
    }

    #[test]
    fn what_is_out_of_sight_is_told_until_it_is_seen() {
        let mut health = Health::default();
        let words = |health: &Health| health.degraded(&health.sight(Mono(0), true));
        health.unseen("namespaces", 3);
        assert_eq!(words(&health), ["out of sight: 3 namespaces"]);
        health.unseen("namespaces", 0);
        assert_eq!(words(&health), [""; 0]);
    }
}
