//! Carries out the steps of recoveries, by the hand: the daemon itself has given up what they take.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    config::Config,
    daemon::hand::{Action, Answer, Hand, HandError, Run, Task},
    input::Input,
    recovery::{Job, Outcome, RecoveryRun, Step},
    text,
    time::Mono,
};

/// How often the enabling file is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where a second observer finds that the first repairs already.
const LOCK_FILE: &str = "recovery.lock";

/// Whether the configuration has anything to repair: what needs a hand.
pub(super) fn is_wanted(config: &Config) -> bool {
    !config.recover.is_empty()
}

/// The shell's part of recoveries.
#[derive(Debug)]
pub(super) struct Recovery {
    hand: Option<Hand>,
    enabled_by: String,
    lock: String,
    is_locked: bool,
    is_looking: bool,
    looked_at: Option<Mono>,
    was_enabled: Option<bool>,
    tasks: JoinSet<Done>,
}

/// What a task brought.
#[derive(Debug)]
enum Done {
    /// Whether recoveries are enabled, and whether this observer is the one that repairs.
    Looked { is_enabled: bool, is_locked: bool },
    /// A step.
    Step(Input),
}

impl Recovery {
    /// Without a hand, nothing is ever enabled.
    pub(super) fn new(config: &Config, hand: Option<Hand>) -> Self {
        let directory = &config.storage.path;
        let directory = if directory.is_empty() {
            "/run"
        } else {
            directory
        };
        Self {
            hand: hand.filter(|_| is_wanted(config)),
            enabled_by: config.recovery.enabled_by.clone(),
            lock: format!("{directory}/{LOCK_FILE}"),
            is_locked: false,
            is_looking: false,
            looked_at: None,
            was_enabled: None,
            tasks: JoinSet::new(),
        }
    }

    /// The enabling file may be another now.
    pub(super) fn reconfigure(&mut self, config: &Config) {
        if is_wanted(config) && self.hand.is_none() {
            tracing::warn!("a first [[recover]] needs a restart");
        }
        self.enabled_by.clone_from(&config.recovery.enabled_by);
        self.looked_at = None;
    }

    /// Looks for the enabling file when it is time.
    pub(super) fn look(&mut self, now: Mono) {
        let is_due = self.looked_at.is_none_or(|at| now.since(at) >= LOOK_EVERY);
        let Some(hand) = self.hand.clone().filter(|_| is_due && !self.is_looking) else {
            return;
        };
        self.looked_at = Some(now);
        self.is_looking = true;
        let (path, lock, is_locked) = (self.enabled_by.clone(), self.lock.clone(), self.is_locked);
        self.tasks.spawn_blocking(move || {
            let is_done = |action| matches!(hand.ask(Task::Act(action)), Ok(Answer::Done));
            let is_there = is_done(Action::IsThere { path });
            // Locked only once it is needed: a dry run locks nobody out.
            let is_locked = is_locked || is_there && is_done(Action::Lock { path: lock });
            Done::Looked {
                is_enabled: is_there && is_locked,
                is_locked,
            }
        });
    }

    /// Starts a step.
    pub(super) fn start(&mut self, job: Job) {
        let hand = self.hand.clone();
        tracing::warn!(mountpoint = job.mount_point, step = %job.step, "recovery: begins a step");
        self.tasks.spawn_blocking(move || {
            let (outcome, detail) = match hand {
                Some(hand) => carry_out(&hand, &job),
                None => (Outcome::Failed, "there is no process to do it".to_owned()),
            };
            Done::Step(Input::RecoveryDone {
                run: job.run,
                outcome,
                detail,
            })
        });
    }

    /// What was learnt by a task that ended; never, while there is none.
    pub(super) async fn next(&mut self) -> Option<Input> {
        match self.tasks.join_next().await {
            Some(Ok(Done::Step(input))) => Some(input),
            Some(Ok(Done::Looked {
                is_enabled,
                is_locked,
            })) => self.looked(is_enabled, is_locked),
            Some(Err(error)) => {
                // A defect of ours; the run waits for its own time limit.
                tracing::error!(%error, "a step of a recovery was lost");
                self.is_looking = false;
                None
            }
            None => std::future::pending().await,
        }
    }

    fn looked(&mut self, is_enabled: bool, is_locked: bool) -> Option<Input> {
        self.is_looking = false;
        self.is_locked = is_locked;
        if self.was_enabled == Some(is_enabled) {
            return None;
        }
        self.was_enabled = Some(is_enabled);
        tracing::info!(
            is_enabled,
            enabled_by = self.enabled_by,
            "recovery: whether it is allowed"
        );
        Some(Input::RecoveryEnabled(is_enabled))
    }
}

fn carry_out(hand: &Hand, job: &Job) -> (Outcome, String) {
    let task = match &job.step {
        Step::AbortConnection => match job.connection {
            Some(connection) => Task::Act(Action::AbortConnection { connection }),
            None => return (Outcome::Failed, "no connection is known".to_owned()),
        },
        Step::LazyUnmount => Task::Act(Action::LazyUnmount {
            mount_point: text::unescaped(&job.mount_point),
        }),
        Step::Run(command) => Task::Run(Run {
            command: command.clone(),
            environment: [(
                "MOUNT_OBSERVER_MOUNT_POINT".to_owned(),
                job.mount_point.clone(),
            )]
            .into(),
            input: String::new(),
            timeout_ms: job.timeout_ns / 1_000_000,
        }),
        // Looked for in the snapshots, and never asked for.
        Step::Verify => return (Outcome::Ok, String::new()),
    };
    outcome(hand.ask(task))
}

fn outcome(answer: Result<Answer, HandError>) -> (Outcome, String) {
    let said = |what: String, said: String| match said.trim() {
        "" => what,
        said => format!("{what}: {said}"),
    };
    match answer {
        Ok(Answer::Done) => (Outcome::Ok, String::new()),
        Ok(Answer::Exited { code: 0, said }) => (Outcome::Ok, said.trim().to_owned()),
        Ok(Answer::Exited { code, said: text }) => {
            (Outcome::Failed, said(format!("exit {code}"), text))
        }
        Ok(Answer::Killed { signal, said: text }) => (
            Outcome::Failed,
            said(format!("killed by signal {signal}"), text),
        ),
        Ok(Answer::TimedOut { said: text }) => {
            (Outcome::Timeout, said("took too long".to_owned(), text))
        }
        Ok(Answer::Failed { why }) => (Outcome::Failed, why),
        Ok(Answer::No) => (Outcome::Failed, "refused".to_owned()),
        Ok(Answer::Busy) => (Outcome::Failed, "too many commands run already".to_owned()),
        Err(error @ HandError::Silent) => (Outcome::Timeout, super::chain(&error)),
        Err(error @ HandError::Gone(_)) => (Outcome::Failed, super::chain(&error)),
    }
}

/// Tells what a recovery came to, one line each.
pub(super) fn log(run: &RecoveryRun) {
    let Some(last) = run.steps.last() else {
        return;
    };
    let steps: Vec<&str> = run.steps.iter().map(|step| step.step.as_str()).collect();
    let outcome = run.outcome.map_or("under way", Outcome::name);
    tracing::warn!(
        mountpoint = run.mount_point,
        incident = run.incident.as_str(),
        outcome,
        steps = steps.join(", "),
        detail = last.detail,
        "recovery"
    );
}
