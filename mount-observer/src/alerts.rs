//! The life of the alerts of one superblock: from condition to firing to resolved.
//!
//! At most one alert fires per superblock, the worst. What is only suspected (a request that no
//! list confirms, a disconnect that may be an unmount) is pending inside its detector and never
//! reaches this module. A condition that goes away and comes back within `clear_after` changes
//! nothing; one that keeps coming back is held longer and longer.

use std::{cmp::Ordering, time::Duration};

use crate::{
    alert::{AlertKind, Change, Resolution, Severity, Victim},
    time::Mono,
};

/// Firing again this soon after the last end counts as flapping.
pub(crate) const FLAP_WINDOW: Duration = Duration::from_mins(10);

/// Returns that are forgiven before an alert is held longer.
const FLAPS_FREE: u32 = 3;

/// The longest hold, as a power of two of `clear_after`.
const FLAP_DOUBLINGS_MAX: u32 = 3;

/// What a detector found.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    /// What it is.
    pub kind: AlertKind,
    /// How much it asks for.
    pub severity: Severity,
    /// How far it has come; a rise is told like a rise in severity.
    pub stage: Stage,
    /// When it began: the first evidence.
    pub since: Mono,
    /// One sentence.
    pub reason: String,
    /// Facts behind it.
    pub evidence: Vec<String>,
    /// Who suffers, bounded.
    pub victims: Vec<Victim>,
    /// All of them.
    pub victims_total: u64,
}

/// How far a condition has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Somebody will suffer.
    Threat,
    /// Somebody does.
    Harm,
}

/// The alert of one superblock, if there is one, and its past.
#[derive(Clone, Debug, Default)]
pub struct AlertLife {
    firing: Option<Firing>,
    last_end: Option<Mono>,
    flaps: u32,
}

#[derive(Clone, Debug)]
struct Firing {
    condition: Condition,
    last_true: Mono,
}

/// A change to tell.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// What changed.
    pub change: Change,
    /// The condition, as last seen.
    pub condition: Condition,
}

impl AlertLife {
    /// The condition of the alert that fires.
    pub fn firing(&self) -> Option<&Condition> {
        self.firing.as_ref().map(|firing| &firing.condition)
    }

    /// How often it came back soon after its end.
    pub fn returns(&self) -> u32 {
        self.flaps
    }

    /// Since when the condition of the alert that fires has been away.
    pub fn away_since(&self, now: Mono) -> Option<Duration> {
        let firing = self.firing.as_ref()?;
        (firing.last_true < now).then(|| now.since(firing.last_true))
    }

    /// Decides on one tick. `found` is the worst condition now; `is_blind` says that its absence
    /// proves nothing.
    pub fn tick(
        &mut self,
        now: Mono,
        found: Option<Condition>,
        is_blind: bool,
        clear_after: Duration,
    ) -> Vec<Step> {
        let Some(mut firing) = self.firing.take() else {
            return found
                .map(|found| self.fire(now, found))
                .into_iter()
                .collect();
        };
        let order = found.as_ref().map_or(Ordering::Less, |found| {
            found.kind.cmp(&firing.condition.kind)
        });
        match (order, found) {
            (Ordering::Equal, Some(found)) => {
                let step = firing.update(now, found);
                self.firing = Some(firing);
                step.into_iter().collect()
            }
            (Ordering::Greater, Some(found)) => {
                let ended = resolved(firing.condition, Resolution::Superseded);
                vec![ended, self.take_over(now, found)]
            }
            (_, found) => self.fade(now, firing, found, is_blind, clear_after),
        }
    }

    /// The superblock is gone: whatever fires ends.
    pub fn end(&mut self, why: Resolution) -> Option<Step> {
        let firing = self.firing.take()?;
        Some(resolved(firing.condition, why))
    }

    fn fire(&mut self, now: Mono, condition: Condition) -> Step {
        let is_flapping = self
            .last_end
            .is_some_and(|end| now.since(end) < FLAP_WINDOW);
        self.flaps = if is_flapping {
            self.flaps.saturating_add(1)
        } else {
            0
        };
        self.take_over(now, condition)
    }

    /// Another condition follows the one that fired: nothing came back.
    fn take_over(&mut self, now: Mono, condition: Condition) -> Step {
        self.firing = Some(Firing {
            condition: condition.clone(),
            last_true: now,
        });
        Step {
            change: Change::Firing,
            condition,
        }
    }

    /// The condition is not there (any more): hold the alert, or let it go.
    fn fade(
        &mut self,
        now: Mono,
        mut firing: Firing,
        found: Option<Condition>,
        is_blind: bool,
        clear_after: Duration,
    ) -> Vec<Step> {
        if is_blind {
            // What we did not see does not count towards recovery, however long it lasts.
            firing.last_true = now;
        }
        if now.since(firing.last_true) < self.hold(clear_after) {
            self.firing = Some(firing);
            return Vec::new();
        }
        if let Some(found) = found {
            // It eased, and is not over.
            let ended = resolved(firing.condition, Resolution::Superseded);
            vec![ended, self.take_over(now, found)]
        } else {
            self.last_end = Some(now);
            vec![resolved(firing.condition, Resolution::Recovered)]
        }
    }

    fn hold(&self, clear_after: Duration) -> Duration {
        let doublings = self
            .flaps
            .saturating_sub(FLAPS_FREE)
            .min(FLAP_DOUBLINGS_MAX);
        clear_after * 2_u32.pow(doublings)
    }
}

impl Firing {
    /// The condition holds on. It keeps the time it began at, and its worst severity.
    fn update(&mut self, now: Mono, found: Condition) -> Option<Step> {
        let has_risen =
            found.severity > self.condition.severity || found.stage > self.condition.stage;
        self.condition = Condition {
            since: self.condition.since.min(found.since),
            severity: self.condition.severity.max(found.severity),
            stage: self.condition.stage.max(found.stage),
            ..found
        };
        self.last_true = now;
        has_risen.then(|| Step {
            change: Change::Firing,
            condition: self.condition.clone(),
        })
    }
}

fn resolved(condition: Condition, why: Resolution) -> Step {
    Step {
        change: Change::Resolved { why },
        condition,
    }
}

#[cfg(test)]
mod tests;
