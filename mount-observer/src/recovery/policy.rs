//! Whether a mount may be repaired now, with every reason: a pure function of what is known.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use super::{RecoveryRun, Step};
use crate::{
    alert::State,
    config::{Recover, Recovery},
    snapshot::{ServerStatus, Superblock},
    text,
    time::{Now, Wall},
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What decides.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Now.
    pub now: Now,
    /// The policy.
    pub policy: &'a Recovery,
    /// The mount as configured.
    pub mount: &'a Recover,
    /// What is mounted there.
    pub superblock: &'a Superblock,
    /// Looks that found it in trouble, each `confirm_every` after the last.
    pub confirmations: u32,
    /// Whether the enabling file is there.
    pub is_enabled: bool,
    /// Whether what earlier observers did is known: without, the caps mean nothing.
    pub is_history_known: bool,
    /// Whether another recovery is under way.
    pub is_busy: bool,
    /// Runs so far, those of earlier daemons included.
    pub history: &'a VecDeque<RecoveryRun>,
}

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "verdict", content = "why")]
pub enum Verdict {
    /// Not yet.
    Wait(String),
    /// Never.
    Refuse(String),
    /// Too often already.
    Capped(String),
    /// All is fulfilled, but nothing is to be done.
    DryRun,
    /// Now.
    Run,
}

/// One condition, and whether it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Whether it does.
    pub is_passed: bool,
    /// What it is about, with the figures.
    pub text: String,
}

/// The verdict and what led to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// Every condition, in the order they are looked at.
    pub checks: Vec<Check>,
    /// What the first that does not hold leads to.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// Judges one mount in trouble.
pub fn judge(facts: &Facts<'_>) -> Explanation {
    let rules: [(Rule, Otherwise); 10] = [
        (not_root, Verdict::Refuse),
        (kind, Verdict::Refuse),
        (not_answering, Verdict::Refuse),
        (age, Verdict::Wait),
        (confirmed, Verdict::Wait),
        (cooled_down, Verdict::Wait),
        (below_caps, Verdict::Capped),
        (enabled, |_| Verdict::DryRun),
        (remembered, Verdict::Wait),
        (alone, Verdict::Wait),
    ];
    let mut verdict = Verdict::Run;
    let mut checks = Vec::new();
    for (rule, otherwise) in rules {
        let check = rule(facts);
        if !check.is_passed && verdict == Verdict::Run {
            verdict = otherwise(check.text.clone());
        }
        checks.push(check);
    }
    Explanation { checks, verdict }
}

