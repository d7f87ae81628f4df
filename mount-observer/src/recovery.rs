//! Repairing a mount, as carefully as the policy asks: which step is next, and what became of it.
//!
//! One recovery runs at a time, in the order of the configuration. It decides on looks at the
//! snapshot alone; the shell only carries out a step and says how that went.

mod policy;
mod run;
mod running;
mod step;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use crate::{
    alert::State,
    config::{Recover, Recovery},
    incident::IncidentId,
    snapshot::{Mount, Snapshot, Superblock},
    superblock::{Dev, SuperblockId},
    time::{Mono, Now, nanos},
};

use running::{Move, Running};

pub use policy::{Check, Explanation, Facts, Verdict, judge};
pub use run::{Outcome, RecoveryRun, RecoveryStep};
pub use step::{Step, StepError};

/// How long back a run of an earlier observer matters: the caps look back a day, and the clock may have
/// been set back since.
pub const MATTERS_WITHIN: Duration = Duration::from_hours(48);

/// Runs remembered: more than the caps of a day allow, for any caps that make sense.
const HISTORY_MAX: usize = 1024;

/// Kinds of outcomes counted: mount points of the configuration times outcomes.
const COUNTS_MAX: usize = 1024;

/// A step the shell is to carry out now, and to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The run it belongs to.
    pub run: String,
    /// Where the mount is.
    pub mount_point: String,
    /// What was mounted there when it was decided: whatever else is there now is not touched.
    pub target: Target,
    /// What to do.
    pub step: Step,
    /// After this long it has failed, ns.
    pub timeout_ns: u64,
}

/// A mount, as far as it can be told from its successor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// mountinfo's mount id.
    pub mount_id: u32,
    /// The superblock's number.
    pub dev: Dev,
    /// The connection's number in fusectl; `None` where it is no FUSE.
    pub connection: Option<u32>,
}

/// What a look at the mounts led to.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Carry this out.
    Do(Job),
    /// The journal is to hold this run in this form.
    Keep(RecoveryRun),
    /// A run ended; failures and caps alert. `None` where an earlier observer began it.
    Ended(RecoveryRun, Option<SuperblockId>),
}

/// Every mount that may be repaired, and what was done so far.
#[derive(Clone, Debug, Default)]
pub struct Recoveries {
    policy: Recovery,
    mounts: Vec<Recover>,
    is_enabled: bool,
    is_history_known: bool,
    progress: BTreeMap<String, Progress>,
    running: Option<Running>,
    history: VecDeque<RecoveryRun>,
    counts: BTreeMap<(String, Outcome), u64>,
}

/// One mount in trouble.
#[derive(Clone, Debug)]
struct Progress {
    superblock: SuperblockId,
    confirmations: u32,
    confirmed_at: Mono,
    /// What was said about this trouble already; it is not said again.
    said: Option<Outcome>,
}

impl Recoveries {
    /// None so far.
    pub fn new(policy: &Recovery, mounts: &[Recover]) -> Self {
        Self {
            policy: policy.clone(),
            mounts: mounts.to_vec(),
            ..Self::default()
        }
    }

    /// Takes a configuration; a run under way goes on as it began.
    pub fn configure(&mut self, policy: &Recovery, mounts: &[Recover]) {
        self.policy = policy.clone();
        self.mounts = mounts.to_vec();
    }

    /// Whether the enabling file is there.
    pub fn set_enabled(&mut self, is_enabled: bool) {
        self.is_enabled = is_enabled;
    }

    /// Takes what the journal remembers: it counts towards the caps. What was cut short has failed,
    /// and what had not helped when the last observer ended is told again.
    pub fn remember(&mut self, now: Now, runs: Vec<RecoveryRun>) -> Vec<Event> {
        self.is_history_known = true;
        let mut events = Vec::new();
        let mut last: BTreeMap<String, RecoveryRun> = BTreeMap::new();
        for mut run in runs {
            if run.outcome.is_none() {
                let why = "cut short: the observer ended".to_owned();
                run.tell(now.wall, "-", Outcome::Failed, why);
                run.outcome = Some(Outcome::Failed);
                run.ended_unix_ns = Some(now.wall);
                events.push(Event::Keep(run.clone()));
            }
            self.note(run.clone());
            last.insert(run.mount_point.clone(), run);
        }
        last.retain(|mount_point, run| {
            let is_trouble = run.outcome.is_some_and(Outcome::is_trouble);
            is_trouble && self.is_configured(mount_point)
        });
        events.extend(last.into_values().map(|run| Event::Ended(run, None)));
        events
    }

