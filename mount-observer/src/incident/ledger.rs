//! Which incidents go on, and what becomes of them: opened by the first alert, one through all kinds
//! of alert, ended when nothing follows, opened again by what comes back soon, taken over from the
//! observer before.

use std::{collections::BTreeMap, time::Duration};

use super::{Record, resume::Remembered};
use crate::{
    alert::{AlertKind, Change, Resolution},
    alerts::{FLAP_WINDOW, Step},
    incident::{Incident, IncidentId, Subject},
    superblock::SuperblockId,
    time::{Mono, Now},
};

/// Incidents that go on at once, some KiB each and some 100 KiB at worst; those beyond alert, and are
/// not remembered.
const OPEN_MAX: usize = 1024;

/// Incidents that ended lately and may come back.
const ENDED_MAX: usize = 1024;

/// Upper bounds of the buckets of the detection delay, ms.
pub const DELAY_BOUNDS_MS: [u64; 11] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000, 60_000, 300_000,
];

/// What an incident is about, while this observer runs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// A superblock.
    Superblock(SuperblockId),
    /// A place where a mount should be.
    MountPoint(String),
}

/// Where an alert belongs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The incident.
    pub incident: IncidentId,
    /// How often it came back.
    pub returns: u32,
    /// When it began, where that is longer ago than what this observer saw.
    pub since: Option<Mono>,
}

/// Totals for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Incidents that came to each kind of alert.
    pub by_kind: BTreeMap<AlertKind, u64>,
    /// Detection delays up to each of [`DELAY_BOUNDS_MS`], not cumulative, and beyond.
    pub delays: [u64; DELAY_BOUNDS_MS.len() + 1],
    /// Their sum, ns.
    pub delays_sum_ns: u64,
    /// Incidents not remembered because too many go on.
    pub refused: u64,
}

/// The incidents.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    boot_id: String,
    pub(super) open: BTreeMap<Key, Record>,
    ended: BTreeMap<Key, Record>,
    pub(super) remembered: Vec<Remembered>,
    pub(super) kept: Vec<Incident>,
    counts: Counts,
}

impl Ledger {
    /// None yet, in this boot.
    pub fn new(boot_id: String) -> Self {
        Self {
            boot_id,
            ..Self::default()
        }
    }

    /// The boot in which device numbers and monotonic times mean something.
    pub fn boot_id(&self) -> &str {
        &self.boot_id
    }

    /// Takes one change of one alert. `subject` is asked for where it opens an incident.
    pub fn step(
        &mut self,
        now: Now,
        key: &Key,
        step: &Step,
        advice: &str,
        subject: impl FnOnce() -> Subject,
    ) -> Place {
        match step.change {
            Change::Firing => self.fires(now, key, step, advice, subject),
            Change::Resolved { why } => self.resolved(now, key, step, why),
        }
    }

    fn fires(
        &mut self,
        now: Now,
        key: &Key,
        step: &Step,
        advice: &str,
        subject: impl FnOnce() -> Subject,
    ) -> Place {
        let condition = &step.condition;
        if !self.open.contains_key(key) {
            let record = match self.take_ended(now.mono, key) {
                Some(record) => record.come_back(),
                None => match self.begin(now, step, subject()) {
                    Ok(record) => record,
                    Err(place) => return place,
                },
            };
            self.open.insert(key.clone(), record);
        }
        let Some(record) = self.open.get_mut(key) else {
            return refused(now, step);
        };
        if record.enter(now, condition, advice) {
            *self.counts.by_kind.entry(condition.kind).or_default() += 1;
        }
        record.place()
    }

    /// One that goes on from before, or a new one.
    fn begin(&mut self, now: Now, step: &Step, subject: Subject) -> Result<Record, Place> {
        if let Some(incident) = self.take_remembered(&subject) {
            return Ok(Record::resume(now, incident));
        }
        if self.open.len() >= OPEN_MAX {
            self.counts.refused += 1;
            return Err(refused(now, step));
        }
        let record = Record::begin(now, &step.condition, subject);
        self.note_delay(now.mono.since(step.condition.since));
        Ok(record)
    }

    fn take_ended(&mut self, now: Mono, key: &Key) -> Option<Record> {
        let record = self.ended.remove(key)?;
        record.ended_within(now, FLAP_WINDOW).then_some(record)
    }

    fn resolved(&mut self, now: Now, key: &Key, step: &Step, why: Resolution) -> Place {
        let Some(mut record) = self.open.remove(key) else {
            return refused(now, step);
        };
        record.leave(now, &step.condition);
        let place = record.place();
        if why == Resolution::Superseded {
            self.open.insert(key.clone(), record);
            return place;
        }
        record.end(now, why);
        self.kept.push(record.form());
        if why == Resolution::Recovered {
            if self.ended.len() >= ENDED_MAX {
                self.ended.pop_first();
            }
            self.ended.insert(key.clone(), record);
        }
        place
    }

    fn note_delay(&mut self, delay: Duration) {
        let fits = |bound: &u64| delay <= Duration::from_millis(*bound);
        let bucket = DELAY_BOUNDS_MS.iter().position(fits);
        let bucket = bucket.unwrap_or(DELAY_BOUNDS_MS.len());
        if let Some(count) = self.counts.delays.get_mut(bucket) {
            *count += 1;
        }
        let sum = &mut self.counts.delays_sum_ns;
        *sum = sum.saturating_add(crate::time::nanos(delay));
    }

    /// The incident that goes on about something.
    pub fn record(&mut self, key: &Key) -> Option<&mut Record> {
        self.open.get_mut(key)
    }

    /// The name of the incident that goes on about something.
    pub fn id_of(&self, key: &Key) -> Option<&IncidentId> {
        self.open.get(key).map(|record| &record.incident.id)
    }

    /// Whether some go on.
    pub fn is_idle(&self) -> bool {
        self.open.is_empty() && self.kept.is_empty() && self.remembered.is_empty()
    }

    /// How many go on.
    pub fn active(&self) -> usize {
        self.open.len()
    }

    /// Totals for the metrics.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The incidents that are to be kept now, each in its latest form.
    pub fn take_due(&mut self, now: Mono) -> Vec<Incident> {
        let mut due = std::mem::take(&mut self.kept);
        let open = self.open.values_mut();
        due.extend(open.filter_map(|record| record.form_if_due(now)));
        self.ended
            .retain(|_, record| record.ended_within(now, FLAP_WINDOW));
        due
    }
}

/// Of an incident that is not remembered.
fn refused(now: Now, step: &Step) -> Place {
    let started = now.wall_of(step.condition.since);
    Place {
        incident: IncidentId::new(started, step.condition.kind.name()),
        returns: 0,
        since: None,
    }
}

#[cfg(test)]
mod tests;