type Rule = fn(&Facts<'_>) -> Check;

/// What follows where the rule does not hold, and why.
type Otherwise = fn(String) -> Verdict;

fn check(is_passed: bool, text: String) -> Check {
    Check { is_passed, text }
}

fn not_root(facts: &Facts<'_>) -> Check {
    let is_root = facts.mount.mount_point.trim_end_matches('/').is_empty();
    let text = if is_root {
        "the root of the system is never touched"
    } else {
        "not the root of the system"
    };
    check(!is_root, text.to_owned())
}

fn kind(facts: &Facts<'_>) -> Check {
    let state = facts.superblock.state;
    let is_wanted = facts
        .mount
        .kinds
        .iter()
        .any(|kind| kind.state() == Some(state));
    let kinds: Vec<&str> = facts.mount.kinds.iter().map(|kind| kind.name()).collect();
    let text = format!(
        "it is {}; repaired when {}",
        state.name(),
        kinds.join(" or ")
    );
    check(is_wanted, text)
}

/// A mount whose server lives and answers somebody is never touched. A hung one's server answers
/// nobody, or it would be called stuck.
fn not_answering(facts: &Facts<'_>) -> Check {
    let superblock = facts.superblock;
    let fuse = superblock.fuse.as_ref();
    let is_connected = fuse.is_some_and(|fuse| fuse.is_connected == Some(true));
    let runs = fuse.is_some_and(|fuse| fuse.server_status == ServerStatus::Running);
    let is_answering = match superblock.state {
        State::Dead => is_connected && runs,
        State::Hung => false,
        State::Ok | State::Unknown | State::Slow | State::Erroring | State::Stuck => true,
    };
    let needs_fuse = facts
        .mount
        .steps
        .iter()
        .any(|step| matches!(step.parse(), Ok(Step::AbortConnection)) && fuse.is_none());
    let text = if is_answering {
        "its server is alive and answering"
    } else if needs_fuse {
        "it has no FUSE connection to abort"
    } else {
        "no server answers"
    };
    check(!is_answering && !needs_fuse, text.to_owned())
}

fn age(facts: &Facts<'_>) -> Check {
    let age = facts.now.mono.since(facts.superblock.since);
    let min = facts.policy.min_age;
    let text = format!("for {}, of {} at least", text::age(age), text::age(min));
    check(age >= min, text)
}

fn confirmed(facts: &Facts<'_>) -> Check {
    let (seen, wanted) = (facts.confirmations, facts.policy.confirmations);
    let every = text::age(facts.policy.confirm_every);
    let text = format!("found so {seen} times, {wanted} needed, {every} apart");
    check(seen >= wanted, text)
}

fn cooled_down(facts: &Facts<'_>) -> Check {
    let cooldown = facts.policy.cooldown;
    let mount_point = &facts.mount.mount_point;
    let last = actions(facts, cooldown).filter(|run| run.mount_point == *mount_point);
    let count = last.count();
    let cooldown = text::age(cooldown);
    let text = if count == 0 {
        format!("no recovery of it within {cooldown}")
    } else {
        format!("a recovery of it is less than {cooldown} ago")
    };
    check(count == 0, text)
}

fn below_caps(facts: &Facts<'_>) -> Check {
    let policy = facts.policy;
    let mount_point = &facts.mount.mount_point;
    let of_mount = actions(facts, DAY).filter(|run| run.mount_point == *mount_point);
    let caps = [
        (
            actions(facts, HOUR).count(),
            policy.max_per_hour,
            "this hour",
        ),
        (actions(facts, DAY).count(), policy.max_per_day, "this day"),
        (
            of_mount.count(),
            policy.max_per_mount_per_day,
            "this day of this mount",
        ),
    ];
    let is_reached = |(count, max, _): &(usize, u32, &str)| {
        u32::try_from(*count).is_ok_and(|count| count < *max)
    };
    let is_below = caps.iter().all(is_reached);
    let text = caps
        .map(|(count, max, when)| format!("{count} of {max} {when}"))
        .join(", ");
    check(is_below, format!("recoveries: {text}"))
}

fn enabled(facts: &Facts<'_>) -> Check {
    let sentinel = &facts.policy.enabled_by;
    let text = if facts.policy.dry_run {
        "recovery.dry_run is set".to_owned()
    } else if facts.is_enabled {
        format!("enabled by {sentinel}")
    } else {
        format!("{sentinel} does not exist")
    };
    check(!facts.policy.dry_run && facts.is_enabled, text)
}

fn remembered(facts: &Facts<'_>) -> Check {
    let text = if facts.is_history_known {
        "earlier recoveries are known"
    } else {
        "earlier recoveries are not known: the journal was not read yet"
    };
    check(facts.is_history_known, text.to_owned())
}

fn alone(facts: &Facts<'_>) -> Check {
    let text = if facts.is_busy {
        "another recovery is under way"
    } else {
        "no other recovery is under way"
    };
    check(!facts.is_busy, text.to_owned())
}

/// Runs that did something, within that time. One from the future counts: the clock was set back,
/// and nobody knows when it was.
fn actions<'a>(facts: &Facts<'a>, within: Duration) -> impl Iterator<Item = &'a RecoveryRun> {
    let now = facts.now.wall;
    let is_recent = move |at: Wall| Duration::from_nanos(now.0.saturating_sub(at.0)) < within;
    let runs = facts.history.iter();
    runs.filter(move |run| run.is_action() && is_recent(run.started_unix_ns))
}
