//! What waits to be written, between the loop and the thread that writes.
//!
//! A channel would not do: of an incident that changes while the disk hangs only the latest form is
//! wanted, or the queue would grow with the time it hangs.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::{
    incident::{Incident, IncidentId},
    recovery::RecoveryRun,
};

/// Incidents that wait, and incidents that go on: each some KiB, and some 100 KiB at worst.
pub(super) const WAITING_MAX: usize = 1024;

/// How the journal is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Condition {
    /// Whether one is to be kept.
    pub is_wanted: bool,
    /// Whether it can be written, as far as known; also where nothing was to be written yet.
    pub is_up: bool,
    /// What is wrong, where something is.
    pub trouble: Option<String>,
    /// Attempts that failed.
    pub errors: u64,
    /// Incidents written, each form of each.
    pub written: u64,
    /// Incidents that were given up: too many waited, or their name was taken.
    pub refused: u64,
    /// Incidents that wait to be written.
    pub waiting: u64,
}

/// Shared by the loop, the thread that writes and the API.
#[derive(Debug)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    /// Something waits, or it is to end.
    work: Condvar,
    /// Something was written or failed, or the journal was opened.
    news: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: BTreeMap<IncidentId, Arc<Incident>>,
    open: BTreeMap<IncidentId, Arc<Incident>>,
    runs: BTreeMap<String, Arc<RecoveryRun>>,
    remembered: Option<Remembered>,
    condition: Condition,
    is_ending: bool,
}

/// What an earlier observer left.
#[derive(Debug, Default, PartialEq)]
pub struct Remembered {
    /// The incidents that went on when it ended.
    pub incidents: Vec<Incident>,
    /// The recoveries of the last day.
    pub runs: Vec<RecoveryRun>,
}

/// What the thread that writes woke up for.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) incidents: Vec<Arc<Incident>>,
    pub(super) runs: Vec<Arc<RecoveryRun>>,
    pub(super) is_ending: bool,
}

impl Queue {
    pub(super) fn new(is_wanted: bool) -> Self {
        let condition = Condition {
            is_wanted,
            is_up: is_wanted,
            ..Condition::default()
        };
        Self {
            inner: Mutex::new(Inner {
                condition,
                ..Inner::default()
            }),
            work: Condvar::new(),
            news: Condvar::new(),
        }
    }

