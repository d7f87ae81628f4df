//! Repairing a mount, as carefully as the policy asks: which step is next, and what became of it.
//!
//! One recovery runs at a time, in the order of the configuration. It decides on looks at the
//! snapshot alone; the shell only carries out a step and says how that went.

mod policy;
mod run;
mod step;

use std::collections::{BTreeMap, VecDeque};

use crate::{
    alert::State,
    config::{Recover, Recovery},
    incident::IncidentId,
    snapshot::{Mount, Snapshot, Superblock},
    superblock::{Dev, SuperblockId},
    time::{Mono, Now},
};

pub use policy::{Check, Explanation, Facts, Verdict, judge};
pub use run::{Outcome, RecoveryRun, RecoveryStep};
pub use step::{Step, StepError};

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
    /// A run ended; failures and caps alert.
    Ended(RecoveryRun, SuperblockId),
}

/// Every mount that may be repaired, and what was done so far.
#[derive(Clone, Debug, Default)]
pub struct Recoveries {
    policy: Recovery,
    mounts: Vec<Recover>,
    is_enabled: bool,
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

/// The run under way.
#[derive(Clone, Debug)]
struct Running {
    run: RecoveryRun,
    superblock: SuperblockId,
    target: Target,
    steps: Vec<Step>,
    /// The one that is being carried out.
    at: usize,
    begun: Mono,
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

    /// Whether any mount may be repaired.
    pub fn is_wanted(&self) -> bool {
        !self.mounts.is_empty()
    }

    /// Whether the enabling file is there.
    pub fn set_enabled(&mut self, is_enabled: bool) {
        self.is_enabled = is_enabled;
    }

    /// Takes what the journal remembers: it counts towards the caps.
    pub fn remember(&mut self, runs: Vec<RecoveryRun>) {
        for run in runs {
            self.note(run);
        }
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
        if outcome == Outcome::Ok {
            running.at += 1;
            running.begun = now.mono;
            self.next(now)
        } else {
            self.end(outcome, now)
        }
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
        self.count(&run.mount_point, outcome);
        vec![Event::Keep(run.clone()), Event::Ended(run, superblock.id)]
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
            begun: now.mono,
        });
        let mut events = vec![Event::Keep(run.clone())];
        self.note(run);
        events.extend(self.next(now));
        events
    }

    /// The next step of the run under way: to the shell, unless it is to wait and see.
    fn next(&mut self, now: Now) -> Vec<Event> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let kept = Event::Keep(running.run.clone());
        match running.steps.get(running.at) {
            None => {
                let mut events = self.end(Outcome::Ok, now);
                events.insert(0, kept);
                events
            }
            Some(Step::Verify) => vec![kept],
            Some(step) => {
                let job = Job {
                    run: running.run.id.clone(),
                    mount_point: running.run.mount_point.clone(),
                    target: running.target,
                    step: step.clone(),
                    timeout_ns: crate::time::nanos(self.policy.step_timeout),
                };
                vec![kept, Event::Do(job)]
            }
        }
    }

    /// Looks whether the mount is back, where that is what the run waits for; ends a step that nobody
    /// answers.
    fn go_on(&mut self, now: Now, snapshot: &Snapshot) -> Vec<Event> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let run = running.run.id.clone();
        let is_verify = running.steps.get(running.at) == Some(&Step::Verify);
        if is_verify && is_served(snapshot, &running.run.mount_point) {
            let detail = "mounted again, and its connection lives".to_owned();
            return self.done(now, &run, Outcome::Ok, detail);
        }
        // The shell has the same limit for a step and answers; this is for when it does not.
        let patience = self.policy.step_timeout * if is_verify { 1 } else { 2 };
        if now.mono.since(running.begun) < patience {
            return Vec::new();
        }
        let detail = if is_verify {
            "it is not mounted again with a living connection"
        } else {
            "no answer"
        };
        self.done(now, &run, Outcome::Timeout, detail.to_owned())
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
            Event::Ended(run, running.superblock),
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

impl Running {
    fn tell(&mut self, now: Now, outcome: Outcome, detail: String) {
        let step = self.steps.get(self.at).map(ToString::to_string);
        let step = step.unwrap_or_default();
        self.run.tell(now.wall, &step, outcome, detail);
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