    /// Whether a mount may be repaired.
    pub fn is_configured(&self, mount_point: &str) -> bool {
        self.mounts
            .iter()
            .any(|mount| mount.mount_point == mount_point)
    }

    /// Runs by mount point and outcome since the start.
    pub fn counts(&self) -> impl Iterator<Item = (&str, Outcome, u64)> {
        let counts = self.counts.iter();
        counts.map(|((mount_point, outcome), count)| (mount_point.as_str(), *outcome, *count))
    }

    /// Looks at every mount that may be repaired.
    pub fn look(
        &mut self,
        now: Now,
        snapshot: &Snapshot,
        incident_of: &dyn Fn(SuperblockId) -> Option<IncidentId>,
    ) -> Vec<Event> {
        let mut events = self.go_on(now, snapshot);
        for mount in self.mounts.clone() {
            let found = in_trouble(snapshot, &mount);
            let Some(superblock) = found else {
                self.progress.remove(&mount.mount_point);
                continue;
            };
            self.confirm(now.mono, &mount.mount_point, superblock);
            let verdict = self.explain(now, &mount, superblock).verdict;
            let Some(incident) = incident_of(superblock.id) else {
                continue;
            };
            events.extend(self.act(now, &mount, superblock, incident, verdict));
        }
        // One that begins takes its first step at once.
        events.extend(self.go_on(now, snapshot));
        events
    }

    /// Why this mount would be repaired now, or not.
    pub fn explain(&self, now: Now, mount: &Recover, superblock: &Superblock) -> Explanation {
        let progress = self.progress.get(&mount.mount_point);
        judge(&Facts {
            now,
            policy: &self.policy,
            mount,
            superblock,
            confirmations: progress.map_or(0, |progress| progress.confirmations),
            is_enabled: self.is_enabled,
            is_history_known: self.is_history_known,
            is_busy: self.running.is_some(),
            history: &self.history,
        })
    }

    /// Takes the answer to a [`Job`].
    pub fn done(&mut self, now: Now, run: &str, outcome: Outcome, detail: String) -> Vec<Event> {
        let Some(running) = self
            .running
            .as_mut()
            .filter(|running| running.run.id == run)
        else {
            return Vec::new();
        };
        running.tell(now, outcome, detail);
        if outcome != Outcome::Ok {
            return self.end(outcome, now);
        }
        // What comes next is decided on a look at what this has led to.
        running.at += 1;
        running.is_asked = false;
        running.begun = now.mono;
        vec![Event::Keep(running.run.clone())]
    }

    /// Counts looks that found the same trouble, each some time after the last.
    fn confirm(&mut self, now: Mono, mount_point: &str, superblock: &Superblock) {
        let every = self.policy.confirm_every;
        let known = self.progress.get_mut(mount_point);
        match known.filter(|known| known.superblock == superblock.id) {
            Some(known) if now.since(known.confirmed_at) >= every => {
                known.confirmations = known.confirmations.saturating_add(1);
                known.confirmed_at = now;
            }
            Some(_) => {}
            None => {
                let found = Progress {
                    superblock: superblock.id,
                    confirmations: 1,
                    confirmed_at: now,
                    said: None,
                };
                self.progress.insert(mount_point.to_owned(), found);
            }
        }
    }

    fn act(
        &mut self,
        now: Now,
        mount: &Recover,
        superblock: &Superblock,
        incident: IncidentId,
        verdict: Verdict,
    ) -> Vec<Event> {
        let outcome = match &verdict {
            Verdict::Wait(_) => return Vec::new(),
            Verdict::Refuse(_) => Outcome::Refused,
            Verdict::Capped(_) => Outcome::Capped,
            Verdict::DryRun => Outcome::DryRun,
            Verdict::Run => return self.begin(now, mount, superblock, incident),
        };
        let Some(progress) = self.progress.get_mut(&mount.mount_point) else {
            return Vec::new();
        };
        if progress.said == Some(outcome) {
            return Vec::new();
        }
        progress.said = Some(outcome);
        let mut run = RecoveryRun::begin(now.wall, mount, incident);
        match verdict {
            Verdict::Refuse(why) | Verdict::Capped(why) => run.tell(now.wall, "-", outcome, why),
            Verdict::DryRun | Verdict::Run | Verdict::Wait(_) => {
                for step in &mount.steps {
                    run.tell(now.wall, step, outcome, "would be done now".to_owned());
                }
            }
        }
        run.outcome = Some(outcome);
        run.ended_unix_ns = Some(now.wall);
        self.count(&run.mount_point, outcome);
        vec![
            Event::Keep(run.clone()),
            Event::Ended(run, Some(superblock.id)),
        ]
    }