    /// A thread that panicked left nothing half-done here.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn keep(&self, incident: Incident) {
        let incident = Arc::new(incident);
        let mut inner = self.lock();
        if incident.ended.is_some() {
            inner.open.remove(&incident.id);
        } else if inner.open.len() < WAITING_MAX || inner.open.contains_key(&incident.id) {
            inner
                .open
                .insert(incident.id.clone(), Arc::clone(&incident));
        }
        if !inner.condition.is_wanted {
            return;
        }
        if inner.waiting.len() >= WAITING_MAX && !inner.waiting.contains_key(&incident.id) {
            inner.condition.refused += 1;
            let mut waiting = inner.waiting.values();
            let ended = waiting.find(|waiting| waiting.ended.is_some());
            let Some(id) = ended.map(|ended| ended.id.clone()) else {
                return;
            };
            inner.waiting.remove(&id);
        }
        inner.waiting.insert(incident.id.clone(), incident);
        drop(inner);
        self.work.notify_one();
    }

    /// At the bound the oldest is given up: no caps let so many happen.
    pub(super) fn keep_run(&self, run: RecoveryRun) {
        let mut inner = self.lock();
        if !inner.condition.is_wanted {
            return;
        }
        if inner.runs.len() >= WAITING_MAX && !inner.runs.contains_key(&run.id) {
            inner.condition.refused += 1;
            inner.runs.pop_first();
        }
        inner.runs.insert(run.id.clone(), Arc::new(run));
        drop(inner);
        self.work.notify_one();
    }

    /// Waits until something is to be written, or for so long, or until it is to end.
    pub(super) fn wait(&self, patience: Duration, at_most: usize) -> Work {
        let has_none = |inner: &mut Inner| {
            inner.waiting.is_empty() && inner.runs.is_empty() && !inner.is_ending
        };
        let (inner, _) = self
            .work
            .wait_timeout_while(self.lock(), patience, has_none)
            .unwrap_or_else(PoisonError::into_inner);
        Work {
            incidents: inner.waiting.values().take(at_most).cloned().collect(),
            runs: inner.runs.values().cloned().collect(),
            is_ending: inner.is_ending,
        }
    }

    /// Waits for so long, unless it is to end; says whether it is.
    pub(super) fn pause(&self, length: Duration) -> bool {
        let goes_on = |inner: &mut Inner| !inner.is_ending;
        let (inner, _) = self
            .work
            .wait_timeout_while(self.lock(), length, goes_on)
            .unwrap_or_else(PoisonError::into_inner);
        inner.is_ending
    }

    /// These were written; what became of one meanwhile still waits. Says how many wait.
    pub(super) fn written(&self, incidents: &[Arc<Incident>], refused: u64) -> usize {
        let mut inner = self.lock();
        for incident in incidents {
            let waiting = inner.waiting.get(&incident.id);
            if waiting.is_some_and(|waiting| Arc::ptr_eq(waiting, incident)) {
                inner.waiting.remove(&incident.id);
            }
        }
        let count = u64::try_from(incidents.len()).unwrap_or(u64::MAX);
        inner.condition.written += count.saturating_sub(refused);
        inner.condition.refused += refused;
        let left = inner.waiting.len();
        drop(inner);
        self.news.notify_all();
        left
    }

    /// The same for recoveries.
    pub(super) fn written_runs(&self, runs: &[Arc<RecoveryRun>]) {
        let mut inner = self.lock();
        for run in runs {
            let waiting = inner.runs.get(&run.id);
            if waiting.is_some_and(|waiting| Arc::ptr_eq(waiting, run)) {
                inner.runs.remove(&run.id);
            }
        }
        drop(inner);
        self.news.notify_all();
    }

    /// The journal can be written (again); says whether it could not.
    pub(super) fn works(&self) -> bool {
        let mut inner = self.lock();
        inner.condition.is_up = true;
        inner.condition.trouble.take().is_some()
    }

    /// It cannot; says whether that, or why, is new.
    pub(super) fn failed(&self, why: &str) -> bool {
        let mut inner = self.lock();
        inner.condition.is_up = false;
        inner.condition.errors += 1;
        let is_new = inner.condition.trouble.as_deref() != Some(why);
        inner.condition.trouble = Some(why.to_owned());
        drop(inner);
        self.news.notify_all();
        is_new
    }

    /// Everything that goes on is to be written once more: a new journal begins.
    pub(super) fn begin_anew(&self) {
        let mut inner = self.lock();
        let open = inner.open.clone();
        for (id, incident) in open {
            inner.waiting.entry(id).or_insert(incident);
        }
    }

    /// Hands on what an earlier observer left.
    pub(super) fn set_remembered(&self, remembered: Remembered) {
        self.lock().remembered = Some(remembered);
        self.news.notify_all();
    }

    pub(super) fn remembered(&self, patience: Duration) -> Option<Remembered> {
        let is_awaited = |inner: &mut Inner| {
            let condition = &inner.condition;
            inner.remembered.is_none() && condition.is_wanted && condition.trouble.is_none()
        };
        let (mut inner, _) = self
            .news
            .wait_timeout_while(self.lock(), patience, is_awaited)
            .unwrap_or_else(PoisonError::into_inner);
        inner.remembered.take()
    }

    pub(super) fn in_memory(&self) -> Vec<Arc<Incident>> {
        let inner = self.lock();
        let mut all = inner.open.clone();
        let waiting = inner.waiting.iter();
        all.extend(waiting.map(|(id, incident)| (id.clone(), Arc::clone(incident))));
        all.into_values().collect()
    }

    pub(super) fn condition(&self) -> Condition {
        let inner = self.lock();
        Condition {
            waiting: u64::try_from(inner.waiting.len()).unwrap_or(u64::MAX),
            ..inner.condition.clone()
        }
    }

    pub(super) fn end(&self, patience: Duration) -> bool {
        let mut inner = self.lock();
        inner.is_ending = true;
        self.work.notify_all();
        let errors = inner.condition.errors;
        let is_done = |inner: &Inner| inner.waiting.is_empty() && inner.runs.is_empty();
        let has_some = |inner: &mut Inner| !is_done(inner) && inner.condition.errors == errors;
        let (inner, _) = self
            .news
            .wait_timeout_while(inner, patience, has_some)
            .unwrap_or_else(PoisonError::into_inner);
        is_done(&inner)
    }
}
