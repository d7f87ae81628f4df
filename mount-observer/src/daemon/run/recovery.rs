//! Carries out the steps of recoveries, by the hand: the daemon itself has given up what they take.

use std::time::Duration;

use tokio::task::JoinSet;

use crate::{
    config::Config,
    daemon::hand::{Action, Answer, Hand, HandError, OnTop, Run, Task},
    input::Input,
    recovery::{Job, Outcome, RecoveryRun, Step},
    text,
    time::Mono,
};

/// How often the enabling file is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where a second observer finds that the first repairs already; one a mount namespace, for each has
/// mounts of its own.
fn lock_path(namespace: u32) -> String {
    format!("/run/mount-observer-recovery-{namespace}.lock")
}

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
    was: Option<Allowed>,
    tasks: JoinSet<Done>,
}

/// Whether recoveries may do something.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Allowed {
    /// The enabling file is there, and nobody else repairs.
    Yes,
    /// It is not.
    No,
    /// Cannot be said, or somebody else repairs.
    Unknown(String),
}

/// What a task brought.
#[derive(Debug)]
enum Done {
    /// Whether recoveries may do something.
    Looked(Allowed),
    /// A step.
    Step(Input),
}

impl Recovery {
    /// Without a hand, nothing is ever enabled.
    pub(super) fn new(config: &Config, hand: Option<Hand>, namespace: u32) -> Self {
        Self {
            hand: hand.filter(|_| is_wanted(config)),
            enabled_by: config.recovery.enabled_by.clone(),
            lock: lock_path(namespace),
            is_locked: false,
            is_looking: false,
            looked_at: None,
            was: None,
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
        self.tasks
            .spawn_blocking(move || Done::Looked(allowed(&hand, &path, &lock, is_locked)));
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
            Some(Ok(Done::Looked(allowed))) => self.looked(allowed),
            Some(Err(error)) => {
                // A defect of ours; the run waits for its own time limit.
                tracing::error!(%error, "a step of a recovery was lost");
                self.is_looking = false;
                None
            }
            None => std::future::pending().await,
        }
    }

    fn looked(&mut self, allowed: Allowed) -> Option<Input> {
        self.is_looking = false;
        self.is_locked = self.is_locked || allowed == Allowed::Yes;
        if self.was.as_ref() == Some(&allowed) {
            return None;
        }
        let is_enabled = allowed == Allowed::Yes;
        match &allowed {
            Allowed::Yes => tracing::info!(enabled_by = self.enabled_by, "recovery is allowed"),
            Allowed::No => tracing::info!(
                enabled_by = self.enabled_by,
                "recovery only says what it would do: the enabling file does not exist"
            ),
            Allowed::Unknown(why) => tracing::warn!(why, "recovery only says what it would do"),
        }
        self.was = Some(allowed);
        Some(Input::RecoveryEnabled(is_enabled))
    }
}

/// Looks for the enabling file and, once it is there, sees to it that nobody else repairs: a dry run
/// locks nobody out.
fn allowed(hand: &Hand, path: &str, lock: &str, is_locked: bool) -> Allowed {
    let cannot = |what: String, answer| Allowed::Unknown(format!("{what}: {}", outcome(answer).1));
    match hand.ask(Task::Act(Action::IsThere {
        path: path.to_owned(),
    })) {
        Ok(Answer::Done) => {}
        Ok(Answer::No) => return Allowed::No,
        other => return cannot(format!("cannot look for {path}"), other),
    }
    if is_locked {
        return Allowed::Yes;
    }
    match hand.ask(Task::Act(Action::Lock {
        path: lock.to_owned(),
    })) {
        Ok(Answer::Done) => Allowed::Yes,
        Ok(Answer::No) => {
            Allowed::Unknown(format!("another observer repairs here: it holds {lock}"))
        }
        other => cannot(format!("cannot lock {lock}"), other),
    }
}

fn carry_out(hand: &Hand, job: &Job) -> (Outcome, String) {
    let of = OnTop {
        mount_point: text::unescaped(&job.mount_point),
        mount_id: job.target.mount_id,
        dev: job.target.dev.0,
    };
    let task = match &job.step {
        Step::AbortConnection => match job.target.connection {
            Some(connection) => Task::Act(Action::AbortConnection { connection, of }),
            None => return (Outcome::Failed, "no connection is known".to_owned()),
        },
        Step::LazyUnmount => Task::Act(Action::LazyUnmount { of }),
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

/// Tells what a recovery came to.
pub(super) fn log(run: &RecoveryRun) {
    let (Some(last), Some(outcome)) = (run.steps.last(), run.outcome) else {
        return;
    };
    let steps: Vec<&str> = run.steps.iter().map(|step| step.step.as_str()).collect();
    tracing::warn!(
        mountpoint = run.mount_point,
        incident = run.incident.as_str(),
        outcome = outcome.name(),
        steps = steps.join(", "),
        detail = last.detail,
        "recovery"
    );
}