    fn begin(
        &mut self,
        now: Now,
        mount: &Recover,
        superblock: &Superblock,
        incident: IncidentId,
    ) -> Vec<Event> {
        let steps = mount.steps.iter().map(|step| step.parse::<Step>());
        // The configuration was checked: what is no step never comes here.
        let Ok(steps) = steps.collect::<Result<Vec<_>, _>>() else {
            return Vec::new();
        };
        let Some(on_top) = on_top(superblock, &mount.mount_point) else {
            return Vec::new();
        };
        let run = RecoveryRun::begin(now.wall, mount, incident);
        self.running = Some(Running {
            run: run.clone(),
            superblock: superblock.id,
            target: Target {
                mount_id: on_top.mount_id,
                dev: superblock.id.dev,
                connection: superblock.fuse.as_ref().map(|fuse| fuse.connection.0),
            },
            steps,
            at: 0,
            is_asked: false,
            begun: now.mono,
        });
        self.note(run.clone());
        vec![Event::Keep(run)]
    }

    /// Goes on with the run under way, as far as this look leads.
    fn go_on(&mut self, now: Now, snapshot: &Snapshot) -> Vec<Event> {
        let is_allowed = self.is_enabled && !self.policy.dry_run;
        let timeout = self.policy.step_timeout;
        let mut events = Vec::new();
        while let Some(running) = &mut self.running {
            match running.next(now.mono, snapshot, is_allowed, timeout) {
                Move::Wait => break,
                Move::Over => events.extend(self.end(Outcome::Ok, now)),
                Move::Step(outcome, detail) => {
                    let run = running.run.id.clone();
                    events.extend(self.done(now, &run, outcome, detail.to_owned()));
                }
                Move::Ask(step) => {
                    running.is_asked = true;
                    running.begun = now.mono;
                    events.push(Event::Do(Job {
                        run: running.run.id.clone(),
                        mount_point: running.run.mount_point.clone(),
                        target: running.target,
                        step,
                        timeout_ns: nanos(timeout),
                    }));
                }
            }
        }
        events
    }

    fn end(&mut self, outcome: Outcome, now: Now) -> Vec<Event> {
        let Some(mut running) = self.running.take() else {
            return Vec::new();
        };
        running.run.outcome = Some(outcome);
        running.run.ended_unix_ns = Some(now.wall);
        let run = running.run;
        self.count(&run.mount_point, outcome);
        vec![
            Event::Keep(run.clone()),
            Event::Ended(run, Some(running.superblock)),
        ]
    }

    fn note(&mut self, run: RecoveryRun) {
        if self.history.len() >= HISTORY_MAX {
            self.history.pop_front();
        }
        self.history.push_back(run);
    }

    fn count(&mut self, mount_point: &str, outcome: Outcome) {
        let key = (mount_point.to_owned(), outcome);
        if self.counts.len() < COUNTS_MAX || self.counts.contains_key(&key) {
            *self.counts.entry(key).or_default() += 1;
        }
    }
}

/// The superblock that is to be repaired: in trouble of a configured kind, and on top at that mount
/// point in the observer's own namespace.
fn in_trouble<'a>(snapshot: &'a Snapshot, mount: &Recover) -> Option<&'a Superblock> {
    let is_wanted = |superblock: &&Superblock| {
        let kinds = mount.kinds.iter();
        kinds
            .clone()
            .any(|kind| kind.state() == Some(superblock.state))
            && is_on_top(superblock, &mount.mount_point)
    };
    snapshot.superblocks.iter().find(is_wanted)
}

/// Whether it is what a path walk meets at that mount point of the observer's own namespace.
pub fn is_on_top(superblock: &Superblock, mount_point: &str) -> bool {
    on_top(superblock, mount_point).is_some()
}

fn on_top<'a>(superblock: &'a Superblock, mount_point: &str) -> Option<&'a Mount> {
    superblock.mounts.iter().find(|mount| {
        mount.is_own_namespace && !mount.is_covered && mount.mount_point_escaped == mount_point
    })
}

/// Whether a superblock that is neither dead nor hung is mounted there.
pub fn is_served(snapshot: &Snapshot, mount_point: &str) -> bool {
    snapshot.superblocks.iter().any(|superblock| {
        let fuse = superblock.fuse.as_ref();
        let is_alive = fuse.is_none_or(|fuse| fuse.is_connected == Some(true));
        is_on_top(superblock, mount_point)
            && !matches!(superblock.state, State::Dead | State::Hung)
            && is_alive
    })
}

#[cfg(test)]
mod tests;
